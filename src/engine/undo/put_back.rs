//! The batches of a run, put back newest first; by two sessions at once where their order does not matter.

use super::connector::Connector;
use super::part::parts;
use super::statement::{Batch, undo_part};
use super::{UndoError, order};
use crate::engine::ledger::Ledger;
use crate::engine::lock_wait::give_way;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::sync::{Mutex, PoisonError};
use tokio_util::sync::CancellationToken;

/// Sessions at once. One waits for its locks and its pages while the other works; more would take from the application what
/// it needs.
pub(super) const SESSIONS: usize = 2;
/// Batches that are listed at a time.
const LISTED: i64 = 1000;

/// Progress of all sessions.
pub(super) struct Told<F> {
    done: i64,
    total: i64,
    progress: F,
}

/// What the sessions of an undo have in common.
pub(super) struct PutBack<'a, F> {
    pub(super) ledger: &'a Ledger,
    pub(super) epoch: i64,
    pub(super) told: Mutex<Told<F>>,
}

impl<'a, F: FnMut(i64, i64)> PutBack<'a, F> {
    /// `progress` is told batches put back, and batches in all.
    pub(super) async fn new(connection: &mut PgConnection, ledger: &'a Ledger, epoch: i64, progress: F) -> Result<Self, UndoError> {
        let sql = format!("SELECT count(undone_at), count(*) FROM {} WHERE run_uid = $1", ledger.table("batches"));
        let (done, total) = sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_one(connection).await?;
        Ok(Self { ledger, epoch, told: Mutex::new(Told { done, total, progress }) })
    }

    /// The sessions to work with: one more where that is safe and can be had.
    pub(super) async fn sessions(&self, mut first: PgConnection, connector: &impl Connector) -> Result<Vec<PgConnection>, UndoError> {
        give_way(&mut first).await?;
        let several = newest(&mut first, self.ledger, 2).await?.len() == 2 && order::any(&mut first, self.ledger).await?;
        let mut sessions = vec![first];
        while several && sessions.len() < SESSIONS {
            match connector.connect().await {
                Ok(mut session) => {
                    give_way(&mut session).await?;
                    sessions.push(session);
                }
                Err(error) => {
                    tracing::info!(%error, sessions = sessions.len(), "undo goes on with fewer sessions");
                    break;
                }
            }
        }
        Ok(sessions)
    }

    /// Puts back all batches that are not put back yet; false where it was stopped before the end.
    pub(super) async fn all(&self, sessions: &mut [PgConnection], stop: &CancellationToken) -> Result<bool, UndoError> {
        let Some(first) = sessions.first_mut() else { return Ok(false) };
        let mut newest_first = newest(first, self.ledger, LISTED).await?;
        while !newest_first.is_empty() {
            let end = stop.child_token();
            let left = Mutex::new(newest_first.into_iter());
            // A session that fails lets the others end the batch in hand: nothing is dropped in the middle of its COMMIT.
            let ends = futures::future::join_all(sessions.iter_mut().map(|session| async {
                let ended = self.some(session, &left, &end).await;
                ended.inspect_err(|_| end.cancel())
            }));
            let mut all = true;
            for ended in ends.await {
                all &= ended?;
            }
            if !all {
                return Ok(false);
            }
            let Some(first) = sessions.first_mut() else { return Ok(false) };
            newest_first = newest(first, self.ledger, LISTED).await?;
        }
        Ok(true)
    }

    /// One session: takes the newest batch that no other has taken, until there is none.
    async fn some(
        &self,
        session: &mut PgConnection,
        left: &Mutex<std::vec::IntoIter<Batch>>,
        end: &CancellationToken,
    ) -> Result<bool, UndoError> {
        loop {
            let next = left.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(batch) = next else { return Ok(true) };
            if end.is_cancelled() {
                return Ok(false);
            }
            self.batch(session, batch).await?;
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.done += 1;
            let (done, total) = (told.done, told.total);
            (told.progress)(done, total);
        }
    }

    /// One transaction. What only its COMMIT refuses, by a constraint that is deferred, is found row by row in a second one,
    /// where no constraint waits for the COMMIT; not in the first: within a batch values may change places.
    async fn batch(&self, session: &mut PgConnection, batch: Batch) -> Result<(), UndoError> {
        match self.put_back(session, batch, false).await {
            Err(error) if error.refused().is_some() => self.put_back(session, batch, true).await,
            end => end,
        }
    }

    async fn put_back(&self, session: &mut PgConnection, batch: Batch, at_once: bool) -> Result<(), UndoError> {
        let mut transaction = session.begin().await?;
        if at_once {
            sqlx::query("SET CONSTRAINTS ALL IMMEDIATE").persistent(false).execute(&mut *transaction).await?;
        }
        self.ledger.fence_shared(&mut transaction, self.epoch).await?;
        if take(&mut transaction, self.ledger, batch).await? {
            let mut left = false;
            for part in parts(&mut transaction, self.ledger, batch).await? {
                undo_part(&mut transaction, self.ledger, batch, &part, &mut left).await?;
            }
            let sql =
                format!("UPDATE {} SET undone_at = now() WHERE run_uid = $1 AND range = $2 AND batch = $3", self.ledger.table("batches"));
            let update = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(self.ledger.uid()).bind(batch.range).bind(batch.batch);
            update.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// True where the batch is still to be put back; its row is locked, so that a session whose connection was lost, and whose
/// COMMIT is on its way, is waited for.
///
/// The COMMIT does not wait for the disk: what a crash of the server takes back it takes back whole, rows and ledger, and the
/// next attempt puts it back again. The one that ends the undo waits, for all before it.
async fn take(transaction: &mut PgConnection, ledger: &Ledger, batch: Batch) -> Result<bool, sqlx::Error> {
    let sql = format!(
        "SELECT set_config('synchronous_commit', 'off', true) FROM {} WHERE run_uid = $1 AND range = $2 AND batch = $3 AND undone_at IS NULL
         FOR NO KEY UPDATE",
        ledger.table("batches")
    );
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(batch.range).bind(batch.batch);
    Ok(query.fetch_optional(transaction).await?.is_some())
}

/// The newest batches that are not put back yet.
async fn newest(connection: &mut PgConnection, ledger: &Ledger, limit: i64) -> Result<Vec<Batch>, sqlx::Error> {
    let sql = format!(
        "SELECT range, batch FROM {} WHERE run_uid = $1 AND undone_at IS NULL ORDER BY committed_at DESC, range DESC, batch DESC LIMIT $2",
        ledger.table("batches")
    );
    let rows: Vec<(i64, i64)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(limit).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(range, batch)| Batch { range, batch }).collect())
}
