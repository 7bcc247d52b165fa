//! The sums of all tables at the moment when the run had applied its changes: what a loss account compares with.

use super::session::{Role, SessionError, open, statement_failed};
use super::{StepContext, StepEnd, moments};
use crate::postgres::table_sums;
use crate::postgres::transactions::{self, SeenTransactions};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
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
    let remembers = moments::make(&mut connection, ledger).await;
    let mut transactions = begin(&mut connection, "READ WRITE").await?;
    let tables = table_sums::tables(&mut connection, ledger).await?;
    let sums = table_sums::measure(&mut connection, &tables).await?;
    table_sums::record(&mut connection, ledger, uid, APPLIED, &sums).await?;
    if remembers {
        let names: Vec<&str> = tables.iter().map(|table| table.quoted.as_str()).collect();
        transactions.storage = transactions::storage(&mut connection, &names).await?;
        moments::applied(&mut connection, ledger, uid, &transactions).await?;
    }
    sqlx::raw_sql("COMMIT").execute(&mut connection).await?;
    let _ = connection.close().await;
    Ok(())
}

/// Begins a transaction in which sums are comparable and of one moment.
pub(super) async fn begin(connection: &mut PgConnection, access: &str) -> Result<SeenTransactions, sqlx::Error> {
    transactions::begin(connection, &format!("BEGIN ISOLATION LEVEL REPEATABLE READ {access}; {}", table_sums::SETTINGS)).await
}
