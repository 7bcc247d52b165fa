//! The runs that come before this one, and those that come after it.

use crate::api::status::BackfillRunStatus;
use crate::api::{BackfillRun, Phase};
use crate::controller::context::Context;
use crate::controller::error::{ControllerError, call};
use crate::lifecycle::{AfterObservation, ValidRun};
use kube::api::ListParams;
use kube::{Api, ResourceExt};

/// Reads the runs of `spec.after`.
pub(super) async fn before(
    context: &Context,
    valid: &ValidRun,
    status: &BackfillRunStatus,
) -> Result<Vec<AfterObservation>, ControllerError> {
    let mut found = Vec::with_capacity(valid.spec.after.len());
    if status.mutation_started {
        return Ok(found);
    }
    let runs: Api<BackfillRun> = Api::namespaced(context.client.clone(), &valid.meta.identity.namespace);
    for after in &valid.spec.after {
        let run = call("reading a run of spec.after", runs.get_opt(&after.name)).await?;
        found.push(run.map_or(AfterObservation::Missing, |run| AfterObservation::of(&run, after.condition.condition())));
    }
    Ok(found)
}

/// Names of the runs that were planned after this one, have changed data and have not ended.
pub(super) async fn dependents(context: &Context, valid: &ValidRun, status: &BackfillRunStatus) -> Result<Vec<String>, ControllerError> {
    if status.phase != Phase::RollingBack {
        return Ok(Vec::new());
    }
    let identity = &valid.meta.identity;
    let runs: Api<BackfillRun> = Api::namespaced(context.client.clone(), &identity.namespace);
    let all = call("reading the runs that come after this one", runs.list(&ListParams::default())).await?;
    let depends = |run: &BackfillRun| {
        let open = run.status.as_ref().is_some_and(|s| s.mutation_started && !s.phase.is_terminal());
        open && !run.spec.abandon && run.spec.after.iter().any(|after| after.name == identity.name)
    };
    Ok(all.items.iter().filter(|run| depends(run)).map(ResourceExt::name_any).collect())
}
