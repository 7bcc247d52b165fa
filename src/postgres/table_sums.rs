//! A sum over every table: its rows and an order-free digest of them. Two equal sums mean equal content, as far as
//! 64-bit hashes can say; they prove nothing against an adversary, and are for telling people what differs.

use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, FromRow, Row as _};

/// The text of a row depends on these, so a sum is only comparable under them.
pub const SETTINGS: &str = "SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL IntervalStyle = 'postgres'; \
     SET LOCAL bytea_output = 'hex'; SET LOCAL extra_float_digits = 1; SET LOCAL search_path = public; SET LOCAL row_security = off; \
     SET LOCAL statement_timeout = 0";

/// A table by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// Schema and name as SQL writes them, quoted where needed: `public."Booking"`.
    pub quoted: String,
}

impl TableName {
    /// The SELECT of all user tables but those of the ledger's schema, which is given as an SQL expression: `schema`, `name`,
    /// `owner`, `quoted`.
    #[must_use]
    pub fn all(ledger_schema: &str) -> String {
        format!(
            "SELECT n.nspname::text AS schema, c.relname::text AS name, pg_get_userbyid(c.relowner)::text AS owner, \
             quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS quoted \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> {ledger_schema} \
             AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
             AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
             ORDER BY 1, 2"
        )
    }
}

impl FromRow<'_, PgRow> for TableName {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            schema: row.try_get("schema")?,
            name: row.try_get("name")?,
            owner: row.try_get("owner")?,
            quoted: row.try_get("quoted")?,
        })
    }
}

/// The sum over a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSum {
    /// The table, as SQL writes it.
    pub table: String,
    /// Its rows.
    pub rows: i64,
    /// Sum of the rows' 64-bit hashes, in decimal: the same in every order, and it counts duplicates.
    pub digest: String,
}

/// The tables whose rows a dump has: ordinary tables and partitions outside the system, extensions and the ledger's schema.
///
/// # Errors
/// Those of the driver.
pub async fn tables(connection: &mut PgConnection, ledger_schema: &str) -> Result<Vec<TableName>, sqlx::Error> {
    sqlx::query_as(AssertSqlSafe(TableName::all("$1"))).bind(ledger_schema).fetch_all(connection).await
}

/// The SELECT that measures one table, given as SQL writes it: `rows`, `digest`.
#[must_use]
pub fn select(quoted_table: &str) -> String {
    // `.*` names the whole row even where a column is called like the alias.
    format!(
        "SELECT count(*) AS rows, coalesce(sum(hashtextextended((backfill_row.*)::text, 0)::numeric), 0)::text AS digest \
         FROM ONLY {quoted_table} AS backfill_row"
    )
}

/// Measures tables. Begin a transaction with [`SETTINGS`] before it.
///
/// # Errors
/// Those of the driver.
pub async fn measure(connection: &mut PgConnection, tables: &[TableName]) -> Result<Vec<TableSum>, sqlx::Error> {
    let mut sums = Vec::with_capacity(tables.len());
    for table in tables {
        let row = sqlx::query(AssertSqlSafe(select(&table.quoted))).fetch_one(&mut *connection).await?;
        sums.push(TableSum { table: table.quoted.clone(), rows: row.try_get("rows")?, digest: row.try_get("digest")? });
    }
    Ok(sums)
}

/// True where the ledger has its table of sums.
///
/// # Errors
/// Those of the driver.
pub async fn exists(connection: &mut PgConnection, ledger_schema: &str) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_tables WHERE schemaname = $1 AND tablename = 'table_sums')")
        .bind(ledger_schema)
        .fetch_one(connection)
        .await
}

/// Writes the sums of a moment to the ledger, in place of earlier ones of that moment.
///
/// # Errors
/// Those of the driver.
pub async fn record(
    connection: &mut PgConnection,
    ledger_schema: &str,
    run_uid: &str,
    moment: &str,
    sums: &[TableSum],
) -> Result<(), sqlx::Error> {
    let delete = format!("DELETE FROM \"{ledger_schema}\".table_sums WHERE run_uid = $1::uuid AND moment = $2");
    sqlx::query(AssertSqlSafe(delete)).bind(run_uid).bind(moment).execute(&mut *connection).await?;
    let insert = format!(
        "INSERT INTO \"{ledger_schema}\".table_sums (run_uid, moment, table_name, rows, digest) \
         SELECT $1::uuid, $2, * FROM unnest($3::text[], $4::int8[], $5::text[])"
    );
    let names: Vec<&str> = sums.iter().map(|s| s.table.as_str()).collect();
    let rows: Vec<i64> = sums.iter().map(|s| s.rows).collect();
    let digests: Vec<&str> = sums.iter().map(|s| s.digest.as_str()).collect();
    sqlx::query(AssertSqlSafe(insert)).bind(run_uid).bind(moment).bind(names).bind(rows).bind(digests).execute(connection).await?;
    Ok(())
}

/// Reads the sums of a moment from the ledger; `None` where none were recorded.
///
/// # Errors
/// Those of the driver.
pub async fn recorded(
    connection: &mut PgConnection,
    ledger_schema: &str,
    run_uid: &str,
    moment: &str,
) -> Result<Option<Vec<TableSum>>, sqlx::Error> {
    if !exists(connection, ledger_schema).await? {
        return Ok(None);
    }
    let query = format!(
        "SELECT table_name, rows, digest FROM \"{ledger_schema}\".table_sums WHERE run_uid = $1::uuid AND moment = $2 ORDER BY table_name"
    );
    let rows = sqlx::query(AssertSqlSafe(query)).bind(run_uid).bind(moment).fetch_all(connection).await?;
    let sums = rows
        .iter()
        .map(|row| Ok(TableSum { table: row.try_get("table_name")?, rows: row.try_get("rows")?, digest: row.try_get("digest")? }))
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    Ok((!sums.is_empty()).then_some(sums))
}
