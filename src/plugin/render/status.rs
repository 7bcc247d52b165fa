//! Where a run stands: a screen, and the one line that stands for it in a log.

use super::{Ink, Page, Style, between, row, span, text, time};
use crate::api::status::{ProgressStatus, StepResult};
use crate::api::{BackfillRun, BackfillRunStatus, Phase};
use jiff::Timestamp;

/// The widest bar, in characters.
const BAR: usize = 40;

/// The run at `now`.
#[must_use]
pub fn page(run: &BackfillRun, now: Timestamp, style: Style) -> String {
    let nothing = BackfillRunStatus::default();
    let status = run.status.as_ref().unwrap_or(&nothing);
    let name = |part: &Option<String>| text::line(part.as_deref().unwrap_or_default());
    let mut page = Page::new(style);
    page.section(&format!("{}/{}", name(&run.metadata.namespace), name(&run.metadata.name)));
    let phase = style.paint(ink(status.phase), status.phase.as_str());
    page.fact("phase", &phase);
    let mut label = "message";
    for line in text::wrapped(&text::line(&status.message), style.width.saturating_sub(16)) {
        page.fact(label, &line);
        label = "";
    }
    if let Some(since) = status.suspended_since {
        let words = style.paint(Ink::Care, &format!("since {}", time(since)));
        page.fact("suspended", &words);
    }
    if let Some(holder) = &status.waiting_for {
        page.fact("waits for", &format!("{}/{}, which changes the same database", text::line(&holder.namespace), text::line(&holder.name)));
    }
    if let Some(progress) = status.progress.as_ref().filter(|_| !status.phase.is_terminal() && status.current_step.is_some()) {
        page.fact("progress", &bar(progress, style));
        for reading in &progress.unmeasured {
            page.fact("", &text::line(reading));
        }
    }
    if let Some(awaiting) = &status.awaiting {
        let left = span(between(now, awaiting.deadline));
        page.fact("approvals", &format!("{} of {}, {left} left", status.approvals.len(), awaiting.required));
    }
    if let Some(result) = &status.result {
        page.fact("written", &format!("{} row(s); {} left alone, {} refused", result.written, result.drifted, result.quarantined));
    }
    if let Some(rollback) = &status.rollback {
        let alone = rollback.skipped_because_changed_since;
        page.fact("way back", &format!("{} row(s) put back, {alone} left alone ({})", rollback.undone, text::line(&rollback.reason)));
    }
    steps(&mut page, status, now);
    page.text
}

fn steps(page: &mut Page, status: &BackfillRunStatus, now: Timestamp) {
    if status.steps.is_empty() {
        return;
    }
    page.section("Steps");
    let mut steps: Vec<_> = status.steps.iter().collect();
    steps.sort_by_key(|step| step.started_at);
    let rows: Vec<_> = steps
        .into_iter()
        .map(|step| {
            let took = span(between(step.started_at, step.ended_at.unwrap_or(now)));
            let attempt = if step.attempt > 1 { format!("attempt {}", step.attempt) } else { String::new() };
            row([step.step.slug(), result(step.result), &took, &attempt])
        })
        .collect();
    page.table(&rows);
}

const fn result(result: Option<StepResult>) -> &'static str {
    match result {
        None => "runs",
        Some(StepResult::Passed) => "passed",
        Some(StepResult::Failed) => "failed",
        Some(StepResult::Inconclusive) => "inconclusive",
        Some(StepResult::Stalled) => "stalled",
        Some(StepResult::Lost) => "lost",
        Some(StepResult::Stopped) => "stopped",
    }
}

/// One line without a time, so that two that are equal say that nothing has changed.
#[must_use]
pub fn line(run: &BackfillRun) -> String {
    let nothing = BackfillRunStatus::default();
    let status = run.status.as_ref().unwrap_or(&nothing);
    let progress = status.progress.as_ref().filter(|_| !status.phase.is_terminal() && status.current_step.is_some());
    let progress = progress.map_or_else(String::new, |progress| format!(" [{}]", text::line(&progress.summary)));
    format!("{}{progress}: {}", status.phase, text::line(&status.message))
}

/// How far, how fast, how long still. Of an unknown total there is no bar.
fn bar(progress: &ProgressStatus, style: Style) -> String {
    let ProgressStatus { done, total, per_second, .. } = progress;
    let unit = text::line(&progress.unit);
    let mut words = Vec::new();
    let mut bar = String::new();
    if *total > 0 {
        let width = BAR.min(style.width.saturating_sub(60)).max(10);
        let share = (*done).clamp(0, *total);
        let full = usize::try_from(i128::from(share) * i128::try_from(width).unwrap_or(0) / i128::from(*total)).unwrap_or(0).min(width);
        let percent = i128::from(share) * 100 / i128::from(*total);
        bar = format!("[{}{}] {percent}%  ", style.paint(Ink::Good, &"#".repeat(full)), style.paint(Ink::Faint, &".".repeat(width - full)));
        words.push(format!("{done} of {total} {unit}"));
    } else {
        words.push(format!("{done} {unit}"));
    }
    if *per_second > 0 {
        words.push(format!("{per_second} a second"));
    }
    if !progress.throttled_by.is_empty() {
        words.push(style.paint(Ink::Care, &format!("held by {}", text::line(&progress.throttled_by))));
    } else if !progress.remaining.is_empty() {
        words.push(format!("{} left", text::line(&progress.remaining)));
    }
    if progress.gentle && progress.throttled_by.is_empty() {
        words.push(style.paint(Ink::Care, "gentle beside others that write"));
    }
    format!("{bar}{}", words.join(", "))
}

const fn ink(phase: Phase) -> Ink {
    match phase {
        Phase::Succeeded => Ink::Good,
        Phase::Failed | Phase::Denied | Phase::Expired | Phase::RollbackFailed => Ink::Bad,
        Phase::AwaitingApproval | Phase::RollingBack | Phase::RolledBack | Phase::Aborted => Ink::Care,
        Phase::Pending
        | Phase::Preflight
        | Phase::BackingUp
        | Phase::Planning
        | Phase::Migrating
        | Phase::Applying
        | Phase::Verifying
        | Phase::EnablingFlag
        | Phase::Monitoring => Ink::Title,
    }
}
