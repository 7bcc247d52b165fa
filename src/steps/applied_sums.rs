//! The sums of all tables at the moment when the run had applied its changes: what a loss account compares with.

use super::session::{Role, SessionError, open, statement_failed};
use super::{StepContext, StepEnd};
use crate::engine::ledger::MARK;
use crate::engine::sql::{quote, quote_literal};
use crate::postgres::table_sums::{self, TableSum};
use crate::postgres::transactions::{self, SeenTransactions};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use thiserror::Error;

/// Name of the moment in the ledger.
pub const APPLIED: &str = "Applied";

/// Why the sums were not recorded.
#[derive(Debug, Error)]
pub enum AppliedSumsError {
    /// No connection.
    #[error("{0}")]
    Session(#[from] SessionError),
    /// A statement failed.
    #[error("while measuring the tables: {}", crate::postgres::describe(.0))]
    SumsFailed(#[from] sqlx::Error),
}

impl AppliedSumsError {
    /// The end of a step that could not go on without them.
    #[must_use]
    pub fn end(&self) -> StepEnd {
        match self {
            Self::Session(error) => error.end(),
            Self::SumsFailed(error) => statement_failed(error, "measuring the tables"),
        }
    }
}

/// Measures all tables and records the sums as what the run left. Called first thing after Apply or Script. The first
/// record stays: a later attempt would take the application's writes for the run's.
///
/// # Errors
/// [`AppliedSumsError`].
pub async fn record_applied(context: &StepContext) -> Result<(), AppliedSumsError> {
    let (ledger, uid) = (&context.input.spec.database.ledger_schema, &context.input.run.uid);
    let mut connection = open(context, Role::Main).await?;
    if !table_sums::exists(&mut connection, ledger).await? {
        tracing::warn!("the ledger has no table of sums; a loss account will compare with the dump's");
        return Ok(());
    }
    if table_sums::recorded(&mut connection, ledger, uid, APPLIED).await?.is_some() {
        return Ok(());
    }
    let remembers = make(&mut connection, ledger).await;
    let mut transactions = begin(&mut connection, "READ WRITE").await?;
    let tables = table_sums::tables(&mut connection, ledger).await?;
    let sums = table_sums::measure(&mut connection, &tables).await?;
    table_sums::record(&mut connection, ledger, uid, APPLIED, &sums).await?;
    if remembers {
        let names: Vec<&str> = tables.iter().map(|table| table.quoted.as_str()).collect();
        transactions.storage = transactions::storage(&mut connection, &names).await?;
        remember(&mut connection, ledger, uid, &transactions).await?;
    }
    sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
    let _ = connection.close().await;
    Ok(())
}

/// What the run left.
#[derive(Debug)]
pub(super) struct Applied {
    /// What the tables held.
    pub sums: Vec<TableSum>,
    /// The transactions that had ended by then; absent where a former release recorded it.
    pub transactions: Option<SeenTransactions>,
}

/// Reads what was recorded; `None` where nothing was.
pub(super) async fn read(connection: &mut PgConnection, ledger: &str, uid: &str) -> Result<Option<Applied>, sqlx::Error> {
    let Some(sums) = table_sums::recorded(connection, ledger, uid, APPLIED).await? else { return Ok(None) };
    let there: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(moments(ledger)).fetch_one(&mut *connection).await?;
    let mut seen: Option<Value> = None;
    if there {
        let sql = format!("SELECT seen FROM {} WHERE run_uid = $1::uuid AND moment = $2", moments(ledger));
        seen = sqlx::query_scalar(AssertSqlSafe(sql)).bind(uid).bind(APPLIED).fetch_optional(connection).await?;
    }
    Ok(Some(Applied { sums, transactions: seen.and_then(|seen| serde_json::from_value(seen).ok()) }))
}

fn moments(ledger: &str) -> String {
    format!("{}.moments", quote(ledger))
}

/// Beside the ledger's tables, so that a ledger of a former release has it, too. False where the role may not make it: sums
/// alone are compared then.
async fn make(connection: &mut PgConnection, ledger: &str) -> bool {
    let table = moments(ledger);
    let comment = quote_literal(&format!("{MARK} moments. The transactions that had ended when a run had applied its changes."));
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {table} (run_uid uuid NOT NULL, moment text NOT NULL, seen jsonb NOT NULL, PRIMARY KEY (run_uid, moment));
         COMMENT ON TABLE {table} IS {comment}"
    );
    let made = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    made.inspect_err(|error| tracing::warn!(error = crate::postgres::describe(error), "a loss account will compare sums alone")).is_ok()
}

async fn remember(connection: &mut PgConnection, ledger: &str, uid: &str, seen: &SeenTransactions) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO {} VALUES ($1::uuid, $2, $3) ON CONFLICT (run_uid, moment) DO UPDATE SET seen = excluded.seen",
        moments(ledger)
    );
    let seen = serde_json::to_value(seen).unwrap_or_default();
    sqlx::query(AssertSqlSafe(sql)).bind(uid).bind(APPLIED).bind(seen).execute(connection).await?;
    Ok(())
}

/// Begins a transaction in which sums are comparable and of one moment.
pub(super) async fn begin(connection: &mut PgConnection, access: &str) -> Result<SeenTransactions, sqlx::Error> {
    transactions::begin(connection, &format!("BEGIN ISOLATION LEVEL REPEATABLE READ {access}; {}", table_sums::SETTINGS)).await
}
