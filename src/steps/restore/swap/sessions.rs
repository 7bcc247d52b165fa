//! Sessions of others that stand in the way: waited for a few times, then named.

use super::super::error::RestoreError;
use super::{TRIES, pause};
use crate::postgres::describe;
use sqlx::postgres::PgConnection;

const WHO: &str = "SELECT string_agg(DISTINCT usename || coalesce(' ' || nullif(application_name, ''), ''), ', '), current_user::text
    FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() AND usesysid IS NOT NULL";

/// After a try that failed with `error`, because sessions are connected to the database: waits before the next one.
///
/// # Errors
/// After the last try: [`RestoreError::SessionsRemain`], `what` was not done; or `error`, where nobody is seen to be connected.
pub(super) async fn wait(
    connection: &mut PgConnection,
    database: &str,
    attempt: u32,
    error: sqlx::Error,
    what: String,
) -> Result<(), RestoreError> {
    let (who, role): (Option<String>, String) = sqlx::query_as(WHO).bind(database).fetch_one(connection).await?;
    tracing::warn!(attempt, who = who.as_deref().unwrap_or("nobody that the role can see"), error = describe(&error), "{what}");
    match who {
        _ if attempt < TRIES => pause().await,
        Some(who) => return Err(RestoreError::SessionsRemain { what, who, role }),
        None => return Err(error.into()),
    }
    Ok(())
}
