//! Before the script: triggers on its tables, for its sessions.

use super::settle::STATISTICS;
use super::statements::{make, triggers};
use super::table::{CapturedTable, check_role, find};
use super::{CaptureError, SETTING};
use crate::api::spec::Capture;
use crate::engine::apply::Retries;
use crate::engine::definition::fingerprint;
use crate::engine::ledger::{Ledger, LedgerError, State};
use crate::engine::sql::quote_literal;
use crate::postgres::sqlstate;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::time::Duration;

/// A lock that writers wait behind is not waited for longer than this.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '1s'";
/// Attempts to get such a lock, in about half a minute.
const ATTEMPTS: Retries = Retries::new(20, Duration::from_millis(200), Duration::from_secs(3));

/// How the script's sessions are told from all others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// By the setting that its connections begin with.
    Setting,
    /// By the role that they log in as.
    Role(String),
}

impl Mark {
    /// As the spec says it.
    #[must_use]
    pub fn of(capture: &Capture) -> Self {
        capture.role.clone().map_or(Self::Setting, Self::Role)
    }

    /// True in the script's sessions. Nothing of it is looked up by the search path of whoever writes.
    fn condition(&self, run_uid: &str) -> String {
        match self {
            Self::Setting => {
                format!("pg_catalog.current_setting({}, true) OPERATOR(pg_catalog.=) {}", quote_literal(SETTING), quote_literal(run_uid))
            }
            Self::Role(role) => format!("SESSION_USER OPERATOR(pg_catalog.=) {}", quote_literal(role)),
        }
    }
}

/// Puts the triggers on all tables. Can be repeated until the script begins.
///
/// # Errors
/// [`CaptureError`]; what is on by then is taken off by the way back, or by the next run's claim.
pub async fn arm(connection: &mut PgConnection, ledger: &Ledger, capture: &Capture) -> Result<Vec<CapturedTable>, CaptureError> {
    let mark = Mark::of(capture);
    if let Mark::Role(role) = &mark {
        check_role(connection, role).await?;
    }
    let mut tables: Vec<CapturedTable> = Vec::with_capacity(capture.tables.len());
    for name in &capture.tables {
        let table = find(connection, name).await?;
        if tables.iter().any(|other| other.name == table.name) {
            return Err(CaptureError::TableTwice { table: name.clone() });
        }
        tables.push(table);
    }
    let epoch = epoch(connection, ledger).await?;
    run(connection, &make(ledger)).await?;
    // While the script runs nobody looks for a row by its number, and each row would pay for the index.
    run(connection, &[format!("DROP INDEX IF EXISTS {}", ledger.table("captured_n"))]).await?;
    // What was written a moment ago may not be counted yet, and would pass for written by others meanwhile.
    tokio::time::sleep(STATISTICS).await;
    let condition = mark.condition(ledger.uid());
    for (seq, table) in tables.iter().enumerate() {
        let arguments = [ledger.uid().to_owned(), epoch.to_string(), seq.to_string()];
        with_lock(connection, &table.name, &triggers(ledger, &table.name, &condition, &arguments)).await?;
        note(connection, ledger, seq, &table.name).await?;
    }
    Ok(tables)
}

/// The run's epoch: it holds the claim, and has not gone back.
async fn epoch(connection: &mut PgConnection, ledger: &Ledger) -> Result<i64, CaptureError> {
    let run = ledger.run(&mut *connection).await?;
    if run.state != State::Claimed.as_str() {
        return Err(LedgerError::RunEnded(run.state).into());
    }
    let sql = format!("SELECT EXISTS (SELECT FROM {} WHERE run_uid = $1)", ledger.table("claim"));
    let ours: bool = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_one(connection).await?;
    if ours { Ok(run.epoch) } else { Err(LedgerError::ClaimLost.into()) }
}

/// What the table is with its triggers on, and what was written to it before.
async fn note(connection: &mut PgConnection, ledger: &Ledger, seq: usize, table: &str) -> Result<(), CaptureError> {
    let definition = fingerprint(connection, table).await?;
    let sql = format!(
        "INSERT INTO {} AS c (run_uid, seq, table_name, definition, writes_before, clock_before)
         SELECT $1, $2, $3, $4, {}, (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {})
         ON CONFLICT (run_uid, seq) DO UPDATE SET table_name = excluded.table_name, definition = excluded.definition,
             writes_before = excluded.writes_before, clock_before = excluded.clock_before, armed_at = clock_timestamp()",
        ledger.table("captures"),
        writes_of("$3"),
        ledger.table("capture_clock")
    );
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(i32::try_from(seq).unwrap_or(i32::MAX));
    query.bind(table).bind(definition).execute(connection).await?;
    Ok(())
}

/// Rows that were ever written to a table, by the server's statistics; 0 where there are none.
pub(super) fn writes_of(table: &str) -> String {
    let counts = ["inserted", "updated", "deleted"].map(|what| format!("coalesce(pg_stat_get_tuples_{what}(to_regclass({table})), 0)"));
    format!("({})", counts.join(" + "))
}

async fn run(connection: &mut PgConnection, statements: &[String]) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement.clone())).persistent(false).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Runs the statements in one transaction that waits for locks a moment at a time: who waits for a lock holds up all that come
/// after.
pub(super) async fn with_lock(connection: &mut PgConnection, what: &str, statements: &[String]) -> Result<(), CaptureError> {
    let mut attempts = ATTEMPTS;
    loop {
        let mut all = vec![LOCK_TIMEOUT.to_owned()];
        all.extend_from_slice(statements);
        let error = match run(connection, &all).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // Somebody holds it, or we were the victim of a deadlock.
        if !sqlstate(&error).is_some_and(|code| matches!(code.as_str(), "55P03" | "40P01")) {
            return Err(error.into());
        }
        let Some(wait) = attempts.next_wait() else {
            return Err(CaptureError::Busy { what: what.to_owned(), tries: attempts.limit() });
        };
        tokio::time::sleep(wait).await;
    }
}
