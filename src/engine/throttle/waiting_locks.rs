//! Sessions that wait for a lock. Cost: `pg_locks` stops the lock table for as long as it is copied; a fraction of a
//! millisecond for some thousand locks. It shows every role the same.

use super::{Reading, brief};
use sqlx::PgConnection;

pub(super) const NAME: &str = "WaitingLocks";

/// Who waits for a row waits for a transaction, whose lock belongs to no database: so the session tells which it is.
const SQL: &str = "
    SELECT count(DISTINCT l.pid)
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE NOT l.granted AND a.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND a.pid <> pg_backend_pid() AND a.application_name IS DISTINCT FROM current_setting('application_name')";

/// Compares them with the limit.
pub(super) async fn read(connection: &mut PgConnection, limit: i64) -> Result<Reading, sqlx::Error> {
    let mut transaction = brief(connection).await?;
    let waiting: i64 = sqlx::query_scalar(SQL).persistent(false).fetch_one(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(if waiting > limit {
        Reading::Over(format!("{waiting} sessions of this database wait for a lock, more than maxWaitingLocks {limit}"))
    } else {
        Reading::Free
    })
}
