//! The step in hand: from what was observed to how it ended, and when it is tried again.

use super::decision::Effect;
use super::estimate;
use super::input::{settings, start_step};
use super::observed::{StepObservation, TeamEnd};
use super::pass::{Pass, later};
use super::throttled;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::duration;
use crate::api::status::{ProgressStatus, Step, StepResult};
use crate::protocol::{Outcome, Progress, StepReport, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

/// After so many attempts in a row without a verdict the run is Stalled; it is still tried, slowly.
const LOST_LIMIT: i32 = 10;
/// The first wait before another attempt; doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(2);
/// The longest wait before another attempt.
const RETRY_MAX: Duration = Duration::from_mins(2);
/// A pod that cannot start for so long stalls the run.
const CANNOT_START: i64 = 5;
/// While a step runs, its progress is read so often: the status shows it at least every 5 s.
const WATCH: Duration = Duration::from_secs(2);

/// How the step in hand ended, in the pass that sees it.
#[derive(Debug)]
pub(super) enum StepEnded {
    /// One of ours, with a verdict: Passed, Failed or Inconclusive.
    Ours { verdict: Verdict, report: Option<Box<StepReport>> },
    /// A Job of the team.
    Team(TeamEnd),
}

impl StepEnded {
    /// True for a verdict that nothing could be measured.
    pub(super) fn is_inconclusive(&self) -> bool {
        matches!(self, Self::Ours { verdict, .. } if verdict.outcome == Outcome::Inconclusive)
    }
}

/// True for ends that are followed by another attempt of the same step.
pub(super) const fn is_retried(result: StepResult) -> bool {
    matches!(result, StepResult::Lost | StepResult::Stalled | StepResult::Stopped)
}

/// Takes the step in hand as far as it goes in this pass; `Some` where it ended with a verdict.
pub(super) fn drive(pass: &mut Pass<'_>) -> Option<(Step, i32, StepEnded)> {
    let step = pass.status.current_step?;
    let entry = pass.current()?.clone();
    if let Some(result) = entry.result {
        retry_when_due(pass, step, entry.index, result, entry.retry_at);
        return None;
    }
    let observation = pass.observed.step.clone().unwrap_or(StepObservation::Absent);
    match observation {
        StepObservation::Absent if entry.job_uid.is_none() => start_again(pass, step, entry.index, entry.attempt, &entry.input_hash),
        StepObservation::Absent => lose(pass, "its Job disappeared"),
        StepObservation::Foreign => {
            let message = format!("a Job named {} exists and is not this run's: delete or rename it", entry.job_name);
            pass.stall("ForeignJob", &message);
            pass.look_again(Duration::from_secs(15));
        }
        StepObservation::Waiting { job_uid, problem } => wait_for_start(pass, job_uid, problem),
        StepObservation::Running { job_uid, progress, told } => watch(pass, step, job_uid, progress, &told),
        StepObservation::Stopping => pass.look_again(Duration::from_secs(1)),
        StepObservation::Lost { job_uid, why, progress } => {
            note_uid(pass, job_uid);
            // Between two looks a short life may have gone by: what it said last tells whether it committed.
            note_progress(pass, step, progress);
            lose(pass, &why);
        }
        StepObservation::TeamEnded { job_uid, end } => {
            note_uid(pass, job_uid);
            let result = if end.passed { StepResult::Passed } else { StepResult::Failed };
            close(pass, result, &end.message);
            return Some((step, entry.index, StepEnded::Team(end)));
        }
        StepObservation::Ended { job_uid, verdict, report } => {
            note_uid(pass, job_uid);
            return end_ours(pass, step, entry.index, verdict, report);
        }
    }
    None
}

fn end_ours(
    pass: &mut Pass<'_>,
    step: Step,
    index: i32,
    verdict: Verdict,
    report: Option<Box<StepReport>>,
) -> Option<(Step, i32, StepEnded)> {
    if verdict.details_sha256.is_some() && report.is_none() {
        lose(pass, "its details could not be read");
        return None;
    }
    let message = verdict.message.clone();
    match verdict.outcome {
        Outcome::Passed => close(pass, StepResult::Passed, &message),
        Outcome::Failed => close(pass, StepResult::Failed, &message),
        Outcome::Inconclusive => close(pass, StepResult::Inconclusive, &message),
        Outcome::Lost => {
            lose(pass, &message);
            return None;
        }
        Outcome::Stopped => {
            close(pass, StepResult::Stopped, &message);
            retry_at(pass, Duration::from_secs(1));
            return None;
        }
        // Another run has taken the claim over: it is waited for, and asked for again.
        Outcome::Stalled if matches!(step, Step::Apply | Step::Capture) && verdict.reason == "ClaimLost" => {
            close(pass, StepResult::Stopped, &message);
            pass.begin(Step::Claim, 0);
            return None;
        }
        Outcome::Stalled => {
            close(pass, StepResult::Stalled, &message);
            let wait = back_off(pass.current().map_or(0, |s| s.attempt)).max(Duration::from_secs(5));
            retry_at(pass, wait);
            pass.stall(&verdict.reason, &message);
            return None;
        }
    }
    Some((step, index, StepEnded::Ours { verdict, report }))
}

/// Nobody saw the Job, so either it was never made or it is gone already: its name is the same, so making it is safe.
fn start_again(pass: &mut Pass<'_>, step: Step, index: i32, attempt: i32, input_hash: &str) {
    let start = start_step(pass, step, index, attempt);
    if start.input_hash == input_hash {
        pass.act(Effect::StartStep(Box::new(start)));
    } else {
        pass.begin(step, index);
    }
}

fn wait_for_start(pass: &mut Pass<'_>, job_uid: String, problem: Option<String>) {
    note_uid(pass, job_uid);
    pass.go_on_from(super::decide::EFFECT_REFUSED);
    pass.look_again(WATCH);
    let now = pass.now;
    let started = pass.current().map_or(now, |s| s.started_at);
    if let Some(problem) = problem
        && now.duration_since(started).as_secs() >= CANNOT_START
    {
        pass.stall("StepCannotStart", &format!("the step's pod cannot start: {problem}"));
    }
}

fn watch(pass: &mut Pass<'_>, step: Step, job_uid: String, progress: Option<Progress>, told: &BTreeMap<String, String>) {
    note_uid(pass, job_uid);
    // What kept the pod from starting is gone. What an earlier attempt stalled on is not known to be gone yet.
    for reason in ["StepCannotStart", "ForeignJob", super::decide::EFFECT_REFUSED] {
        pass.go_on_from(reason);
    }
    pass.look_again(WATCH);
    note_progress(pass, step, progress);
    if step == Step::Apply
        && let Some(wanted) = settings(pass.run)
        && wanted != *told
        && let Some(job_name) = pass.current().map(|s| s.job_name.clone())
    {
        pass.act(Effect::TellPod { job_name, settings: wanted });
    }
}

fn note_progress(pass: &mut Pass<'_>, step: Step, progress: Option<Progress>) {
    let Some(progress) = progress else { return };
    if step == Step::Apply && progress.done > pass.status.progress.as_ref().map_or(0, |p| p.done) {
        // "In a row without a commit": this attempt committed.
        if let Some(entry) = pass.current() {
            entry.lost_in_a_row = 0;
        }
    }
    if step == Step::Apply {
        throttled::note(pass, &progress);
    }
    let shown = show(&progress, pass);
    let same = |p: &ProgressStatus| p.summary == shown.summary && p.per_second == shown.per_second && p.unmeasured == shown.unmeasured;
    if !pass.status.progress.as_ref().is_some_and(same) {
        pass.status.progress = Some(shown);
    }
}

fn show(progress: &Progress, pass: &Pass<'_>) -> ProgressStatus {
    let remaining = progress
        .remaining_seconds()
        .and_then(|s| u64::try_from(s).ok())
        .map(|s| duration::display(Duration::from_secs(s)))
        .unwrap_or_default();
    let percent = if progress.total > 0 { progress.done * 100 / progress.total } else { 0 };
    let mut summary = if progress.total > 0 {
        format!("{}/{} ({percent}%)", progress.done, progress.total)
    } else {
        format!("{} {}", progress.done, progress.unit)
    };
    let throttled_by = progress.throttled_by.as_deref().map(throttled::reason).unwrap_or_default();
    if !throttled_by.is_empty() {
        summary = format!("{summary}, held by {throttled_by}");
    } else if !remaining.is_empty() {
        summary = format!("{summary}, {remaining} left");
    }
    if progress.gentle && throttled_by.is_empty() {
        summary.push_str(", gentle beside others that write");
    }
    ProgressStatus {
        summary,
        done: progress.done,
        total: progress.total,
        unit: progress.unit.clone(),
        per_second: progress.per_second,
        remaining,
        gentle: progress.gentle,
        throttled_by: throttled_by.into(),
        unmeasured: progress.unmeasured.iter().map(|message| throttled::cut(message)).collect(),
        at: Some(pass.now),
    }
}

/// The end of an attempt without a verdict: looked at, and tried again with back-off.
fn lose(pass: &mut Pass<'_>, why: &str) {
    close(pass, StepResult::Lost, why);
    let Some(entry) = pass.current() else { return };
    entry.lost_in_a_row += 1;
    let (lost, step) = (entry.lost_in_a_row, entry.step);
    retry_at(pass, back_off(lost));
    pass.event(true, "StepLost", &format!("{}: {why}; it is tried again", step.slug()));
    if lost >= LOST_LIMIT {
        let message = format!("{} was lost {lost} times in a row, the last time because {why}: look at its pods and its node", step.slug());
        pass.stall("StepKeepsBeingLost", &message);
    }
}

fn close(pass: &mut Pass<'_>, result: StepResult, message: &str) {
    throttled::release(pass);
    let now = pass.now;
    let Some(entry) = pass.current() else { return };
    entry.result = Some(result);
    entry.ended_at = Some(now);
    entry.message = message.into();
    if matches!(result, StepResult::Passed | StepResult::Failed | StepResult::Inconclusive) {
        entry.lost_in_a_row = 0;
        let (step, seconds) = (entry.step, now.duration_since(entry.started_at).as_secs());
        estimate::record(&mut pass.status, step, None, Some(seconds));
    }
}

fn retry_at(pass: &mut Pass<'_>, wait: Duration) {
    let moment = later(pass.now, wait);
    if let Some(entry) = pass.current() {
        entry.retry_at = Some(moment);
    }
    pass.look_again_at(moment);
}

fn retry_when_due(pass: &mut Pass<'_>, step: Step, index: i32, result: StepResult, due: Option<jiff::Timestamp>) {
    if !is_retried(result) {
        return;
    }
    match due {
        Some(due) if due > pass.now => pass.look_again_at(due),
        _ => pass.begin(step, index),
    }
}

fn note_uid(pass: &mut Pass<'_>, uid: String) {
    if let Some(entry) = pass.current() {
        entry.job_uid.get_or_insert(uid);
    }
}

/// 2 s, 4 s, 8 s, … at most two minutes.
fn back_off(times: i32) -> Duration {
    let doublings = u32::try_from(times - 1).unwrap_or(0).min(10);
    (RETRY_FIRST * 2_u32.pow(doublings)).min(RETRY_MAX)
}

/// Ends the attempt in hand from outside: its Job is deleted; `true` once nothing of it runs any more.
pub(super) fn stop(pass: &mut Pass<'_>, why: &str) -> bool {
    let Some(entry) = pass.current().cloned() else { return true };
    if entry.result.is_some() {
        return true;
    }
    match pass.observed.step.clone().unwrap_or(StepObservation::Absent) {
        StepObservation::Absent
        | StepObservation::Foreign
        | StepObservation::Ended { .. }
        | StepObservation::TeamEnded { .. }
        | StepObservation::Lost { .. } => {
            close(pass, StepResult::Stopped, why);
            true
        }
        StepObservation::Stopping => {
            pass.look_again(Duration::from_secs(1));
            false
        }
        StepObservation::Waiting { .. } | StepObservation::Running { .. } => {
            pass.act(Effect::StopStep { job_name: entry.job_name });
            pass.set(ConditionType::Reconciling, Truth::True, "Stopping", why);
            false
        }
    }
}
