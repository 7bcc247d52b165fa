//! Captured rows that stayed are tried again: what a script and the application's triggers did in turn is known row by row, but
//! not which of it has to go back before which.

use super::UndoError;
use super::part::parts;
use super::statement::{Batch, undo_row};
use crate::engine::ledger::Ledger;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio_util::sync::CancellationToken;

/// A pass that puts no row back is the last one, and so is this.
const PASSES: u32 = 5;

/// A row that stayed: its batch, write, action and place.
type Stayed = (i64, i64, i32, String, i32);

/// Tries rows of captured writes that stayed, newest first, until no more of them go back. False where it was stopped. As
/// every time, only a row that is as the script left it is written.
pub(super) async fn captured(
    connection: &mut PgConnection,
    ledger: &Ledger,
    epoch: i64,
    stop: &CancellationToken,
) -> Result<bool, UndoError> {
    let mut before = stayed(connection, ledger).await?;
    for _ in 0..PASSES {
        for row in &before {
            if stop.is_cancelled() {
                return Ok(false);
            }
            let mut transaction = connection.begin().await?;
            ledger.fence(&mut transaction, epoch).await?;
            try_again(&mut transaction, ledger, row).await?;
            transaction.commit().await?;
        }
        let after = stayed(connection, ledger).await?;
        if after.is_empty() || after.len() >= before.len() {
            break;
        }
        before = after;
    }
    Ok(true)
}

async fn stayed(connection: &mut PgConnection, ledger: &Ledger) -> Result<Vec<Stayed>, sqlx::Error> {
    let sql = format!(
        "SELECT s.range, s.batch, s.seq, s.action, s.place FROM {} s JOIN {} r ON r.uid = s.run_uid
         WHERE s.run_uid = $1 AND EXISTS (SELECT FROM jsonb_array_elements(r.writes) AS w WHERE (w->>'seq')::int = s.seq AND (w->>'captured')::boolean)
         ORDER BY s.range DESC, s.batch DESC, s.seq DESC, s.place DESC",
        ledger.table("skipped"),
        ledger.table("runs")
    );
    sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_all(connection).await
}

async fn try_again(connection: &mut PgConnection, ledger: &Ledger, row: &Stayed) -> Result<(), UndoError> {
    let (range, batch, seq, action, place) = row;
    let sql = format!(
        "DELETE FROM {} WHERE run_uid = $1 AND range = $2 AND batch = $3 AND seq = $4 AND action = $5 AND place = $6",
        ledger.table("skipped")
    );
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(range).bind(batch);
    query.bind(seq).bind(action).bind(place).execute(&mut *connection).await?;
    let batch = Batch { range: *range, batch: *batch };
    for part in parts(&mut *connection, ledger, batch).await? {
        if part.seq == *seq && part.action.as_str() == action {
            undo_row(&mut *connection, ledger, batch, &part, *place).await?;
        }
    }
    Ok(())
}
