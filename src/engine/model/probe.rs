//! Tries each expression on the server without reading a row, so that an error names its place in the spec.

use super::{Join, JoinFrom, Model, ModelError, Target, WriteAction};
use crate::engine::query::{own_relation, own_scope, scope};
use crate::engine::sql::Expression;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

pub(super) async fn probe(connection: &mut PgConnection, model: &Model) -> Result<(), ModelError> {
    for parameter in &model.parameters {
        let sql = format!("SELECT {}::{}", parameter.expression.in_parentheses(), parameter.type_name);
        prepare(connection, sql, &format!("backfill.sql.parameters.{}.sql", parameter.name)).await?;
    }
    let source = scope(model, 0);
    let at = "backfill.sql.source";
    if let Some(filter) = &model.source.filter {
        condition(connection, &source, filter, &format!("{at}.where")).await?;
    }
    if let Some(pick) = &model.source.pick {
        for (index, per) in pick.per.iter().enumerate() {
            value(connection, &source, &per.in_parentheses(), &format!("{at}.pick.per[{index}]")).await?;
        }
        let sql = format!("SELECT row_number() OVER (ORDER BY {}) FROM {source}", pick.order.in_order_by());
        prepare(connection, sql, &format!("{at}.pick.order")).await?;
    }
    for (index, join) in model.joins.iter().enumerate() {
        probe_join(connection, &scope(model, index), join, &format!("{at}.joins[{index}]")).await?;
    }
    let joined = scope(model, model.joins.len());
    for (index, rule) in model.rules.iter().enumerate() {
        let json = format!("{}::jsonb", rule.value.in_parentheses());
        value(connection, &joined, &json, &format!("backfill.sql.validate[{index}].value")).await?;
    }
    for (_, write) in model.named() {
        let tried = probe_write(connection, model, &joined, write).await;
        tried.map_err(|error| not_planned(write, error))?;
    }
    Ok(())
}

async fn probe_write(connection: &mut PgConnection, model: &Model, joined: &str, write: &Target) -> Result<(), ModelError> {
    let at = format!("backfill.sql.writes[{}]", write.index);
    if write.joins.is_empty() {
        return write_expressions(connection, joined, write, &at).await;
    }
    for (index, join) in write.joins.iter().enumerate() {
        probe_join(connection, &own_scope(model, write, index), join, &format!("{at}.joins[{index}]")).await?;
    }
    write_expressions(connection, &own_scope(model, write, write.joins.len()), write, &at).await
}

/// A column that is there, and only not known at plan, is told as that.
fn not_planned(write: &Target, error: ModelError) -> ModelError {
    let ModelError::ExpressionInvalid { place, message } = &error else { return error };
    for join in &write.joins {
        let JoinFrom::Table { table, after: Some(after), .. } = &join.from else { continue };
        let unknown = table.columns.iter().filter(|column| !after.known.contains(column));
        let named = |name: &str| message.contains(&format!(" {}.{name} ", join.alias)) || message.contains(&format!("\"{name}\""));
        if let Some(column) = unknown.map(|column| &column.name).find(|name| named(name)) {
            return ModelError::ValueNotPlannable {
                place: place.clone(),
                alias: join.alias.clone(),
                column: column.clone(),
                write: after.first.clone(),
                table: table.display(),
            };
        }
    }
    error
}

async fn probe_join(connection: &mut PgConnection, before: &str, join: &Join, at: &str) -> Result<(), ModelError> {
    match &join.from {
        JoinFrom::Table { table, matches, .. } => {
            let both = format!("{before} CROSS JOIN {}", own_relation(join).unwrap_or_default());
            condition(connection, &both, matches, &format!("{at}.match")).await?;
            for column in &join.many {
                table.column(column).map_err(|source| ModelError::Catalog { place: format!("{at}.key"), source })?;
            }
        }
        JoinFrom::Query { query, .. } => {
            let lateral = format!("{before} CROSS JOIN LATERAL {} AS {}", query.in_parentheses(), join.alias);
            prepare(connection, format!("SELECT 1 FROM {lateral}"), &format!("{at}.query")).await?;
            for column in &join.many {
                let named = format!("{}.{}", join.alias, crate::engine::sql::quote(column));
                value(connection, &lateral, &named, &format!("{at}.key")).await?;
            }
        }
    }
    Ok(())
}

async fn write_expressions(connection: &mut PgConnection, joined: &str, write: &Target, at: &str) -> Result<(), ModelError> {
    let both = format!("{joined}, {}", write.table.relation("t"));
    if let Some(matches) = &write.matches {
        condition(connection, &both, matches, &format!("{at}.match")).await?;
    }
    if let Some(only_if) = &write.only_if {
        condition(connection, &both, only_if, &format!("{at}.onlyIf")).await?;
    }
    for set in &write.sets {
        let cast = format!("({}::{})::text", set.value.in_parentheses(), set.column.cast_type());
        // The key of an inserted row is what finds the row that is there already: it cannot ask about that row.
        let inserts = matches!(write.action, WriteAction::Insert(_));
        let from = if inserts && write.key.iter().any(|k| k.name == set.column.name) { joined } else { &both };
        value(connection, from, &cast, &format!("{at}.set.{}", set.column.name)).await?;
    }
    Ok(())
}

async fn condition(connection: &mut PgConnection, from: &str, condition: &Expression, at: &str) -> Result<(), ModelError> {
    prepare(connection, format!("SELECT 1 FROM {from} WHERE {}", condition.in_parentheses()), at).await
}

async fn value(connection: &mut PgConnection, from: &str, value: &str, at: &str) -> Result<(), ModelError> {
    prepare(connection, format!("SELECT {value} FROM {from}"), at).await
}

/// Parsing and typing happen when the server prepares the statement; it is never executed.
async fn prepare(connection: &mut PgConnection, sql: String, at: &str) -> Result<(), ModelError> {
    match connection.prepare(sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(sql))).await {
        Ok(_) => Ok(()),
        Err(error) => match error.as_database_error() {
            // 42: syntax, names and types; 22: a literal that its type does not take; 0A: not supported.
            Some(said) if said.code().is_some_and(|code| ["42", "22", "0A"].iter().any(|class| code.starts_with(class))) => {
                Err(ModelError::ExpressionInvalid { place: at.to_owned(), message: said.message().to_owned() })
            }
            _ => Err(ModelError::Database(error)),
        },
    }
}
