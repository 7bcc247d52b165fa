//! Which backups are needed: those of runs that have not ended.

use super::super::context::Context;
use super::super::error::{ControllerError, call};
use crate::api::{BackfillRun, Phase};
use kube::Api;
use kube::api::ListParams;

/// Where the backups of all unfinished runs lie, as their statuses say, of all namespaces that are served.
pub(super) async fn in_use(context: &Context) -> Result<Vec<String>, ControllerError> {
    let namespaces = &context.config.watch_namespaces;
    let apis: Vec<Api<BackfillRun>> = match namespaces.as_slice() {
        [] => vec![Api::all(context.client.clone())],
        some => some.iter().map(|namespace| Api::namespaced(context.client.clone(), namespace)).collect(),
    };
    let mut paths = Vec::new();
    for runs in apis {
        let list = call("listing the runs, for their backups", runs.list(&ListParams::default())).await?;
        paths.extend(list.items.iter().filter_map(needed));
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// A run whose way back failed still needs its backup, until a person says that it is right again.
fn needed(run: &BackfillRun) -> Option<String> {
    let status = run.status.as_ref()?;
    let over = status.phase.is_terminal() && (status.phase != Phase::RollbackFailed || run.spec.abandon);
    status.backup.as_ref().filter(|_| !over).map(|backup| backup.path.clone())
}

#[cfg(test)]
mod tests {
    use super::needed;
    use serde_json::json;

    fn run(phase: &str, abandon: bool) -> Option<String> {
        let run = json!({
            "apiVersion": "backfill.dev/v1alpha1", "kind": "BackfillRun", "metadata": {"name": "run"},
            "spec": {
                "abandon": abandon,
                "database": {"secretRef": {"name": "db"}},
                "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups"}}},
                "backfill": {"sql": {"source": {"table": "g"}, "writes": [{"set": {"a": "1"}}]}},
            },
            "status": {"phase": phase, "backup": {"path": "pvc/backups/a.dump"}},
        });
        needed(&serde_json::from_value(run).unwrap())
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
            assert_eq!(run(phase, abandon).is_some(), is_needed, "{phase}");
        }
    }
}
