//! Which backups are needed: those of runs that have not ended, and of those that can still be taken back.

use super::super::context::Context;
use super::super::error::{ControllerError, call};
use crate::api::{BackfillRun, Phase};
use crate::protocol::BackupsInUse;
use kube::Api;
use kube::api::ListParams;

/// All such runs, of all namespaces that are served, and where their backups lie, as their statuses say. A run whose backup is
/// being taken has none in its status yet.
pub(super) async fn in_use(context: &Context) -> Result<BackupsInUse, ControllerError> {
    let namespaces = &context.config.watch_namespaces;
    let apis: Vec<Api<BackfillRun>> = match namespaces.as_slice() {
        [] => vec![Api::all(context.client.clone())],
        some => some.iter().map(|namespace| Api::namespaced(context.client.clone(), namespace)).collect(),
    };
    let mut in_use = BackupsInUse::default();
    for runs in apis {
        let list = call("listing the runs, for their backups", runs.list(&ListParams::default())).await?;
        for run in list.items.iter().filter(|run| needs_backup(run)) {
            in_use.runs.extend(run.metadata.uid.clone());
            in_use.paths.extend(run.status.as_ref().and_then(|status| status.backup.as_ref()).map(|backup| backup.path.clone()));
        }
    }
    for list in [&mut in_use.runs, &mut in_use.paths] {
        list.sort();
        list.dedup();
    }
    Ok(in_use)
}

/// A run whose way back failed still needs its backup, until a person says that it is right again; one that has succeeded,
/// until nothing leads back any more: a script's run is taken back by a restore.
fn needs_backup(run: &BackfillRun) -> bool {
    let Some(status) = &run.status else { return true };
    match status.phase {
        Phase::RollbackFailed => !run.spec.abandon,
        Phase::Succeeded => !run.spec.abandon && status.undo_kept_until.is_some() && status.closed_at.is_none(),
        phase => !phase.is_terminal(),
    }
}

#[cfg(test)]
mod tests {
    use super::needs_backup;
    use serde_json::json;

    fn run(phase: &str, abandon: bool) -> bool {
        run_with(phase, abandon, &json!({}))
    }

    fn run_with(phase: &str, abandon: bool, more: &serde_json::Value) -> bool {
        let mut run = json!({
            "apiVersion": "backfill.dev/v1alpha1", "kind": "BackfillRun", "metadata": {"name": "run"},
            "spec": {
                "abandon": abandon,
                "database": {"secretRef": {"name": "db"}},
                "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups"}}},
                "backfill": {"sql": {"source": {"table": "g"}, "writes": [{"set": {"a": "1"}}]}},
            },
            "status": {"phase": phase, "backup": {"path": "pvc/backups/a.dump"}},
        });
        if let (Some(status), Some(more)) = (run["status"].as_object_mut(), more.as_object()) {
            status.extend(more.clone());
        }
        needs_backup(&serde_json::from_value(run).unwrap())
    }

    #[test]
    fn a_run_that_has_succeeded_needs_its_backup_while_it_can_be_taken_back() {
        let kept = json!({"undoKeptUntil": "2026-12-01T00:00:00Z"});
        let closed = json!({"undoKeptUntil": "2026-12-01T00:00:00Z", "closedAt": "2026-12-01T00:01:00Z"});
        assert!(run_with("Succeeded", false, &kept));
        assert!(!run_with("Succeeded", true, &kept));
        assert!(!run_with("Succeeded", false, &closed));
        assert!(!run_with("RolledBack", false, &kept), "what is kept then is the old database");
    }

    #[test]
    fn a_backup_is_needed_until_its_run_has_ended_well() {
        for (phase, abandon, is_needed) in [
            ("AwaitingApproval", false, true),
            ("Applying", false, true),
            ("Monitoring", false, true),
            ("RollbackFailed", false, true),
            ("RollbackFailed", true, false),
            ("Succeeded", false, false),
            ("Failed", false, false),
            ("RolledBack", false, false),
        ] {
            assert_eq!(run(phase, abandon), is_needed, "{phase}");
        }
    }
}
