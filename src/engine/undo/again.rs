//! Captured rows that stayed are tried again: what a script and the application's triggers did in turn is known row by row, but
//! not which of it has to go back before which.

use super::UndoError;
use super::part::parts;
use super::statement::{Batch, undo_row};
use crate::engine::capture::BY_TRIGGERS;
use crate::engine::ledger::Ledger;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

/// A pass that puts no row back is the last one, and so is this.
const PASSES: u32 = 5;

/// Places by range, batch, write and action.
pub(super) type Repeated = BTreeMap<(i64, i64, i32, String), Vec<i64>>;

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
    if stayed(connection, ledger).await?.is_empty() {
        return Ok(true);
    }
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
            // Of one row nothing waits for the COMMIT, where a refusal would end the undo.
            sqlx::query("SET CONSTRAINTS ALL IMMEDIATE").persistent(false).execute(&mut *transaction).await?;
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
        "{entries},
         o AS (
             SELECT x.*, bool_or(NOT stayed) OVER (PARTITION BY name, key, seq ORDER BY range, batch ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS older,
                    min(done) FILTER (WHERE NOT stayed AND action = 'Insert') OVER (PARTITION BY name, key) <= done AS inserted
             FROM x)
         DELETE FROM {skipped} d USING o
         WHERE o.stayed AND (o.older OR (o.gone AND o.inserted)) AND d.run_uid = $1 AND d.range = o.range AND d.batch = o.batch AND d.seq = o.seq AND d.action = o.action AND d.place = o.place",
        entries = entries(ledger),
        skipped = ledger.table("skipped"),
    );
    let mut transaction = connection.begin().await?;
    // The lists' lengths are not known to the planner, and there may be a million rows in them.
    sqlx::query("SET LOCAL enable_nestloop = off").persistent(false).execute(&mut *transaction).await?;
    sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).execute(&mut *transaction).await?;
    transaction.commit().await
}

/// `x`: each written row of the run with its table and key, whether it stayed, and in which stretch of time it was written.
fn entries(ledger: &Ledger) -> String {
    format!(
        "WITH k AS MATERIALIZED (
             SELECT g.range, k.n - 1 AS place, k.name, k.key FROM {ranges} g,
                    ROWS FROM (jsonb_array_elements_text(g.keys->0), jsonb_array_elements_text(g.keys->1)) WITH ORDINALITY AS k(name, key, n)
             WHERE g.run_uid = $1),
         e AS MATERIALIZED (
             SELECT u.range, u.batch, u.seq, u.action, p.place FROM {undo} u, unnest(u.hashes) AS p(place) WHERE u.run_uid = $1 AND u.role = 'row'),
         x AS (
             SELECT e.*, k.name, k.key, d.place IS NOT NULL AS stayed, d.columns = '{{}}' AS gone,
                    CASE WHEN e.range < 0 THEN e.range + {BY_TRIGGERS} ELSE e.range END AS done FROM e JOIN k ON k.range = e.range AND k.place = e.place
             LEFT JOIN {skipped} d ON d.run_uid = $1 AND d.range = e.range AND d.batch = e.batch AND d.seq = e.seq AND d.action = e.action AND d.place = e.place)",
        skipped = ledger.table("skipped"),
        ranges = ledger.table("ranges"),
        undo = ledger.table("undo"),
    )
}

/// Writes of captured rows after which undo wrote the row once more, by batch and write: only the last one says what the row
/// holds in the end.
pub(super) async fn repeated(connection: &mut PgConnection, ledger: &Ledger) -> Result<Repeated, sqlx::Error> {
    let captured = format!(
        "SELECT EXISTS (SELECT FROM {}, jsonb_array_elements(writes) AS w WHERE uid = $1 AND (w->>'captured')::boolean)",
        ledger.table("runs")
    );
    let captured: bool =
        sqlx::query_scalar(AssertSqlSafe(captured)).persistent(false).bind(ledger.uid()).fetch_one(&mut *connection).await?;
    if !captured {
        return Ok(Repeated::new());
    }
    let sql = format!(
        "{}, o AS (SELECT x.*, row_number() OVER (PARTITION BY name, key ORDER BY range, batch) > 1 AS again,
                       min(done) FILTER (WHERE action = 'Insert') OVER (PARTITION BY name, key) <= done AS inserted FROM x)
         SELECT range, batch, seq, action, array_agg(place) FROM o WHERE again OR inserted GROUP BY range, batch, seq, action",
        entries(ledger)
    );
    let mut transaction = connection.begin().await?;
    sqlx::query("SET LOCAL enable_nestloop = off").persistent(false).execute(&mut *transaction).await?;
    let rows: Vec<(i64, i64, i32, String, Vec<i64>)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(rows.into_iter().map(|(range, batch, seq, action, places)| ((range, batch, seq, action), places)).collect())
}
