//! What one write of one batch left in the ledger: which table, which columns, and what decides whether a row goes back.

use super::UndoError;
use super::statement::Batch;
use crate::engine::ledger::Ledger;
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgConnection};

/// What was done to the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Columns were set.
    Update,
    /// Rows were added.
    Insert,
    /// Rows were removed.
    Delete,
    /// An audit entry was put into a column.
    Entry,
}

impl Action {
    /// As the ledger writes it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Update => "Update",
            Self::Insert => "Insert",
            Self::Delete => "Delete",
            Self::Entry => "Entry",
        }
    }

    fn of(text: &str) -> Option<Self> {
        [Self::Update, Self::Insert, Self::Delete, Self::Entry].into_iter().find(|action| action.as_str() == text)
    }
}

/// A column with its type, as it is now.
#[derive(Clone, Debug)]
pub(super) struct Typed {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) identity: bool,
}

/// One write of a batch.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) seq: i32,
    pub(super) action: Action,
    /// The target table, quoted.
    pub(super) table: String,
    /// Key columns.
    pub(super) key: Vec<Typed>,
    /// Columns that were written, or kept.
    pub(super) columns: Vec<Typed>,
    /// Those that must be as the run left them.
    pub(super) compare: Vec<String>,
    /// Path of an audit entry.
    pub(super) path: Vec<String>,
    /// What is constant in the entry.
    pub(super) entry: Value,
    /// Table of audit entries, with run and plan digest.
    pub(super) audit: Option<(String, String, String)>,
    /// Captured of a script: a row that is as it was before by now, whoever saw to that, is put back.
    pub(super) captured: bool,
}

/// As the ledger has it: seq, action, write, key columns, written columns.
type Row = (i32, String, Value, Vec<String>, Vec<String>);

/// The writes of a batch, in the order in which they are undone: the last first, audit entries at the end, so that an
/// entry can stay where its row stays. Types are those that the columns have now.
pub(super) async fn parts(connection: &mut PgConnection, ledger: &Ledger, batch: Batch) -> Result<Vec<Part>, UndoError> {
    let sql = format!(
        "SELECT u.seq, u.action, w.write, array_agg(u.name ORDER BY u.name) FILTER (WHERE u.role = 'key'),
                coalesce(array_agg(u.name ORDER BY u.name) FILTER (WHERE u.role = 'column'), '{{}}')
         FROM {} u JOIN {} r ON r.uid = u.run_uid
         CROSS JOIN LATERAL (SELECT write FROM jsonb_array_elements(r.writes) AS write WHERE (write->>'seq')::int = u.seq) AS w
         WHERE u.run_uid = $1 AND u.range = $2 AND u.batch = $3
         GROUP BY u.seq, u.action, w.write ORDER BY u.action = 'Entry', u.seq DESC, u.action DESC",
        ledger.table("undo"),
        ledger.table("runs"),
    );
    let rows: Vec<Row> = sqlx::query_as(AssertSqlSafe(sql))
        .persistent(false)
        .bind(ledger.uid())
        .bind(batch.range)
        .bind(batch.batch)
        .fetch_all(&mut *connection)
        .await?;
    let mut parts = Vec::with_capacity(rows.len());
    for (seq, action, write, key, columns) in rows {
        let Some(action) = Action::of(&action) else { continue };
        let text = |field: &str| write.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |field: &str| -> Vec<String> {
            let items = write.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let of_audit = |field: &str| write.pointer(&format!("/audit/{field}")).and_then(Value::as_str).map(str::to_owned);
        let audit = of_audit("table").zip(of_audit("run")).zip(of_audit("planDigest")).map(|((table, run), digest)| (table, run, digest));
        let (table, compare, path) = (text("table"), list("compare"), list("path"));
        // An inserted row is compared as a whole.
        let whole = action == Action::Insert;
        let key = types(connection, &table, &key).await?;
        let columns = if whole { Vec::new() } else { types(connection, &table, &columns).await? };
        let entry = write.get("entry").cloned().unwrap_or(Value::Null);
        let captured = write.get("captured").and_then(Value::as_bool).unwrap_or(false);
        parts.push(Part { seq, action, table, key, columns, compare, path, entry, audit, captured });
    }
    Ok(parts)
}

async fn types(connection: &mut PgConnection, table: &str, columns: &[String]) -> Result<Vec<Typed>, UndoError> {
    let found: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT a.attname::text, format_type(a.atttypid, -1), a.attidentity <> '' FROM pg_attribute a
         WHERE a.attrelid = to_regclass($1) AND a.attname = ANY ($2) AND NOT a.attisdropped ORDER BY a.attname",
    )
    .persistent(false)
    .bind(table)
    .bind(columns)
    .fetch_all(connection)
    .await?;
    match columns.iter().find(|column| found.iter().all(|(name, ..)| name != *column)) {
        Some(column) => Err(UndoError::TargetGone(format!("{table}, column {column}"))),
        None => Ok(found.into_iter().map(|(name, kind, identity)| Typed { name, kind, identity }).collect()),
    }
}
