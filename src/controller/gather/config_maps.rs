//! The ConfigMaps that the workload's environment and the team's Jobs read: their content is part of what is approved.

use crate::api::spec::TeamJob;
use crate::api::status::ConfigMapStatus;
use crate::controller::context::Context;
use crate::controller::error::{ControllerError, call};
use crate::lifecycle::{Problem, ReleaseFound, ValidRun};
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodTemplateSpec};
use kube::Api;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Reads them, in the order of their names.
pub(super) async fn observe(
    context: &Context,
    run: &ValidRun,
    release: Option<&Result<ReleaseFound, Problem>>,
) -> Result<Vec<ConfigMapStatus>, ControllerError> {
    let workload = release.and_then(|r| r.as_ref().ok()).into_iter().flat_map(|found| found.config_maps.iter().cloned());
    let names: BTreeSet<String> = templates(run).iter().flat_map(of_template).chain(workload).collect();
    let maps: Api<ConfigMap> = Api::namespaced(context.client.clone(), &run.meta.identity.namespace);
    let mut found = Vec::new();
    for name in names {
        let map = call("reading a ConfigMap that the run depends on", maps.get_opt(&name)).await?;
        found.push(ConfigMapStatus { sha256: map.as_ref().map_or_else(|| "absent".into(), hash), name });
    }
    Ok(found)
}

fn templates(run: &ValidRun) -> Vec<PodTemplateSpec> {
    let spec = &run.spec;
    let script = spec.backfill.job.iter().flat_map(|job| [&job.dry_run, &job.apply]);
    let jobs = spec.migrations.iter().map(|m| &m.job).chain(script).chain(spec.verify.iter().filter_map(|check| check.job.as_ref()));
    jobs.filter_map(|job: &TeamJob| serde_json::from_value(Value::Object(job.template.clone())).ok()).collect()
}

fn of_template(template: &PodTemplateSpec) -> Vec<String> {
    let Some(spec) = &template.spec else { return Vec::new() };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten()).flat_map(of_container);
    let volumes = spec.volumes.iter().flatten().flat_map(|volume| {
        let projected = volume.projected.iter().flat_map(|p| p.sources.iter().flatten()).filter_map(|s| s.config_map.as_ref());
        volume.config_map.as_ref().map(|map| map.name.clone()).into_iter().chain(projected.map(|map| map.name.clone()))
    });
    containers.chain(volumes).collect()
}

/// The ConfigMaps that a container's environment is made of.
pub(super) fn of_container(container: &Container) -> Vec<String> {
    let whole = container.env_from.iter().flatten().filter_map(|from| Some(from.config_map_ref.as_ref()?.name.clone()));
    let keys = container.env.iter().flatten().filter_map(|v| Some(v.value_from.as_ref()?.config_map_key_ref.as_ref()?.name.clone()));
    whole.chain(keys).collect()
}

fn hash(map: &ConfigMap) -> String {
    let data: BTreeMap<_, _> = map.data.iter().flatten().collect();
    let binary: BTreeMap<_, _> = map.binary_data.iter().flatten().collect();
    hex::encode(Sha256::digest(json!({"data": data, "binaryData": binary}).to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_in_which_a_pod_reads_a_config_map_is_found() {
        let template = serde_json::from_value(json!({"spec": {
            "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "a"}}, {"secretRef": {"name": "no"}}]}],
            "containers": [{"name": "c", "env": [{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "b", "key": "k"}}}, {"name": "Y", "value": "v"}]}],
            "volumes": [
                {"name": "v", "configMap": {"name": "c"}},
                {"name": "p", "projected": {"sources": [{"configMap": {"name": "d"}}, {"secret": {"name": "no"}}]}},
                {"name": "s", "secret": {"secretName": "no"}},
            ],
        }}))
        .unwrap();
        let names: BTreeSet<String> = of_template(&template).into_iter().collect();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "b", "c", "d"]);
    }

    #[test]
    fn the_hash_is_that_of_the_content_and_not_of_the_order_or_the_metadata() {
        let map = |value: Value| hash(&serde_json::from_value(value).unwrap());
        let one = map(json!({"metadata": {"name": "a", "resourceVersion": "1"}, "data": {"x": "1", "y": "2"}}));
        assert_eq!(one, map(json!({"metadata": {"name": "a", "resourceVersion": "2"}, "data": {"y": "2", "x": "1"}})));
        assert_ne!(one, map(json!({"metadata": {"name": "a"}, "data": {"x": "1", "y": "3"}})));
    }
}
