//! Verify: is what was written what was planned, is it still there, and does the team's own SQL agree?

mod check;
mod view;

pub(in crate::engine) use check::{Measured, measure, role_sees_a_part};
pub use check::{run_check, wanted};
pub use view::publish;

use super::ledger::{Ledger, LedgerError, State};
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

/// What is missing of a run that had been applied to its end, in words: a server that lost commits which it had said were there (a
/// failover to a standby that lagged behind) has lost the ledger's word of them, too. `None` where all is there.
///
/// # Errors
/// [`LedgerError`].
pub async fn taken_back(connection: &mut PgConnection, ledger: &Ledger) -> Result<Option<String>, LedgerError> {
    let run = ledger.run(connection).await?;
    if ![State::Claimed, State::Applying].iter().any(|state| state.as_str() == run.state) {
        return Ok(None);
    }
    let totals = ledger.totals(connection).await?;
    Ok(Some(format!(
        "the run had been applied, and by now the ledger has {} of {} planned rows and does not say that this is all: the server has lost what it had committed, as in a failover to a standby that lagged behind",
        totals.handled, run.planned
    )))
}

async fn written_as_planned(connection: &mut PgConnection, ledger: &Ledger) -> Result<CheckStatus, LedgerError> {
    let run = ledger.run(connection).await?;
    let totals = ledger.totals(connection).await?;
    let result = crate::engine::apply::result(connection, ledger).await?;
    let sql = format!(
        "SELECT (SELECT count(*) FROM (SELECT DISTINCT u.range, p FROM {undo} u, unnest(u.hashes) AS p WHERE u.run_uid = $1 AND u.role = 'row') AS rows),
                (SELECT coalesce(sum(written), 0)::int8 FROM {batches} WHERE run_uid = $1), (SELECT rows_digest FROM {runs} WHERE uid = $1),
                (SELECT coalesce(bool_or(write ? 'recompute'), false) FROM {runs}, jsonb_array_elements(writes) AS write WHERE uid = $1)",
        undo = ledger.table("undo"),
        batches = ledger.table("batches"),
        runs = ledger.table("runs"),
    );
    let (rows, in_batches, planned_digest, recompute): (i64, i64, String, bool) =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_one(connection).await?;
    let handled = totals.written + totals.drifted + totals.quarantined;
    let all = totals.handled == run.planned && (handled == run.planned || (recompute && handled < run.planned));
    // Where every planned row was written, what was written is what was approved, to the last value.
    let same = recompute || totals.written != run.planned || result.rows_digest == planned_digest;
    let whole = all && same && rows == totals.written && in_batches == totals.written;
    let mut message = format!(
        "{} of {} planned rows written, {} left alone as drifted, {} refused by the database, {rows} can be undone",
        totals.written, run.planned, totals.drifted, totals.quarantined
    );
    if !same {
        message.push_str("; the digest of what was written is not the plan's");
    }
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
