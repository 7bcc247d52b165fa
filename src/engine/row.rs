//! One source row, judged: what would be written for it, and the fingerprint of that.

use super::answer::Answer;
use super::model::{Model, Target, WriteAction};
use super::query::{Question, WriteColumns, updates_existing};
use crate::api::spec::ConflictMode;
use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

/// A key: one text a column.
pub type Key = Vec<String>;

/// Why rows cannot be judged.
#[derive(Debug, Error)]
pub enum RowError {
    /// A join or a match finds more than one row.
    #[error("{0}")]
    NotUnique(String),
    /// A row that shall be inserted is there already, and none may be.
    #[error("the row {key} of {table} is there already (for the source row {source_key}), and onConflict.mode is Fail")]
    InsertConflict {
        /// The target table.
        table: String,
        /// Key of the target row.
        key: String,
        /// Key of the source row.
        source_key: String,
    },
    /// Rows of another table refer to one that shall be deleted.
    #[error(
        "the row {key} of {table} cannot be deleted: rows of {by} refer to it. Delete or change those first, by a run of their own, or leave the row out with onlyIf"
    )]
    Referred {
        /// The target table.
        table: String,
        /// Key of the target row.
        key: String,
        /// The referring table.
        by: String,
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

/// What is done to one target row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Columns are set.
    Update,
    /// It is added.
    Insert,
    /// It is removed.
    Delete,
}

/// What would be written to one target row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which write of the spec.
    pub write: usize,
    /// What is done.
    pub kind: Kind,
    /// Key of the target row.
    pub key: Key,
    /// `xmin` of the target row, at apply; `None` for an insert.
    pub version: Option<String>,
    /// Old values of the kept columns, as text; empty for an insert.
    pub old: Vec<Option<String>>,
    /// New values of the set columns; those of the moment are NULL at plan.
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
    /// `xmin` of the source row, at apply.
    pub version: Option<String>,
    /// At apply: what is at the audit entry's path, and the number of objects on the path.
    pub audit_before: Vec<Option<String>>,
    /// At apply: the fingerprint, and the hash of each change.
    pub hashed: Option<(i64, Vec<blake3::Hash>)>,
    /// Rows of a join with `rows: Many` that were seen.
    many: Vec<Key>,
}

/// Judges the rows with these keys, by place. A row that is gone, or for which `where` or a join no longer holds, is not
/// in the answer, or does not apply.
///
/// # Errors
/// [`RowError`].
pub async fn judge(
    connection: &mut PgConnection,
    model: &Model,
    question: &Question,
    rows: &Keys,
) -> Result<BTreeMap<i32, Judged>, RowError> {
    let mut judged: BTreeMap<i32, Judged> = BTreeMap::new();
    let mut found = rows.bind(&question.sql).fetch(&mut *connection);
    while let Some(row) = found.try_next().await? {
        let place: i32 = row.try_get(question.place.unwrap_or_default())?;
        judged.entry(place).or_default().see(model, question, &row)?;
    }
    Ok(judged)
}

/// Source keys by place, each with its winner's key where losers are written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Places.
    pub places: Vec<i32>,
    /// A list a column: those of the key, then those of the winner.
    pub columns: Vec<Vec<String>>,
}

impl Keys {
    /// A statement over these keys.
    pub fn bind<'q>(&self, sql: &str) -> sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments> {
        let query = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(false).bind(self.places.clone());
        self.columns.iter().fold(query, |query, column| query.bind(column.clone()))
    }
}

impl Judged {
    /// Takes in one answer about a source row; it comes again for each row that a join finds.
    ///
    /// # Errors
    /// [`RowError`].
    pub fn see(&mut self, model: &Model, question: &Question, row: &impl Answer) -> Result<(), RowError> {
        let first = self.many.is_empty();
        let many = row.texts(&question.many)?;
        if self.many.contains(&many) {
            return Err(RowError::NotUnique(not_unique(model, &row.texts(&question.key)?, &many)));
        }
        self.audit_fits = row.flag(question.audit_fits)? == Some(true);
        if let Some(version) = question.version {
            self.version = row.text(version)?.map(str::to_owned);
            self.audit_before = row.values(&question.audit_before)?;
        }
        if row.flag(question.joined)? == Some(true) {
            for (index, (write, columns)) in model.writes.iter().zip(&question.writes).enumerate() {
                if let Some(columns) = columns.as_ref().filter(|_| first || !write.per_source) {
                    self.see_write(row, model, index, columns, question)?;
                }
            }
        }
        self.many.push(many);
        Ok(())
    }

    fn see_write(
        &mut self,
        row: &impl Answer,
        model: &Model,
        index: usize,
        columns: &WriteColumns,
        question: &Question,
    ) -> Result<(), RowError> {
        let Some(write) = model.writes.get(index) else { return Ok(()) };
        let (found, holds) = (row.flag(columns.found)?, row.flag(columns.holds)?);
        // Without a target there is no row of the lateral, and so no answer.
        let (Some(found), Some(true)) = (found, holds) else { return Ok(()) };
        self.applies = true;
        let kind = match (&write.action, found) {
            (WriteAction::Delete(_), _) => Kind::Delete,
            (WriteAction::Insert(_), false) => Kind::Insert,
            (WriteAction::Insert(ConflictMode::Skip), true) => return Ok(()),
            (WriteAction::Insert(ConflictMode::Fail), true) => {
                let (key, source_key) = (show(&row.texts(&columns.key)?), show(&row.texts(&question.key)?));
                return Err(RowError::InsertConflict { table: write.table.display(), key, source_key });
            }
            (WriteAction::Update | WriteAction::Insert(ConflictMode::Update), _) => Kind::Update,
        };
        if let Some(by) = columns.referred.map(|at| row.text(at)).transpose()?.flatten() {
            return Err(RowError::Referred { table: write.table.display(), key: show(&row.texts(&columns.key)?), by: by.to_owned() });
        }
        for (of, at) in &columns.captured {
            if let (Some(target), Some(rows)) = (model.writes.get(*of), row.text(*at)?) {
                self.see_captured(model, *of, target, rows)?;
                // Of a foreign key whose default is the deleted row itself nothing changes, and it holds the row.
                let stays = |change: &Change| change.write == *of && !change.is_needed(target);
                if self.changes.iter().any(stays) {
                    let (table, key) = (write.table.display(), show(&row.texts(&columns.key)?));
                    return Err(RowError::Referred { table, key, by: target.table.display() });
                }
            }
        }
        let new = row.values(&columns.new)?;
        let old = if kind == Kind::Insert { Vec::new() } else { row.values(&columns.old)? };
        if kind == Kind::Update && !differs(write, &old, &new) {
            return Ok(());
        }
        let version = columns.version.filter(|_| kind != Kind::Insert).map(|at| row.text(at)).transpose()?.flatten().map(str::to_owned);
        self.changes.push(Change { write: index, kind, key: row.texts(&columns.key)?, version, old, new });
        if !columns.captured.is_empty() {
            self.let_go_what_goes(model);
        }
        Ok(())
    }

    /// A row that goes itself loses no reference before.
    fn let_go_what_goes(&mut self, model: &Model) {
        let oid = |change: &Change| model.writes.get(change.write).map(|write| write.table.oid);
        let going = self.changes.iter().filter(|change| change.kind == Kind::Delete);
        let going: BTreeSet<(Option<i64>, Key)> = going.map(|change| (oid(change), change.key.clone())).collect();
        let stays = |change: &Change| {
            let cleared = model.writes.get(change.write).is_some_and(Target::is_cleared);
            !cleared || !going.contains(&(oid(change), change.key.clone()))
        };
        self.changes.retain(stays);
    }

    /// Takes in the rows that go with a deleted one, or lose their reference to it: a JSON list of lists of texts.
    fn see_captured(&mut self, model: &Model, index: usize, target: &Target, rows: &str) -> Result<(), RowError> {
        let rows: Vec<Vec<Option<String>>> = serde_json::from_str(rows).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let kind = if target.is_cleared() { Kind::Update } else { Kind::Delete };
        let columns = |write: &Target| write.sets.iter().map(|set| set.column.name.clone()).collect::<Vec<_>>();
        let same = |other: &Target| other.captured.is_some() && other.table.oid == target.table.oid && columns(other) == columns(target);
        let elsewhere = |change: &Change| change.write != index && change.kind == kind && model.writes.get(change.write).is_some_and(same);
        for row in rows {
            let mut texts = row.into_iter();
            let (version, by) = (texts.next().flatten(), texts.next().flatten());
            let key: Key = texts.by_ref().take(target.key.len()).map(Option::unwrap_or_default).collect();
            if let Some(by) = by {
                return Err(RowError::Referred { table: target.table.display(), key: show(&key), by });
            }
            let old = texts.by_ref().take(target.keeps.len()).collect();
            // One that is reached on two ways goes once.
            if self.changes.iter().any(|change| elsewhere(change) && change.key == key) {
                continue;
            }
            self.changes.push(Change { write: index, kind, key, version, old, new: texts.collect() });
        }
        Ok(())
    }

    /// Checks what the server would refuse when the row is written.
    ///
    /// # Errors
    /// [`RowError::ValueTooLong`], [`RowError::NullRefused`], [`RowError::AuditPathBlocked`].
    pub fn check(&self, model: &Model, key: &Key) -> Result<(), RowError> {
        if let Some(super::model::AuditTarget::Column { column, .. }) = model.audit.as_ref().filter(|_| !self.audit_fits) {
            return Err(RowError::AuditPathBlocked { column: column.name.clone(), key: show(key) });
        }
        for change in self.changes.iter().filter(|change| change.kind != Kind::Delete) {
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
}

impl Change {
    /// False for an update whose values are there already.
    #[must_use]
    pub fn is_needed(&self, write: &Target) -> bool {
        self.kind != Kind::Update || differs(write, &self.old, &self.new)
    }
}

/// True where a value that is known at plan is not there yet. Old values are those of the set columns, in the same order.
fn differs(write: &Target, old: &[Option<String>], new: &[Option<String>]) -> bool {
    debug_assert!(updates_existing(write));
    let values = write.updated().filter(|(_, set)| !set.value.is_at_apply());
    values.into_iter().any(|(n, _)| old.get(n) != new.get(n))
}

/// What may be at fault where a source row comes more often than it may.
fn not_unique(model: &Model, key: &[String], many: &[String]) -> String {
    let joins = model.all_joins().filter(|join| !join.is_condition()).map(|join| match join.many.as_slice() {
        [] => format!("the join {} (narrow its match or query)", join.alias),
        columns => format!("the join {} (its key {} does not tell its rows apart)", join.alias, columns.join(", ")),
    });
    let writes = model.writes.iter().filter(|write| write.matches.is_some());
    let writes = writes.map(|write| format!("backfill.sql.writes[{}].match (in {})", write.index, write.table.display()));
    let suspects: Vec<String> = joins.chain(writes).collect();
    let of = if many.is_empty() { String::new() } else { format!(" with {}", show(many)) };
    format!("more than one row is found for the source row {}{of} where at most one may be: by {}", show(key), suspects.join(" or by "))
}

/// A key for people: `17`, or `acme/17` where it has several columns.
#[must_use]
pub fn show(key: &[String]) -> String {
    key.join("/")
}
