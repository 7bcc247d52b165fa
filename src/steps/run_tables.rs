//! The tables that a spec names, as the server knows them.

use crate::api::spec::{BackfillRunSpec, Cascades};
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

/// The tables that the run writes, each once; none in script mode.
#[must_use]
pub fn written(spec: &BackfillRunSpec) -> Vec<&str> {
    let Some(sql) = &spec.backfill.sql else { return Vec::new() };
    let source = sql.source.table.as_str();
    // An audit column is one of the source's own.
    let audited = sql.audit.as_ref().is_some_and(|audit| audit.column.is_some());
    let mut names = if audited { vec![source] } else { Vec::new() };
    for write in &sql.writes {
        let table = write.table.as_deref().unwrap_or(source);
        if !names.contains(&table) {
            names.push(table);
        }
    }
    names
}

/// What a delete takes along, however far.
const CASCADES: &str = "
    WITH RECURSIVE gone (oid) AS (
      SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name
      UNION SELECT f.conrelid FROM pg_constraint f JOIN gone ON f.confrelid = gone.oid WHERE f.contype = 'f' AND f.confdeltype = 'c')
    SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM gone JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace";

/// The tables that the run writes as the server knows them, with those that a delete takes along. A name that leads to none is the error.
///
/// # Errors
/// Those of the driver.
pub async fn resolve_written(connection: &mut PgConnection, spec: &BackfillRunSpec) -> Result<Result<Vec<TableName>, String>, sqlx::Error> {
    let mut names: Vec<String> = written(spec).into_iter().map(str::to_owned).collect();
    let source = spec.backfill.sql.as_ref().map(|sql| sql.source.table.as_str()).unwrap_or_default();
    let writes = spec.backfill.sql.iter().flat_map(|sql| &sql.writes);
    let deletes = writes.filter(|write| write.cascades == Cascades::Capture).map(|write| write.table.as_deref().unwrap_or(source));
    let deletes: Vec<&str> = deletes.collect();
    if !deletes.is_empty() {
        names.extend(sqlx::query_scalar::<_, String>(CASCADES).bind(&deletes).fetch_all(&mut *connection).await?);
    }
    let mut tables = Vec::new();
    for name in names {
        let found = resolve(connection, &name).await?;
        if found.is_empty() {
            return Ok(Err(name));
        }
        tables.extend(found);
    }
    tables.sort();
    tables.dedup();
    Ok(Ok(tables))
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

/// The size without indexes, of these tables or of all: what a dump grows to at most, since it is compressed and holds no
/// dead rows.
///
/// # Errors
/// Those of the driver.
pub async fn dump_estimate(connection: &mut PgConnection, of: Option<&[TableName]>) -> Result<i64, sqlx::Error> {
    let names: Option<Vec<&str>> = of.map(|tables| tables.iter().map(|table| table.quoted.as_str()).collect());
    sqlx::query_scalar(
        "SELECT coalesce(sum(pg_table_size(c.oid)), 0)::int8 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
         AND ($1::text[] IS NULL OR quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY($1))",
    )
    .bind(names)
    .fetch_one(connection)
    .await
}
