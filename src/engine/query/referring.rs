//! Rows of other tables that refer to one that shall be deleted: those in the way, and those that go with it.

use super::{Moment, Rows, matches, names, new_text, own, texts, with};
use crate::engine::catalog::Reference;
use crate::engine::model::{Model, Target, WriteAction};
use crate::engine::sql::quote_literal;

/// True where a row `c` of that table, of which `more` holds, refers to the row of `alias`.
#[must_use]
pub fn refers(reference: &Reference, alias: &str, more: &str) -> String {
    format!("EXISTS (SELECT FROM {} AS c WHERE {}{more})", reference.table.quoted(), reference.on("c", alias))
}

/// The name of a table whose rows stand in the way of a delete, NULL where none do; `None` where none can.
pub(super) fn referred(write: &Target, alias: &str) -> Option<String> {
    let cases = write.in_the_way().map(|r| format!("WHEN {} THEN {}", refers(r, alias, ""), quote_literal(&r.table.display())));
    let cases: Vec<String> = cases.collect();
    (!cases.is_empty()).then(|| format!("CASE {} END", cases.join(" ")))
}

/// Alias of the rows that are so many foreign keys away, from 0.
fn alias(n: usize) -> String {
    format!("\"backfill c{n}\"")
}

/// The tables on the way from the deleted row `t` to those that go with it, each with its condition.
fn steps(path: &[Reference]) -> Vec<(String, String)> {
    let above = |n: usize| n.checked_sub(1).map_or("t".into(), alias);
    path.iter().enumerate().map(|(n, step)| (step.table.relation(&alias(n)), step.on(&alias(n), &above(n)))).collect()
}

/// All rows that go with `t`, or lose their reference to it, as one JSON text, in the order of their keys.
pub(super) fn captured_rows(target: &Target, path: &[Reference], moment: Moment) -> String {
    let here = alias(path.len().saturating_sub(1));
    let key = texts(&here, &target.key);
    let version = if moment == Moment::Apply { format!("{here}.xmin::text") } else { "NULL".into() };
    let in_the_way = referred(target, &here).unwrap_or_else(|| "NULL".into());
    let new = target.sets.iter().map(|set| new_text(set, moment));
    let columns: Vec<String> =
        [version, in_the_way].into_iter().chain(key.iter().cloned()).chain(texts(&here, &target.keeps)).chain(new).collect();
    let order: Vec<String> = key.iter().map(|part| format!("{part} COLLATE \"C\"")).collect();
    let (tables, conditions): (Vec<String>, Vec<String>) = steps(path).into_iter().unzip();
    format!(
        "(SELECT json_agg(ARRAY[{}]::text[] ORDER BY {})::text FROM {} WHERE {})",
        columns.join(", "),
        order.join(", "),
        tables.join(", "),
        conditions.join(" AND ")
    )
}

/// Locks the rows that go with, or lose their reference to, those that a delete finds for these source keys, in their key's order.
#[must_use]
pub fn lock_captured(model: &Model, delete: &Target, target: &Target, path: &[Reference]) -> String {
    let here = alias(path.len().saturating_sub(1));
    let lock = if matches!(target.action, WriteAction::Delete(_)) { "UPDATE" } else { "NO KEY UPDATE" };
    let deleted = if delete.is_own_row() {
        " CROSS JOIN LATERAL (SELECT s.*) AS t".to_owned()
    } else {
        format!(" JOIN {} ON {}", delete.table.relation("t"), matches(delete))
    };
    let joined = steps(path).iter().fold(String::new(), |list, (table, condition)| list + &format!(" JOIN {table} ON {condition}"));
    format!(
        "{}SELECT 1 FROM {}{deleted}{joined} ORDER BY {} FOR {lock} OF {here}",
        with(model, Rows::Keys),
        own::from(model, delete),
        names(&here, &target.key),
    )
}
