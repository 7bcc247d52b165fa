//! The way back: the flag first, then undo; where that cannot serve or is not wanted, a restore whose losses are approved.

use super::{applying, cnpg_backup, flag_back, terminal};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::duration;
use crate::api::spec::{RollbackMethod, RollbackTrigger};
use crate::api::status::{BackfillRunStatus, CheckResult, CheckStatus, RollbackStatus, Step, Subject};
use crate::lifecycle::pass::Pass;
use crate::lifecycle::step::StepEnded;
use crate::lifecycle::{after, approval};
use crate::protocol::{Outcome, StepReport, Verdict};
use std::time::Duration;

/// The reason with which a restore ends that would lose something else than was approved. Nothing was changed.
const LOSS_CHANGED: &str = "LossChanged";
/// So many tables are named in the question; the status has them all.
const ASKED_ABOUT: usize = 10;

/// Goes back: because the run failed, or because of an abort. Where the trigger is manual, a person has to say so first.
pub(in crate::lifecycle) fn begin(pass: &mut Pass<'_>, reason: &str, message: &str) {
    pass.status.awaiting = None;
    pass.status.waiting_for = None;
    let began_at = Some(pass.now);
    pass.status.rollback = Some(RollbackStatus { reason: format!("{reason}: {message}"), began_at, ..RollbackStatus::default() });
    pass.enter(Phase::RollingBack, reason, message);
    // The entry only writes down that the way back begins; the next pass takes the first step on it.
    pass.set(ConditionType::RolledBack, Truth::Unknown, reason, message);
}

/// Goes back because people asked for it after the run had succeeded.
pub(super) fn begin_requested(pass: &mut Pass<'_>, approved_by: &str) {
    begin(pass, "RollbackRequested", approved_by);
    if let Some(rollback) = pass.status.rollback.as_mut() {
        rollback.requested = true;
    }
}

/// What has to be there before the first write is not: the backup, its rehearsal or the plan. Each may be made anew once the
/// database is claimed, and the team's migrations may have run by then; so it is a way back from there on.
pub(super) fn fail(pass: &mut Pass<'_>, reason: &str, message: &str) {
    if pass.status.mutation_started {
        begin(pass, reason, message);
    } else {
        terminal::end(pass, Phase::Failed, reason, message);
    }
}

/// True while people are asked about a restore.
pub(in crate::lifecycle) fn is_awaiting_restore(pass: &Pass<'_>) -> bool {
    pass.status.awaiting.as_ref().is_some_and(|a| a.subject == Subject::Restore)
}

pub(super) fn idle(pass: &mut Pass<'_>) {
    if !flag_back(pass) {
        return;
    }
    if !begun(&pass.status) {
        return rolled_back(pass, "nothing had been written");
    }
    let requested = pass.status.rollback.as_ref().is_some_and(|rollback| rollback.requested);
    let manual = pass.run.spec.rollback.trigger == RollbackTrigger::Manual && pass.status.abort.is_none() && !requested;
    if manual {
        let why = pass.status.rollback.as_ref().map(|r| r.reason.clone()).unwrap_or_default();
        pass.stall(
            "RollbackIsManual",
            &format!(
                "{why}; rollback.trigger is Manual: set spec.abort: true to take the data back, or spec.abandon: true to leave it as it is"
            ),
        );
        return;
    }
    if after::is_built_upon(pass) {
        return;
    }
    pass.go_on();
    // Verification has let the database go, and another run may be changing it by now.
    pass.begin(Step::Claim, 0);
}

/// The database is ours: the way back that the run asks for.
pub(super) fn go_back(pass: &mut Pass<'_>) {
    let script = pass.run.spec.backfill.job.is_some() && !can_undo_script(pass);
    let (method, step) = match pass.run.spec.rollback.method {
        RollbackMethod::Restore => (RollbackMethod::Restore, Step::LossAccount),
        RollbackMethod::Auto if script && touched(pass) => (RollbackMethod::Restore, Step::LossAccount),
        RollbackMethod::Auto | RollbackMethod::Undo => (RollbackMethod::Undo, Step::Undo),
    };
    if let Some(rollback) = pass.status.rollback.as_mut() {
        rollback.method = Some(method);
    }
    pass.begin(step, 0);
}

/// True where a step was started that may have changed something.
pub(in crate::lifecycle) fn begun(status: &BackfillRunStatus) -> bool {
    status.steps.iter().any(|s| matches!(s.step, Step::Migrate | Step::Capture | Step::Apply | Step::Script))
}

/// True where what the script did is recorded row by row, as far as is known.
pub(super) fn can_undo_script(pass: &Pass<'_>) -> bool {
    let faulty = pass.status.result.as_ref().is_some_and(|result| result.captured.iter().any(|table| !table.fault.is_empty()));
    applying::capture(pass.run).is_some() && !faulty
}

/// True where a Job of the team was started.
fn touched(pass: &Pass<'_>) -> bool {
    pass.status.steps.iter().any(|s| matches!(s.step, Step::Script | Step::Migrate))
}

pub(super) fn undo_ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report } = ended else { return super::unexpected(pass, Step::Undo, 0) };
    match report.map(|r| *r) {
        Some(StepReport::Undo(report)) => {
            let rollback = pass.status.rollback.get_or_insert_default();
            rollback.undone = report.undone;
            rollback.skipped_because_changed_since = report.skipped;
            rollback.skipped_keys = report.skipped_keys;
            note_checks(pass, report.checks);
        }
        None if verdict.outcome != Outcome::Passed => {}
        _ => return super::unexpected(pass, Step::Undo, 0),
    }
    let written = pass.status.result.as_ref().map_or(0, |r| r.written);
    let known = pass.status.rollback.as_ref().map_or(0, |r| r.undone + r.skipped_because_changed_since);
    let complete = known >= written;
    if verdict.outcome == Outcome::Passed && complete {
        return rolled_back(pass, &verdict.message);
    }
    let verdict = if complete {
        verdict
    } else {
        // Somebody took the ledger away: what it does not know it cannot put back.
        let message = format!("the ledger knows {known} rows of the {written} that were written");
        Verdict { reason: "LedgerIncomplete".into(), message, ..verdict }
    };
    let cnpgs = pass.status.backup.as_ref().filter(|backup| backup.existing == cnpg_backup::CNPG_BACKUP).map(|backup| backup.path.clone());
    if let Some(path) = cnpgs {
        let message =
            format!("undo cannot serve ({}), and the backup is CloudNativePG's ({path}), which only it can restore", verdict.message);
        return rollback_failed(pass, "RestoreIsCnpgs", &message);
    }
    if pass.run.spec.rollback.method == RollbackMethod::Auto {
        pass.event(true, &verdict.reason, &format!("undo cannot serve ({}): a restore is looked at", verdict.message));
        if let Some(rollback) = pass.status.rollback.as_mut() {
            rollback.method = Some(RollbackMethod::Restore);
        }
        return pass.begin(Step::LossAccount, 0);
    }
    rollback_failed(pass, &verdict.reason, &verdict.message);
}

pub(super) fn loss_account_ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report } = ended else { return super::unexpected(pass, Step::LossAccount, 0) };
    let report = match report.map(|r| *r) {
        Some(StepReport::Loss(report)) => report,
        _ if verdict.outcome != Outcome::Passed => return rollback_failed(pass, &verdict.reason, &verdict.message),
        _ => return super::unexpected(pass, Step::LossAccount, 0),
    };
    let tables: Vec<String> = report.losses.iter().map(|l| format!("{}: {}", l.table, l.message)).collect();
    let rollback = pass.status.rollback.get_or_insert_default();
    rollback.loss_digest.clone_from(&report.digest);
    rollback.losses = report.losses;
    if tables.is_empty() {
        return restore(pass, "NothingToLose");
    }
    let (named, more) = tables.split_at(tables.len().min(ASKED_ABOUT));
    let more = if more.is_empty() { String::new() } else { format!("; and {} more, in status.rollback.losses", more.len()) };
    let question =
        format!("restore the backup, although it loses what was written since in {} table(s)? {}{more}", tables.len(), named.join("; "));
    pass.enter(Phase::AwaitingApproval, "RestoreWouldLose", &question);
    approval::ask(pass, Subject::Restore, report.digest, question);
}

/// Begins the restore.
pub(super) fn restore(pass: &mut Pass<'_>, reason: &str) {
    if pass.status.phase != Phase::RollingBack {
        pass.enter(Phase::RollingBack, reason, "restores the backup");
    }
    pass.begin(Step::Restore, 0);
}

pub(super) fn restore_ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report } = ended else { return super::unexpected(pass, Step::Restore, 0) };
    if let Some(StepReport::Restore(report)) = report.map(|r| *r) {
        note_checks(pass, report.checks);
        if let Some(rollback) = pass.status.rollback.as_mut() {
            rollback.old_database = report.old_database;
        }
    }
    if verdict.reason == LOSS_CHANGED {
        // What was approved is not what would be lost now: it is drawn up again, and asked about again.
        pass.event(true, LOSS_CHANGED, &verdict.message);
        return pass.begin(Step::LossAccount, 0);
    }
    if verdict.outcome == Outcome::Passed {
        rolled_back(pass, &verdict.message);
    } else {
        rollback_failed(pass, &verdict.reason, &verdict.message);
    }
}

fn note_checks(pass: &mut Pass<'_>, checks: Vec<CheckStatus>) {
    pass.status.checks.retain(|c| c.phase != Phase::RollingBack);
    pass.status.checks.extend(checks);
}

/// In commands, from looking to letting go.
pub(super) fn what_to_do(pass: &Pass<'_>) -> String {
    let (identity, spec) = (&pass.run.meta.identity, &pass.run.spec);
    let (namespace, name) = (&identity.namespace, &identity.name);
    let mut steps = vec![format!("1. look: kubectl -n {namespace} get backfillrun {name} -o jsonpath='{{.status.checks}}'")];
    if spec.backfill.sql.is_some() || applying::capture(pass.run).is_some() {
        steps.push(format!(
            "2. in the database, the rows that can be put back by hand, with their old values: SELECT table_name, key, before FROM {}.undo_rows WHERE run_uid = '{}' ORDER BY range DESC, batch DESC, seq DESC, place;",
            spec.database.ledger_schema, identity.uid
        ));
    }
    let backup = pass.status.backup.as_ref();
    if let Some(backup) = backup.filter(|backup| backup.existing == cnpg_backup::CNPG_BACKUP) {
        steps.push(format!(
            "{}. or the backup {}, beside the cluster: {}, then as docs/backups.md says under A backup of CloudNativePG",
            steps.len() + 1,
            backup.path,
            backup.restore_with
        ));
    } else if let Some(backup) = backup {
        steps.push(format!(
            "{}. or the backup {} (sha256 {}, {}), which takes everything back that was written since: pg_restore --list {}, then as docs/operations.md says under Restoring by hand",
            steps.len() + 1,
            backup.path,
            backup.sha256,
            backup.restore_with,
            backup.file
        ));
    }
    steps.push(format!(
        "{}. when the data is right, let the run go: kubectl -n {namespace} patch backfillrun {name} --type merge -p '{{\"spec\":{{\"abandon\":true}}}}' (spec.abandon)",
        steps.len() + 1
    ));
    steps.join(" ")
}

fn rolled_back(pass: &mut Pass<'_>, message: &str) {
    let bad = pass.status.checks.iter().find(|c| c.phase == Phase::RollingBack && c.result == CheckResult::Failed).cloned();
    if let Some(check) = bad {
        return rollback_failed(pass, "ChecksFailed", &format!("{}: {}", check.name, check.message));
    }
    let why = pass.status.rollback.as_ref().map(|r| r.reason.clone()).unwrap_or_default();
    let took = over(pass);
    let flag = pass.status.flag.as_ref().filter(|flag| flag.restored_at.is_some());
    let flag = flag.map(|flag| format!("; the flag is back at {}", flag.previous)).unwrap_or_default();
    pass.set(ConditionType::RolledBack, Truth::True, "RolledBack", message);
    terminal::end(pass, Phase::RolledBack, "RolledBack", &format!("{message}, in {took}{flag} ({why})"));
}

/// The way back has ended; answers how long it took.
fn over(pass: &mut Pass<'_>) -> String {
    let now = pass.now;
    let Some(rollback) = pass.status.rollback.as_mut() else { return duration::display(Duration::ZERO) };
    rollback.ended_at = Some(now);
    let took = rollback.began_at.map(|began| now.duration_since(began));
    duration::display(took.and_then(|took| Duration::try_from(took).ok()).unwrap_or_default())
}

fn rollback_failed(pass: &mut Pass<'_>, reason: &str, message: &str) {
    over(pass);
    pass.set(ConditionType::RolledBack, Truth::False, reason, message);
    let next = format!("{message}. What to do: {}", what_to_do(pass));
    terminal::end(pass, Phase::RollbackFailed, reason, &next);
    pass.look_again(Duration::from_mins(1));
}
