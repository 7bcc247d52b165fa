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
    /// How many rows it wrote.
    pub(super) rows: i64,
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

/// As the ledger has it: seq, action, write, rows; names and types of the key columns, then of the others, with identity.
type Row = (i32, String, Value, i64, Option<Vec<String>>, Option<Vec<Option<String>>>, Vec<String>, Vec<Option<String>>, Vec<Option<bool>>);

/// The writes of a batch, in the order in which they are undone: the last first, audit entries at the end, so that an
/// entry can stay where its row stays. Types are those that the columns have now.
pub(super) async fn parts(connection: &mut PgConnection, ledger: &Ledger, batch: Batch) -> Result<Vec<Part>, UndoError> {
    let list = |what: &str, role: &str| format!("array_agg({what} ORDER BY u.name) FILTER (WHERE u.role = '{role}')");
    let of_columns = |what: &str| format!("coalesce({}, '{{}}')", list(what, "column"));
    let sql = format!(
        "SELECT u.seq, u.action, w.write, coalesce(max(cardinality(u.hashes)) FILTER (WHERE u.role = 'row'), 0)::int8, {}, {}, {}, {}, {}
         FROM {} u JOIN {} r ON r.uid = u.run_uid
         CROSS JOIN LATERAL (SELECT write FROM jsonb_array_elements(r.writes) AS write WHERE (write->>'seq')::int = u.seq) AS w
         LEFT JOIN pg_attribute a ON u.role <> 'row' AND a.attrelid = to_regclass(w.write->>'table') AND a.attname = u.name AND NOT a.attisdropped
         WHERE u.run_uid = $1 AND u.range = $2 AND u.batch = $3
         GROUP BY u.seq, u.action, w.write ORDER BY u.action = 'Entry', u.seq DESC, u.action DESC",
        list("u.name", "key"),
        list("format_type(a.atttypid, -1)", "key"),
        of_columns("u.name"),
        of_columns("format_type(a.atttypid, -1)"),
        of_columns("a.attidentity <> ''"),
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
    for (seq, action, write, rows, key, key_kinds, columns, kinds, identities) in rows {
        let Some(action) = Action::of(&action) else { continue };
        let text = |field: &str| write.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
        let list = |field: &str| -> Vec<String> {
            let items = write.get(field).and_then(Value::as_array).cloned().unwrap_or_default();
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let of_audit = |field: &str| write.pointer(&format!("/audit/{field}")).and_then(Value::as_str).map(str::to_owned);
        let audit = of_audit("table").zip(of_audit("run")).zip(of_audit("planDigest")).map(|((table, run), digest)| (table, run, digest));
        let (table, compare, path) = (text("table"), list("compare"), list("path"));
        let key = typed(&table, key.unwrap_or_default(), key_kinds.unwrap_or_default(), Vec::new())?;
        // An inserted row is compared as a whole.
        let columns = if action == Action::Insert { Vec::new() } else { typed(&table, columns, kinds, identities)? };
        let entry = write.get("entry").cloned().unwrap_or(Value::Null);
        let captured = write.get("captured").and_then(Value::as_bool).unwrap_or(false);
        parts.push(Part { seq, action, rows, table, key, columns, compare, path, entry, audit, captured });
    }
    Ok(parts)
}

fn typed(table: &str, names: Vec<String>, kinds: Vec<Option<String>>, identities: Vec<Option<bool>>) -> Result<Vec<Typed>, UndoError> {
    let identities = identities.into_iter().map(Option::unwrap_or_default).chain(std::iter::repeat(false));
    let columns = names.into_iter().zip(kinds).zip(identities);
    let typed = columns.map(|((name, kind), identity)| match kind {
        Some(kind) => Ok(Typed { name, kind, identity }),
        None => Err(UndoError::TargetGone(format!("{table}, column {name}"))),
    });
    typed.collect()
}
