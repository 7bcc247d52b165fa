//! The pod of one of our own steps: restricted, without a Kubernetes token, with just the files that the step needs.

use super::{destination, input_name, monitor_account};
use crate::api::spec::{PodTemplate, SecretRef};
use crate::api::status::Step;
use crate::config::OperatorConfig;
use crate::lifecycle::{StartStep, ValidRun};
use crate::protocol::settings;
use k8s_openapi::api::core::v1::{PodTemplateSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// Uid and gid of step pods, as in the image.
const USER: i64 = 65532;
/// The resource that the node's own disk is.
const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
/// glibc keeps a heap for each thread that allocates at the same time as others, and what batches free stays in each of
/// them. With one heap a worker takes about 10 MiB less, 49 MiB at a million rows, and no more time (`docs/performance`).
const ONE_HEAP: &str = "MALLOC_ARENA_MAX";
/// A step ends its batch in hand within this after SIGTERM.
const GRACE_SECONDS: i64 = 60;

/// Builds the pod.
pub(super) fn template(
    run: &ValidRun,
    start: &StartStep,
    config: &OperatorConfig,
    labels: &Value,
) -> Result<PodTemplateSpec, serde_json::Error> {
    let own = run.spec.pod_template.clone().unwrap_or_default();
    let defaults = &config.steps;
    let (volumes, mounts) = volumes(run, start);
    let monitor = start.step == Step::Monitor;
    let account = if monitor { Some(monitor_account(run)) } else { own.service_account_name.clone() };
    let pull_secrets = if own.image_pull_secrets.is_empty() { &defaults.image_pull_secrets } else { &own.image_pull_secrets };
    let mut security = json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    lay_over(&mut security, defaults.security_context.as_ref());
    lay_over(&mut security, own.security_context.as_ref());
    let mut node_selector = defaults.node_selector.clone();
    node_selector.extend(own.node_selector.clone());
    let tolerations = if own.tolerations.is_empty() { &defaults.tolerations } else { &own.tolerations };
    serde_json::from_value(json!({
        "metadata": {"labels": all_labels(&own, labels), "annotations": annotations(run, start, &own)},
        "spec": {
            "restartPolicy": "Never",
            "serviceAccountName": account,
            "automountServiceAccountToken": monitor,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": security,
            "nodeSelector": node_selector,
            "tolerations": tolerations,
            "affinity": own.affinity,
            "imagePullSecrets": pull_secrets.iter().map(|name| json!({"name": name})).collect::<Vec<_>>(),
            "volumes": volumes,
            "containers": [{
                "name": "step",
                "image": image(start.step, config),
                "imagePullPolicy": defaults.image_pull_policy.map(crate::config::PullPolicy::as_str),
                "args": ["step", start.step.slug()],
                "env": [{"name": ONE_HEAP, "value": "1"}],
                "resources": resources(run, start, own.resources.as_ref().or(defaults.resources.as_ref())),
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "terminationMessagePolicy": "File",
                "volumeMounts": mounts,
            }],
        },
    }))
}

/// A rehearsal needs a server beside our binary. Without such an image the step says what is missing.
fn image(step: Step, config: &OperatorConfig) -> &str {
    config.rehearsal.image.as_deref().filter(|_| step == Step::Rehearse).unwrap_or(&config.step_image)
}

/// A rehearsal on the node's disk asks for the space beforehand, so that it is not evicted half-way for taking it.
fn resources(run: &ValidRun, start: &StartStep, asked: Option<&ResourceRequirements>) -> Value {
    let mut resources = json!(asked);
    let (Some(space), None) = (start.input.rehearsal, storage_class(run)) else { return resources };
    let disk = |kind: Option<&BTreeMap<String, Quantity>>| kind.is_some_and(|k| k.contains_key(EPHEMERAL_STORAGE));
    if asked.is_some_and(|r| disk(r.requests.as_ref()) || disk(r.limits.as_ref())) {
        return resources;
    }
    if !resources.is_object() {
        resources = json!({});
    }
    let mut requests = resources.get("requests").filter(|r| r.is_object()).cloned().unwrap_or_else(|| json!({}));
    lay_over(&mut requests, json!({EPHEMERAL_STORAGE: space.storage_bytes.to_string()}).as_object());
    lay_over(&mut resources, json!({"requests": requests}).as_object());
    resources
}

fn storage_class(run: &ValidRun) -> Option<&str> {
    run.spec.backup.rehearsal.as_ref()?.storage_class_name.as_deref()
}

/// The disk of the scratch server: it is made for the pod, and goes with it.
fn rehearsal_disk(run: &ValidRun, storage_bytes: i64) -> Value {
    let size = storage_bytes.to_string();
    let Some(class) = storage_class(run) else {
        return json!({"name": "rehearsal", "emptyDir": {"sizeLimit": size}});
    };
    json!({"name": "rehearsal", "ephemeral": {"volumeClaimTemplate": {"spec": {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": class,
        "resources": {"requests": {"storage": size}},
    }}}})
}

fn lay_over(base: &mut Value, over: Option<&Map<String, Value>>) {
    if let (Some(base), Some(over)) = (base.as_object_mut(), over) {
        base.extend(over.clone());
    }
}

/// The run's own labels, under ours: by ours the pod is found.
fn all_labels(own: &PodTemplate, labels: &Value) -> Value {
    let mut all = json!(own.labels);
    lay_over(&mut all, labels.as_object());
    all
}

fn annotations(run: &ValidRun, start: &StartStep, own: &PodTemplate) -> Value {
    let mut all = json!(own.annotations);
    if let (Step::Apply, Some(sql), Some(map)) = (start.step, &run.spec.backfill.sql, all.as_object_mut()) {
        map.extend(settings::annotations(sql).into_iter().map(|(name, value)| (name, Value::String(value))));
    }
    all
}

fn volumes(run: &ValidRun, start: &StartStep) -> (Vec<Value>, Vec<Value>) {
    let mut volumes = vec![
        json!({"name": "input", "configMap": {"name": input_name(&start.job_name)}}),
        json!({"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}}),
        json!({"name": "tmp", "emptyDir": {}}),
        json!({"name": "control", "downwardAPI": {"items": [{"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}}]}}),
    ];
    let mut mounts = vec![
        json!({"name": "input", "mountPath": "/run/backfill/input", "readOnly": true}),
        json!({"name": "scratch", "mountPath": "/run/backfill/scratch"}),
        json!({"name": "tmp", "mountPath": "/tmp"}),
        json!({"name": "control", "mountPath": "/run/backfill/control", "readOnly": true}),
    ];
    let mut mount = |volume: Value, mount: Value| {
        volumes.push(volume);
        mounts.push(mount);
    };
    let database = &run.spec.database;
    // The rehearsal works on a copy, and must not reach the database even if it would.
    if !matches!(start.step, Step::Monitor | Step::Rehearse) {
        mount(
            secret("database", &database.secret_ref),
            json!({"name": "database", "mountPath": "/run/backfill/database", "readOnly": true}),
        );
        if let Some(reference) = &database.plan_secret_ref {
            mount(
                secret("plan-database", reference),
                json!({"name": "plan-database", "mountPath": "/run/backfill/plan-database", "readOnly": true}),
            );
        }
        let restores = matches!(start.step, Step::Preflight | Step::Restore | Step::Close);
        if let Some(reference) = database.restore_secret_ref.as_ref().filter(|_| restores) {
            mount(
                secret("restore-database", reference),
                json!({"name": "restore-database", "mountPath": "/run/backfill/restore-database", "readOnly": true}),
            );
        }
        if let Some(ca) = database.tls.as_ref().and_then(|t| t.ca_secret_ref.as_ref()) {
            let items = json!([{"key": ca.key, "path": "ca.crt"}]);
            let volume = json!({"name": "ca", "secret": {"secretName": ca.name, "items": items, "defaultMode": 0o440}});
            mount(volume, json!({"name": "ca", "mountPath": "/run/backfill/ca", "readOnly": true}));
        }
    }
    if !start.environment_secrets.is_empty() {
        let sources: Vec<Value> = start
            .environment_secrets
            .iter()
            .map(|(variable, key)| json!({"secret": {"name": key.name, "items": [{"key": key.key, "path": variable}], "optional": true}}))
            .collect();
        let volume = json!({"name": "environment", "projected": {"sources": sources, "defaultMode": 0o440}});
        mount(volume, json!({"name": "environment", "mountPath": "/run/backfill/environment", "readOnly": true}));
    }
    if let Some(space) = start.input.rehearsal {
        mount(rehearsal_disk(run, space.storage_bytes), json!({"name": "rehearsal", "mountPath": "/rehearsal"}));
    }
    if let Some(read_only) = backup_access(start.step) {
        for (volume, mounted) in destination::volumes(&run.spec.backup, read_only) {
            mount(volume, mounted);
        }
    }
    (volumes, mounts)
}

fn secret(name: &str, reference: &SecretRef) -> Value {
    json!({"name": name, "secret": {"secretName": reference.name, "defaultMode": 0o440}})
}

/// Which steps see the backup volume, and whether only to read.
const fn backup_access(step: Step) -> Option<bool> {
    match step {
        Step::Preflight | Step::Backup | Step::Plan | Step::Replan | Step::Restore => Some(false),
        Step::Rehearse | Step::Apply | Step::Verify | Step::LossAccount => Some(true),
        Step::Claim
        | Step::Capture
        | Step::Close
        | Step::Monitor
        | Step::Undo
        | Step::DryRun
        | Step::Migrate
        | Step::Script
        | Step::Test => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::gather::told;
    use crate::lifecycle::{OperatorPolicy, validate};
    use crate::protocol::StepInput;
    use k8s_openapi::api::core::v1::Pod;
    use std::time::Duration;

    fn pod(step: Step) -> (Pod, ValidRun) {
        pod_of(step, &json!({"destination": {"persistentVolumeClaim": {"claimName": "backups"}}}))
    }

    fn pod_of(step: Step, backup: &Value) -> (Pod, ValidRun) {
        let resource = serde_json::from_value(json!({
            "apiVersion": "backfill.dev/v1alpha1",
            "kind": "BackfillRun",
            "metadata": {"name": "run", "namespace": "ns", "uid": "0b6f1c2e-aaaa"},
            "spec": {
                "database": {"secretRef": {"name": "db"}},
                "podTemplate": {"annotations": {"example.org/team": "a", "backfill.dev/batch-size": "7"}},
                "backup": backup,
                "backfill": {"sql": {
                    "source": {"table": "g"}, "writes": [{"set": {"a": "1"}}],
                    "batch": {"size": 10}, "throttle": {"maxWaitingLocks": 3},
                }},
            },
        }));
        let policy = OperatorPolicy { can_rehearse: true, ..OperatorPolicy::default() };
        let run = validate(&resource.unwrap(), &policy).unwrap();
        let mut input = json!({"run": run.meta.identity, "step": step, "attempt": 1, "spec": run.spec, "specHash": ""});
        if step == Step::Rehearse {
            input["rehearsal"] = json!({"storageBytes": 4096, "databaseBytes": 1024});
        }
        let start = StartStep {
            step,
            index: 0,
            job_name: "job".into(),
            forget: None,
            input: serde_json::from_value::<StepInput>(input).unwrap(),
            input_hash: String::new(),
            deadline: Duration::from_mins(1),
            owned: true,
            environment_secrets: std::collections::BTreeMap::new(),
        };
        let config = json!({"stepImage": "i", "monitorClusterRole": "m", "rehearsal": {"image": "with-server"}});
        let config: OperatorConfig = serde_json::from_value(config).unwrap();
        let template = template(&run, &start, &config, &json!({})).unwrap();
        (Pod { metadata: template.metadata.unwrap(), spec: template.spec, status: None }, run)
    }

    #[test]
    fn a_worker_has_its_settings_from_the_start_and_needs_not_be_told_them() {
        let (pod, run) = pod(Step::Apply);
        assert_eq!(told(&pod), settings::annotations(run.spec.backfill.sql.as_ref().unwrap()));
        let annotations = pod.metadata.annotations.unwrap();
        assert_eq!(annotations.get("backfill.dev/batch-size").map(String::as_str), Some("10"), "the spec's own, not the template's");
        assert!(annotations.get("backfill.dev/throttle").is_some_and(|text| text.contains("\"maxWaitingLocks\":3")));
        assert_eq!(annotations.get("example.org/team").map(String::as_str), Some("a"));
    }

    #[test]
    fn a_rehearsal_has_a_server_a_disk_the_backup_to_read_and_no_secret() {
        let rehearsed = |rehearsal: &Value| {
            let backup = json!({"destination": {"persistentVolumeClaim": {"claimName": "b"}}, "proof": "Restore", "rehearsal": rehearsal});
            json!(pod_of(Step::Rehearse, &backup).0.spec)
        };
        let pod = rehearsed(&json!({}));
        let container = &pod["containers"][0];
        assert_eq!((&container["image"], &pod["automountServiceAccountToken"]), (&json!("with-server"), &json!(false)));
        assert_eq!(container["resources"]["requests"]["ephemeral-storage"], json!("4096"));
        let names = |list: &Value| list.as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
        assert_eq!(names(&pod["volumes"]), ["input", "scratch", "tmp", "control", "rehearsal", "backup"]);
        let of = |list: &Value, name: &str| list.as_array().unwrap().iter().find(|v| v["name"] == name).unwrap().clone();
        assert_eq!(of(&pod["volumes"], "rehearsal")["emptyDir"], json!({"sizeLimit": "4096"}));
        assert_eq!(of(&container["volumeMounts"], "backup")["readOnly"], json!(true));

        let pod = rehearsed(&json!({"storageClassName": "fast"}));
        let claim = &of(&pod["volumes"], "rehearsal")["ephemeral"]["volumeClaimTemplate"]["spec"];
        assert_eq!((&claim["storageClassName"], &claim["resources"]["requests"]["storage"]), (&json!("fast"), &json!("4096")));
        assert_eq!(pod["containers"][0]["resources"]["requests"].get("ephemeral-storage"), None);
        assert_eq!(
            json!(pod_of(Step::Plan, &json!({"destination": {"persistentVolumeClaim": {"claimName": "b"}}})).0.spec)["containers"][0]["image"],
            "i"
        );
    }

    #[test]
    fn steps_that_write_no_batches_have_no_settings() {
        let (pod, _) = pod(Step::Plan);
        assert_eq!(pod.metadata.annotations.unwrap().len(), 2, "what the run's template says");
    }
}
