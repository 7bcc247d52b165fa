//! The joins of the source, resolved.

use super::error::At;
use super::resolve::{expression, table};
use super::{Join, JoinFrom, ModelError};
use crate::api::spec::{AddedColumn, Join as JoinSpec, JoinRows};
use crate::engine::catalog;
use crate::engine::sql::{Place, SelectQuery, column_name, refuse_volatile};
use sqlx::PgConnection;

pub(super) async fn resolve(connection: &mut PgConnection, specs: &[JoinSpec], adds: &[AddedColumn]) -> Result<Vec<Join>, ModelError> {
    let mut joins: Vec<Join> = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        let at = format!("backfill.sql.source.joins[{index}]");
        if joins.iter().any(|join| join.alias == spec.alias) {
            return Err(ModelError::AliasTwice { alias: spec.alias.clone() });
        }
        joins.push(join(connection, spec, adds, &at).await?);
    }
    Ok(joins)
}

async fn join(connection: &mut PgConnection, spec: &JoinSpec, adds: &[AddedColumn], at: &str) -> Result<Join, ModelError> {
    let from = match (&spec.table, &spec.query) {
        (Some(name), _) => {
            let table = Box::new(table(connection, name, adds, &format!("{at}.table")).await?);
            let text = spec.matches.as_deref().unwrap_or("true");
            JoinFrom::Table { table, matches: expression(connection, text, Place::Chooses, &format!("{at}.match")).await? }
        }
        (None, query) => {
            let at = format!("{at}.query");
            let query = SelectQuery::parse(query.as_deref().unwrap_or_default()).at(&at)?;
            refuse_volatile(connection, query.calls(), Some(Place::JoinQuery)).await.at(&at)?;
            let mut tables = Vec::with_capacity(query.tables().len());
            for name in query.tables() {
                // Tables only: a view may hide what the grammar cannot see.
                tables.push(catalog::table(connection, name).await.at(&at)?);
            }
            JoinFrom::Query { query, tables }
        }
    };
    let many = match spec.rows {
        JoinRows::One => Vec::new(),
        JoinRows::Many => {
            let at = format!("{at}.key");
            spec.key.iter().map(|name| column_name(name)).collect::<Result<Vec<_>, _>>().at(&at)?
        }
    };
    Ok(Join { alias: spec.alias.clone(), kind: spec.kind, from, many })
}
