//! `undo`: puts back what the run wrote.

use super::session::{Role, Session};
use super::{StepContext, StepEnd, engine_ends};
use crate::api::phase::Phase;
use crate::api::status::{CheckResult, CheckStatus};
use crate::engine::apply::Retries;
use crate::engine::ledger::Ledger;
use crate::engine::undo::{self, Undone};
use crate::protocol::{Outcome, StepReport, UndoReport};

/// Puts back every batch that is not put back yet.
pub async fn run(context: &StepContext) -> StepEnd {
    let session = match Session::of(context, Role::Main) {
        Ok(session) => session,
        Err(error) => return error.end(),
    };
    let ledger = Ledger::of(&context.input.spec.database.ledger_schema, &context.input.run);
    let progress = |done, total| context.reporter.progress(done, total, "batches");
    match undo::undo(&session, &ledger, &context.stop, Retries::default(), progress).await {
        Ok(Some(undone)) => end(undone),
        Ok(None) => StepEnd::bare(Outcome::Stopped, "Stopped", "stopped between two batches; the rest is put back by the next attempt"),
        Err(error) => engine_ends::undo(&error),
    }
}

fn end(Undone { undone, skipped, skipped_keys }: Undone) -> StepEnd {
    let message = format!("{undone} rows put back, {skipped} left alone because they changed since");
    let result = if skipped == 0 { CheckResult::Passed } else { CheckResult::Inconclusive };
    let check = CheckStatus { name: "put-back".into(), phase: Phase::RollingBack, result, message: message.clone() };
    let report = UndoReport { undone, skipped, skipped_keys, checks: vec![check] };
    StepEnd::reported(Outcome::Passed, "Undone", message, StepReport::Undo(report))
}
