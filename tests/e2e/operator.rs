//! The operator, installed by the chart.

use crate::cases::approvals;
use crate::cluster::Cluster;
use crate::lab::lab;
use crate::private_operator;
use crate::program::{output, root};
use serde_json::json;

/// Where it lives.
pub const NAMESPACE: &str = "e2e-system";
const RELEASE: &str = "e2e";
/// As kubectl names it.
pub const DEPLOYMENT: &str = "deployment/e2e-backfill-operator";
const SELECTOR: &str = "app.kubernetes.io/name=backfill-operator";

/// Installs it by helm, or upgrades what an earlier suite left.
pub fn install(cluster: &Cluster, image: &str, rehearsal: &str, suffix: &str) -> Result<(), String> {
    let (repository, tag) = image.rsplit_once(':').ok_or_else(|| format!("{image} has no tag"))?;
    let (rehearsal, rehearsal_tag) = rehearsal.rsplit_once(':').ok_or_else(|| format!("{rehearsal} has no tag"))?;
    let values = json!({
        "image": {"repository": repository, "tag": tag, "pullPolicy": "IfNotPresent"},
        "rehearsal": {"image": {"repository": rehearsal, "tag": rehearsal_tag}},
        "channels": [
            {"name": "team-db", "slack": {"secret": {"name": "team-db-slack"}}},
            {"name": "audit", "webhook": {"secret": {"name": "audit-webhook"}}},
        ],
        "approval": {"policies": [
            {"name": "many-rows", "namespaces": [approvals::namespace_with_floors(suffix)], "when": {"rowsAbove": 100}, "minimum": 2},
            {"name": "much-of-the-table", "namespaces": [approvals::namespace_with_floors(suffix)], "when": {"tablePercentAbove": 99}, "minimum": 3},
        ]},
        // One case brings its own.
        "exceptNamespaces": [private_operator::namespace(suffix)],
        // Many cases at once, on a small machine.
        "steps": {"resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "512Mi"}}},
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
    });
    let mut helm = cluster.command("helm");
    helm.args(["upgrade", "--install", RELEASE]).arg(root().join("charts/backfill-operator"));
    // The definition and the roles of people are the cluster's: the demo, or a person, may have made them before.
    helm.args(["--namespace", NAMESPACE, "--wait", "--timeout", "120s", "--take-ownership", "--force-conflicts", "--values", "-"]);
    match std::env::var_os("E2E_VALUES") {
        Some(more) => drop(helm.arg("--values").arg(more)),
        None => others_rest(cluster)?,
    }
    output(&mut helm, &values.to_string()).map(drop)
}

/// Two operators that watch all namespaces would work on the same runs. (Who gives values of their own sees to it.)
fn others_rest(cluster: &Cluster) -> Result<(), String> {
    let columns = "--output=jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name} {.spec.replicas}{\"\\n\"}{end}";
    let found = cluster.try_kubectl(&["get", "deployments", "--all-namespaces", "--selector", SELECTOR, columns], "")?;
    for line in found.lines() {
        let [namespace, name, replicas] = line.split(' ').collect::<Vec<_>>()[..] else { continue };
        if namespace == NAMESPACE || replicas == "0" {
            continue;
        }
        if cluster.provider == "context" {
            return Err(format!("{namespace}/{name} works on this cluster: scale it to 0 first, or take another cluster"));
        }
        cluster.try_kubectl(&["--namespace", namespace, "scale", "deployment", name, "--replicas=0"], "")?;
    }
    if cluster.provider != "context" {
        // Nor may the policies of one that rests: they let only that one write a status.
        let others = format!("app.kubernetes.io/name=backfill-operator,app.kubernetes.io/instance!={RELEASE}");
        cluster.try_kubectl(&["delete", "validatingadmissionpolicybindings", "--selector", &others, "--ignore-not-found"], "")?;
    }
    Ok(())
}

/// Its log, all of it.
pub fn log() -> String {
    lab().cluster.kubectl(&["--namespace", NAMESPACE, "logs", DEPLOYMENT, "--tail=-1"], "")
}

/// What `/metrics` says, asked through the API server.
pub fn metrics() -> String {
    let cluster = &lab().cluster;
    let pod = cluster
        .kubectl(&["--namespace", NAMESPACE, "get", "pods", "--selector", SELECTOR, "--output", "jsonpath={.items[0].metadata.name}"], "");
    cluster.kubectl(&["get", "--raw", &format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics")], "")
}
