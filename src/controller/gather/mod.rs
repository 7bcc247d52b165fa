//! Gather: all reads of a pass, each under a timeout, and only those that the run's phase needs.

mod admission;
mod after;
mod backups;
mod config_maps;
mod job;
mod pod;
mod references;
mod release;
mod workers;

#[cfg(test)]
pub(super) use pod::told;

use super::cnpg;
use super::context::Context;
use super::error::{ControllerError, call};
use crate::api::status::{BackfillRunStatus, FlagIntent};
use crate::api::{BackfillRun, Phase, REPORT_OF};
use crate::flags;
use crate::lifecycle::{self, FlagObservation, HolderObservation, Observed, Problem, ValidRun, report_name, report_of};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{Api, ResourceExt as _};

/// Reads what the decision needs.
pub(super) async fn observe(
    context: &Context,
    run: &BackfillRun,
    valid: &ValidRun,
    status: &BackfillRunStatus,
) -> Result<Observed, ControllerError> {
    let mut observed = Observed::default();
    if status.phase.is_terminal() {
        observed.report_written = status.report.is_some() || report_is_written(context, run, status).await?;
        // The one step of a run that has ended: its undo is released.
        if status.current_step.is_some() {
            observed.step = job::observe(context, valid, status).await?;
        }
        return Ok(observed);
    }
    observed.namespace_terminating = valid.meta.deleting && namespace_is_terminating(context, run).await?;
    observed.after = after::before(context, valid, status).await?;
    observed.dependents = after::dependents(context, valid, status).await?;
    observed.step = job::observe(context, valid, status).await?;
    if !status.mutation_started || lifecycle::before_the_first_write(status) {
        observed.release = release::observe(context, valid).await?;
        observed.config_maps = Some(config_maps::observe(context, valid, observed.release.as_ref()).await?);
    }
    if !status.mutation_started || status.phase == Phase::AwaitingApproval {
        observed.admission = admission::observe(context, run, status).await?;
        observed.messages = admission::messages(run);
    }
    observed.references = references::observe(context, valid, status).await?;
    // Until the first write a backup may be taken, also once more, after an approval that came late.
    if valid.spec.backup.retain.is_some() && (!status.mutation_started || lifecycle::before_the_first_write(status)) {
        observed.backups_in_use = backups::in_use(context).await?;
    }
    if cnpg::is_needed(valid, status) {
        observed.cnpg = cnpg::managed(&context.client, &context.config.watch_namespaces, &valid.meta.identity.namespace).await?;
    }
    if let Some(named) = valid.spec.backup.existing.as_ref().and_then(|existing| existing.cnpg_backup.as_ref())
        && cnpg::is_backup_needed(status)
    {
        observed.cnpg_backup = Some(cnpg::backup(&context.client, &valid.meta.identity.namespace, &named.name).await?);
    }
    if needs_flag(status) {
        observed.flag = flag(context, valid).await;
    }
    if status.waiting_for.is_some() {
        observed.holder = holder(context, status).await?;
    }
    Ok(observed)
}

fn needs_flag(status: &BackfillRunStatus) -> bool {
    !status.mutation_started
        || status.phase == Phase::EnablingFlag
        || status.flag.as_ref().is_some_and(|f| f.intent != FlagIntent::None && f.restored_at.is_none() && status.mutation_started)
}

async fn flag(context: &Context, valid: &ValidRun) -> Option<FlagObservation> {
    let flag = valid.spec.feature_flag.as_ref()?;
    Some(match flags::read(context.client.clone(), &valid.meta.identity.namespace, &flag.provider.config_map).await {
        Ok(reading) => FlagObservation::Value(reading.value.to_string()),
        Err(error) => FlagObservation::Problem(Problem { reason: error.reason().into(), message: error.to_string() }),
    })
}

async fn report_is_written(context: &Context, run: &BackfillRun, status: &BackfillRunStatus) -> Result<bool, ControllerError> {
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &run.namespace().unwrap_or_default());
    let map = call("reading the report", maps.get_opt(&report_name(&run.name_any()))).await?;
    // A report of an earlier run of the same name is not ours, and one of an earlier end (the run was taken back since) is old.
    let end = Some(report_of(status));
    Ok(map.is_some_and(|m| {
        m.owner_references().iter().any(|o| Some(&o.uid) == run.metadata.uid.as_ref()) && m.annotations().get(REPORT_OF) == end.as_ref()
    }))
}

async fn namespace_is_terminating(context: &Context, run: &BackfillRun) -> Result<bool, ControllerError> {
    let namespaces: Api<Namespace> = Api::all(context.client.clone());
    let namespace = call("reading the namespace", namespaces.get_opt(&run.namespace().unwrap_or_default())).await?;
    Ok(namespace.is_none_or(|n| n.metadata.deletion_timestamp.is_some()))
}

async fn holder(context: &Context, status: &BackfillRunStatus) -> Result<Option<HolderObservation>, ControllerError> {
    let Some(holder) = &status.waiting_for else { return Ok(None) };
    let served = &context.config.watch_namespaces;
    if !served.is_empty() && !served.contains(&holder.namespace) {
        return Ok(Some(HolderObservation::Unknown));
    }
    let runs: Api<BackfillRun> = Api::namespaced(context.client.clone(), &holder.namespace);
    let other = call("reading the run that holds the database", runs.get_opt(&holder.name)).await?;
    Ok(Some(match other {
        Some(other) if other.metadata.uid.as_deref() == Some(holder.uid.as_str()) => {
            // A run whose way back failed keeps the database until a person says that it is right again.
            let held = |phase: Phase| phase == Phase::RollbackFailed && !other.spec.abandon;
            let finished = other.status.as_ref().is_some_and(|s| s.phase.is_terminal() && !held(s.phase));
            if finished { HolderObservation::Over } else { HolderObservation::Live }
        }
        _ => HolderObservation::Over,
    }))
}
