//! Drops a database that a restore has made or left, with the sessions that are connected to it.

use super::super::error::RestoreError;
use super::{run_on, sessions};
use crate::engine::sql::quote;
use crate::postgres::sqlstate;
use sqlx::postgres::PgConnection;

/// Drops it; one that is gone is dropped.
///
/// # Errors
/// [`RestoreError::SessionsRemain`] where sessions stay that the role may not end, and those of the driver.
pub(super) async fn discard(maintenance: &mut PgConnection, name: &str) -> Result<(), RestoreError> {
    for attempt in 1.. {
        match run_on(maintenance, &format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quote(name))).await {
            Ok(()) => break,
            // Where no session is seen it is not of a session, but of a right.
            Err(RestoreError::PreparationFailed(error)) if is_in_use(&error) => {
                sessions::wait(maintenance, name, attempt, error, format!("{name} was not dropped")).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// `object_in_use`, or `insufficient_privilege`: to end a session takes a right over its role.
fn is_in_use(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("55006" | "42501"))
}
