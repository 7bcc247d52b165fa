//! Keeps the run's own writers out while the dump comes back.

use super::error::RestoreError;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

/// Which tables of the ledger there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fence {
    /// `runs`: state and epoch of each run.
    pub runs: bool,
    /// `claim`: who may change the database.
    pub claim: bool,
}

/// Raises the run's epoch, so that no batch of an earlier attempt can commit, and ends sessions of the operator's role
/// that call themselves ours: they may be workers that died without their connection noticing.
pub(super) async fn raise(connection: &mut PgConnection, ledger: &str, run_uid: &str) -> Result<Fence, RestoreError> {
    let fence = Fence { runs: has_table(connection, ledger, "runs").await?, claim: has_table(connection, ledger, "claim").await? };
    if fence.runs {
        let raise = format!("UPDATE \"{ledger}\".runs SET epoch = epoch + 1 WHERE uid::text = $1");
        sqlx::query(AssertSqlSafe(raise)).bind(run_uid).execute(&mut *connection).await?;
    }
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user \
         AND pid <> pg_backend_pid() AND application_name LIKE 'backfill/%'",
    )
    .execute(connection)
    .await?;
    Ok(fence)
}

async fn has_table(connection: &mut PgConnection, schema: &str, table: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = $2)")
        .bind(schema)
        .bind(table)
        .fetch_one(connection)
        .await
}
