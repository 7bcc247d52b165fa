//! The tables that a spec names, as the server knows them.

use crate::api::spec::BackfillRunSpec;
use crate::postgres::sqlstate;
use crate::postgres::table_sums::TableName;
use sqlx::postgres::PgConnection;

/// The tables of the spec, source first, each once; none in script mode.
#[must_use]
pub fn named(spec: &BackfillRunSpec) -> Vec<&str> {
    let Some(sql) = &spec.backfill.sql else { return Vec::new() };
    let mut names = vec![sql.source.table.as_str()];
    for table in sql.writes.iter().filter_map(|write| write.table.as_deref()) {
        if !names.contains(&table) {
            names.push(table);
        }
    }
    names
}

/// The table, or the partitions of a partitioned one; empty where there is none of this name.
///
/// # Errors
/// Those of the driver; a malformed name or a schema that may not be used is no table.
pub async fn resolve(connection: &mut PgConnection, table: &str) -> Result<Vec<TableName>, sqlx::Error> {
    let found = sqlx::query_as(
        "SELECT n.nspname::text AS schema, c.relname::text AS name, pg_get_userbyid(c.relowner)::text AS owner, \
         quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS quoted \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind = 'r' AND (c.oid = to_regclass($1) OR c.oid IN (SELECT relid FROM pg_partition_tree(to_regclass($1)) WHERE isleaf)) \
         ORDER BY 1, 2",
    )
    .bind(table)
    .fetch_all(connection)
    .await;
    match found {
        // 42: a name that is none, a schema without USAGE.
        Err(error) if sqlstate(&error).is_some_and(|code| code.starts_with("42")) => Ok(Vec::new()),
        other => other,
    }
}

/// The size of all tables without their indexes: what a dump grows to at most, since it is compressed and holds no
/// dead rows.
///
/// # Errors
/// Those of the driver.
pub async fn dump_estimate(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT coalesce(sum(pg_table_size(c.oid)), 0)::int8 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'",
    )
    .fetch_one(connection)
    .await
}
