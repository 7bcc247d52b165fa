//! Runs as the operator writes them, for the tests of the plugin.

use crate::api::BackfillRun;
use serde_json::{Value, json};

pub const DIGEST: &str = "sha256:1695d33a1695d33a1695d33a1695d33a1695d33a1695d33a1695d33a1695d33a";

fn run(status: Value) -> BackfillRun {
    let mut document = json!({
        "apiVersion": "backfill.dev/v1alpha1", "kind": "BackfillRun",
        "metadata": {"namespace": "staging", "name": "import-generation", "uid": "5b0c", "annotations": {"backfill.dev/requested-by": "sam@example.org"}},
        "spec": {
            "database": {"secretRef": {"name": "scenarios-db"}},
            "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups", "path": "staging"}}},
            "backfill": {"sql": {
                "source": {"table": "scenario_generations"},
                "writes": [{"table": "scenarios", "match": "t.id = s.scenario_id", "set": {"accepted_prompt": "s.metadata"}}]
            }},
            "featureFlag": {"name": "import_generation", "provider": {"configMap": {"name": "flags", "key": "f.json", "path": "/import_generation"}}},
        }
    });
    document["status"] = status;
    serde_json::from_value(document).unwrap()
}

fn step(name: &str, minute: u8, result: Option<&str>) -> Value {
    let at = |second: u8| format!("2026-11-01T10:{minute:02}:{second:02}Z");
    let mut step = json!({"step": name, "attempt": 1, "jobName": "j", "inputHash": "h", "startedAt": at(0), "deadline": at(59)});
    if let Some(result) = result {
        step["result"] = json!(result);
        step["endedAt"] = json!(at(30));
    }
    step
}

fn planned() -> Value {
    json!({
        "phase": "AwaitingApproval",
        "message": "waits for 2 approval(s): 117990 rows of scenario_generations will be written",
        "steps": [step("Preflight", 0, Some("Passed")), step("Backup", 1, Some("Passed")), step("Plan", 5, Some("Passed"))],
        "release": {"workload": "Deployment/scenarios-app", "image": "app@sha256:aa", "commit": "4f2c", "environmentHash": "sha256:bb"},
        "database": {"id": "7412/16384", "name": "scenarios", "serverVersion": "17.2", "sizeBytes": 734_003_200},
        "checks": [{"name": "APP_ENV", "phase": "Preflight", "result": "Passed", "message": "as asked"},
                   {"name": "server-space", "phase": "Preflight", "result": "Inconclusive", "message": "the role may not ask: GRANT pg_read_all_settings"}],
        "wayBack": ["Undo", "RestoreInPlace"],
        "backup": {"path": "pvc/backups/staging/import-generation.dump", "file": "staging/import-generation.dump", "sizeBytes": 52_428_800,
                   "sha256": "cc", "serverVersion": "17.2", "lsn": "0/3A000028", "takenAt": "2026-11-01T10:01:05Z", "proof": "Read", "restoreWith": "pg_restore 15 or later"},
        "plan": {"digest": "sha256:dd", "rowsDigest": "sha256:ee", "file": "p", "scanned": 120_000, "matching": 118_402, "willWrite": 117_990,
                 "invalid": 412, "sensitive": 3, "provedReadOnly": true, "plannedAt": "2026-11-01T10:05:25Z", "rowsPerSecond": 12_000,
                 "writes": [{"table": "scenarios", "updates": 117_990, "inserts": 0, "deletes": 0}, {"table": "audit", "updates": 0, "inserts": 117_990, "deletes": 5}],
                 "parameters": [{"name": "cutoff", "type": "timestamptz", "value": "2026-11-01 00:00:00+00"}, {"name": "none", "type": "text"}],
                 "sample": [
                     {"key": "7", "table": "scenarios", "changes": [
                         {"column": "accepted_prompt", "after": "Write\na test"}, {"column": "model", "before": "gpt-4", "after": "gpt-5"}]},
                     {"key": "9", "table": "scenarios", "changes": [{"column": "accepted_prompt", "before": "", "after": "\u{1b}[2J\u{202e}x"}]}],
                 "invalidSample": [{"key": "12", "rule": "llm-response", "pointer": "/prompt", "message": "is missing"}],
                 "findings": [{"key": "31", "table": "scenarios", "column": "accepted_prompt", "rule": "aws-access-token"}],
                 "remarks": ["lower() depends on the server's locale"]},
        "awaiting": {"subject": "Plan", "digest": DIGEST, "question": "117990 rows of scenario_generations will be written", "required": 2,
                     "floors": [{"name": "many-rows", "minimum": 2, "why": "117990 rows are more than 100000"}],
                     "since": "2026-11-01T10:05:30Z", "deadline": "2026-11-04T10:05:30Z", "command": "kubectl -n staging patch backfillrun import-generation …"},
        "approvals": [{"user": "maria@example.org", "decision": "Approve", "subject": "Plan", "digest": DIGEST, "at": "2026-11-01T11:00:00Z",
                       "identity": "Verified", "message": "looked at the sample"}],
    })
}

/// A run that waits for one more of two people.
pub fn awaiting() -> BackfillRun {
    run(planned())
}

/// The same, at work and held by the throttle or not.
pub fn applying() -> BackfillRun {
    let mut status = planned();
    for key in ["awaiting", "approvals"] {
        status.as_object_mut().unwrap().shift_remove(key);
    }
    status["phase"] = json!("Applying");
    status["message"] = json!("rows are written");
    status["mutationStarted"] = json!(true);
    status["currentStep"] = json!("Apply");
    status["steps"].as_array_mut().unwrap().push(step("Apply", 10, None));
    status["progress"] = json!({"summary": "52000/117990 (44%), 3s left", "done": 52_000, "total": 117_990, "unit": "rows", "perSecond": 21_000, "remaining": "3s"});
    run(status)
}

/// A script of the team's, dry run.
pub fn script() -> BackfillRun {
    let mut status = planned();
    status["plan"] = json!({"digest": "sha256:dd", "rowsDigest": "", "output": "would import 12\ndone", "remarks": ["rows of a script are not counted"]});
    run(status)
}

/// A restore that is asked about.
pub fn restore() -> BackfillRun {
    let mut status = planned();
    status["awaiting"]["subject"] = json!("Restore");
    status["awaiting"]["question"] = json!("the restore loses what was written since");
    status["awaiting"]["requesterMayApprove"] = json!(true);
    status["phase"] = json!("RollingBack");
    status["rollback"] = json!({"reason": "ChecksFailed", "undone": 0, "skippedBecauseChangedSince": 0,
        "losses": [{"table": "scenarios", "message": "3 rows were added since the dump"}], "lossDigest": DIGEST});
    run(status)
}
