//! A check that the user wrote: one SELECT, run read-only, and what its one value must be.
//!
//! Preflight and verify make them. What the role cannot see is Inconclusive: a reading that is not there is never 0.

use crate::api::Phase;
use crate::api::spec::Expectation;
use crate::api::status::{CheckResult, CheckStatus};
use crate::engine::sql::CheckQuery;
use crate::postgres::{describe, is_connection_loss, sqlstate};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

/// Views that show a role only its own sessions, unless it is a monitor.
const PARTLY_VISIBLE: &[&str] = &["pg_stat_", "pg_locks", "pg_prepared_xacts"];

/// Makes the check.
///
/// # Errors
/// Those of a lost connection; anything else is a result.
pub async fn evaluate(
    connection: &mut PgConnection,
    name: &str,
    sql: &str,
    expect: &Expectation,
    phase: Phase,
) -> Result<CheckStatus, sqlx::Error> {
    let status = |result, message: String| CheckStatus { name: name.to_owned(), phase, result, message };
    let query = match CheckQuery::parse(sql) {
        Ok(query) => query,
        Err(error) => return Ok(status(CheckResult::Failed, format!("the check's SQL is refused: {error}"))),
    };
    let role: (String, bool) =
        sqlx::query_as("SELECT quote_ident(current_user), pg_has_role('pg_read_all_stats', 'USAGE')").fetch_one(&mut *connection).await?;
    if !role.1 && PARTLY_VISIBLE.iter().any(|view| sql.contains(view)) {
        let message =
            format!("the role sees only its own sessions, so that the value would be too small; run: GRANT pg_monitor TO {};", role.0);
        return Ok(status(CheckResult::Inconclusive, message));
    }
    sqlx::raw_sql("BEGIN READ ONLY").execute(&mut *connection).await?;
    let found = value(connection, query.sql()).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
    let (result, message) = match found {
        Ok(Found::Number(text)) => judge(&text, expect),
        Ok(Found::Nothing) => (CheckResult::Inconclusive, "the query returned NULL or no row: it must return one number".into()),
        Ok(Found::TooMuch) => (CheckResult::Inconclusive, "the query returned more than one row: it must return one number".into()),
        Err(error) if is_connection_loss(&error) => return Err(error),
        Err(error) if sqlstate(&error).as_deref() == Some("42501") => {
            let message =
                format!("{}; grant the role what it must see (for views of the server: GRANT pg_monitor TO {};)", describe(&error), role.0);
            (CheckResult::Inconclusive, message)
        }
        Err(error) => (CheckResult::Inconclusive, format!("the query failed: {}", describe(&error))),
    };
    Ok(status(result, message))
}

enum Found {
    Number(String),
    Nothing,
    TooMuch,
}

async fn value(connection: &mut PgConnection, sql: &str) -> Result<Found, sqlx::Error> {
    // The line break ends a comment at the end of the user's text.
    let sql = sql.trim_end().trim_end_matches(';');
    let wrapped = format!("SELECT q.value::numeric::text AS value FROM (\n{sql}\n) AS q (value) LIMIT 2");
    let rows = sqlx::query(AssertSqlSafe(wrapped)).persistent(false).fetch_all(connection).await?;
    match rows.as_slice() {
        [] => Ok(Found::Nothing),
        [row] => Ok(row.try_get::<Option<String>, _>("value")?.map_or(Found::Nothing, Found::Number)),
        _ => Ok(Found::TooMuch),
    }
}

/// Compares exactly where the value is a whole number, and as a float where it has a fraction.
fn judge(text: &str, expect: &Expectation) -> (CheckResult, String) {
    #[allow(clippy::cast_precision_loss, reason = "only a value with a fraction, or one beyond i64, gets here")]
    let compare = |bound: i64| match text.parse::<i64>() {
        Ok(number) => Some(number.cmp(&bound)),
        Err(_) => text.parse::<f64>().ok().and_then(|number| number.partial_cmp(&(bound as f64))),
    };
    let mut wanted = Vec::new();
    let mut holds = true;
    for (bound, word, good) in [
        (expect.equals, "equal to", [true, false, false]),
        (expect.at_least, "at least", [true, false, true]),
        (expect.at_most, "at most", [true, true, false]),
    ] {
        let Some(bound) = bound else { continue };
        wanted.push(format!("{word} {bound}"));
        let [equal, less, greater] = good;
        holds &= compare(bound).is_some_and(|order| match order {
            std::cmp::Ordering::Equal => equal,
            std::cmp::Ordering::Less => less,
            std::cmp::Ordering::Greater => greater,
        });
    }
    let wanted = wanted.join(" and ");
    if holds {
        (CheckResult::Passed, format!("{text}, as wanted: {wanted}"))
    } else {
        (CheckResult::Failed, format!("{text}, but wanted: {wanted}"))
    }
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::api::spec::Expectation;
    use crate::api::status::CheckResult;

    #[test]
    fn a_value_is_judged_by_every_bound() {
        let range = Expectation { equals: None, at_least: Some(1), at_most: Some(10) };
        let zero = Expectation { equals: Some(0), at_least: None, at_most: None };
        for (text, expect, good) in [
            ("0", &zero, true),
            ("1", &zero, false),
            ("0.5", &zero, false),
            ("0.0", &zero, true),
            ("1", &range, true),
            ("10.5", &range, false),
            ("99999999999999999999", &range, false),
            ("NaN", &range, false),
        ] {
            assert_eq!(judge(text, expect).0 == CheckResult::Passed, good, "{text}");
        }
    }
}
