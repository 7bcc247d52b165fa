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
    forget_moot(connection, ledger).await?;
    let mut before = stayed(connection, ledger).await?;
    for _ in 0..PASSES {
        if before.is_empty() {
            break;
        }
        for row in &before {
            if stop.is_cancelled() {
                return Ok(false);
            }
            let mut transaction = connection.begin().await?;
            ledger.fence(&mut transaction, epoch).await?;
            try_again(&mut transaction, ledger, row).await?;
            transaction.commit().await?;
        }
        forget_moot(connection, ledger).await?;
        let after = stayed(connection, ledger).await?;
        if after.len() >= before.len() {
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

/// A row of which an older write is put back is as it was before that one: what came later is no matter. So it is where the
/// application's triggers have taken back a sum step by step, which was recorded step by step, too; and where a row that the script
/// inserted is gone with another one.
async fn forget_moot(connection: &mut PgConnection, ledger: &Ledger) -> Result<(), sqlx::Error> {
    let sql = format!(
        "WITH s AS (SELECT s.range, s.batch, s.seq, s.action, s.place, g.keys->0->>s.place AS name, g.keys->1->>s.place AS key
                    FROM {skipped} s JOIN {ranges} g ON g.run_uid = s.run_uid AND g.range = s.range
                    JOIN {runs} r ON r.uid = s.run_uid, jsonb_array_elements(r.writes) AS w
                    WHERE s.run_uid = $1 AND (w->>'seq')::int = s.seq AND (w->>'captured')::boolean),
              e AS (SELECT u.range, u.batch, u.seq, u.action, k.place, k.name, k.key
                    FROM (SELECT u.range, u.batch, u.seq, u.action, p.place FROM {undo} u, unnest(u.hashes) AS p(place)
                          WHERE u.run_uid = $1 AND u.role = 'row' AND EXISTS (SELECT FROM s)) AS u
                    JOIN (SELECT g.range, k.n - 1 AS place, k.name, k.key FROM {ranges} g,
                                 ROWS FROM (jsonb_array_elements_text(g.keys->0), jsonb_array_elements_text(g.keys->1)) WITH ORDINALITY AS k(name, key, n)
                          WHERE g.run_uid = $1 AND EXISTS (SELECT FROM s)) AS k ON k.range = u.range AND k.place = u.place
                    WHERE NOT EXISTS (SELECT FROM {skipped} d WHERE d.run_uid = $1 AND d.range = u.range AND d.batch = u.batch AND d.seq = u.seq
                                      AND d.action = u.action AND d.place = u.place))
         DELETE FROM {skipped} d USING s, e
         WHERE d.run_uid = $1 AND d.range = s.range AND d.batch = s.batch AND d.seq = s.seq AND d.action = s.action AND d.place = s.place
           AND e.name = s.name AND e.key = s.key AND (e.seq = s.seq OR e.action = 'Insert') AND (e.range, e.batch) < (s.range, s.batch)",
        skipped = ledger.table("skipped"),
        ranges = ledger.table("ranges"),
        runs = ledger.table("runs"),
        undo = ledger.table("undo"),
    );
    sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).execute(connection).await?;
    Ok(())
}
