//! One source row, judged: what would be written for it, and the fingerprint of that.

use super::model::{Model, Target};
use super::query::{self, Moment};
use futures::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::BTreeMap;
use thiserror::Error;

/// A key: one text a column.
pub type Key = Vec<String>;

/// How many keys an error names.
const NAMED: usize = 5;

/// Why rows cannot be judged.
#[derive(Debug, Error)]
pub enum RowError {
    /// `match` finds more than one target row.
    #[error(
        "backfill.sql.writes[{write}].match finds more than one row of {table} for the source rows with the keys {keys}: narrow it until it finds at most one"
    )]
    MatchNotUnique {
        /// Which write.
        write: usize,
        /// The target table.
        table: String,
        /// Source keys.
        keys: String,
    },
    /// A new value is too long for its column.
    #[error("the new value of {column} is longer than {max} characters for the source row {key}: shorten it in set, as in left(…, {max})")]
    ValueTooLong {
        /// Which column.
        column: String,
        /// The column's limit.
        max: usize,
        /// Key of the source row.
        key: String,
    },
    /// NULL for a column that refuses it.
    #[error("the new value of {column} is NULL for the source row {key}, and the column is NOT NULL: use coalesce(…) in set, or onlyIf")]
    NullRefused {
        /// Which column.
        column: String,
        /// Key of the source row.
        key: String,
    },
    /// The audit entry finds no place.
    #[error(
        "the audit entry finds no place in {column} of the source row {key}: on its path is something that is no object; choose another path"
    )]
    AuditPathBlocked {
        /// Which column.
        column: String,
        /// Key of the source row.
        key: String,
    },
    /// The database.
    #[error("reading rows failed: {}", crate::postgres::describe(.0))]
    Database(#[from] sqlx::Error),
}

/// What would be written to one target row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which write of the spec.
    pub write: usize,
    /// Key of the target row.
    pub key: Key,
    /// Old values of all set columns, as text.
    pub old: Vec<Option<String>>,
    /// New values; those of the moment are NULL at plan.
    pub new: Vec<Option<String>>,
}

/// A source row, judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// What would be written; empty: nothing.
    pub changes: Vec<Change>,
    /// True where at least one write found its target and `onlyIf` held.
    pub applies: bool,
    /// True where the audit entry, if one is asked for, finds its place.
    pub audit_fits: bool,
}

/// Judges the rows with these keys, by ordinal. A row that is gone, or for which `where` no longer holds, is not in the answer.
///
/// # Errors
/// [`RowError`].
pub async fn judge(
    connection: &mut PgConnection,
    model: &Model,
    keys: &BTreeMap<i64, Key>,
    moment: Moment,
) -> Result<BTreeMap<i64, Judged>, RowError> {
    let mut judged: BTreeMap<i64, Judged> = BTreeMap::new();
    for (index, write) in model.writes.iter().enumerate() {
        let mut seen_twice: Vec<String> = Vec::new();
        let mut found_at: Ordinals = Ordinals::new();
        let sql = query::evaluate(model, write, moment);
        let mut rows = with_keys(&sql, keys, model.source.key.len()).fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            let ordinal: i64 = row.try_get("ordinal")?;
            let entry = judged.entry(ordinal).or_insert_with(|| Judged { audit_fits: true, ..Judged::default() });
            entry.audit_fits &= row.try_get::<bool, _>("audit_fits")?;
            if row.try_get::<bool, _>("found")? && !found_at.insert(ordinal) {
                seen_twice.push(keys.get(&ordinal).map(|key| show(key)).unwrap_or_default());
                seen_twice.dedup();
                // The rest would only be more of the same, and may be many.
                if seen_twice.len() >= NAMED {
                    break;
                }
                continue;
            }
            if row.try_get::<bool, _>("holds")? {
                entry.applies = true;
                entry.changes.extend(change(&row, index, write)?);
            }
        }
        if !seen_twice.is_empty() {
            return Err(RowError::MatchNotUnique { write: index, table: write.table.display(), keys: seen_twice.join(", ") });
        }
    }
    Ok(judged)
}

/// Ordinals for which a target was found already.
type Ordinals = std::collections::BTreeSet<i64>;

/// `None` where all values that are known at plan are there already.
fn change(row: &PgRow, index: usize, write: &Target) -> Result<Option<Change>, sqlx::Error> {
    let old: Vec<Option<String>> = row.try_get("old")?;
    let new: Vec<Option<String>> = row.try_get("new")?;
    let changes = write.sets.iter().zip(old.iter().zip(&new)).any(|(set, (old, new))| !set.value.is_at_apply() && old != new);
    let change = || Ok::<_, sqlx::Error>(Change { write: index, key: row.try_get("key")?, old, new });
    if changes { change().map(Some) } else { Ok(None) }
}

/// A statement over keys: binds the ordinals, then the texts of each key column.
pub(super) fn with_keys<'q>(
    sql: &str,
    keys: &BTreeMap<i64, Key>,
    columns: usize,
) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
    let ordinals: Vec<i64> = keys.keys().copied().collect();
    let mut query = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false).bind(ordinals);
    for column in 0..columns {
        let texts: Vec<Option<String>> = keys.values().map(|key| key.get(column).cloned()).collect();
        query = query.bind(texts);
    }
    query
}

impl Judged {
    /// Checks what the server would refuse when the row is written.
    ///
    /// # Errors
    /// [`RowError::ValueTooLong`], [`RowError::NullRefused`], [`RowError::AuditPathBlocked`].
    pub fn check(&self, model: &Model, key: &Key) -> Result<(), RowError> {
        if let Some(audit) = model.audit.as_ref().filter(|_| !self.audit_fits) {
            return Err(RowError::AuditPathBlocked { column: audit.column.name.clone(), key: show(key) });
        }
        for change in &self.changes {
            let Some(write) = model.writes.get(change.write) else { continue };
            for (set, new) in write.sets.iter().zip(&change.new).filter(|(set, _)| !set.value.is_at_apply()) {
                let column = set.column.name.clone();
                match (new, set.column.max_chars) {
                    (None, _) if set.column.not_null => return Err(RowError::NullRefused { column, key: show(key) }),
                    (Some(text), Some(max)) if text.trim_end_matches(' ').chars().count() > max => {
                        return Err(RowError::ValueTooLong { column, max, key: show(key) });
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Eight bytes over the source key and all that would be written: it differs where anything of that does.
    #[must_use]
    pub fn fingerprint(&self, model: &Model, key: &Key) -> i64 {
        let mut hasher = blake3::Hasher::new();
        for part in key {
            frame(&mut hasher, Some(part));
        }
        for change in &self.changes {
            change.hash_into(model, &mut hasher);
        }
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        i64::from_be_bytes(bytes)
    }
}

impl Change {
    /// Table, key, and (column, old, new) of each value known at plan, in the columns' order.
    pub fn hash_into(&self, model: &Model, hasher: &mut blake3::Hasher) {
        let Some(write) = model.writes.get(self.write) else { return };
        frame(hasher, Some(&write.table.quoted()));
        hasher.update(&(self.key.len() as u64).to_be_bytes());
        for part in &self.key {
            frame(hasher, Some(part));
        }
        for (set, (old, new)) in write.sets.iter().zip(self.old.iter().zip(&self.new)).filter(|(set, _)| !set.value.is_at_apply()) {
            frame(hasher, Some(&set.column.name));
            frame(hasher, old.as_deref());
            frame(hasher, new.as_deref());
        }
    }
}

/// Length first, so that no two lists of texts hash alike; NULL is not the empty text.
fn frame(hasher: &mut blake3::Hasher, text: Option<&str>) {
    match text {
        None => {
            hasher.update(&[0]);
        }
        Some(text) => {
            hasher.update(&[1]).update(&(text.len() as u64).to_be_bytes()).update(text.as_bytes());
        }
    }
}

/// A key for people: `17`, or `acme/17` where it has several columns.
#[must_use]
pub fn show(key: &[String]) -> String {
    key.join("/")
}
