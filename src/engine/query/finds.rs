//! What must hold of a join for a row to be written.

use crate::api::spec::JoinType;
use crate::engine::model::{Join, JoinFrom};
use crate::engine::sql::quote;

/// All of these conditions.
pub(super) fn all_of(conditions: impl Iterator<Item = String>) -> String {
    let conditions: Vec<String> = conditions.collect();
    if conditions.is_empty() { "true".into() } else { conditions.join(" AND ") }
}

/// True where a join finds what it must; `None` where it need not find anything.
pub(super) fn finds(join: &Join, exists: impl Fn() -> String) -> Option<String> {
    match join.kind {
        JoinType::Left => None,
        JoinType::Inner => Some(format!("{}.\"backfill found\" IS NOT NULL", quote(&join.alias))),
        JoinType::Semi => Some(exists()),
        JoinType::Anti => Some(format!("NOT {}", exists())),
    }
}

/// True where a join finds anything.
pub(super) fn exists(join: &Join) -> String {
    match &join.from {
        JoinFrom::Table { table, matches, .. } => {
            format!("EXISTS (SELECT FROM {} WHERE {})", table.relation(&quote(&join.alias)), matches.in_parentheses())
        }
        JoinFrom::Query { query, .. } => format!("EXISTS {}", query.in_parentheses()),
    }
}
