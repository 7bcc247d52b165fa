//! The snapshot that dump and sums are read from, held open by one idle transaction.

use super::error::BackupError;
use crate::postgres::origin::Origin;
use crate::postgres::table_sums::{self, TableName, TableSum};
use crate::postgres::{ServerFacts, facts};
use crate::steps::StepContext;
use crate::steps::run_tables;
use crate::steps::session::Session;
use jiff::Timestamp;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

/// An exported snapshot.
pub(super) struct Snapshot {
    connection: Option<PgConnection>,
    /// The tables whose rows the dump must have: all that are measured, and those that the run names.
    pub tables: Vec<TableName>,
    /// What `pg_dump --snapshot` takes.
    pub id: String,
    /// Position in the write-ahead log.
    pub lsn: String,
    /// When it was taken, by the server's clock.
    pub taken_at: Timestamp,
    /// The server.
    pub server: ServerFacts,
    /// The database: what a server must be like for its dump to fit.
    pub origin: Origin,
    /// What the dump may grow to at most, without compression.
    pub estimate_bytes: i64,
}

impl Snapshot {
    pub async fn open(context: &StepContext, session: &Session) -> Result<Self, BackupError> {
        let mut connection = session.connect().await?;
        // It is idle for as long as pg_dump runs.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}; SET LOCAL idle_in_transaction_session_timeout = 0",
            table_sums::SETTINGS
        );
        sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut connection).await?;
        let server = facts(&mut connection).await?;
        let origin = Origin::read(&mut connection).await?;
        let row = sqlx::query(
            "SELECT pg_export_snapshot() AS id, pg_current_wal_lsn()::text AS lsn, (extract(epoch FROM now()) * 1000000)::int8 AS micros",
        )
        .fetch_one(&mut connection)
        .await?;
        let micros: i64 = row.try_get("micros")?;
        let mut tables = table_sums::tables(&mut connection, &context.input.spec.database.ledger_schema).await?;
        for table in run_tables::named(&context.input.spec) {
            let found = run_tables::resolve(&mut connection, table).await?;
            if found.is_empty() {
                return Err(BackupError::TableMissing { table: table.to_owned() });
            }
            // A table of an extension is not measured, and is not in a dump: the proof then says so.
            tables.extend(found);
        }
        tables.sort();
        tables.dedup();
        Ok(Self {
            tables,
            id: row.try_get("id")?,
            lsn: row.try_get("lsn")?,
            taken_at: Timestamp::from_microsecond(micros).unwrap_or_else(|_| Timestamp::now()),
            server,
            origin,
            estimate_bytes: run_tables::dump_estimate(&mut connection).await?,
            connection: Some(connection),
        })
    }

    /// Measures every table of the dump.
    pub async fn sums(&mut self) -> Result<Vec<TableSum>, BackupError> {
        let Some(connection) = &mut self.connection else { return Ok(Vec::new()) };
        Ok(table_sums::measure(connection, &self.tables).await?)
    }

    /// Lets the snapshot go: it holds vacuum back.
    pub async fn close(&mut self) {
        if let Some(connection) = self.connection.take() {
            // Nothing was written, so an unclean end loses nothing.
            let _ = connection.close().await;
        }
    }
}
