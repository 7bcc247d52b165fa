//! The statement that puts one write of one batch back, built from what the undo rows say about themselves.

use super::UndoError;
use crate::engine::ledger::Ledger;
use crate::engine::query::{at_path, path_array};
use crate::engine::sql::{quote, quote_literal};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

/// What all undo rows of one write of a batch have in common.
#[derive(Clone, Debug)]
pub(super) struct Write {
    seq: i32,
    /// The target table, quoted.
    pub(super) table: String,
    /// Key columns with their types.
    key: Vec<(String, String)>,
    /// Written columns with their types.
    columns: Vec<(String, String)>,
    /// Those that must be as the run left them.
    compare: Vec<String>,
    /// Path of an audit entry.
    path: Option<Vec<String>>,
}

/// The writes of a batch, or of the whole run: the audit entry comes last, so that it can stay where its row stays.
/// Types are those that the columns have now.
pub(super) async fn writes_of(connection: &mut PgConnection, ledger: &Ledger, batch: Option<i64>) -> Result<Vec<Write>, UndoError> {
    let sql = format!(
        "SELECT DISTINCT ON (seq) seq, table_name, compare, path, ARRAY(SELECT jsonb_object_keys(key)) AS key,
                ARRAY(SELECT jsonb_object_keys(before)) AS columns
         FROM {} WHERE run_uid = $1 AND ($2::int8 IS NULL OR batch = $2) ORDER BY seq",
        ledger.table("undo")
    );
    let rows = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(batch).fetch_all(&mut *connection).await?;
    let mut writes = Vec::with_capacity(rows.len());
    for row in rows {
        let table: String = row.try_get("table_name")?;
        let key = types(connection, &table, &row.try_get::<Vec<String>, _>("key")?).await?;
        let columns = types(connection, &table, &row.try_get::<Vec<String>, _>("columns")?).await?;
        writes.push(Write { seq: row.try_get("seq")?, table, key, columns, compare: row.try_get("compare")?, path: row.try_get("path")? });
    }
    Ok(writes)
}

async fn types(connection: &mut PgConnection, table: &str, columns: &[String]) -> Result<Vec<(String, String)>, UndoError> {
    let found: Vec<(String, String)> = sqlx::query_as(
        "SELECT a.attname::text, format_type(a.atttypid, -1) FROM pg_attribute a
         WHERE a.attrelid = to_regclass($1) AND a.attname = ANY ($2) AND NOT a.attisdropped ORDER BY a.attname",
    )
    .persistent(false)
    .bind(table)
    .bind(columns)
    .fetch_all(connection)
    .await?;
    match columns.iter().find(|column| found.iter().all(|(name, _)| name != *column)) {
        Some(column) => Err(UndoError::TargetGone(format!("{table}, column {column}"))),
        None => Ok(found),
    }
}

/// Puts the rows of one write back where they are as the run left them, and marks every row with what happened to it.
pub(super) async fn undo_write(connection: &mut PgConnection, ledger: &Ledger, batch: i64, write: &Write) -> Result<(), UndoError> {
    let undo = ledger.table("undo");
    let (sets, unchanged) = match &write.path {
        Some(path) => audit(write, path),
        None => data(write),
    };
    let sql = format!(
        "WITH u AS MATERIALIZED (
             SELECT ordinal, seq, key, before, after, entry,
                    NOT EXISTS (SELECT FROM {undo} d WHERE d.run_uid = o.run_uid AND d.batch = o.batch AND d.ordinal = o.ordinal
                                AND d.seq < o.seq AND d.result = 'Skipped') AS wanted
             FROM {undo} o WHERE run_uid = $1 AND batch = $2 AND seq = $3 AND undone_at IS NULL),
         w AS (UPDATE {table} AS t SET {sets} FROM u WHERE u.wanted AND {key} AND {unchanged} RETURNING u.ordinal)
         UPDATE {undo} o SET undone_at = now(), result = CASE WHEN o.ordinal IN (SELECT ordinal FROM w) THEN 'Undone' ELSE 'Skipped' END
         FROM u WHERE o.run_uid = $1 AND o.batch = $2 AND o.seq = u.seq AND o.ordinal = u.ordinal",
        table = write.table,
        key = write.key_equals(),
    );
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(batch).bind(write.seq);
    query.execute(connection).await.map_err(|error| write.gone(error))?;
    Ok(())
}

/// Written rows whose deciding columns are no longer as the run left them, or that are gone.
pub(super) async fn count_changed(connection: &mut PgConnection, ledger: &Ledger, write: &Write) -> Result<i64, UndoError> {
    let unchanged = match &write.path {
        Some(path) => audit(write, path).1,
        None => data(write).1,
    };
    let sql = format!(
        "SELECT count(*) FROM {undo} u LEFT JOIN {table} t ON {key} WHERE u.run_uid = $1 AND u.seq = $2 AND coalesce({unchanged}, false) IS NOT TRUE",
        undo = ledger.table("undo"),
        table = write.table,
        key = write.key_equals(),
    );
    let query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(write.seq);
    query.fetch_one(connection).await.map_err(|error| write.gone(error))
}

impl Write {
    fn key_equals(&self) -> String {
        let pairs = self.key.iter().map(|(name, kind)| format!("t.{} = (u.key->>{})::{kind}", quote(name), quote_literal(name)));
        pairs.collect::<Vec<_>>().join(" AND ")
    }
}

/// Columns that decide must be unchanged; values of the moment (`updated_at`) go back only if they are, too: the
/// application may have touched them with a write to another column.
fn data(write: &Write) -> (String, String) {
    let same =
        |name: &str| format!("hashtextextended(t.{}::text, 0) IS NOT DISTINCT FROM (u.after->>{})::int8", quote(name), quote_literal(name));
    let sets = write.columns.iter().map(|(name, kind)| {
        let (column, before) = (quote(name), format!("(u.before->>{})::{kind}", quote_literal(name)));
        if write.compare.contains(name) {
            format!("{column} = {before}")
        } else {
            format!("{column} = CASE WHEN {} THEN {before} ELSE t.{column} END", same(name))
        }
    });
    let unchanged: Vec<String> = write.compare.iter().map(|name| same(name)).collect();
    (sets.collect::<Vec<_>>().join(", "), unchanged.join(" AND "))
}

/// Where the column is as the run left it, the whole of it goes back; where the application wrote beside the entry, only
/// the entry does.
fn audit(write: &Write, path: &[String]) -> (String, String) {
    let Some((name, _)) = write.columns.first() else { return (String::new(), "false".into()) };
    let (column, literal) = (format!("t.{}", quote(name)), quote_literal(name));
    let before = format!("(u.before->>{literal})::jsonb");
    let before_entry = at_path(&before, path);
    let sets = format!(
        "{} = CASE WHEN hashtextextended({column}::text, 0) IS NOT DISTINCT FROM (u.after->>{literal})::int8 THEN {before}
              WHEN {before_entry} IS NULL THEN {column} #- {path}
              ELSE jsonb_set({column}, {path}, {before_entry}) END",
        quote(name),
        path = path_array(path),
    );
    (sets, format!("{}::text = u.entry", at_path(&column, path)))
}
