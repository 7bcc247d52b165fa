//! Looks at what was put back, and at what would be.

use super::connector::Connector;
use super::part::parts;
use super::put_back::SESSIONS;
use super::statement::{Batch, count_changed, count_not_as_before};
use super::{UndoError, again, known};
use crate::engine::ledger::Ledger;
use sqlx::{AssertSqlSafe, PgConnection};
use std::sync::{Mutex, PoisonError};

/// Rows that were put back and are not as they were before the run: a trigger of the application changed them on the way, or
/// somebody wrote them since.
///
/// # Errors
/// [`UndoError`].
pub async fn not_as_before(connector: &impl Connector, ledger: &Ledger) -> Result<i64, UndoError> {
    let mut connection = connector.connect().await?;
    if !known(&mut connection, ledger).await? {
        return Ok(0);
    }
    let left = Mutex::new(batches(&mut connection, ledger, "IS NOT NULL").await?.into_iter());
    let repeated = again::repeated(&mut connection, ledger).await?;
    let sql = format!("SELECT EXISTS (SELECT FROM {} WHERE run_uid = $1)", ledger.table("skipped"));
    let some_stayed: bool = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_one(&mut connection).await?;
    let mut sessions = vec![connection];
    while sessions.len() < SESSIONS
        && let Ok(session) = connector.connect().await
    {
        sessions.push(session);
    }
    let counts = sessions.iter_mut().map(|session| async {
        let mut differing = 0;
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(batch) = next else { return Ok::<i64, UndoError>(differing) };
            for part in parts(session, ledger, batch).await? {
                let except = repeated.get(&(batch.range, batch.batch, part.seq, part.action.as_str().to_owned()));
                let except = except.map_or(&[][..], Vec::as_slice);
                differing += count_not_as_before(session, ledger, batch, &part, except, some_stayed).await?;
            }
        }
    });
    Ok(futures::future::try_join_all(counts).await?.into_iter().sum())
}

/// Written rows that are no longer as the run left them.
///
/// # Errors
/// [`UndoError`].
pub async fn changed_since(connection: &mut PgConnection, ledger: &Ledger) -> Result<i64, UndoError> {
    let mut changed = 0;
    for batch in batches(connection, ledger, "IS NULL").await? {
        for part in parts(connection, ledger, batch).await? {
            changed += count_changed(connection, ledger, batch, &part).await?;
        }
    }
    Ok(changed)
}

async fn batches(connection: &mut PgConnection, ledger: &Ledger, undone: &str) -> Result<Vec<Batch>, sqlx::Error> {
    let sql =
        format!("SELECT range, batch FROM {} WHERE run_uid = $1 AND undone_at {undone} ORDER BY range, batch", ledger.table("batches"));
    let batches: Vec<(i64, i64)> = sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_all(connection).await?;
    Ok(batches.into_iter().map(|(range, batch)| Batch { range, batch }).collect())
}
