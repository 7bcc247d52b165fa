//! The end of undo: what is kept to put a run back with is deleted.

use super::UndoError;
use crate::engine::ledger::{Ledger, State};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Rows of the ledger that one transaction deletes. Each has the values of a whole batch.
const AT_ONCE: i64 = 500;
/// What is deleted: undo with what it left alone, and the keys of the planned rows. Counts and digests stay.
const TABLES: [&str; 3] = ["undo", "skipped", "ranges"];

/// Deletes what undo needs, and answers how many rows of the ledger that were. First the run is said to be closed: from
/// then on no undo begins that would find half of it. Can be repeated.
///
/// # Errors
/// [`UndoError::NotApplied`] for a run that is not, or no longer, applied.
pub async fn release_undo(connection: &mut PgConnection, ledger: &Ledger) -> Result<u64, UndoError> {
    if !super::known(connection, ledger).await? {
        return Ok(0);
    }
    let mut transaction = connection.begin().await?;
    ledger.raise_epoch(&mut transaction).await?;
    match ledger.run(&mut transaction).await?.state {
        state if state == State::Applied.as_str() => ledger.set_state(&mut transaction, State::Closed).await?,
        // In script mode the ledger only knows that the database was claimed.
        state if state == State::Closed.as_str() || state == State::Claimed.as_str() => {}
        state => return Err(UndoError::NotApplied(state)),
    }
    transaction.commit().await?;
    let mut deleted = 0;
    let mut tables: Vec<String> = TABLES.iter().map(|name| ledger.table(name)).collect();
    tables.extend(captured(connection, ledger).await?);
    for table in tables {
        let sql = format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {table} WHERE run_uid = $1 LIMIT {AT_ONCE})) AND run_uid = $1"
        );
        loop {
            let done = sqlx::query(AssertSqlSafe(sql.clone())).persistent(false).bind(ledger.uid()).execute(&mut *connection).await?;
            deleted += done.rows_affected();
            if done.rows_affected() == 0 {
                break;
            }
        }
    }
    Ok(deleted)
}

/// What a capture left, where there ever was one.
async fn captured(connection: &mut PgConnection, ledger: &Ledger) -> Result<Vec<String>, sqlx::Error> {
    let tables: Vec<String> = ["captured", "captures"].map(|name| ledger.table(name)).into();
    sqlx::query_scalar("SELECT name FROM unnest($1::text[]) AS t(name) WHERE to_regclass(name) IS NOT NULL")
        .persistent(false)
        .bind(tables)
        .fetch_all(connection)
        .await
}
