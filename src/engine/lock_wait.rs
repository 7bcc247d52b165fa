//! How long a session that writes waits for a lock: it gives way before the application would have to.

use sqlx::PgConnection;

/// Makes the session give up a lock it waits for after half of the server's `deadlock_timeout`, or after its
/// `lock_timeout` where that is shorter.
///
/// PostgreSQL looks for deadlocks once a session has waited for `deadlock_timeout`, and ends the one that looks. A batch
/// that waits for less time than that has let go of its rows before the application, which began to wait at about the
/// same moment, is made the victim. A batch is tried again; the application may not know how.
///
/// # Errors
/// Only those of the connection: every role may read the one setting and change the other.
pub async fn give_way(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // Both are in milliseconds; a `lock_timeout` of 0 would be none.
    let sql = "SELECT set_config('lock_timeout', least(nullif(l.setting::int, 0), greatest(d.setting::int / 2, 1))::text, false) \
               FROM pg_settings AS l, pg_settings AS d WHERE l.name = 'lock_timeout' AND d.name = 'deadlock_timeout'";
    sqlx::query(sql).persistent(false).execute(connection).await?;
    Ok(())
}
