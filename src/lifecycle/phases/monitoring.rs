//! The watch over the logs.

use super::{flag_back, rolling_back, terminal};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth, is_false};
use crate::api::spec::OnMonitorFailure;
use crate::api::status::{MonitorStatus, Step};
use crate::lifecycle::pass::{Pass, later};
use crate::lifecycle::step::StepEnded;
use crate::protocol::{Outcome, StepReport};

pub(super) fn begin(pass: &mut Pass<'_>, reason: &str) {
    if pass.run.spec.monitor.is_some() {
        pass.enter(Phase::Monitoring, reason, "watches the logs");
    } else {
        succeed(pass, "Completed");
    }
}

pub(super) fn on_enter(pass: &mut Pass<'_>) {
    let preflight = pass.status.steps.iter().find(|s| s.step == Step::Preflight).map(|s| s.started_at);
    pass.status.monitor = Some(MonitorStatus {
        since: preflight,
        started_at: Some(pass.now),
        until: Some(later(pass.now, pass.run.monitor_duration.unwrap_or_default())),
        ..MonitorStatus::default()
    });
    pass.begin(Step::Monitor, 0);
}

pub(super) fn ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report } = ended else { return super::unexpected(pass, Step::Monitor, 0) };
    match report.map(|r| *r) {
        Some(StepReport::Monitor(report)) => {
            if let Some(monitor) = pass.status.monitor.as_mut() {
                monitor.lines = report.monitor.lines;
                monitor.pods = report.monitor.pods;
                monitor.patterns = report.monitor.patterns;
            }
        }
        None if verdict.outcome != Outcome::Passed => {}
        _ => return super::unexpected(pass, Step::Monitor, 0),
    }
    match verdict.outcome {
        Outcome::Failed => {
            pass.set(ConditionType::Monitored, Truth::False, &verdict.reason, &verdict.message);
            pass.event(true, &verdict.reason, &verdict.message);
            pass.status.message = format!("the logs: {}", verdict.message);
            idle(pass);
        }
        Outcome::Passed => {
            pass.set(ConditionType::Monitored, Truth::True, "Watched", &verdict.message);
            succeed(pass, "Completed");
        }
        _ => {
            pass.set(ConditionType::Monitored, Truth::Unknown, &verdict.reason, &verdict.message);
            succeed(pass, "CompletedUnwatched");
        }
    }
}

/// After a hit: the flag first, then what the run asks for.
pub(super) fn idle(pass: &mut Pass<'_>) {
    if !is_false(&pass.status.conditions, ConditionType::Monitored) {
        return on_enter(pass);
    }
    let message = pass.status.message.clone();
    match pass.run.spec.monitor.as_ref().map(|m| m.on_failure) {
        Some(OnMonitorFailure::Notify) | None => succeed(pass, "CompletedWithLogHits"),
        Some(OnMonitorFailure::DisableFlag) => {
            if flag_back(pass) {
                terminal::end(pass, Phase::Failed, "LogPatternExceeded", &format!("{message}; the flag is back, the written rows stay"));
            }
        }
        Some(OnMonitorFailure::Rollback) => rolling_back::begin(pass, "LogPatternExceeded", &message),
    }
}

fn succeed(pass: &mut Pass<'_>, reason: &str) {
    let written = pass.status.result.as_ref().map_or(0, |r| r.written);
    let mut message = format!("{written} rows written and verified");
    if pass.status.flag.as_ref().is_some_and(|f| f.enabled_at.is_some()) {
        message.push_str("; the flag is on");
    }
    if pass.run.spec.backfill.job.is_some() {
        let captured = if written > 0 { format!("; {written} rows of it can be put back") } else { String::new() };
        message = format!("the script ran and every check holds{captured}");
    }
    terminal::end(pass, Phase::Succeeded, reason, &message);
}
