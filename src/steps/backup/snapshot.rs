//! The snapshot that dump and sums are read from, held open by one idle transaction.

use super::dump::LOCK_WAIT_MS;
use super::error::BackupError;
use crate::api::spec::Scope;
use crate::postgres::origin::Origin;
use crate::postgres::table_sums::{self, TableName, TableSum};
use crate::postgres::transactions::{self, SeenTransactions};
use crate::postgres::{ServerFacts, database_id, describe, facts, sqlstate};
use crate::steps::StepContext;
use crate::steps::run_tables;
use crate::steps::session::Session;
use jiff::Timestamp;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};
use std::collections::BTreeMap;

/// What a new database must be made with, and what it sets. Settings of an application's own (`app.key`) may be secrets.
const SETTINGS: &str = "
    SELECT s.name, s.value FROM pg_database d, LATERAL (VALUES ('encoding', pg_encoding_to_char(d.encoding)), ('collate', d.datcollate::text), ('ctype', d.datctype::text)) s (name, value)
    WHERE d.datname = current_database() AND s.value IS NOT NULL
    UNION ALL
    SELECT split_part(c, '=', 1), substr(c, strpos(c, '=') + 1) FROM pg_db_role_setting r, unnest(r.setconfig) c
    WHERE r.setrole = 0 AND r.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND split_part(c, '=', 1) !~ '[.]'";

const ROLES: &str = "
    SELECT DISTINCT pg_get_userbyid(refobjid)::text FROM pg_shdepend
    WHERE refclassid = 'pg_authid'::regclass AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) ORDER BY 1";

/// What a dump of scope `Tables` leaves out.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// The tables whose rows are not in it.
    pub tables: Vec<TableName>,
    /// Foreign keys of the tables whose rows are in it, to such tables: as the archive's list names them.
    pub keys: Vec<String>,
}

/// A key of a partitioned table is one of the table, and its rows are those of the partitions.
const LEADS_OUT: &str = "
    WITH dumped AS (SELECT name::regclass AS oid FROM unnest($1::text[]) AS name),
         family AS (SELECT oid FROM dumped UNION SELECT p.relid FROM dumped, pg_partition_ancestors(dumped.oid) AS p (relid))
    SELECT entry || ' ' || pg_get_userbyid(c.relowner)
    FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
         LATERAL (VALUES ('FK CONSTRAINT ' || n.nspname || ' ' || c.relname || ' ' || f.conname),
                         ('COMMENT ' || n.nspname || ' CONSTRAINT ' || quote_ident(f.conname) || ' ON ' || quote_ident(c.relname))) AS e (entry)
    WHERE f.contype = 'f' AND f.conrelid IN (SELECT oid FROM family) AND f.confrelid NOT IN (SELECT oid FROM family) ORDER BY 1 DESC";

/// An exported snapshot.
pub(super) struct Snapshot {
    connection: Option<PgConnection>,
    /// The tables whose rows the dump must have: all that are measured, and those that the run names; of scope `Tables`, those
    /// that it writes.
    pub tables: Vec<TableName>,
    /// Of scope `Tables`: those whose rows it must not have, and what is then said of its own.
    pub others: Others,
    /// What `pg_dump --snapshot` takes.
    pub id: String,
    /// Position in the write-ahead log.
    pub lsn: String,
    /// The transactions that it sees.
    pub transactions: SeenTransactions,
    /// When it was taken, by the server's clock.
    pub taken_at: Timestamp,
    /// The server.
    pub server: ServerFacts,
    /// The database: what a server must be like for its dump to fit.
    pub origin: Origin,
    /// Which database it is.
    pub database_id: String,
    /// Encoding, collation and what the database sets by itself.
    pub settings: BTreeMap<String, String>,
    /// Roles that own something in the database, or are granted something: a restore needs them.
    pub roles: Vec<String>,
    /// What the dump may grow to at most, without compression.
    pub estimate_bytes: i64,
}

impl Snapshot {
    pub async fn open(context: &StepContext, session: &Session) -> Result<Self, BackupError> {
        let mut connection = session.connect().await?;
        // It is idle for as long as pg_dump runs; the sums come after it.
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}; SET LOCAL idle_in_transaction_session_timeout = 0",
            table_sums::SETTINGS
        );
        let mut transactions = transactions::begin(&mut connection, &begin).await?;
        let server = facts(&mut connection).await?;
        let origin = Origin::read(&mut connection).await?;
        let row = sqlx::query(
            "SELECT pg_export_snapshot() AS id, pg_current_wal_lsn()::text AS lsn, (extract(epoch FROM now()) * 1000000)::int8 AS micros",
        )
        .fetch_one(&mut connection)
        .await?;
        let micros: i64 = row.try_get("micros")?;
        let database_id = database_id(&mut connection, &server).await?;
        let settings: Vec<(String, String)> = sqlx::query_as(SETTINGS).fetch_all(&mut connection).await?;
        let roles: Vec<String> = sqlx::query_scalar(ROLES).fetch_all(&mut connection).await?;
        let (tables, others) = tables(context, &mut connection).await?;
        hold(&mut connection, &tables).await?;
        let names: Vec<&str> = tables.iter().map(|table| table.quoted.as_str()).collect();
        transactions.storage = transactions::storage(&mut connection, &names).await?;
        let estimated = (context.input.spec.backup.scope == Scope::Tables).then_some(tables.as_slice());
        let estimate_bytes = run_tables::dump_estimate(&mut connection, estimated).await?;
        Ok(Self {
            tables,
            others,
            id: row.try_get("id")?,
            lsn: row.try_get("lsn")?,
            transactions,
            taken_at: Timestamp::from_microsecond(micros).unwrap_or_else(|_| Timestamp::now()),
            server,
            origin,
            database_id,
            settings: settings.into_iter().collect(),
            roles,
            estimate_bytes,
            connection: Some(connection),
        })
    }

    /// Measures every table whose rows are in the dump.
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

/// Keeps TRUNCATE and changes of definition away until the sums are taken: a snapshot does not keep what these remove. `pg_dump`
/// does so only for as long as it runs.
async fn hold(connection: &mut PgConnection, tables: &[TableName]) -> Result<(), BackupError> {
    if tables.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = tables.iter().map(|table| format!("ONLY {}", table.quoted)).collect();
    let sql = format!("SET LOCAL lock_timeout = {LOCK_WAIT_MS}; LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await {
        Err(error) if sqlstate(&error).as_deref() == Some("55P03") => Err(BackupError::DumpBlocked { detail: describe(&error) }),
        locked => Ok(locked.map(|_| ())?),
    }
}

/// The tables whose rows the dump must have, and those whose rows it must not have.
async fn tables(context: &StepContext, connection: &mut PgConnection) -> Result<(Vec<TableName>, Others), BackupError> {
    let spec = &context.input.spec;
    let mut all = table_sums::tables(connection, &spec.database.ledger_schema).await?;
    if spec.backup.scope == Scope::Tables {
        let written = run_tables::resolve_written(connection, spec).await?;
        let tables = written.map_err(|table| BackupError::TableMissing { table })?;
        all.retain(|table| !tables.contains(table));
        let names: Vec<&str> = tables.iter().map(|table| table.quoted.as_str()).collect();
        let keys = sqlx::query_scalar(LEADS_OUT).bind(&names).fetch_all(connection).await?;
        return Ok((tables, Others { tables: all, keys }));
    }
    for table in run_tables::named(spec) {
        let found = run_tables::resolve(connection, table).await?;
        if found.is_empty() {
            return Err(BackupError::TableMissing { table: table.to_owned() });
        }
        // A table of an extension is not measured, and is not in a dump: the proof then says so.
        all.extend(found);
    }
    all.sort();
    all.dedup();
    Ok((all, Others::default()))
}
