//! Tries each expression on the server without reading a row, so that an error names its place in the spec.

use super::{Model, ModelError, Target};
use crate::engine::sql::Expression;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

pub(super) async fn probe(connection: &mut PgConnection, model: &Model) -> Result<(), ModelError> {
    let source = model.source.table.relation("s");
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
    for (index, rule) in model.rules.iter().enumerate() {
        let json = format!("{}::jsonb", rule.value.in_parentheses());
        value(connection, &source, &json, &format!("backfill.sql.validate[{index}].value")).await?;
    }
    for (index, write) in model.writes.iter().enumerate() {
        write_expressions(connection, &source, write, &format!("backfill.sql.writes[{index}]")).await?;
    }
    Ok(())
}

async fn write_expressions(connection: &mut PgConnection, source: &str, write: &Target, at: &str) -> Result<(), ModelError> {
    let both = format!("{source}, {}", write.table.relation("t"));
    if let Some(matches) = &write.matches {
        condition(connection, &both, matches, &format!("{at}.match")).await?;
    }
    if let Some(only_if) = &write.only_if {
        condition(connection, &both, only_if, &format!("{at}.onlyIf")).await?;
    }
    for set in &write.sets {
        let cast = format!("({}::{})::text", set.value.in_parentheses(), set.column.cast_type());
        value(connection, &both, &cast, &format!("{at}.set.{}", set.column.name)).await?;
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
