//! The release: what the workload runs, from which commit, in which environment.

use crate::api::spec::{CommitFrom, Release, WorkloadKind};
use crate::api::status::ReleaseStatus;
use crate::controller::context::Context;
use crate::controller::error::{ControllerError, call};
use crate::lifecycle::{Problem, ReleaseFound, SecretKey, ValidRun};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::ListParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};

/// Reads the workload; `None` where the run names none.
pub(super) async fn observe(context: &Context, run: &ValidRun) -> Result<Option<Result<ReleaseFound, Problem>>, ControllerError> {
    let Some(release) = &run.spec.release else { return Ok(None) };
    let namespace = &run.meta.identity.namespace;
    let Some((selector, template)) = workload(&context.client, namespace, release).await? else {
        return Ok(Some(Err(Problem {
            reason: "WorkloadMissing".into(),
            message: format!(
                "release.workloadRef: there is no {:?} {} in namespace {namespace}: correct the name, or deploy it",
                release.workload_ref.kind, release.workload_ref.name
            ),
        })));
    };
    let Some(container) = container(&template, release) else {
        return Ok(Some(Err(Problem {
            reason: "ContainerMissing".into(),
            message: format!(
                "release.workloadRef.container: {} has no container {}",
                release.workload_ref.name,
                release.workload_ref.container.as_deref().unwrap_or("(first)")
            ),
        })));
    };
    let image = running_image(&context.client, namespace, &selector, container).await?;
    let mut found = ReleaseFound {
        status: ReleaseStatus {
            workload: format!("{:?}/{}", release.workload_ref.kind, release.workload_ref.name),
            commit: commit(release.commit_from.as_ref(), &template, container),
            environment_hash: environment_hash(container),
            image,
        },
        config_maps: super::config_maps::of_container(container),
        ..ReleaseFound::default()
    };
    for check in run.spec.preflight.iter().flat_map(|p| &p.environment) {
        if let Some(variable) = container.env.iter().flatten().find(|v| v.name == check.name) {
            take_variable(&context.client, namespace, variable, &mut found).await?;
        }
    }
    Ok(Some(Ok(found)))
}

async fn workload(
    client: &Client,
    namespace: &str,
    release: &Release,
) -> Result<Option<(LabelSelector, PodTemplateSpec)>, ControllerError> {
    let name = &release.workload_ref.name;
    Ok(match release.workload_ref.kind {
        WorkloadKind::Deployment => {
            let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
            call("reading the workload", api.get_opt(name)).await?.and_then(|d| d.spec).map(|s| (s.selector, s.template))
        }
        WorkloadKind::StatefulSet => {
            let api: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
            call("reading the workload", api.get_opt(name)).await?.and_then(|d| d.spec).map(|s| (s.selector, s.template))
        }
    })
}

fn container<'a>(template: &'a PodTemplateSpec, release: &Release) -> Option<&'a Container> {
    let containers = &template.spec.as_ref()?.containers;
    match &release.workload_ref.container {
        Some(name) => containers.iter().find(|c| &c.name == name),
        None => containers.first(),
    }
}

/// The image with its digest, as a running pod of this template has it; the template's own reference where none runs.
async fn running_image(
    client: &Client,
    namespace: &str,
    selector: &LabelSelector,
    container: &Container,
) -> Result<String, ControllerError> {
    let reference = container.image.clone().unwrap_or_default();
    let Ok(selector) = kube::core::Selector::try_from(selector.clone()) else { return Ok(reference) };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = call("listing the workload's pods", pods.list(&ListParams::default().labels_from(&selector))).await?;
    let mut digests: Vec<String> = pods
        .items
        .iter()
        .filter(|p| p.metadata.deletion_timestamp.is_none())
        .filter(|p| p.spec.iter().flat_map(|s| &s.containers).any(|c| c.name == container.name && c.image == container.image))
        .filter_map(|p| p.status.as_ref()?.container_statuses.as_ref()?.iter().find(|c| c.name == container.name && c.ready))
        .filter_map(|c| c.image_id.split_once("sha256:").map(|(_, digest)| digest.to_owned()))
        .collect();
    digests.sort_unstable();
    Ok(match digests.first() {
        Some(digest) if !reference.contains('@') => format!("{reference}@sha256:{digest}"),
        _ => reference,
    })
}

fn commit(from: Option<&CommitFrom>, template: &PodTemplateSpec, container: &Container) -> Option<String> {
    let metadata = template.metadata.as_ref();
    let tag = || {
        let image = container.image.as_deref()?.split('@').next()?;
        image.rsplit_once(':').map(|(_, tag)| tag.to_owned()).filter(|tag| !tag.contains('/'))
    };
    match from {
        Some(CommitFrom { label: Some(label), .. }) => metadata?.labels.as_ref()?.get(label).cloned(),
        Some(CommitFrom { annotation: Some(annotation), .. }) => metadata?.annotations.as_ref()?.get(annotation).cloned(),
        _ => tag(),
    }
}

/// Names, literal values and references; never the content of what is referred to.
fn environment_hash(container: &Container) -> String {
    let environment = serde_json::json!({"env": container.env, "envFrom": container.env_from});
    hex::encode(Sha256::digest(environment.to_string()))
}

async fn take_variable(client: &Client, namespace: &str, variable: &EnvVar, found: &mut ReleaseFound) -> Result<(), ControllerError> {
    let name = variable.name.clone();
    if let Some(source) = &variable.value_from {
        if let Some(reference) = &source.secret_key_ref {
            found.environment_secrets.insert(name, SecretKey { name: reference.name.clone(), key: reference.key.clone() });
        } else if let Some(reference) = &source.config_map_key_ref {
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            let map = call("reading a ConfigMap of the workload's environment", maps.get_opt(&reference.name)).await?;
            if let Some(value) = map.and_then(|m| m.data).and_then(|mut d| d.remove(&reference.key)) {
                found.environment.insert(name, value);
            }
        }
    } else {
        found.environment.insert(name, variable.value.clone().unwrap_or_default());
    }
    Ok(())
}
