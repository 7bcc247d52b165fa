//! Reports of a succeeded, a rolled back and a denied run.

use super::render;
use crate::api::BackfillRun;
use serde_json::{Value, json};

fn run(status: Value) -> BackfillRun {
    let mut document = json!({
        "apiVersion": "backfill.dev/v1alpha1", "kind": "BackfillRun",
        "metadata": {"namespace": "staging", "name": "import-generation", "uid": "5b0c", "annotations": {"backfill.dev/requested-by": "sam@example.org"}},
        "spec": {
            "database": {"secretRef": {"name": "scenarios-db"}},
            "release": {"workloadRef": {"name": "scenarios-app"}},
            "preflight": {"environment": [{"name": "APP_ENV", "value": "staging"}]},
            "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups", "path": "staging"}}},
            "backfill": {"sql": {
                "source": {"table": "scenario_generations"},
                "validate": [{"name": "llm-response", "value": "s.metadata", "schema": {"inline": {"type": "object"}}}],
                "writes": [{"table": "scenarios", "match": "t.id = s.scenario_id", "set": {"accepted_prompt": "s.metadata"}}]
            }},
            "verify": [{"name": "filled", "sql": "SELECT 0", "expect": {"equals": 0}}],
            "featureFlag": {"name": "import_generation", "provider": {"configMap": {"name": "flags", "key": "f.json", "path": "/import_generation"}}},
            "monitor": {"logs": {"selector": {}, "patterns": [{"name": "importer", "regex": "x"}]}},
            "notifications": [{"channel": "team-db", "events": ["Succeeded"]}]
        }
    });
    document["status"] = status;
    serde_json::from_value(document).unwrap()
}

fn step(name: &str, minute: u8, result: &str) -> Value {
    let at = |second: u8| format!("2026-11-01T10:{minute:02}:{second:02}Z");
    json!({"step": name, "attempt": 1, "jobName": "j", "inputHash": "h", "startedAt": at(0), "deadline": at(59), "endedAt": at(30), "result": result})
}

fn planned() -> Value {
    json!({
        "observedGeneration": 1,
        "steps": [step("Preflight", 0, "Passed"), step("Backup", 1, "Passed"), step("Plan", 5, "Passed")],
        "release": {"workload": "Deployment/scenarios-app", "image": "app@sha256:aa", "commit": "4f2c", "environmentHash": "sha256:bb"},
        "database": {"id": "7412/16384", "name": "scenarios", "serverVersion": "17.2", "sizeBytes": 734_003_200},
        "checks": [{"name": "APP_ENV", "phase": "Preflight", "result": "Passed", "message": "as asked"}],
        "wayBack": ["Undo", "RestoreInPlace"],
        "backup": {"path": "pvc/backups/staging/import-generation.dump", "file": "staging/import-generation.dump", "sizeBytes": 52_428_800,
                   "sha256": "cc", "serverVersion": "17.2", "lsn": "0/3A000028", "takenAt": "2026-11-01T10:01:05Z", "proof": "Read", "restoreWith": "pg_restore 15 or later"},
        "plan": {"digest": "sha256:dd", "rowsDigest": "sha256:ee", "scanned": 120_000, "matching": 118_402, "willWrite": 117_990, "invalid": 412,
                 "provedReadOnly": true, "plannedAt": "2026-11-01T10:05:25Z", "output": "SECRET",
                 "sample": [{"key": "SECRET", "table": "scenarios", "changes": [{"column": "accepted_prompt", "after": "SECRET"}]}],
                 "invalidSample": [{"key": "SECRET", "rule": "llm-response", "pointer": "/a", "message": "is missing"}]},
        "history": [{"at": "2026-11-01T10:00:00Z", "from": "Pending", "to": "Preflight", "reason": "Accepted"},
                    {"at": "2026-11-01T10:05:30Z", "from": "Planning", "to": "AwaitingApproval", "reason": "PlanReady"}]
    })
}

fn with(mut status: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        match (status[key].as_array_mut(), value.as_array()) {
            (Some(list), Some(more)) => list.extend(more.iter().cloned()),
            _ => status[key] = value.clone(),
        }
    }
    status
}

fn approval(decision: &str, message: &str) -> Value {
    json!([{"user": "maria@example.org", "decision": decision, "subject": "Plan", "digest": "sha256:dd", "at": "2026-11-01T11:00:00Z", "message": message}])
}

fn report(status: Value) -> String {
    let text = render(&run(status), "2026-11-01T14:00:00Z".parse().unwrap());
    assert!(!text.contains("could not be written"));
    assert!(!text.contains("SECRET"), "no values, keys or output of scripts");
    text
}

#[test]
fn a_succeeded_run_fills_in_every_row() {
    let text = report(with(
        planned(),
        &json!({
            "phase": "Succeeded", "message": "117990 rows written and verified; import_generation is on", "mutationStarted": true,
            "steps": [step("Apply", 10, "Passed"), step("Verify", 12, "Passed"), step("Monitor", 59, "Passed")],
            "approvals": approval("Approve", "looked at the sample | fine"),
            "checks": [{"name": "filled", "phase": "Verifying", "result": "Passed", "message": "0, as asked"}],
            "throttledSeconds": 90,
            "result": {"written": 117_950, "drifted": 40, "driftedKeys": ["SECRET"], "batches": 118},
            "flag": {"previous": "false", "intent": "Enable", "enabledAt": "2026-11-01T10:13:00Z"},
            "monitor": {"since": "2026-11-01T10:00:00Z", "until": "2026-11-01T12:13:00Z", "lines": 5000, "pods": 2,
                        "patterns": [{"name": "importer", "before": 1, "after": 0, "max": 0}]},
            "estimates": [{"step": "Backup", "estimatedSeconds": 40, "actualSeconds": 30}, {"step": "Apply", "estimatedSeconds": 45, "actualSeconds": 30}],
            "notifications": [{"event": "Succeeded", "channel": "team-db", "id": "1", "at": "2026-11-01T12:13:00Z", "text": "t", "deliveredAt": "2026-11-01T12:13:01Z"}],
            "finishedAt": "2026-11-01T12:13:00Z"
        }),
    ));
    insta::assert_snapshot!(text);
}

#[test]
fn a_rolled_back_run_gives_the_account_of_the_way_back() {
    let text = report(with(
        planned(),
        &json!({
            "phase": "RolledBack", "message": "check filled failed; all rows are as before but 2", "mutationStarted": true,
            "steps": [step("Apply", 10, "Passed"), step("Verify", 12, "Failed"), step("Undo", 13, "Passed")],
            "approvals": approval("Approve", "ok"),
            "checks": [{"name": "filled", "phase": "Verifying", "result": "Failed", "message": "12, not 0"},
                       {"name": "undone", "phase": "RollingBack", "result": "Passed", "message": "117948 rows are as before"}],
            "result": {"written": 117_950, "drifted": 40, "batches": 118},
            "rollback": {"method": "Undo", "reason": "VerificationFailed", "undone": 117_948, "skippedBecauseChangedSince": 2, "skippedKeys": ["SECRET"]},
            "notifications": [{"event": "RolledBack", "channel": "team-db", "id": "1", "at": "2026-11-01T10:14:00Z", "text": "t", "attempts": 9,
                               "error": "given up after 24 h: the address answers 500"}],
            "finishedAt": "2026-11-01T10:14:00Z"
        }),
    ));
    insta::assert_snapshot!(text);
}

#[test]
fn a_denied_run_says_what_did_not_happen() {
    let text = report(with(
        planned(),
        &json!({"phase": "Denied", "message": "denied by maria@example.org", "approvals": approval("Deny", "wrong column"), "finishedAt": "2026-11-01T11:00:00Z"}),
    ));
    insta::assert_snapshot!(text);
}

#[test]
fn a_run_that_has_just_been_made_has_a_report_too() {
    let mut run = run(json!({}));
    run.status = None;
    let text = render(&run, "2026-11-01T14:00:00Z".parse().unwrap());
    for sentence in ["None was taken.", "None was made.", "Nobody decided.", "Nothing was written.", "Nothing has happened yet."] {
        assert!(text.contains(sentence), "{text}");
    }
}
