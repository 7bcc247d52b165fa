//! The new database, empty and marked as ours, in the place of what an earlier attempt has left there.
//!
//! A database is made in one statement and marked in the next, since CREATE DATABASE takes no comment and runs in no transaction.
//! An attempt that was killed between the two has left a database without a mark: with the run's name, the owner that it was to
//! get, and nothing in it. Nothing is lost if that is dropped, whoever has made it.

use super::super::error::RestoreError;
use super::discard::discard;
use super::make::{self, Described, Found};
use super::{Names, TRIES, pause, run_on};
use crate::engine::sql::{quote, quote_literal};
use crate::postgres::sqlstate;
use crate::steps::session::Session;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;

/// Whether somebody has made something in the database: what a server brings with it has lower numbers (`FirstNormalObjectId`).
const ANYTHING: &str = "SELECT EXISTS (SELECT FROM pg_class WHERE oid >= 16384) OR EXISTS (SELECT FROM pg_namespace WHERE oid >= 16384)
    OR EXISTS (SELECT FROM pg_proc WHERE oid >= 16384) OR EXISTS (SELECT FROM pg_type WHERE oid >= 16384)
    OR EXISTS (SELECT FROM pg_extension WHERE oid >= 16384) OR EXISTS (SELECT FROM pg_largeobject_metadata)";

/// Makes the new database, and answers its OID: another attempt may drop it and make one of the same name. `mark` is the comment
/// that it gets.
///
/// # Errors
/// [`RestoreError::DatabaseInTheWay`] where there is one that is neither ours nor empty, and those of the driver.
pub(super) async fn begin(
    session: &Session,
    maintenance: &mut PgConnection,
    names: &Names,
    database: &Described,
    mark: &str,
) -> Result<i64, RestoreError> {
    for attempt in 1.. {
        let found = make::find(maintenance, &names.new, mark).await?;
        if found != Found::Nothing {
            let may_go = match found {
                Found::Unmarked { owner } => Some(owner.as_str()) == database.owner() && is_empty(&session.to(&names.new)).await?,
                found => found == Found::Ours,
            };
            if !may_go {
                return Err(RestoreError::DatabaseInTheWay { name: names.new.clone() });
            }
            discard(maintenance, &names.new).await?;
        }
        match run_on(maintenance, &database.create(&names.new)).await {
            Ok(()) => break,
            Err(RestoreError::PreparationFailed(error)) if attempt < TRIES && is_there_by_now(&error) => {
                tracing::warn!(attempt, database = names.new, "an earlier attempt's CREATE DATABASE stands in the way");
                pause().await;
            }
            Err(error) => return Err(error),
        }
    }
    run_on(maintenance, &format!("COMMENT ON DATABASE {} IS {}", quote(&names.new), quote_literal(mark))).await?;
    make::oid(maintenance, &names.new).await?.ok_or(RestoreError::OtherAttempt)
}

async fn is_empty(session: &Session) -> Result<bool, RestoreError> {
    let mut connection = session.connect().await?;
    let anything: bool = sqlx::query_scalar(ANYTHING).fetch_one(&mut connection).await?;
    // An open session would hold up the drop.
    let _ = connection.close().await;
    Ok(!anything)
}

/// `duplicate_database`; or, where both were at it at the same time, `unique_violation`, and `lock_not_available` while it takes
/// longer than our sessions wait for a lock.
fn is_there_by_now(error: &sqlx::Error) -> bool {
    matches!(sqlstate(error).as_deref(), Some("42P04" | "23505" | "55P03"))
}
