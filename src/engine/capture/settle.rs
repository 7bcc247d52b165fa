//! After the script: it writes no more, what it did was seen or is said not to have been, and is in the ledger's undo.

use super::CaptureError;
use super::arm::{with_lock, writes_of};
use super::pack::{Numbered, pack};
use super::table::find;
use crate::engine::definition::fingerprint;
use crate::engine::ledger::{Ledger, State};
use crate::engine::sql::quote_literal;
use sqlx::{AssertSqlSafe, PgConnection};
use std::time::Duration;

/// The server's statistics come about so late.
pub(super) const STATISTICS: Duration = Duration::from_millis(1200);

/// What was captured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Table by table, in the order of the spec.
    pub tables: Vec<TableAccount>,
    /// True where none of the script's sessions was seen at a captured table, although those were written.
    pub unseen: bool,
}

/// What was captured of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableAccount {
    /// Its name, as SQL writes it.
    pub table: String,
    /// Rows that were inserted.
    pub inserted: i64,
    /// Rows that were updated.
    pub updated: i64,
    /// Rows that were deleted.
    pub deleted: i64,
    /// Rows that other sessions wrote meanwhile, by the server's statistics, which are about a second behind and count what was
    /// rolled back, too.
    pub others: i64,
    /// What was done that no row tells, and only a restore brings back; empty: nothing.
    pub fault: String,
}

impl Account {
    /// Rows in all.
    #[must_use]
    pub fn rows(&self) -> i64 {
        self.tables.iter().map(|t| t.inserted + t.updated + t.deleted).sum()
    }

    /// What only a restore brings back.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.tables.iter().filter(|t| !t.fault.is_empty()).map(|t| format!("{}: {}", t.table, t.fault)).collect()
    }
}

/// Ends the script's time and packs what was recorded; `None` where nothing was armed. `state` is where the run stands from
/// now on: applied, or on its way back. Can be repeated: the first look at a table is the one that counts.
///
/// # Errors
/// [`CaptureError`]; [`CaptureError::Busy`] while a transaction of the script is open.
pub async fn settle(connection: &mut PgConnection, ledger: &Ledger, state: State) -> Result<Option<Account>, CaptureError> {
    if !armed(connection, ledger).await? {
        return Ok(None);
    }
    fence(connection, ledger, state).await?;
    look(connection, ledger).await?;
    let sql = format!("SELECT seq, table_name FROM {} WHERE run_uid = $1 AND readable ORDER BY seq", ledger.table("captures"));
    let readable: Vec<(i32, String)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_all(&mut *connection).await?;
    let mut tables = Vec::with_capacity(readable.len());
    for (seq, name) in readable {
        if recorded(connection, ledger, seq).await? {
            tables.push(Numbered { seq, table: find(connection, &name).await? });
        }
    }
    if !tables.is_empty() {
        pack(connection, ledger, &tables).await?;
    }
    Ok(Some(account(connection, ledger).await?))
}

/// True where the run has tables that are, or were, captured.
async fn armed(connection: &mut PgConnection, ledger: &Ledger) -> Result<bool, sqlx::Error> {
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .persistent(false)
        .bind(ledger.table("captures"))
        .fetch_one(&mut *connection)
        .await?;
    if !there {
        return Ok(false);
    }
    let sql = format!("SELECT EXISTS (SELECT FROM {} WHERE run_uid = $1)", ledger.table("captures"));
    sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_one(connection).await
}

async fn recorded(connection: &mut PgConnection, ledger: &Ledger, seq: i32) -> Result<bool, sqlx::Error> {
    let sql = format!("SELECT EXISTS (SELECT FROM {} WHERE run_uid = $1 AND seq = $2)", ledger.table("captured"));
    sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(seq).fetch_one(connection).await
}

/// Each transaction of the script holds the run's row: this waits for them, and none comes after.
async fn fence(connection: &mut PgConnection, ledger: &Ledger, state: State) -> Result<(), CaptureError> {
    let sql = format!(
        "UPDATE {} SET state = {}, epoch = epoch + 1, updated_at = now() WHERE uid = {} AND state = {}",
        ledger.table("runs"),
        quote_literal(state.as_str()),
        quote_literal(ledger.uid()),
        quote_literal(State::Claimed.as_str())
    );
    with_lock(connection, "the run's row in the ledger, which an open transaction of the script holds,", &[sql]).await
}

/// Number, name, definition, rows written to it since by anybody, one of the script's sessions was seen, emptied.
type Armed = (i32, String, String, i64, bool, bool);

/// Looks at each table once: is it what it was, was it emptied, who wrote to it?
async fn look(connection: &mut PgConnection, ledger: &Ledger) -> Result<(), CaptureError> {
    let sql = format!(
        "SELECT seq, table_name, definition, {} - writes_before AS writes, (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {}) > clock_before AS seen, truncated
         FROM {} WHERE run_uid = $1 AND settled_at IS NULL ORDER BY seq",
        writes_of("table_name"),
        ledger.table("capture_clock"),
        ledger.table("captures")
    );
    let read = || sqlx::query_as(AssertSqlSafe(sql.clone())).persistent(false).bind(ledger.uid());
    let mut armed: Vec<Armed> = read().fetch_all(&mut *connection).await?;
    // The last that others wrote may not be in them yet, and a script that seems to have written nothing may have.
    if !armed.is_empty() {
        tokio::time::sleep(STATISTICS).await;
        armed = read().fetch_all(&mut *connection).await?;
    }
    for (seq, table, definition, writes, seen, truncated) in armed {
        let readable = fingerprint(connection, &table).await? == definition;
        let mut faults = Vec::new();
        if !readable {
            faults.push("its definition, or the triggers on it, are not what they were when the script began");
        }
        if truncated {
            faults.push("the script emptied it by TRUNCATE");
        }
        let sql = format!(
            "UPDATE {} AS c SET settled_at = clock_timestamp(), readable = $3, fault = $4, writes = $5, seen = $6,
                 inserted = CASE WHEN $3 THEN 0 ELSE k.i END, updated = CASE WHEN $3 THEN 0 ELSE k.u END, deleted = CASE WHEN $3 THEN 0 ELSE k.d END
             FROM (SELECT count(*) FILTER (WHERE action = 'I') AS i, count(*) FILTER (WHERE action = 'U') AS u, count(*) FILTER (WHERE action = 'D') AS d
                   FROM {} WHERE run_uid = $1 AND seq = $2 AND NOT $3) AS k WHERE run_uid = $1 AND seq = $2 AND settled_at IS NULL",
            ledger.table("captures"),
            ledger.table("captured")
        );
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(seq).bind(readable);
        query.bind(faults.join("; ")).bind(writes.max(0)).bind(seen).execute(&mut *connection).await?;
    }
    Ok(())
}

/// What was captured; of tables that are packed.
async fn account(connection: &mut PgConnection, ledger: &Ledger) -> Result<Account, sqlx::Error> {
    type Row = (String, i64, i64, i64, i64, bool, String);
    let sql = format!(
        "SELECT table_name, inserted, updated, deleted, writes, seen, fault FROM {} WHERE run_uid = $1 ORDER BY seq",
        ledger.table("captures")
    );
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_all(connection).await?;
    let unseen = rows.iter().all(|row| !row.5) && rows.iter().any(|row| row.4 > 0);
    let tables = rows.into_iter().map(|(table, inserted, updated, deleted, writes, _, fault)| {
        let others = (writes - inserted - updated - deleted).max(0);
        TableAccount { table, inserted, updated, deleted, others, fault }
    });
    Ok(Account { tables: tables.collect(), unseen })
}
