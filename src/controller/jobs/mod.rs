//! The Jobs of a run's steps: built from the run alone, always the same for the same attempt.

mod destination;
mod step_pod;
mod team_pod;

use crate::api::{BackfillRun, RUN_LABEL, RUN_UID_LABEL, STEP_LABEL};
use crate::config::OperatorConfig;
use crate::lifecycle::{StartStep, ValidRun};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, PodTemplateSpec, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use kube::Resource as _;
use serde_json::{Value, json};

/// A Job without an owner is cleaned up by Kubernetes after a day, should the operator be gone.
const ORPHAN_TTL_SECONDS: i32 = 86_400;

/// Name of the ConfigMap with a step's input.
pub(super) fn input_name(job_name: &str) -> String {
    format!("{job_name}-input")
}

/// Name of the service account of the run's monitor.
pub(super) fn monitor_account(run: &ValidRun) -> String {
    let uid: String = run.meta.identity.uid.chars().take(8).collect();
    format!("backfill-monitor-{uid}")
}

/// Labels of all that belongs to a run.
fn labels(run: &ValidRun, start: &StartStep) -> Value {
    json!({
        RUN_LABEL: run.meta.identity.name,
        RUN_UID_LABEL: run.meta.identity.uid,
        STEP_LABEL: start.step.slug(),
        "app.kubernetes.io/managed-by": "backfill-operator",
    })
}

/// Owned by the run, so that it goes with the run; not so while the run is being deleted.
fn metadata(resource: &BackfillRun, run: &ValidRun, start: &StartStep, name: &str) -> Value {
    let owner = resource.controller_owner_ref(&()).filter(|_| start.owned);
    json!({
        "name": name,
        "namespace": run.meta.identity.namespace,
        "labels": labels(run, start),
        "ownerReferences": owner.into_iter().collect::<Vec<_>>(),
    })
}

/// The input of a step, as an immutable ConfigMap.
pub(super) fn input(resource: &BackfillRun, run: &ValidRun, start: &StartStep) -> Result<ConfigMap, serde_json::Error> {
    serde_json::from_value(json!({
        "metadata": metadata(resource, run, start, &input_name(&start.job_name)),
        "immutable": true,
        "data": {"input.json": serde_json::to_string_pretty(&start.input)?},
    }))
}

/// A worker that dies is replaced so often, each for itself: the ledger tells the next one what is done.
const RETRIES_PER_WORKER: i32 = 3;

/// The Job of an attempt. It is never retried by Kubernetes: what a lost one did is looked up first. Only of several
/// workers that share the ranges of a plan one may be replaced while the others go on.
pub(super) fn job(resource: &BackfillRun, run: &ValidRun, start: &StartStep, config: &OperatorConfig) -> Result<Job, serde_json::Error> {
    let template = template(run, start, config)?;
    let mut job: Job = serde_json::from_value(json!({
        "metadata": metadata(resource, run, start, &start.job_name),
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "podReplacementPolicy": "Failed",
            "activeDeadlineSeconds": i64::try_from(start.deadline.as_secs()).unwrap_or(i64::MAX).max(1),
            "template": template,
        },
    }))?;
    let workers = workers(run, start);
    if workers > 1
        && let Some(spec) = job.spec.as_mut()
    {
        (spec.completions, spec.parallelism) = (Some(workers), Some(workers));
        spec.completion_mode = Some("Indexed".into());
        (spec.backoff_limit, spec.backoff_limit_per_index) = (None, Some(RETRIES_PER_WORKER));
    }
    if !start.owned
        && let Some(spec) = job.spec.as_mut()
    {
        spec.ttl_seconds_after_finished = Some(ORPHAN_TTL_SECONDS);
    }
    Ok(job)
}

fn workers(run: &ValidRun, start: &StartStep) -> i32 {
    match (&run.spec.backfill.sql, start.step) {
        (Some(sql), crate::api::status::Step::Apply) => sql.workers,
        _ => 1,
    }
}

fn template(run: &ValidRun, start: &StartStep, config: &OperatorConfig) -> Result<PodTemplateSpec, serde_json::Error> {
    let labels = labels(run, start);
    if start.step.is_team_job() { team_pod::template(run, start, &labels) } else { step_pod::template(run, start, config, &labels) }
}

/// The service account of the run's monitor, and its right to read pods and their logs in the run's namespace.
pub(super) fn monitor_rights(
    resource: &BackfillRun,
    run: &ValidRun,
    start: &StartStep,
    config: &OperatorConfig,
) -> Result<(ServiceAccount, RoleBinding), serde_json::Error> {
    let name = monitor_account(run);
    let account =
        serde_json::from_value(json!({"metadata": metadata(resource, run, start, &name), "automountServiceAccountToken": false}))?;
    let binding = serde_json::from_value(json!({
        "metadata": metadata(resource, run, start, &name),
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": config.monitor_cluster_role},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": run.meta.identity.namespace}],
    }))?;
    Ok((account, binding))
}
