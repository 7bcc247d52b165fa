//! Waiting for people: for a plan, for what a restore would lose, or for the rollback of a run that has succeeded.

use super::{applying, backup_remark, finished, rehearsal, rolling_back, terminal};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::status::{PlanStatus, Subject};
use crate::lifecycle::approval::{self, Standing};
use crate::lifecycle::decision::Effect;
use crate::lifecycle::pass::{Pass, later};
use std::time::Duration;

/// Asks for approval of the plan in the status.
pub(super) fn ask_for_plan(pass: &mut Pass<'_>, reason: &str) {
    let Some(plan) = pass.status.plan.clone() else { return };
    pass.enter(Phase::AwaitingApproval, reason, "the plan is ready");
    let question = question(&plan) + &captured(pass) + &backup_remark::remark(pass);
    approval::ask(pass, Subject::Plan, plan.digest.clone(), question);
}

/// What of the script could be undone.
fn captured(pass: &Pass<'_>) -> String {
    applying::capture(pass.run).map_or_else(String::new, |capture| {
        let partial = if capture.role.is_none() { ", but for those of sessions that lose the run's setting" } else { "" };
        format!(". Its rows of {} are captured, and can be undone one by one{partial}", capture.tables.join(", "))
    })
}

fn question(plan: &PlanStatus) -> String {
    if plan.file.is_empty() {
        return "run the team's script? Its dry run's output is in status.plan.output".into();
    }
    let mut question = format!("write {} of {} matching rows ({} read)?", plan.will_write, plan.matching, plan.scanned);
    for (count, what) in [
        (plan.invalid, "invalid and skipped"),
        (plan.already_done, "already done"),
        (plan.lost, "lost to the winner of their group"),
        (plan.no_match, "without a match"),
    ] {
        if count > 0 {
            question = format!("{question} {count} {what}.");
        }
    }
    if !plan.proved_read_only {
        question.push_str(" The plan ran read-only, but with a role that could write (no planSecretRef).");
    }
    question
}

pub(super) fn idle(pass: &mut Pass<'_>) {
    // From here on the approval has been used; what is left is to begin.
    if pass.status.mutation_started && approved_plan(pass) {
        return begin_mutation(pass, "Approved");
    }
    match approval::standing(pass) {
        None => rolling_or_failed(pass, "NothingAwaited", "the status does not say what is waited for"),
        Some(Standing::Waiting { missing }) => {
            approval::explain_waiting(pass, missing);
        }
        Some(Standing::Approved) => approved(pass),
        Some(Standing::Denied { user }) => {
            let message = format!("{user} denied it");
            pass.set(ConditionType::Approved, Truth::False, "Denied", &message);
            pass.set(ConditionType::Denied, Truth::True, "Denied", &message);
            refused(pass, Phase::Denied, "Denied", &message);
        }
        Some(Standing::Expired) => {
            let message = "nobody approved in time";
            pass.set(ConditionType::Approved, Truth::False, "Expired", message);
            refused(pass, Phase::Expired, "Expired", message);
        }
    }
}

fn approved_plan(pass: &Pass<'_>) -> bool {
    let subject = pass.status.awaiting.as_ref().map(|a| a.subject);
    subject == Some(Subject::Plan) && crate::api::conditions::is_true(&pass.status.conditions, ConditionType::Approved)
}

fn approved(pass: &mut Pass<'_>) {
    pass.go_on();
    let subject = pass.status.awaiting.as_ref().map(|a| a.subject);
    let counted = pass.status.approvals.iter().filter(|a| Some(a.subject) == subject && approval::proved_enough(pass, a));
    let users: Vec<String> = counted.map(|a| format!("{} ({})", a.user, a.identity.as_str())).collect();
    let message = format!("approved by {}", users.join(", "));
    pass.set(ConditionType::Approved, Truth::True, "Approved", &message);
    match subject {
        Some(Subject::Restore) => {
            pass.status.awaiting = None;
            return rolling_back::restore(pass, "RestoreApproved");
        }
        Some(Subject::Rollback) => return rolling_back::begin_requested(pass, &message),
        Some(Subject::Plan) | None => {}
    }
    // What is asked for by now is in the spec, and an approval is worth no more than the proof that it saw.
    if !pass.status.mutation_started && rehearsal::is_due(pass) {
        return pass.enter(
            Phase::BackingUp,
            "NotRehearsed",
            "the backup is not proved as backup.proof asks: it is taken again, and rehearsed",
        );
    }
    if !pass.status.mutation_started && backup_too_old(pass) {
        return take_backup_again(pass);
    }
    // Three passes of their own: the finalizer, then the point of no return in the status, then the first Job.
    if !pass.run.meta.finalizer {
        return pass.act(Effect::AddFinalizer);
    }
    if !pass.status.mutation_started {
        pass.status.mutation_started = true;
        pass.status.message = message;
        return pass.look_again(Duration::from_millis(100));
    }
    begin_mutation(pass, "Approved");
}

fn begin_mutation(pass: &mut Pass<'_>, reason: &str) {
    pass.status.awaiting = None;
    let migrated = crate::api::conditions::is_true(&pass.status.conditions, ConditionType::Migrated);
    if pass.run.spec.migrations.is_some() && !migrated {
        pass.enter(Phase::Migrating, reason, "runs the team's migrations");
    } else {
        pass.enter(Phase::Applying, reason, "writes the rows");
    }
}

/// The rows are those that were approved; only the way back to them is made anew.
pub(super) fn take_backup_again(pass: &mut Pass<'_>) {
    pass.enter(Phase::BackingUp, "BackupTooOld", "the backup is older than backup.maxAge: it is taken again");
}

/// Nobody is asked again: what was approved is about the same rows, and still stands unless somebody takes it back.
pub(super) fn go_on_with_another_backup(pass: &mut Pass<'_>) {
    let asked = pass.status.awaiting.as_ref().map(|awaiting| &awaiting.digest);
    if pass.status.mutation_started {
        begin_mutation(pass, "BackupRenewed");
    } else if asked.is_some() && asked == pass.status.plan.as_ref().map(|plan| &plan.digest) {
        pass.enter(Phase::AwaitingApproval, "BackupRenewed", "the backup was taken again");
    } else {
        ask_for_plan(pass, "BackupRenewed");
    }
}

pub(super) fn backup_too_old(pass: &Pass<'_>) -> bool {
    let taken = pass.status.backup.as_ref().and_then(|b| b.taken_at);
    taken.is_none_or(|taken| later(taken, pass.run.backup_max_age) < pass.now)
}

/// A refusal: of a plan before anything changed, the run ends; after that (a plan made anew), it goes back.
fn refused(pass: &mut Pass<'_>, phase: Phase, reason: &str, message: &str) {
    match pass.status.awaiting.take().map(|a| a.subject) {
        Some(Subject::Restore) => {
            let message = format!(
                "the restore was not approved ({message}): the data stays as it is. What to do: {}",
                rolling_back::what_to_do(pass)
            );
            terminal::end(pass, Phase::RollbackFailed, reason, &message);
        }
        Some(Subject::Rollback) => finished::refused(pass, reason, message),
        Some(Subject::Plan) | None if pass.status.mutation_started => rolling_back::begin(pass, reason, message),
        Some(Subject::Plan) | None => terminal::end(pass, phase, reason, &format!("{message}: nothing was changed")),
    }
}

fn rolling_or_failed(pass: &mut Pass<'_>, reason: &str, message: &str) {
    if pass.status.mutation_started {
        rolling_back::begin(pass, reason, message);
    } else {
        terminal::end(pass, Phase::Failed, reason, message);
    }
}
