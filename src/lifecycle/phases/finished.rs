//! A run that has succeeded can be taken back while its undo is kept; then its undo is released.
//!
//! The one edge out of a terminal phase: people are asked, as they were for the plan. A no, or no answer, leads back to
//! `Succeeded`, and nothing was changed.

use super::{awaiting_approval, rolling_back};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::status::{BackfillRunStatus, RefusedStatus, Step, Subject};
use crate::lifecycle::approval;
use crate::lifecycle::pass::{Pass, later};
use crate::lifecycle::plan_digest::rollback_digest;
use crate::lifecycle::step::{self, StepEnded};
use crate::protocol::Outcome;
use std::time::Duration;

/// A release that does not work (the database is away) is tried again after this: nothing waits for it.
const RELEASE_AGAIN: Duration = Duration::from_hours(1);

/// On entering `Succeeded`: until when there is a way back.
pub(super) fn keep(pass: &mut Pass<'_>) {
    let written = pass.status.result.as_ref().is_some_and(|result| result.written > 0);
    if rolling_back::begun(&pass.status) && (written || pass.run.spec.backfill.job.is_some()) {
        pass.status.undo_kept_until = Some(later(pass.now, pass.run.keep_undo));
    } else {
        pass.status.closed_at = Some(pass.now);
    }
}

/// On entering `RolledBack`: the database that a restore left beside the present one is kept as long as undo would be.
pub(super) fn keep_old_database(pass: &mut Pass<'_>) {
    let left = pass.status.rollback.as_ref().is_some_and(|rollback| rollback.old_database.is_some());
    pass.status.closed_at = None;
    pass.status.undo_kept_until = left.then(|| later(pass.now, pass.run.keep_undo));
}

/// True where the pass ends here, because people are asked whether the run is taken back.
pub(super) fn taken_up(pass: &mut Pass<'_>) -> bool {
    if pass.status.phase != Phase::Succeeded || pass.run.meta.deleting {
        return false;
    }
    if !pass.run.spec.rollback.requested || pass.run.spec.abandon {
        pass.status.rollback_refused = None;
        return false;
    }
    if pass.status.rollback_refused.is_some() {
        return false;
    }
    // Its release may have deleted a part of it already.
    if pass.status.closed_at.is_some() || pass.status.current_step == Some(Step::Close) {
        refuse(pass, "UndoReleased", "no undo of this run is kept any more: restore the backup in status.backup by hand");
        return false;
    }
    pass.status.report = None;
    let digest = rollback_digest(&pass.run.meta.identity.uid, pass.status.plan.as_ref(), pass.status.result.as_ref());
    pass.enter(Phase::AwaitingApproval, "RollbackRequested", "the run is to be taken back");
    let question = question(pass);
    approval::ask(pass, Subject::Rollback, digest, question);
    true
}

fn question(pass: &Pass<'_>) -> String {
    let ended = pass.status.finished_at.map(|at| format!(" until {at}")).unwrap_or_default();
    let flag = if pass.status.flag.as_ref().is_some_and(|flag| flag.enabled_at.is_some()) { " The flag goes back first." } else { "" };
    if pass.run.spec.backfill.job.is_some() && !rolling_back::can_undo_script(pass) {
        return format!(
            "take back what the script wrote{ended}? What the application wrote since and a restore would lose is asked about by itself.{flag}"
        );
    }
    let written = pass.status.result.as_ref().map_or(0, |result| result.written);
    format!("take back the {written} rows that were written{ended}? Rows that the application changed since stay as they are.{flag}")
}

/// True while people are asked whether a run that has succeeded is taken back.
pub(in crate::lifecycle) fn is_asked(status: &BackfillRunStatus) -> bool {
    status.phase == Phase::AwaitingApproval && status.awaiting.as_ref().is_some_and(|a| a.subject == Subject::Rollback)
}

/// Nothing has changed yet, so whoever takes the request back, in whatever way, ends it.
pub(in crate::lifecycle) fn wait(pass: &mut Pass<'_>) {
    approval::note_entries(pass);
    if pass.run.meta.deleting || pass.run.spec.abandon || !pass.run.spec.rollback.requested {
        pass.event(false, "RollbackWithdrawn", "the rollback is not asked for any more: nothing was changed");
        return back(pass, "RollbackWithdrawn", "");
    }
    awaiting_approval::idle(pass);
}

/// People do not want it, or said nothing in time.
pub(super) fn refused(pass: &mut Pass<'_>, reason: &str, message: &str) {
    let message = format!("the rollback was not approved ({message}): nothing was changed");
    back(pass, reason, &message);
    refuse(pass, reason, &message);
}

fn refuse(pass: &mut Pass<'_>, reason: &str, message: &str) {
    let message = format!("{message}. To ask again, take spec.rollback.requested back first");
    pass.event(true, reason, &message);
    pass.status.rollback_refused = Some(RefusedStatus { at: pass.now, reason: reason.into(), message });
}

/// The run is what it was: succeeded.
fn back(pass: &mut Pass<'_>, reason: &str, message: &str) {
    pass.status.awaiting = None;
    let written = pass.status.result.as_ref().map_or(0, |result| result.written);
    let tail = if message.is_empty() { String::new() } else { format!("; {message}") };
    pass.enter(Phase::Succeeded, reason, &format!("{written} rows written and verified{tail}"));
    pass.set(ConditionType::Approved, Truth::True, "Approved", "the plan was approved");
    pass.set(ConditionType::Denied, Truth::False, reason, message);
}

/// Once the time is over the undo rows are deleted, and nothing leads back any more.
pub(super) fn release_when_due(pass: &mut Pass<'_>) {
    let Some(until) = pass.status.undo_kept_until.filter(|_| pass.status.closed_at.is_none()) else { return };
    if !matches!(pass.status.phase, Phase::Succeeded | Phase::RolledBack) || pass.run.meta.deleting {
        return;
    }
    if pass.status.current_step == Some(Step::Close) {
        return drive(pass);
    }
    if until > pass.now {
        return pass.look_again_at(until);
    }
    pass.begin(Step::Close, 0);
}

fn drive(pass: &mut Pass<'_>) {
    // The run has succeeded, and goes on saying so.
    let message = pass.status.message.clone();
    let ended = step::drive(pass);
    pass.status.message = message;
    match ended {
        Some((_, _, StepEnded::Ours { verdict, .. })) if verdict.outcome == Outcome::Passed => {
            pass.status.current_step = None;
            pass.status.closed_at = Some(pass.now);
            pass.event(false, &verdict.reason, &verdict.message);
        }
        Some(_) => pass.wait_and_retry(Step::Close, RELEASE_AGAIN),
        None => {
            let (now, again) = (pass.now, later(pass.now, RELEASE_AGAIN));
            if let Some(entry) = pass.current().filter(|entry| entry.ended_at == Some(now)) {
                entry.retry_at = Some(again);
            }
        }
    }
}
