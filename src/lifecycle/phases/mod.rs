//! A file a phase: its entry, its reading of a step's end, its exits.

pub(super) mod applying;
pub(super) mod awaiting_approval;
pub(super) mod backing_up;
mod backup_remark;
mod cnpg_backup;
pub(super) mod enabling_flag;
pub(super) mod finished;
pub(super) mod flag_reverted;
pub(super) mod migrating;
pub(super) mod monitoring;
pub(super) mod planning;
pub(super) mod preflight;
pub(super) mod rehearsal;
pub(super) mod rolling_back;
pub(super) mod terminal;
pub(super) mod verifying;

use super::pass::Pass;
use super::step::StepEnded;
use crate::api::Phase;
use crate::api::status::Step;
pub(super) use enabling_flag::flag_back;
pub(super) use flag_reverted::flag_reverted;

/// What a phase does at its entry: most begin a step.
pub(super) fn on_enter(pass: &mut Pass<'_>, phase: Phase, reason: &str) {
    match phase {
        Phase::Preflight => preflight::on_enter(pass),
        Phase::BackingUp => backing_up::on_enter(pass),
        Phase::Planning => planning::on_enter(pass),
        Phase::Migrating => migrating::on_enter(pass),
        Phase::Applying => applying::on_enter(pass),
        Phase::Verifying => pass.begin(Step::Verify, 0),
        Phase::Monitoring => monitoring::on_enter(pass),
        Phase::Pending | Phase::AwaitingApproval | Phase::EnablingFlag | Phase::RollingBack => {}
        Phase::Succeeded | Phase::Failed | Phase::Denied | Phase::Expired | Phase::Aborted | Phase::RolledBack | Phase::RollbackFailed => {
            terminal::on_enter(pass, phase, reason);
        }
    }
}

/// What follows from the end of the step in hand.
pub(super) fn step_ended(pass: &mut Pass<'_>, step: Step, index: i32, ended: StepEnded) {
    pass.status.current_step = None;
    match step {
        Step::Preflight => preflight::ended(pass, ended),
        Step::Backup => backing_up::ended(pass, ended),
        Step::Plan => planning::ended(pass, ended),
        Step::DryRun => planning::dry_run_ended(pass, ended),
        Step::Rehearse => rehearsal::ended(pass, ended),
        Step::Claim => migrating::claim_ended(pass, ended),
        Step::Capture => applying::capture_ended(pass, ended),
        Step::Migrate => migrating::ended(pass, ended),
        Step::Replan => migrating::replan_ended(pass, ended),
        Step::Apply => applying::ended(pass, ended),
        Step::Script => applying::script_ended(pass, ended),
        Step::Verify => verifying::ended(pass, ended),
        Step::Test => verifying::test_ended(pass, index, ended),
        Step::Monitor => monitoring::ended(pass, ended),
        Step::Undo => rolling_back::undo_ended(pass, ended),
        Step::LossAccount => rolling_back::loss_account_ended(pass, ended),
        Step::Restore => rolling_back::restore_ended(pass, ended),
        // Driven by the phase that it belongs to, which is terminal.
        Step::Close => {}
    }
}

/// What a phase does while no step is in hand.
pub(super) fn idle(pass: &mut Pass<'_>) {
    match pass.status.phase {
        Phase::Pending => preflight::begin(pass, "Started", "checks what must hold before anything begins"),
        Phase::AwaitingApproval => awaiting_approval::idle(pass),
        Phase::EnablingFlag => enabling_flag::idle(pass),
        Phase::Monitoring => monitoring::idle(pass),
        Phase::RollingBack => rolling_back::idle(pass),
        // These always have a step in hand. One without (a status edited by hand) begins its step again.
        Phase::Preflight | Phase::BackingUp | Phase::Planning | Phase::Migrating | Phase::Applying | Phase::Verifying => {
            on_enter(pass, pass.status.phase, "Resumed");
        }
        Phase::Succeeded | Phase::Failed | Phase::Denied | Phase::Expired | Phase::Aborted | Phase::RolledBack | Phase::RollbackFailed => {
            terminal::settle(pass);
        }
    }
}

/// A step whose report is of another kind than its name: a defect, or a forged log. It is tried again, never believed.
pub(super) fn unexpected(pass: &mut Pass<'_>, step: Step, index: i32) {
    pass.event(true, "UnexpectedReport", &format!("{} ended with a report that is not its own; it is run again", step.slug()));
    pass.begin(step, index);
}
