//! `undo`: puts back what the run wrote, and looks whether it is as it was before.

use super::checks_again::checks_again;
use super::session::{Role, Session};
use super::{StepContext, StepEnd, capture as capture_step, engine_ends};
use crate::api::phase::Phase;
use crate::api::spec::RollbackMethod;
use crate::api::status::{CheckResult, CheckStatus};
use crate::engine::apply::Retries;
use crate::engine::capture::{self, Account};
use crate::engine::ledger::{Ledger, State};
use crate::engine::undo::{self, Undone};
use crate::protocol::{Outcome, StepReport, UndoReport};

/// The reason where undo is not the whole way back of a script.
const INCOMPLETE: &str = "CaptureIncomplete";

/// Puts back every batch that is not put back yet.
pub async fn run(context: &StepContext) -> StepEnd {
    let session = match Session::of(context, Role::Main) {
        Ok(session) => session,
        Err(error) => return error.end(),
    };
    let ledger = Ledger::of(&context.input.spec.database.ledger_schema, &context.input.run);
    let captured = match settle(context, &session, &ledger).await {
        Ok(captured) => captured,
        Err(end) => return end,
    };
    if let Some(why) = incomplete(captured.as_ref()).filter(|_| context.input.spec.rollback.method != RollbackMethod::Undo) {
        return StepEnd::bare(Outcome::Failed, INCOMPLETE, why);
    }
    let progress = |done, total| context.reporter.progress(done, total, "batches");
    match undo::undo(&session, &ledger, &context.stop, Retries::default(), progress).await {
        Ok(Some(undone)) => {
            if let Err(end) = disarm(context, &session, &ledger).await {
                return end;
            }
            let mut checks = vec![as_before(&session, &ledger).await];
            checks.extend(checks_again(context).await);
            let ended = end(undone, checks);
            match (incomplete(captured.as_ref()), ended.report) {
                // Undo was asked for by name: what it can put back is put back, and what it cannot is said.
                (Some(why), Some(report)) => {
                    StepEnd::reported(Outcome::Failed, INCOMPLETE, format!("{}; {why}", ended.verdict.message), report)
                }
                (_, report) => StepEnd { report, ..ended },
            }
        }
        Ok(None) => StepEnd::bare(Outcome::Stopped, "Stopped", "stopped between two batches; the rest is put back by the next attempt"),
        Err(error) => engine_ends::undo(&error),
    }
}

/// A script's sessions write no more, and what was recorded of them is in the ledger. The triggers stay until all is put back: who is
/// still at it is refused by them.
async fn settle(context: &StepContext, session: &Session, ledger: &Ledger) -> Result<Option<Account>, StepEnd> {
    if capture_step::of(context).is_none() {
        return Ok(None);
    }
    let mut connection = session.connect().await.map_err(|error| error.end())?;
    let settled = capture::settle(&mut connection, ledger, State::Undoing).await;
    settled.map_err(|error| engine_ends::capture(&error))
}

async fn disarm(context: &StepContext, session: &Session, ledger: &Ledger) -> Result<(), StepEnd> {
    if capture_step::of(context).is_none() {
        return Ok(());
    }
    let mut connection = session.connect().await.map_err(|error| error.end())?;
    capture::disarm(&mut connection, ledger).await.map_err(|error| engine_ends::capture(&error))
}

/// What undo cannot bring back of what a script did.
fn incomplete(account: Option<&Account>) -> Option<String> {
    let account = account?;
    if account.unseen {
        return Some(capture_step::UNSEEN.to_owned());
    }
    let faults = account.faults();
    (!faults.is_empty()).then(|| format!("no row tells what only a restore brings back: {}", faults.join("; ")))
}

/// The rows are back; whether this can be measured changes nothing of that.
async fn as_before(session: &Session, ledger: &Ledger) -> CheckStatus {
    let (result, message) = match undo::not_as_before(session, ledger).await {
        Ok(0) => (CheckResult::Passed, "every row that was put back holds what it held before the run".to_owned()),
        Ok(n) => (
            CheckResult::Inconclusive,
            format!(
                "{n} rows that were put back are not as they were before: a trigger changed them on the way, or something wrote them since"
            ),
        ),
        Err(error) => (CheckResult::Inconclusive, format!("could not be measured: {error}")),
    };
    CheckStatus { name: "as-before".into(), phase: Phase::RollingBack, result, message }
}

fn end(Undone { undone, skipped, skipped_keys }: Undone, others: Vec<CheckStatus>) -> StepEnd {
    let message = format!("{undone} rows put back, {skipped} left alone because they changed since");
    let result = if skipped == 0 { CheckResult::Passed } else { CheckResult::Inconclusive };
    let check = CheckStatus { name: "put-back".into(), phase: Phase::RollingBack, result, message: message.clone() };
    let checks = std::iter::once(check).chain(others).collect();
    let report = UndoReport { undone, skipped, skipped_keys, checks };
    StepEnd::reported(Outcome::Passed, "Undone", message, StepReport::Undo(report))
}
