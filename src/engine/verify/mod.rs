//! Verify: is what was written what was planned, is it still there, and does the team's own SQL agree?

mod check;
mod view;

pub(in crate::engine) use check::{Measured, measure, role_sees_a_part};
pub use check::{run_check, wanted};
pub use view::publish;

use super::ledger::{Ledger, LedgerError};
use super::undo::{UndoError, changed_since};
use crate::api::phase::Phase;
use crate::api::status::{CheckResult, CheckStatus};
use sqlx::{AssertSqlSafe, PgConnection};

/// Name of the check that is inconclusive where the application has written since; that holds nobody up.
pub const UNCHANGED_SINCE: &str = "unchanged-since";

/// Compares the ledger's counts with the plan, and the rows with what apply left in them. Rows that the application
/// wrote since are no failure: the second check is then inconclusive, and says how many.
///
/// # Errors
/// [`UndoError`]: the undo rows are what is compared with.
pub async fn against_ledger(connection: &mut PgConnection, ledger: &Ledger) -> Result<Vec<CheckStatus>, UndoError> {
    Ok(vec![written_as_planned(connection, ledger).await?, unchanged_since(connection, ledger).await?])
}

async fn written_as_planned(connection: &mut PgConnection, ledger: &Ledger) -> Result<CheckStatus, LedgerError> {
    let run = ledger.run(connection).await?;
    let sql = format!(
        "SELECT (SELECT count(DISTINCT ordinal) FROM {undo} WHERE run_uid = $1),
                (SELECT coalesce(sum(written), 0)::int8 FROM {batches} WHERE run_uid = $1)",
        undo = ledger.table("undo"),
        batches = ledger.table("batches"),
    );
    let (rows, in_batches): (i64, i64) =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_one(connection).await?;
    let whole = run.written + run.drifted == run.planned && rows == run.written && in_batches == run.written;
    let message =
        format!("{} of {} planned rows written, {} left alone as drifted, {rows} can be undone", run.written, run.planned, run.drifted);
    Ok(status("written-as-planned", if whole { CheckResult::Passed } else { CheckResult::Failed }, message))
}

async fn unchanged_since(connection: &mut PgConnection, ledger: &Ledger) -> Result<CheckStatus, UndoError> {
    let changed = changed_since(connection, ledger).await?;
    Ok(match changed {
        0 => status(UNCHANGED_SINCE, CheckResult::Passed, "every written row holds what was written".into()),
        n => status(UNCHANGED_SINCE, CheckResult::Inconclusive, format!("{n} written rows have been changed since by something else")),
    })
}

fn status(name: &str, result: CheckResult, message: String) -> CheckStatus {
    CheckStatus { name: name.into(), phase: Phase::Verifying, result, message }
}
