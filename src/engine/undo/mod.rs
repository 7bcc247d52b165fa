//! Undo: puts back what the run wrote, newest batch first, and never what the application wrote since.
//!
//! Each row is compared before it is set: only where the written columns still are as the run left them do the old
//! values come back. The ledger describes what it holds, so that nothing else is needed.

mod again;
mod as_before;
mod order;
mod part;
mod put_back;
mod release;
mod statement;

pub use as_before::{changed_since, not_as_before};
pub use release::release_undo;

use super::apply::Retries;
use super::connector::{self, ConnectRefused, Connector};
use super::ledger::{Ledger, LedgerError, State, release};
use crate::postgres::{describe, may_pass, sqlstate};
use part::Part;
use put_back::PutBack;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// How many skipped keys a person is shown.
const NAMED: i64 = 10;

/// Why not all rows are put back.
#[derive(Debug, Error)]
pub enum UndoError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectRefused),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A table or column is gone.
    #[error("{0} is not there any more: undo what removed it, or restore the backup")]
    TargetGone(String),
    /// What undo needs was deleted.
    #[error("the undo of this run was released: nothing is kept to put its rows back with")]
    Released,
    /// A run that is being taken back, or was, is not closed.
    #[error("the run is {0} in the ledger, and no longer applied: its undo stays")]
    NotApplied(String),
    /// A statement failed.
    #[error("a statement failed: {}", describe(.0))]
    Database(#[from] sqlx::Error),
    /// Tried again too often without getting on.
    #[error("gave up after {tries} attempts without a batch: {last}")]
    GaveUp {
        /// How many attempts.
        tries: u32,
        /// The last error.
        last: String,
    },
}

impl UndoError {
    /// The SQLSTATE, where the database refuses a row: by a constraint (23), or by what a trigger raises (P0).
    fn refused(&self) -> Option<String> {
        let Self::Database(error) = self else { return None };
        sqlstate(error).filter(|code| code.starts_with("23") || code.starts_with("P0"))
    }

    /// True where trying again may help by itself.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(refused) => refused.may_pass,
            Self::Ledger(LedgerError::Database(error)) | Self::Database(error) => may_pass(error),
            Self::Ledger(_) | Self::TargetGone(_) | Self::Released | Self::NotApplied(_) | Self::GaveUp { .. } => false,
        }
    }
}

/// What was put back, over all attempts. Rows are those of the source: the ones that were counted as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undone {
    /// Put back.
    pub undone: i64,
    /// Left alone, because at least one of their written rows changed since.
    pub skipped: i64,
    /// Keys of the first of those, with the columns that changed.
    pub skipped_keys: Vec<String>,
}

/// Puts back all batches that are not put back yet; `None` where it was stopped before the end. `progress` is told
/// batches put back and batches in all.
///
/// # Errors
/// [`UndoError`]; whole batches are put back or not, whatever it is.
pub async fn undo(
    connector: &impl Connector,
    ledger: &Ledger,
    stop: &CancellationToken,
    limits: Retries,
    mut progress: impl FnMut(i64, i64),
) -> Result<Option<Undone>, UndoError> {
    let mut epoch = None;
    let mut retries = limits;
    loop {
        let mut moved = false;
        let mut tell = |done, total| {
            moved = true;
            progress(done, total);
        };
        let error = match work(connector, ledger, &mut epoch, stop, &mut tell).await {
            Ok(end) => return Ok(end),
            Err(error) if error.may_pass() => error,
            Err(error) => return Err(error),
        };
        if moved {
            retries = limits;
        }
        let Some(wait) = retries.next_wait() else {
            return Err(UndoError::GaveUp { tries: limits.limit(), last: error.to_string() });
        };
        tracing::warn!(%error, ?wait, "trying again");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => return Ok(None),
        }
    }
}

async fn work(
    connector: &impl Connector,
    ledger: &Ledger,
    epoch: &mut Option<i64>,
    stop: &CancellationToken,
    progress: &mut impl FnMut(i64, i64),
) -> Result<Option<Undone>, UndoError> {
    let mut connection = connector.connect().await?;
    // A run that never claimed has written nothing.
    if !known(&mut connection, ledger).await? {
        return Ok(Some(Undone::default()));
    }
    let epoch = match *epoch {
        Some(epoch) => epoch,
        None => *epoch.insert(begin(&mut connection, ledger).await?),
    };
    let put_back = PutBack::new(&mut connection, ledger, epoch, progress).await?;
    let mut sessions = put_back.sessions(connection, connector).await?;
    if !put_back.all(&mut sessions, stop).await? {
        return Ok(None);
    }
    let Some(mut connection) = sessions.into_iter().next() else { return Ok(None) };
    if !again::captured(&mut connection, ledger, epoch, stop).await? {
        return Ok(None);
    }
    let mut transaction = connection.begin().await?;
    ledger.fence(&mut transaction, epoch).await?;
    ledger.set_state(&mut transaction, State::Undone).await?;
    release(&mut transaction, ledger).await?;
    transaction.commit().await?;
    Ok(Some(counts(&mut connection, ledger).await?))
}

/// Fences off every worker of before, and lets none come after.
async fn begin(connection: &mut PgConnection, ledger: &Ledger) -> Result<i64, UndoError> {
    let mut transaction = connection.begin().await?;
    let epoch = ledger.raise_epoch(&mut transaction).await?;
    if ledger.run(&mut transaction).await?.state == State::Closed.as_str() {
        return Err(UndoError::Released);
    }
    ledger.set_state(&mut transaction, State::Undoing).await?;
    transaction.commit().await?;
    Ok(epoch)
}

/// True where ledger and run are there.
async fn known(connection: &mut PgConnection, ledger: &Ledger) -> Result<bool, UndoError> {
    let exists: bool = sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL")
        .persistent(false)
        .bind(ledger.table("runs"))
        .fetch_one(&mut *connection)
        .await?;
    Ok(exists && ledger.find(connection).await?.is_some())
}

async fn counts(connection: &mut PgConnection, ledger: &Ledger) -> Result<Undone, UndoError> {
    let sql = format!(
        "SELECT (SELECT coalesce(sum(written), 0)::int8 FROM {} WHERE run_uid = $1 AND undone_at IS NOT NULL),
                (SELECT count(*) FROM (SELECT DISTINCT range, place FROM {} WHERE run_uid = $1) AS rows)",
        ledger.table("batches"),
        ledger.table("skipped"),
    );
    let (all, skipped): (i64, i64) =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_one(&mut *connection).await?;
    let sql = format!(
        "SELECT ARRAY(SELECT k.parts->>s.place FROM jsonb_array_elements(r.keys) WITH ORDINALITY AS k(parts, n) ORDER BY k.n), s.columns
         FROM (SELECT range, place, array_agg(DISTINCT c.name ORDER BY c.name) FILTER (WHERE c.name IS NOT NULL) AS columns
               FROM {} LEFT JOIN LATERAL unnest(columns) AS c(name) ON true WHERE run_uid = $1 GROUP BY range, place ORDER BY range, place LIMIT $2) AS s
         JOIN {} r ON r.run_uid = $1 AND r.range = s.range ORDER BY s.range, s.place",
        ledger.table("skipped"),
        ledger.table("ranges"),
    );
    let keys: Vec<(Vec<String>, Option<Vec<String>>)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(NAMED).fetch_all(connection).await?;
    let named = |(key, columns): &(Vec<String>, Option<Vec<String>>)| match columns {
        Some(columns) => format!("{} ({})", super::row::show(key), columns.join(", ")),
        None => format!("{} (row is gone)", super::row::show(key)),
    };
    Ok(Undone { undone: all - skipped, skipped, skipped_keys: keys.iter().map(named).collect() })
}

impl Part {
    /// The error that a missing table or column is.
    fn gone(&self, error: sqlx::Error) -> UndoError {
        match sqlstate(&error).as_deref() {
            Some("42P01" | "42703" | "3F000") => UndoError::TargetGone(format!("{} ({})", self.table, describe(&error))),
            _ => UndoError::Database(error),
        }
    }
}
