//! Joins of a write's own, beside its target. A joined table that earlier writes write is read as they leave it for the same
//! source row: the rows that they do not touch, and those that they will have written, with the values that the question has
//! for them already. So plan and apply find the same, before anything of it is written.

use super::{List, Moment, Rows, WriteColumns, all_of, exists, finds, joined_rows, laterals, matches};
use crate::api::spec::ConflictMode;
use crate::engine::catalog::{Column, Table};
use crate::engine::model::{After, Join, JoinFrom, Model, Target, WriteAction};
use crate::engine::sql::{Expression, quote};
use std::fmt::Write as _;

/// The joins of one write, as SQL.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Joined to what comes before.
    from: String,
    /// True where each finds what it must.
    finds: String,
}

/// The joins of a write; `earlier` are the columns of the writes before it.
pub(super) fn joins(model: &Model, write: &Target, list: &List, earlier: &[Option<WriteColumns>]) -> Own {
    let rows = |join: &Join| match &join.from {
        JoinFrom::Table { table, matches, after: Some(after) } => {
            Some(rows_after(model, &join.alias, table, matches, after, list, earlier))
        }
        JoinFrom::Table { .. } | JoinFrom::Query { .. } => None,
    };
    let joined = write.joins.iter().filter(|join| !join.is_condition()).map(|join| match rows(join) {
        Some(rows) => format!(" LEFT JOIN LATERAL ({rows}) AS {} ON true", quote(&join.alias)),
        None => joined_rows(join),
    });
    let found =
        write.joins.iter().filter_map(|join| finds(join, || rows(join).map_or_else(|| exists(join), |rows| format!("EXISTS ({rows})"))));
    Own { from: joined.collect(), finds: all_of(found) }
}

impl Own {
    /// The target with the joins, which come first, so that they cannot ask about it.
    pub(super) fn beside_target(&self, write: &Target) -> String {
        let target = if write.is_own_row() {
            " CROSS JOIN (SELECT s.*) AS t".to_owned()
        } else {
            let join = if matches!(write.action, WriteAction::Insert(_)) { "LEFT JOIN" } else { "JOIN" };
            format!(" {join} {} ON {}", write.table.relation("t"), matches(write))
        };
        format!("(SELECT) AS \"backfill one\"{}{target} WHERE {}", self.from, self.finds)
    }
}

/// The source rows with all that a write's `match` may name.
pub(super) fn from(model: &Model, write: &Target) -> String {
    let mut from = super::from(model, Rows::Keys);
    if !write.joins.is_empty() {
        let mut list = List::default();
        let before = model.writes.iter().take_while(|other| other.index < write.index).count();
        let earlier = laterals(model, before, Moment::Apply, &mut list, &mut from);
        from.push_str(&joins(model, write, &list, &earlier).from);
    }
    from
}

/// The first of a write's joins beside what the source's joins find, for trying expressions: with the columns that the plan
/// knows.
#[must_use]
pub fn own_scope(model: &Model, write: &Target, joins: usize) -> String {
    let mut scope = super::scope(model, model.joins.len());
    for join in write.joins.iter().take(joins).filter(|join| !join.is_condition()) {
        match &join.from {
            JoinFrom::Table { matches, .. } => {
                let _ = write!(scope, " LEFT JOIN {} ON {}", own_relation(join).unwrap_or_default(), matches.in_parentheses());
            }
            JoinFrom::Query { .. } => scope.push_str(&joined_rows(join)),
        }
    }
    scope
}

/// The table of a join with the columns that the plan knows; `None` for a query.
#[must_use]
pub fn own_relation(join: &Join) -> Option<String> {
    let JoinFrom::Table { table, after, .. } = &join.from else { return None };
    let alias = quote(&join.alias);
    let Some(after) = after else { return Some(table.relation(&alias)) };
    Some(format!("(SELECT {} FROM {}) AS {alias}", columns(after, "x", |_| None), table.relation("x")))
}

/// Columns that are known, each as it is or as something else.
fn columns(after: &After, alias: &str, other: impl Fn(&Column) -> Option<String>) -> String {
    let column =
        |c: &Column| format!("{} AS {name}", other(c).unwrap_or_else(|| format!("{alias}.{}", quote(&c.name))), name = quote(&c.name));
    after.known.iter().map(column).collect::<Vec<_>>().join(", ")
}

/// The rows of a table that `matches`, as the writes before leave it. The condition stands in each part, so that it finds the
/// table's indexes.
fn rows_after(
    model: &Model,
    alias: &str,
    table: &Table,
    matches: &Expression,
    after: &After,
    list: &List,
    earlier: &[Option<WriteColumns>],
) -> String {
    let (alias, matches) = (quote(alias), matches.in_parentheses());
    let found = if after.known.is_empty() { "true AS \"backfill found\"" } else { "true AS \"backfill found\", " };
    let (mut untouched, mut parts) = (String::new(), Vec::new());
    for place in &after.writes {
        let (Some(write), Some(Some(its))) = (model.writes.get(*place), earlier.get(*place)) else { continue };
        let text = |at: usize| list.columns.get(at).map_or("NULL", String::as_str);
        let is_there = format!("coalesce({} AND {}, false)", text(its.found), text(its.holds));
        let is_new = format!("(NOT {} AND coalesce({}, false))", text(its.found), text(its.holds));
        let is_row = |of: &str| {
            let pairs =
                write.key.iter().zip(its.key.clone()).map(|(c, at)| format!("{of}.{} = {}::{}", quote(&c.name), text(at), c.base_type));
            pairs.collect::<Vec<_>>().join(" AND ")
        };
        let value = |c: &Column| {
            let (n, set) = write.sets.iter().enumerate().find(|(_, set)| set.column.name == c.name)?;
            Some(format!("{}::{}", text(its.new.start + n), set.column.cast_type()))
        };
        // A row that is there keeps its key as it is.
        let updated = |c: &Column| value(c).filter(|_| write.key.iter().all(|k| k.name != c.name));
        let (goes, comes) = match &write.action {
            WriteAction::Insert(mode) => (*mode == ConflictMode::Update, true),
            WriteAction::Update | WriteAction::Delete(_) => (true, false),
        };
        if goes {
            let _ = write!(untouched, " AND NOT ({is_there} AND {})", is_row(&alias));
        }
        if goes && !matches!(write.action, WriteAction::Delete(_)) {
            let columns = columns(after, "x", updated);
            let row = format!("SELECT {columns} FROM {} WHERE {is_there} AND {}", table.relation("x"), is_row("x"));
            parts.push(format!("SELECT {found}{alias}.* FROM ({row}) AS {alias} WHERE {matches}"));
        }
        if comes {
            let columns = columns(after, "x", value);
            parts.push(format!("SELECT {found}{alias}.* FROM (SELECT {columns} WHERE {is_new}) AS {alias} WHERE {matches}"));
        }
    }
    let own = columns(after, &alias, |_| None);
    parts.insert(0, format!("SELECT {found}{own} FROM {} WHERE {matches}{untouched}", table.relation(&alias)));
    parts.join(" UNION ALL ")
}
