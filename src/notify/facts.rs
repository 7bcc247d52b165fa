//! What people are told: row 8 of the checklist, and nothing else.

use super::AskedFacts;
use crate::api::spec::NotificationEvent;
use crate::api::status::{ApprovalStatus, CheckResult, NotificationStatus};
use crate::api::{BackfillRun, BackfillRunStatus, Phase};
use crate::protocol::RunIdentity;
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The facts of one message: backup path, commit, rows changed, incidents, and the command where somebody must approve.
///
/// Never a value or a key of a row, a sample or a message of the database: channels reach people who may not see rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// What happened.
    pub event: NotificationEvent,
    /// The same for every attempt at the same message.
    pub delivery: String,
    /// Which run.
    pub run: RunIdentity,
    /// Where the run stood when the message was written.
    pub phase: Phase,
    /// When it happened.
    pub at: Timestamp,
    /// What happened, in a sentence.
    pub text: String,
    /// Where the backup lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// The commit of the release.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Source rows written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows_changed: Option<i64>,
    /// Drift, failed checks, hits in the logs, what the way back left alone.
    pub incidents: Vec<String>,
    /// What is asked, and what there is to know before one answers; only where approval is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<AskedFacts>,
    /// Who said what, and when; only where somebody has decided.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub decisions: Vec<ApprovalStatus>,
    /// What to run to approve; only where approval is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_command: Option<String>,
}

impl Facts {
    /// The facts of a run for one message of its outbox.
    #[must_use]
    pub fn of(run: &BackfillRun, message: &NotificationStatus) -> Self {
        let nothing = BackfillRunStatus::default();
        let status = run.status.as_ref().unwrap_or(&nothing);
        let identity = RunIdentity {
            namespace: run.metadata.namespace.clone().unwrap_or_default(),
            name: run.metadata.name.clone().unwrap_or_default(),
            uid: run.metadata.uid.clone().unwrap_or_default(),
        };
        let asks = matches!(message.event, NotificationEvent::ApprovalNeeded | NotificationEvent::ApprovalReminder);
        Self {
            event: message.event,
            delivery: delivery(&identity.uid, message),
            run: identity,
            phase: status.phase,
            at: message.at,
            text: message.text.clone(),
            backup: status.backup.as_ref().map(|backup| backup.path.clone()).filter(|path| !path.is_empty()),
            commit: status.release.as_ref().and_then(|release| release.commit.clone()),
            rows_changed: status.result.as_ref().map(|result| result.written),
            incidents: incidents(status),
            asked: status.awaiting.as_ref().filter(|_| asks).map(|awaiting| AskedFacts::of(status, awaiting)),
            decisions: status.approvals.iter().filter(|_| message.event == NotificationEvent::Decided).cloned().collect(),
            approval_command: status.awaiting.as_ref().filter(|_| asks).map(|awaiting| awaiting.command.clone()),
        }
    }
}

/// Names the message, not the attempt, so that a receiver can tell a repetition from a second message.
fn delivery(uid: &str, message: &NotificationStatus) -> String {
    let mut hash = Sha256::new();
    for part in [uid, message.event.as_str(), &message.channel, &message.id] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let mut hex = hex::encode(hash.finalize());
    hex.truncate(32);
    hex
}

/// What did not go as planned. Checks are named, their messages left out: a message may quote what was found.
#[must_use]
pub fn incidents(status: &BackfillRunStatus) -> Vec<String> {
    let mut incidents = Vec::new();
    if let Some(drifted) = status.result.as_ref().map(|result| result.drifted).filter(|drifted| *drifted > 0) {
        incidents.push(format!("{drifted} planned rows had changed since the plan and were left alone"));
    }
    for check in status.checks.iter().filter(|check| check.result == CheckResult::Failed) {
        incidents.push(format!("check {} failed ({})", check.name, check.phase));
    }
    for pattern in status.monitor.iter().flat_map(|monitor| &monitor.patterns) {
        if pattern.after > i64::from(pattern.max) {
            incidents.push(format!("{} log lines match {}, {} are allowed", pattern.after, pattern.name, pattern.max));
        }
    }
    if let Some(rollback) = &status.rollback {
        incidents.push(format!("rolled back: {} rows put back", rollback.undone));
        if rollback.skipped_because_changed_since > 0 {
            incidents
                .push(format!("{} rows were not put back: the application has changed them since", rollback.skipped_because_changed_since));
        }
    }
    incidents
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    fn run() -> BackfillRun {
        serde_json::from_value(json!({
            "apiVersion": "backfill.dev/v1alpha1", "kind": "BackfillRun",
            "metadata": {"namespace": "staging", "name": "import-generation", "uid": "u-1"},
            "spec": {
                "database": {"secretRef": {"name": "scenarios-db"}},
                "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups"}}},
                "backfill": {"sql": {"source": {"table": "g"}, "writes": [{"set": {"a": "'SECRET-IN-SPEC'"}}]}}
            },
            "status": {
                "phase": "AwaitingApproval",
                "message": "SECRET-MESSAGE",
                "backup": {"path": "pvc/backups/staging/a.dump", "proof": "Read"},
                "release": {"workload": "Deployment/app", "image": "app@sha256:0", "commit": "4f2c", "environmentHash": "SECRET-HASH"},
                "plan": {"scanned": 120_000, "matching": 118_402, "willWrite": 117_990, "invalid": 412, "sensitive": 3, "file": "a.plan", "rowsPerSecond": 60_000,
                         "findings": [{"key": "SECRET-KEY", "table": "t", "column": "c", "rule": "aws"}],
                         "writes": [{"table": "scenarios", "updates": 117_990, "inserts": 0, "deletes": 0}], "sample": [{"key": "SECRET-KEY", "table": "t", "changes": [{"column": "c", "after": "SECRET-VALUE"}]}], "output": "SECRET-OUTPUT"},
                "result": {"written": 117_578, "drifted": 412, "driftedKeys": ["SECRET-KEY"], "output": "SECRET-OUTPUT"},
                "checks": [
                    {"name": "filled", "phase": "Verifying", "result": "Failed", "message": "found SECRET-VALUE"},
                    {"name": "role", "phase": "Preflight", "result": "Passed", "message": "ok"}
                ],
                "monitor": {"patterns": [
                    {"name": "importer", "before": 0, "after": 3, "max": 0},
                    {"name": "quiet", "before": 0, "after": 1, "max": 1}
                ]},
                "rollback": {"reason": "SECRET-MESSAGE", "undone": 100, "skippedBecauseChangedSince": 2, "skippedKeys": ["SECRET-KEY"]},
                "awaiting": {"subject": "Plan", "digest": "sha256:1", "question": "?", "required": 2, "since": "2026-11-01T10:00:00Z",
                             "floors": [{"name": "production", "minimum": 2, "why": "it always holds here"}],
                             "deadline": "2026-11-04T10:00:00Z", "command": "kubectl patch backfillrun import-generation"}
            }
        }))
        .unwrap()
    }

    fn message(event: NotificationEvent) -> NotificationStatus {
        NotificationStatus {
            event,
            channel: "team".into(),
            id: "1".into(),
            at: "2026-11-01T10:00:00Z".parse().unwrap(),
            text: "117990 rows would be written".into(),
            delivered_at: None,
            attempts: 0,
            retry_at: None,
            error: String::new(),
        }
    }

    pub(in crate::notify) fn facts() -> Facts {
        Facts::of(&run(), &message(NotificationEvent::ApprovalNeeded))
    }

    #[test]
    fn the_facts_are_those_of_the_checklist() {
        insta::assert_yaml_snapshot!(facts());
    }

    #[test]
    fn no_value_key_sample_output_or_message_of_the_database_is_told() {
        assert!(!serde_json::to_string(&facts()).unwrap().contains("SECRET"));
    }

    #[test]
    fn only_who_must_approve_gets_the_command_and_what_to_know_before() {
        let facts = Facts::of(&run(), &message(NotificationEvent::Failed));
        assert_eq!((facts.approval_command, facts.asked), (None, None));
    }

    #[test]
    fn a_decision_is_told_with_who_when_and_why() {
        let mut run = run();
        let said = json!([{"user": "maria@example.org", "decision": "Approve", "subject": "Plan", "digest": "sha256:1", "at": "2026-11-01T11:00:00Z",
                           "identity": "Verified", "message": "looked at the sample"}]);
        run.status.as_mut().unwrap().approvals = serde_json::from_value(said.clone()).unwrap();
        let told = |event| serde_json::to_value(Facts::of(&run, &message(event))).unwrap();
        assert_eq!(told(NotificationEvent::Decided)["decisions"], said);
        assert_eq!(told(NotificationEvent::Applied)["decisions"], serde_json::Value::Null);
    }

    #[test]
    fn a_run_without_status_has_facts_too() {
        let run = BackfillRun { status: None, ..run() };
        let facts = Facts::of(&run, &message(NotificationEvent::Failed));
        assert_eq!((facts.phase, facts.backup, facts.incidents), (Phase::Pending, None, vec![]));
    }

    #[test]
    fn the_delivery_is_the_same_for_every_attempt_and_another_for_every_message() {
        let first = message(NotificationEvent::Failed);
        let again = NotificationStatus { attempts: 3, error: "refused".into(), ..first.clone() };
        assert_eq!(delivery("u", &first), delivery("u", &again));
        for other in [
            NotificationStatus { id: "2".into(), ..first.clone() },
            NotificationStatus { channel: "other".into(), ..first.clone() },
            message(NotificationEvent::Applied),
        ] {
            assert_ne!(delivery("u", &first), delivery("u", &other));
        }
    }
}
