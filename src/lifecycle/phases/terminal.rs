//! The end: said once, reported, and let go.

use super::finished;
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth, is_true};
use crate::api::spec::NotificationEvent;
use crate::api::status::BackfillRunStatus;
use crate::lifecycle::decision::Effect;
use crate::lifecycle::pass::Pass;

/// Ends the run.
pub(in crate::lifecycle) fn end(pass: &mut Pass<'_>, phase: Phase, reason: &str, message: &str) {
    pass.enter(phase, reason, message);
}

pub(super) fn on_enter(pass: &mut Pass<'_>, phase: Phase, reason: &str) {
    // It has succeeded before, and was asked to go back.
    if phase == Phase::Succeeded && pass.status.finished_at.is_some() {
        return;
    }
    pass.status.finished_at = Some(pass.now);
    match phase {
        Phase::Succeeded => finished::keep(pass),
        Phase::RolledBack => finished::keep_old_database(pass),
        _ => pass.status.undo_kept_until = None,
    }
    pass.status.awaiting = None;
    pass.status.waiting_for = None;
    if !is_true(&pass.status.conditions, ConditionType::Approved) && pass.status.plan.is_some() && phase != Phase::Succeeded {
        let message = pass.status.message.clone();
        pass.set(ConditionType::Approved, Truth::False, reason, &message);
    }
    let event = match phase {
        Phase::Succeeded => NotificationEvent::Succeeded,
        Phase::RolledBack | Phase::RollbackFailed => NotificationEvent::RolledBack,
        _ => NotificationEvent::Failed,
    };
    let message = pass.status.message.clone();
    pass.tell(event, &message);
}

/// After the end: the report is written, then the finalizer goes. Nothing else is ever changed again, but that a run which
/// has succeeded can be taken back for a while.
pub(in crate::lifecycle) fn settle(pass: &mut Pass<'_>) {
    if finished::taken_up(pass) {
        return;
    }
    let meta = &pass.run.meta;
    if !meta.deleting && pass.status.report.is_none() {
        if pass.observed.report_written {
            pass.status.report = Some(report_name(&meta.identity.name));
        } else {
            return pass.act(Effect::WriteReport);
        }
    }
    // A run whose way back failed is held until a person says that it may go.
    let held = pass.status.phase == Phase::RollbackFailed && !pass.run.spec.abandon;
    if meta.finalizer && !held {
        return pass.act(Effect::RemoveFinalizer);
    }
    finished::release_when_due(pass);
}

/// Which end of the run a report is about: a run that has succeeded can be taken back, and ends once more.
#[must_use]
pub fn report_of(status: &BackfillRunStatus) -> String {
    status.history.last().map_or_else(|| status.phase.to_string(), |change| format!("{} {}", change.to, change.at))
}

/// Name of the report's ConfigMap.
#[must_use]
pub fn report_name(run: &str) -> String {
    format!("{run}-report")
}
