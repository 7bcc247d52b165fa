//! The exchange of the names: one transaction.
//!
//! The first rename takes the lock of the old database at once and then waits, up to 5 s, for its sessions to go. New sessions wait
//! for that lock, so that whoever is ended cannot come back; and once the names are exchanged, they are told that the database
//! of that name is another one by now, and connect again. A step that dies in here leaves both names as they were.

use super::super::error::RestoreError;
use super::{MAINTENANCE, Names, make, sessions};
use crate::engine::sql::{quote, quote_literal};
use crate::postgres::sqlstate;
use crate::steps::session::Session;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use std::time::Duration;

/// Between two looks for sessions to end.
const LOOK: Duration = Duration::from_millis(20);

/// Ends the sessions that the role may end: its own, those of roles whose rights it has, and, as `pg_signal_backend`, all but
/// those of superusers.
const END: &str = "SELECT count(pg_terminate_backend(a.pid)) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
    WHERE a.datname = $1 AND a.pid <> pg_backend_pid()
      AND ((SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR NOT r.rolsuper AND (pg_has_role(a.usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')))";

/// Exchanges the names, if the new database is still the one with this OID: another attempt at the restore may be filling one of
/// the same name, while this one was taken for dead. `comment` gives the live database its comment back, `mark` says what the old one is.
pub(super) async fn exchange(
    session: &Session,
    maintenance: &mut PgConnection,
    names: &Names,
    oid: i64,
    comment: &str,
    mark: &str,
) -> Result<(), RestoreError> {
    let statements = format!(
        "SET LOCAL statement_timeout = 0; ALTER DATABASE {live} RENAME TO {old}; ALTER DATABASE {new} RENAME TO {live}; {comment}; COMMENT ON DATABASE {old} IS {}",
        quote_literal(mark),
        live = quote(&names.live),
        old = quote(&names.old),
        new = quote(&names.new),
    );
    let mut ender = session.to(MAINTENANCE).connect().await?;
    for attempt in 1.. {
        match once(maintenance, &mut ender, &statements, names, oid).await {
            Ok(true) => return Ok(()),
            Ok(false) => return Err(RestoreError::OtherAttempt),
            // Somebody is connected still.
            Err(error) if sqlstate(&error).as_deref() == Some("55006") => {
                sessions::wait(&mut ender, &names.live, attempt, error, "the databases were not swapped".into()).await?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// False where the new database is another one: then nothing is exchanged.
async fn once(
    maintenance: &mut PgConnection,
    ender: &mut PgConnection,
    statements: &str,
    names: &Names,
    oid: i64,
) -> Result<bool, sqlx::Error> {
    let mut transaction = maintenance.begin().await?;
    {
        let rename = sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *transaction);
        tokio::pin!(rename);
        loop {
            tokio::select! {
                renamed = &mut rename => {
                    renamed?;
                    break;
                }
                () = tokio::time::sleep(LOOK) => {
                    for database in [&names.live, &names.new] {
                        sqlx::query(END).bind(database).execute(&mut *ender).await?;
                    }
                }
            }
        }
    }
    if make::oid(&mut transaction, &names.live).await? != Some(oid) {
        transaction.rollback().await?;
        return Ok(false);
    }
    transaction.commit().await?;
    Ok(true)
}
