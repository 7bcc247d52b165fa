//! The run's own number. Cost: that of the team's SELECT, 2 s at most. Guarded as a check is, and asked READ ONLY.

use super::{BRIEF, Reading};
use crate::api::spec::ThrottleQuery;
use crate::engine::sql::{CheckQuery, SqlError, refuse_volatile};
use crate::engine::verify::{Measured, measure, role_sees_a_part};
use sqlx::PgConnection;

pub(super) const NAME: &str = "Query";

/// The query, and whether the guard has let it through.
#[derive(Debug)]
pub(super) struct Query {
    wanted: Option<ThrottleQuery>,
    guard: Guard,
}

#[derive(Debug)]
enum Guard {
    /// The catalogue has not been asked yet.
    Open,
    Passed,
    Refused(String),
}

impl Query {
    pub(super) fn new(wanted: Option<&ThrottleQuery>) -> Self {
        Self { wanted: wanted.cloned(), guard: Guard::Open }
    }

    /// Compares the number with its limit.
    pub(super) async fn read(&mut self, connection: &mut PgConnection) -> Result<Reading, sqlx::Error> {
        let Some(ThrottleQuery { sql, max }) = &self.wanted else { return Ok(Reading::Free) };
        if matches!(self.guard, Guard::Open) {
            self.guard = guard(connection, sql).await?;
        }
        if let Guard::Refused(why) = &self.guard {
            return Ok(Reading::Unmeasured(format!("throttle.query is refused: {why}")));
        }
        if let Some(role) = role_sees_a_part(connection, sql).await? {
            let message = format!(
                "throttle.query: the role sees only its own sessions, so that the number would be too small (GRANT pg_monitor TO {role};)"
            );
            return Ok(Reading::Unmeasured(message));
        }
        Ok(match measure(connection, sql, BRIEF).await? {
            Measured::Number(found) if found > *max => Reading::Over(format!("throttle.query returned {found}, more than its max {max}")),
            Measured::Number(_) => Reading::Free,
            Measured::Null => Reading::Unmeasured("throttle.query returned NULL: nothing was measured".into()),
            Measured::Other(what) => Reading::Unmeasured(format!("throttle.query: {what}")),
        })
    }
}

async fn guard(connection: &mut PgConnection, sql: &str) -> Result<Guard, sqlx::Error> {
    let guarded = match CheckQuery::parse(sql) {
        Ok(query) => refuse_volatile(connection, query.calls(), None).await,
        Err(error) => Err(error),
    };
    match guarded {
        Ok(()) => Ok(Guard::Passed),
        Err(SqlError::Database(error)) => Err(error),
        Err(refused) => Ok(Guard::Refused(refused.to_string())),
    }
}
