//! A check of the user: one SELECT of one number, and what it must be.

use crate::api::phase::Phase;
use crate::api::spec::Expectation;
use crate::api::status::{CheckResult, CheckStatus};
use crate::engine::sql::{CheckQuery, SqlError, refuse_volatile};
use crate::postgres::{describe, is_connection_loss, sqlstate};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqlSafeStr as _, Statement as _};

/// Views that show a role its own sessions only, unless it is a monitor: a count over them would be too small.
const PARTLY_VISIBLE: &[&str] = &["pg_stat_", "pg_locks", "pg_prepared_xacts"];

/// Runs a check in a READ ONLY transaction. What the role may not see is inconclusive, never 0; SQL that is refused or
/// fails is a failed check that says why.
///
/// # Errors
/// The driver's, where the connection gave way: then nothing was measured.
pub async fn run_check(
    connection: &mut PgConnection,
    phase: Phase,
    name: &str,
    sql: &str,
    expect: &Expectation,
) -> Result<CheckStatus, sqlx::Error> {
    let status = |result, message: String| CheckStatus { name: name.to_owned(), phase, result, message };
    let guarded = match CheckQuery::parse(sql) {
        Ok(query) => refuse_volatile(connection, query.calls(), None).await,
        Err(error) => Err(error),
    };
    match guarded {
        Ok(()) => {}
        Err(SqlError::Database(error)) => return Err(error),
        Err(refused) => return Ok(status(CheckResult::Failed, refused.to_string())),
    }
    if let Some(role) = role_sees_a_part(connection, sql).await? {
        let message =
            format!("the role sees only its own sessions, so that the number would be too small; run: GRANT pg_monitor TO {role};");
        return Ok(status(CheckResult::Inconclusive, message));
    }
    match measure(connection, sql, "BEGIN READ ONLY").await {
        Ok(Measured::Number(found)) if meets(expect, found) => Ok(status(CheckResult::Passed, format!("{found}, as expected"))),
        Ok(Measured::Number(found)) => Ok(status(CheckResult::Failed, format!("found {found}, expected {}", wanted(expect)))),
        Ok(Measured::Null) => Ok(status(CheckResult::Inconclusive, "the SELECT returned NULL: nothing was measured".into())),
        Ok(Measured::Other(what)) => Ok(status(CheckResult::Failed, what.into())),
        Err(error) if is_connection_loss(&error) => Err(error),
        Err(error) if sqlstate(&error).as_deref() == Some("42501") => {
            Ok(status(CheckResult::Inconclusive, format!("{}: GRANT SELECT on it to the role that checks", describe(&error))))
        }
        Err(error) => Ok(status(CheckResult::Failed, format!("the SELECT failed: {}", describe(&error)))),
    }
}

/// The role's name, quoted, where the SELECT reads what it is shown a part of only.
pub(in crate::engine) async fn role_sees_a_part(connection: &mut PgConnection, sql: &str) -> Result<Option<String>, sqlx::Error> {
    if !PARTLY_VISIBLE.iter().any(|view| sql.contains(view)) {
        return Ok(None);
    }
    let asked = sqlx::query_as("SELECT pg_has_role('pg_read_all_stats', 'USAGE'), quote_ident(current_user)");
    let (sees, role): (bool, String) = asked.persistent(false).fetch_one(connection).await?;
    Ok((!sees).then_some(role))
}

/// What a SELECT of one number returned.
#[derive(Debug)]
pub(in crate::engine) enum Measured {
    /// A number.
    Number(i64),
    /// Nothing that can be compared.
    Null,
    /// Something else: what it must be.
    Other(&'static str),
}

/// Takes the number, in a transaction of its own that `begin` begins.
pub(in crate::engine) async fn measure(connection: &mut PgConnection, sql: &str, begin: &'static str) -> Result<Measured, sqlx::Error> {
    // The statement is one SELECT, so that it can stand in parentheses; its own semicolon cannot.
    let wrapped = format!("SELECT to_jsonb(answer)::text FROM (\n{}\n) AS answer LIMIT 2", sql.trim().trim_end_matches(';'));
    let mut transaction = connection.begin_with(begin).await?;
    let prepared = transaction.prepare(AssertSqlSafe(sql.to_owned()).into_sql_str()).await?;
    if prepared.columns().len() != 1 {
        return Ok(Measured::Other("the SELECT must return exactly one column"));
    }
    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(wrapped)).persistent(false).fetch_all(&mut *transaction).await?;
    transaction.rollback().await?;
    let [row] = rows.as_slice() else { return Ok(Measured::Other("the SELECT must return exactly one row")) };
    let row: serde_json::Map<String, serde_json::Value> = serde_json::from_str(row).unwrap_or_default();
    Ok(match row.into_iter().next().map(|(_, value)| value) {
        None | Some(serde_json::Value::Null) => Measured::Null,
        Some(value) => value.as_i64().map_or(Measured::Other("the SELECT must return a whole number, as count(*) does"), Measured::Number),
    })
}

fn meets(expect: &Expectation, found: i64) -> bool {
    expect.equals.is_none_or(|n| found == n) && expect.at_least.is_none_or(|n| found >= n) && expect.at_most.is_none_or(|n| found <= n)
}

/// The expectation in words.
#[must_use]
pub fn wanted(expect: &Expectation) -> String {
    let parts = [(expect.equals, "exactly"), (expect.at_least, "at least"), (expect.at_most, "at most")];
    let said: Vec<String> = parts.iter().filter_map(|(n, word)| n.map(|n| format!("{word} {n}"))).collect();
    said.join(" and ")
}
