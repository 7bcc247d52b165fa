//! Act: one effect, idempotent. The next pass observes what it did; nothing is believed from memory.

use super::context::Context;
use super::error::{ControllerError, call, code};
use super::jobs;
use crate::api::{BackfillRun, FINALIZER, REPORT_OF, RUN_UID_LABEL};
use crate::flags;
use crate::lifecycle::{Effect, StartStep, ValidRun, report_name, report_of};
use crate::report;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::RoleBinding;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Resource, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeMap;

/// Who writes the report.
const MANAGER: &str = "backfill-operator";

/// The effect's name, for the log.
pub(super) const fn name(effect: &Effect) -> &'static str {
    match effect {
        Effect::AddFinalizer => "AddFinalizer",
        Effect::RemoveFinalizer => "RemoveFinalizer",
        Effect::StartStep(_) => "StartStep",
        Effect::StopStep { .. } => "StopStep",
        Effect::TellPod { .. } => "TellPod",
        Effect::EnableFlag { .. } => "EnableFlag",
        Effect::RestoreFlag { .. } => "RestoreFlag",
        Effect::WriteReport => "WriteReport",
    }
}

/// Does it.
pub(super) async fn act(context: &Context, run: &BackfillRun, valid: Option<&ValidRun>, effect: Effect) -> Result<(), ControllerError> {
    let namespace = run.namespace().unwrap_or_default();
    match effect {
        Effect::AddFinalizer => finalizers(context, run, |all| all.push(FINALIZER.into())).await,
        Effect::RemoveFinalizer => {
            if run.metadata.deletion_timestamp.is_some() {
                clean_up(context, run).await?;
            }
            finalizers(context, run, |all| all.retain(|f| f != FINALIZER)).await
        }
        Effect::StartStep(start) => match valid {
            Some(valid) => start_step(context, run, valid, &start).await,
            None => Ok(()),
        },
        Effect::StopStep { job_name } => stop_step(context, &namespace, &job_name).await,
        Effect::TellPod { job_name, settings } => tell_pod(context, &namespace, &job_name, &settings).await,
        Effect::EnableFlag { previous } => match flag_of(run) {
            Some(flag) => Ok(flags::enable(context.client.clone(), &namespace, flag, previous.parse()?).await.map(|_| ())?),
            None => Ok(()),
        },
        Effect::RestoreFlag { previous } => match flag_of(run) {
            Some(flag) => Ok(flags::restore(context.client.clone(), &namespace, flag, previous.parse()?).await.map(|_| ())?),
            None => Ok(()),
        },
        Effect::WriteReport => write_report(context, run).await,
    }
}

fn flag_of(run: &BackfillRun) -> Option<&crate::api::spec::ConfigMapFlag> {
    run.spec.feature_flag.as_ref().map(|f| &f.provider.config_map)
}

/// Changes the list of finalizers, and only over what was read.
async fn finalizers(context: &Context, run: &BackfillRun, change: impl FnOnce(&mut Vec<String>)) -> Result<(), ControllerError> {
    let runs: Api<BackfillRun> = Api::namespaced(context.client.clone(), &run.namespace().unwrap_or_default());
    let mut all = run.finalizers().to_vec();
    change(&mut all);
    let patch = json!({"metadata": {"resourceVersion": run.metadata.resource_version, "finalizers": all}});
    let written = call("writing the finalizers", runs.patch(&run.name_any(), &PatchParams::default(), &Patch::Merge(&patch))).await;
    match written {
        Err(error) if code(&error) == Some(404) => Ok(()),
        Err(error) if code(&error) == Some(409) => Err(ControllerError::Conflict),
        other => other.map(|_| ()),
    }
}

async fn start_step(context: &Context, run: &BackfillRun, valid: &ValidRun, start: &StartStep) -> Result<(), ControllerError> {
    let (client, namespace) = (context.client.clone(), &valid.meta.identity.namespace);
    if start.step == crate::api::status::Step::Monitor {
        let (account, binding) = jobs::monitor_rights(run, valid, start, &context.config)?;
        create(&Api::<ServiceAccount>::namespaced(client.clone(), namespace), &account, "making the monitor's service account").await?;
        create(&Api::<RoleBinding>::namespaced(client.clone(), namespace), &binding, "binding the monitor's rights").await?;
    }
    let input = jobs::input(run, valid, start)?;
    create(&Api::<ConfigMap>::namespaced(client.clone(), namespace), &input, "making a step's input").await?;
    let job = jobs::job(run, valid, start, &context.config)?;
    create(&Api::<Job>::namespaced(client.clone(), namespace), &job, "making a step's Job").await?;
    if let Some(old) = &start.forget {
        let in_background = DeleteParams::background();
        let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
        unless_missing(call("deleting an old Job", jobs.delete(old, &in_background)).await)?;
        let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
        unless_missing(call("deleting an old input", maps.delete(&jobs::input_name(old), &in_background)).await)?;
    }
    Ok(())
}

/// What is gone already need not be deleted.
fn unless_missing<T>(answer: Result<T, ControllerError>) -> Result<(), ControllerError> {
    match answer {
        Err(error) if code(&error) == Some(404) => Ok(()),
        other => other.map(|_| ()),
    }
}

/// What is there already is left as it is: the next pass sees whether it is ours.
async fn create<K>(api: &Api<K>, object: &K, what: &'static str) -> Result<(), ControllerError>
where
    K: Resource + Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    match call(what, api.create(&PostParams::default(), object)).await {
        Err(error) if code(&error) == Some(409) => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn stop_step(context: &Context, namespace: &str, job_name: &str) -> Result<(), ControllerError> {
    let jobs: Api<Job> = Api::namespaced(context.client.clone(), namespace);
    // In the foreground, so that the Job is there until its pods have ended.
    unless_missing(call("deleting a step's Job", jobs.delete(job_name, &DeleteParams::foreground())).await)
}

async fn tell_pod(context: &Context, namespace: &str, job_name: &str, settings: &BTreeMap<String, String>) -> Result<(), ControllerError> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let selector = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={job_name}"));
    let patch = json!({"metadata": {"annotations": settings}});
    for pod in call("listing a step's pods", pods.list(&selector)).await?.items {
        call("telling a step's pod", pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&patch))).await?;
    }
    Ok(())
}

/// The report belongs to the run. A report of an earlier run of the same name is replaced.
async fn write_report(context: &Context, run: &BackfillRun) -> Result<(), ControllerError> {
    let namespace = run.namespace().unwrap_or_default();
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &namespace);
    let map = ConfigMap {
        metadata: ObjectMeta {
            name: Some(report_name(&run.name_any())),
            namespace: Some(namespace),
            owner_references: run.controller_owner_ref(&()).map(|o| vec![o]),
            annotations: run.status.as_ref().map(|status| BTreeMap::from([(REPORT_OF.to_owned(), report_of(status))])),
            labels: run.metadata.uid.clone().map(|uid| BTreeMap::from([(RUN_UID_LABEL.to_owned(), uid)])),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([("report.md".to_owned(), report::render(run, Timestamp::now()))])),
        ..ConfigMap::default()
    };
    let apply = PatchParams::apply(MANAGER).force();
    call("writing the report", maps.patch(&map.name_any(), &apply, &Patch::Apply(&map))).await.map(|_| ())
}

/// What a run that is being deleted made without an owner.
async fn clean_up(context: &Context, run: &BackfillRun) -> Result<(), ControllerError> {
    let (client, namespace) = (context.client.clone(), run.namespace().unwrap_or_default());
    let ours = ListParams::default().labels(&format!("{RUN_UID_LABEL}={}", run.uid().unwrap_or_default()));
    let jobs: Api<Job> = Api::namespaced(client.clone(), &namespace);
    for job in call("listing the run's Jobs", jobs.list(&ours)).await?.items {
        unless_missing(call("deleting a Job", jobs.delete(&job.name_any(), &DeleteParams::background())).await)?;
    }
    let maps: Api<ConfigMap> = Api::namespaced(client, &namespace);
    for map in call("listing the run's ConfigMaps", maps.list(&ours)).await?.items {
        unless_missing(call("deleting a ConfigMap", maps.delete(&map.name_any(), &DeleteParams::default())).await)?;
    }
    Ok(())
}
