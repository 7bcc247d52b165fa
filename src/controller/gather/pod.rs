//! What a step's pod says about itself.

use crate::controller::error::{ControllerError, call};
use crate::engine::secrets;
use crate::protocol::settings;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kube::api::LogParams;
use kube::{Api, ResourceExt as _};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Of a team's output so many lines, the last ones, are read and hashed.
const OUTPUT_MAX_LINES: i64 = 100_000;
/// Of a team's output so many characters, the last ones, are searched for secrets: the operator has many runs to look after.
const OUTPUT_SCANNED: usize = 256 * 1024;
/// Of a team's output so many characters are kept.
const OUTPUT_TAIL: usize = 2000;

/// The output of a Job of the team.
pub(super) struct Output {
    pub(super) tail: String,
    pub(super) sha256: String,
}

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    pod.status.as_ref()?.container_statuses.as_ref()?.first()
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    container(pod)?.state.as_ref()?.terminated.as_ref()
}

/// True once the container runs or has run.
pub(super) fn has_started(pod: &Pod) -> bool {
    container(pod).and_then(|c| c.state.as_ref()).is_some_and(|s| s.running.is_some() || s.terminated.is_some())
}

/// True while the container runs.
pub(super) fn is_running(pod: &Pod) -> bool {
    container(pod).and_then(|c| c.state.as_ref()).is_some_and(|s| s.running.is_some())
}

/// Why the pod cannot start, where its status says so.
pub(super) fn cannot_start(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let unscheduled = status.conditions.iter().flatten().find(|c| c.type_ == "PodScheduled" && c.status == "False");
    if let Some(condition) = unscheduled {
        return condition.message.clone();
    }
    let all = status.init_container_statuses.iter().flatten().chain(status.container_statuses.iter().flatten());
    let waiting = all.filter_map(|c| c.state.as_ref()?.waiting.as_ref());
    waiting
        .filter(|w| !matches!(w.reason.as_deref(), Some("ContainerCreating" | "PodInitializing") | None))
        .map(|w| format!("{}: {}", w.reason.as_deref().unwrap_or_default(), w.message.as_deref().unwrap_or_default()))
        .next()
}

/// The termination message of the step's container.
pub(super) fn termination_message(pod: &Pod) -> Option<String> {
    terminated(pod)?.message.clone()
}

/// How the container ended, in words.
pub(super) fn why_it_ended(pod: &Pod) -> Option<String> {
    if let Some(why) = disruption(pod) {
        return Some(why);
    }
    let end = terminated(pod)?;
    Some(match end.reason.as_deref() {
        Some("OOMKilled") => "it ran out of memory".into(),
        Some("Completed") => "it ended without a verdict".into(),
        _ => format!("it ended with exit code {}", end.exit_code),
    })
}

fn disruption(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    if let Some(reason) =
        status.reason.as_ref().filter(|r| r.as_str() == "Evicted" || r.as_str() == "NodeLost" || r.as_str() == "Terminated")
    {
        return Some(format!("its pod was ended from outside ({reason})"));
    }
    let disrupted = status.conditions.iter().flatten().find(|c| c.type_ == "DisruptionTarget" && c.status == "True")?;
    Some(format!("its pod was ended from outside ({})", disrupted.reason.as_deref().unwrap_or("disruption")))
}

/// Why a Job of the team is lost and has not failed: ended from outside, out of memory, or killed.
pub(super) fn was_lost(pod: &Pod) -> Option<String> {
    disruption(pod).or_else(|| match terminated(pod) {
        None => Some("its container left no exit code".into()),
        Some(end) if end.reason.as_deref() == Some("OOMKilled") => Some("it ran out of memory".into()),
        // SIGKILL from outside; no program ends so by itself.
        Some(end) if end.exit_code == 137 => Some("it was killed".into()),
        Some(_) => None,
    })
}

/// The image that ran, with its digest.
pub(super) fn image(pod: &Pod) -> String {
    container(pod).map(|c| format!("{} {}", c.image, c.image_id)).unwrap_or_default()
}

/// The settings that the pod has been told.
pub(in crate::controller) fn told(pod: &Pod) -> BTreeMap<String, String> {
    settings::told(pod.annotations())
}

/// The last lines of the log.
pub(super) async fn log_tail(pods: &Api<Pod>, pod: &Pod, lines: i64) -> Result<String, ControllerError> {
    let params = LogParams { container: first_container(pod), tail_lines: Some(lines), ..LogParams::default() };
    call("reading a step's progress", pods.logs(&pod.name_any(), &params)).await
}

/// The end of the log: long enough for a block of details, which is printed last.
pub(super) async fn log_end(pods: &Api<Pod>, pod: &Pod) -> Result<String, ControllerError> {
    let params = LogParams { container: first_container(pod), tail_lines: Some(100), ..LogParams::default() };
    call("reading a step's details", pods.logs(&pod.name_any(), &params)).await
}

/// The whole log of a Job of the team.
pub(super) async fn whole_log(pods: &Api<Pod>, pod: &Pod) -> Result<Output, ControllerError> {
    let params = LogParams { container: first_container(pod), tail_lines: Some(OUTPUT_MAX_LINES), ..LogParams::default() };
    let log = call("reading a Job's output", pods.logs(&pod.name_any(), &params)).await?;
    let sha256 = hex::encode(Sha256::digest(log.as_bytes()));
    // Redacted before it is cut: half a secret is not known for one. No secret is longer than what is looked at.
    let from = log.char_indices().rev().nth(OUTPUT_SCANNED).map_or(0, |(at, _)| at);
    let (log, _) = secrets::redact(log.get(from..).unwrap_or_default());
    let skip = log.chars().count().saturating_sub(OUTPUT_TAIL);
    Ok(Output { sha256, tail: log.chars().skip(skip).collect() })
}

fn first_container(pod: &Pod) -> Option<String> {
    pod.spec.as_ref()?.containers.first().map(|c| c.name.clone())
}
