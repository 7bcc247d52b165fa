//! What a case that failed leaves to read: the run, the events, the pods and the ends of their logs.

use crate::lab::lab;
use crate::operator;

/// So many lines of each log.
const TAIL: usize = 40;

/// Prints what can be seen in a namespace.
pub fn print(namespace: &str) {
    let cluster = &lab().cluster;
    let show = |title: &str, arguments: &[&str]| {
        let said = cluster.try_kubectl(&[&["--namespace", namespace], arguments].concat(), "").unwrap_or_else(|complaint| complaint);
        eprintln!("=== {namespace}: {title}\n{}", said.trim_end());
        said
    };
    show("runs", &["get", "backfillruns", "--output", "yaml"]);
    show("events", &["get", "events", "--sort-by=.lastTimestamp"]);
    show("jobs and pods", &["get", "jobs,pods", "--output", "wide"]);
    let tail = format!("--tail={TAIL}");
    let pods = cluster
        .try_kubectl(&["--namespace", namespace, "get", "pods", "--selector", "batch.kubernetes.io/job-name", "--output", "name"], "")
        .unwrap_or_default();
    for pod in pods.lines() {
        show(pod, &["logs", "--all-containers", &tail, pod]);
    }
    let log = cluster
        .try_kubectl(&["--namespace", operator::NAMESPACE, "logs", operator::DEPLOYMENT, "--tail=-1"], "")
        .unwrap_or_else(|complaint| complaint);
    let about: Vec<&str> = log.lines().filter(|line| line.contains(namespace)).collect();
    eprintln!("=== the operator about {namespace}\n{}", about[about.len().saturating_sub(TAIL)..].join("\n"));
}
