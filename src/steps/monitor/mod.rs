//! The step `monitor`: the logs of the application's pods, read until the watch ends or a pattern shows too often.
//!
//! The only step with a Kubernetes API token: it may list pods and read their logs in the run's namespace. It keeps
//! counts; a line of a log never leaves this module.

mod error;
mod follow;
mod lines;
mod tally;

use super::{StepContext, StepEnd};
use crate::api::RUN_LABEL;
use crate::api::status::MonitorStatus;
use crate::protocol::{MonitorReport, Outcome, StepReport};
use error::MonitorError;
use follow::{Container, Streams};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::core::Selector;
use std::sync::Arc;
use std::time::Duration;
use tally::{Tally, Window};

/// New pods are seen within this.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// No answer of the API server takes longer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Lines of the last moment are still on their way when the watch ends.
const TRAILING: SignedDuration = SignedDuration::from_secs(2);
/// A watch that begins late (an attempt after a lost one) still reads what was logged meanwhile.
const AT_LEAST: SignedDuration = SignedDuration::from_secs(8);
/// Without an answer of the API server for this long at the end, nobody knows what was logged.
const BLIND_AFTER: SignedDuration = SignedDuration::from_secs(60);

/// Watches.
pub async fn run(context: &StepContext) -> StepEnd {
    let watched = tokio::select! {
        watched = watch(context) => watched,
        () = context.stop.cancelled() => Err(MonitorError::Stopped),
    };
    match watched {
        Ok(end) => end,
        Err(error) => StepEnd::bare(error.outcome(), error.reason(), error.to_string()),
    }
}

async fn watch(context: &StepContext) -> Result<StepEnd, MonitorError> {
    let monitor = context.input.spec.monitor.as_ref().ok_or(MonitorError::NothingToWatch)?;
    let window = window(context)?;
    let tally = Arc::new(Tally::new(&monitor.logs.patterns, window)?);
    let selector: Selector = monitor.logs.selector.clone().try_into().map_err(|_| MonitorError::SelectorMalformed)?;
    let client = kube::Client::try_default().await.map_err(|_| MonitorError::ClusterUnreachable)?;
    let pods: Api<Pod> = Api::namespaced(client, &context.input.run.namespace);
    let mut streams = Streams::new(pods.clone(), Arc::clone(&tally), window.since);
    let end = (window.until + TRAILING).max(Timestamp::now() + AT_LEAST);
    let mut answered = Timestamp::now();
    let mut look = tokio::time::interval(LOOK_EVERY);
    loop {
        tokio::select! {
            _ = look.tick() => {}
            () = tally.exceeded() => return Ok(exceeded(&tally, window)),
        }
        if containers_seen(&pods, &selector, &mut streams).await? {
            answered = Timestamp::now();
        }
        let now = Timestamp::now();
        context.reporter.progress(seconds(now.min(window.until) - window.from), seconds(window.until - window.from), "seconds");
        if now >= end {
            break;
        }
    }
    if tally.has_exceeded() {
        return Ok(exceeded(&tally, window));
    }
    if Timestamp::now().duration_since(answered) > BLIND_AFTER {
        return Err(MonitorError::ClusterUnreachable);
    }
    Ok(ended(&tally, &streams, window))
}

fn window(context: &StepContext) -> Result<Window, MonitorError> {
    let input = &context.input;
    let (Some(from), Some(until)) = (input.monitor_from, input.monitor_until) else { return Err(MonitorError::NothingToWatch) };
    Ok(Window { since: input.monitor_since.unwrap_or(from).min(from), from, until })
}

/// Finds the containers and follows those that are new. False where the API server gave no answer: it may only be
/// restarting.
async fn containers_seen(pods: &Api<Pod>, selector: &Selector, streams: &mut Streams) -> Result<bool, MonitorError> {
    let list = ListParams::default().labels_from(selector);
    let found = match tokio::time::timeout(ANSWER_WITHIN, pods.list(&list)).await {
        Ok(Ok(found)) => found,
        Ok(Err(kube::Error::Api(status))) if status.code == 403 || status.code == 401 => return Err(MonitorError::LogsForbidden),
        _ => {
            tracing::warn!("the API server did not list the pods; tried again");
            return Ok(false);
        }
    };
    for pod in found.items {
        // Pods of runs log what the run does, not what the application does.
        if pod.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(RUN_LABEL)) {
            continue;
        }
        for container in Container::of(&pod) {
            streams.follow(container);
        }
    }
    if streams.is_forbidden() { Err(MonitorError::LogsForbidden) } else { Ok(true) }
}

fn seconds(span: jiff::Span) -> i64 {
    span.total(jiff::Unit::Second).map_or(0, |total| {
        #[allow(clippy::cast_possible_truncation, reason = "a watch lasts days at most")]
        let whole = total as i64;
        whole.max(0)
    })
}

fn status(tally: &Tally, window: Window) -> MonitorStatus {
    let until = window.until.min(Timestamp::now());
    MonitorStatus {
        since: Some(window.since),
        started_at: None,
        until: Some(until),
        lines: tally.lines(),
        pods: tally.pods(),
        patterns: tally.patterns(),
    }
}

fn report(tally: &Tally, window: Window) -> StepReport {
    StepReport::Monitor(MonitorReport { monitor: status(tally, window) })
}

fn exceeded(tally: &Tally, window: Window) -> StepEnd {
    let patterns = tally.patterns();
    let over: Vec<String> = patterns
        .iter()
        .filter(|p| p.after > i64::from(p.max))
        .map(|p| format!("{} matched {} lines (at most {} are good; {} before the flag was on)", p.name, p.after, p.max, p.before))
        .collect();
    let message = format!("in the logs of {} pods the pattern {}", tally.pods(), over.join(", "));
    StepEnd::reported(Outcome::Failed, "LogPatternExceeded", message, report(tally, window))
}

fn ended(tally: &Tally, streams: &Streams, window: Window) -> StepEnd {
    let unread = streams.unread();
    if tally.pods() == 0 {
        let message = "no pod was seen whose logs could be watched: check spec.monitor.logs.selector";
        return StepEnd::reported(Outcome::Inconclusive, "NothingWatched", message, report(tally, window));
    }
    if !unread.is_empty() {
        let message = format!("some logs could not be read to the end: {}", unread.join(", "));
        return StepEnd::reported(Outcome::Inconclusive, "NotAllWatched", message, report(tally, window));
    }
    let message = format!("{} lines of {} pods were read, and no pattern showed too often", tally.lines(), tally.pods());
    StepEnd::reported(Outcome::Passed, "LogsQuiet", message, report(tally, window))
}
