//! Runs and reports to test with.

use crate::api::spec::BackfillRun;
use crate::api::status::{BackupStatus, CountStatus, DatabaseStatus, MonitorStatus, PlanStatus, RehearsalStatus, ResultStatus, Step};
use crate::protocol::{
    ApplyReport, BackupReport, ClaimReport, LossReport, MonitorReport, PlanReport, PreflightReport, RehearsalReport, RestoreReport,
    StepReport, UndoReport, VerifyReport,
};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The moment at which every test begins.
pub(super) fn start() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

/// A run with every block that has a phase of its own.
pub(super) fn full_spec() -> Value {
    let template = json!({"spec": {"containers": [{"name": "c", "image": "team:1"}]}});
    json!({
        "database": {"secretRef": {"name": "db"}},
        "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups"}}},
        "migrations": {"job": {"template": template}},
        "backfill": {"sql": {"source": {"table": "g"}, "writes": [{"set": {"a": "1"}}]}},
        "verify": [{"name": "none-left", "sql": "SELECT 0", "expect": {"equals": 0}}, {"name": "tests", "job": {"template": template}}],
        "featureFlag": {"name": "f", "provider": {"configMap": {"name": "flags", "key": "k", "path": "/f"}}},
        "monitor": {"duration": "1m", "logs": {"selector": {"matchLabels": {"app": "a"}}, "patterns": [{"name": "p", "regex": "error"}]}},
        "notifications": [{"channel": "team", "events": ["ApprovalNeeded", "Failed", "Succeeded", "RolledBack"]}],
    })
}

/// The smallest run.
pub(super) fn small_spec() -> Value {
    json!({
        "database": {"secretRef": {"name": "db"}},
        "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups"}}},
        "backfill": {"sql": {"source": {"table": "g"}, "writes": [{"set": {"a": "1"}}]}},
    })
}

/// The full run, with a rehearsed backup.
pub(super) fn rehearsed_spec() -> Value {
    let mut spec = full_spec();
    spec["backup"]["proof"] = json!("Restore");
    spec
}

/// The team's script instead of SQL.
pub(super) fn script_spec() -> Value {
    let template = json!({"spec": {"containers": [{"name": "c", "image": "team:1"}]}});
    let mut spec = small_spec();
    spec["backfill"] = json!({"job": {"dryRun": {"template": template}, "apply": {"template": template}}});
    spec
}

pub(super) fn run(spec: &Value) -> BackfillRun {
    serde_json::from_value(json!({
        "apiVersion": "backfill.dev/v1alpha1",
        "kind": "BackfillRun",
        "metadata": {
            "name": "run", "namespace": "ns", "uid": "0b6f1c2e-aaaa", "generation": 1,
            "annotations": {"backfill.dev/requested-by": "dana"},
        },
        "spec": spec,
    }))
    .unwrap()
}

/// A good report of a step.
pub(super) fn report(step: Step, now: Timestamp) -> Option<StepReport> {
    Some(match step {
        Step::Preflight => StepReport::Preflight(PreflightReport {
            database: DatabaseStatus { id: "1/2".into(), size_bytes: 1_000_000, ..DatabaseStatus::default() },
            ..PreflightReport::default()
        }),
        Step::Backup => StepReport::Backup(BackupReport {
            backup: BackupStatus { file: "x.dump".into(), taken_at: Some(now), proof: "Read".into(), ..BackupStatus::default() },
        }),
        Step::Plan | Step::Replan => StepReport::Plan(PlanReport {
            plan: PlanStatus {
                rows_digest: "sha256:rows".into(),
                file: "x.plan".into(),
                will_write: 10,
                matching: 12,
                ..PlanStatus::default()
            },
        }),
        Step::Rehearse => StepReport::Rehearsal(RehearsalReport {
            rehearsal: RehearsalStatus {
                server_version: "17.6".into(),
                restore_seconds: 42,
                tables: 2,
                rows: 12,
                apply_seconds: Some(5),
                counts: vec![CountStatus { name: "Written".into(), predicted: 10, rehearsed: 9, real: None }],
                rehearsed_at: Some(now),
                ..RehearsalStatus::default()
            },
            checks: Vec::new(),
        }),
        Step::Claim => StepReport::Claim(ClaimReport::default()),
        Step::Apply => StepReport::Apply(ApplyReport { result: ResultStatus { written: 10, batches: 1, ..ResultStatus::default() } }),
        Step::Verify => StepReport::Verify(VerifyReport::default()),
        Step::Monitor => StepReport::Monitor(MonitorReport { monitor: MonitorStatus { lines: 5, pods: 1, ..MonitorStatus::default() } }),
        Step::Undo => StepReport::Undo(UndoReport { undone: 10, ..UndoReport::default() }),
        Step::LossAccount => StepReport::Loss(LossReport::default()),
        Step::Restore => StepReport::Restore(RestoreReport::default()),
        Step::DryRun | Step::Migrate | Step::Script | Step::Test | Step::Close | Step::Capture => return None,
    })
}
