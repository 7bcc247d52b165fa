//! Apply: writes the planned rows, a batch a transaction: data, audit entry, undo and cursor together or not at all.
//!
//! Any number of workers share the plan's ranges by claiming them in the ledger. Everything here can be repeated: the
//! ledger knows what is done. So there is one loop around all of it, which after a lost connection, a deadlock or a
//! conflict begins again where the ranges stand.

mod batch;
mod context;
mod control;
mod drift;
mod load;
mod pace;
mod read_ahead;
mod record;
mod retry;
mod size;
mod sql;
mod unread;
mod worker;
mod write;
mod written_over;

pub use control::{BatchSettings, Control};
pub use pace::{Next, Pace, gentle_rows_per_second};
pub use retry::Retries;
pub use size::{BatchSize, Trouble};
pub use written_over::WRITTEN_OVER;

use super::connector::{ConnectRefused, Connector};
use super::ledger::{Claimer, Ledger, LedgerError};
use super::model::ModelError;
use super::plan::{PlanFileError, RowsDigest};
use super::row::{RowError, show};
use super::secrets::RuleError;
use super::throttle::{Held, Remark};
use crate::api::spec::{DriftMode, SqlBackfill};
use crate::api::status::{PlanStatus, QuarantinedStatus, ResultStatus};
use crate::postgres::transactions::SeenTransactions;
use crate::postgres::{describe, may_pass};
use crate::protocol::RunIdentity;
use futures::TryStreamExt as _;
use read_ahead::Refused;
use sqlx::{AssertSqlSafe, PgConnection};
use std::path::Path;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// Why not all planned rows are written.
#[derive(Debug, Error)]
pub enum ApplyError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectRefused),
    /// The spec does not fit the database (any more).
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The plan file.
    #[error(transparent)]
    File(#[from] PlanFileError),
    /// Rows cannot be judged.
    #[error(transparent)]
    Row(#[from] RowError),
    /// The rules for secrets are none.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// Another plan has been begun.
    #[error("rows of another plan of this run are already written: abort the run, so that they are put back, and create a new one")]
    PlanReplaced,
    /// A written table is another one than was approved.
    #[error("since the plan the definition of {} has changed (columns, constraints, triggers, rules or row security): nothing was written", .tables.join(", "))]
    SchemaChanged {
        /// Which tables.
        tables: Vec<String>,
    },
    /// Too many rows changed since the plan.
    #[error("{drifted} of {planned} planned rows changed since the plan{}, more than drift allows ({limit}): nothing was written", named(.keys, *.drifted))]
    DriftAboveLimit {
        /// How many.
        drifted: i64,
        /// Of how many.
        planned: i64,
        /// What is allowed, in words.
        limit: String,
        /// Keys of the first of them.
        keys: Vec<String>,
    },
    /// A row changed while the run was applied, and none may.
    #[error("the source row {key} changed since the plan, and drift.mode is Fail")]
    RowDrifted {
        /// Key of the source row.
        key: String,
    },
    /// The database did not write a row that is there, locked, and as planned.
    #[error(
        "the source row {key} was not written although its rows are there: a trigger or a row security policy holds them back; use a role that it does not apply to"
    )]
    RowHeldBack {
        /// Key of the source row.
        key: String,
    },
    /// An inserted row has another key than the planned one.
    #[error(
        "the row that was inserted for the source row {key} has another key than the planned one, so that nobody would find it again to put it back: a trigger changes the key on the way; leave the key out of it, or take the key's value from where the trigger takes it"
    )]
    KeyChanged {
        /// Key of the source row.
        key: String,
    },
    /// The database refuses a row, and no more may be left out.
    #[error(
        "the database refuses the source row {key} ({sqlstate}: {message}), and quarantine.max is {max}: change the data or the expression, or allow more"
    )]
    RowRefused {
        /// Key of the source row.
        key: String,
        /// PostgreSQL's error code.
        sqlstate: String,
        /// Its words.
        message: String,
        /// How many rows may be left out.
        max: i64,
    },
    /// A row changed between reading and writing, when a part of it was written: rolled back, and done again with locks.
    #[error("a row changed while it was written")]
    Interleaved,
    /// Some row of the batch cannot be judged beside the others: done again with each alone.
    #[error("a row of the batch cannot be judged")]
    Ambiguous,
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

impl ApplyError {
    /// The driver's error behind it, where there is one.
    #[must_use]
    pub const fn database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error) | Self::Ledger(LedgerError::Database(error)) | Self::Row(RowError::Database(error)) => Some(error),
            Self::Model(error) => error.database(),
            _ => None,
        }
    }

    /// True where trying again may help by itself.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Connect(refused) => return refused.may_pass,
            Self::Ledger(LedgerError::RangeTaken) => return true,
            _ => {}
        }
        self.database().is_some_and(may_pass)
    }

    /// True where one row of a batch may be at fault: the batch is then tried in halves.
    fn may_be_of_one_row(&self) -> bool {
        matches!(self, Self::Ambiguous | Self::RowHeldBack { .. } | Self::KeyChanged { .. })
            || self.database().and_then(Refused::of).is_some()
    }
}

/// What to apply, and how.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions<'a> {
    /// The run.
    pub run: &'a RunIdentity,
    /// Which attempt to apply: an earlier one can write no more.
    pub attempt: i32,
    /// Which worker of the run, from 0.
    pub worker: i32,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The declared backfill.
    pub spec: &'a SqlBackfill,
    /// The approved plan.
    pub plan: &'a PlanStatus,
    /// Its file.
    pub plan_file: &'a Path,
    /// What the snapshot of the backup saw; rows that others wrote since are noted when they are written over.
    pub backup_saw: Option<&'a SeenTransactions>,
    /// The pod's annotations.
    pub control: &'a Path,
    /// Ends the work after the batch in hand.
    pub stop: &'a CancellationToken,
    /// How often it is tried again without getting on.
    pub retries: Retries,
    /// True where progress is told after each batch and not once a second: for tests.
    pub tell_each_batch: bool,
}

/// How applying ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every planned row is handled.
    Done,
    /// Stopped by the signal.
    Stopped,
    /// Stopped by the annotation.
    Suspended,
}

/// Is told how far all workers are, and what holds this one.
pub trait Observer {
    /// Rows handled and rows planned, over all workers and attempts.
    fn progress(&mut self, done: i64, total: i64);

    /// A batch was written, without its rows being read or with.
    fn written(&mut self, _unread: bool) {}

    /// Whether it writes gently from now on, since others write.
    fn gentle(&mut self, _gentle: bool) {}

    /// What holds the worker from now on, if anything does, and which readings cannot be taken.
    fn throttled(&mut self, _held: Option<&Held>, _remarks: &[&Remark]) {}
}

impl<F: FnMut(i64, i64)> Observer for F {
    fn progress(&mut self, done: i64, total: i64) {
        self(done, total);
    }
}

/// Notices whether anything was done since it was made.
struct Moved<'a, O> {
    observer: &'a mut O,
    furthest: &'a mut i64,
    forward: bool,
}

impl<O: Observer> Observer for Moved<'_, O> {
    fn progress(&mut self, done: i64, total: i64) {
        self.forward |= *self.furthest < done;
        *self.furthest = done.max(*self.furthest);
        self.observer.progress(done, total);
    }

    fn written(&mut self, unread: bool) {
        self.observer.written(unread);
    }

    fn gentle(&mut self, gentle: bool) {
        self.observer.gentle(gentle);
    }

    fn throttled(&mut self, held: Option<&Held>, remarks: &[&Remark]) {
        self.observer.throttled(held, remarks);
    }
}

/// Applies the plan, as far as it is not applied yet.
///
/// # Errors
/// [`ApplyError`]; whole batches are committed or not, whatever it is.
pub async fn apply(connector: &impl Connector, options: ApplyOptions<'_>, mut observer: impl Observer) -> Result<Ending, ApplyError> {
    let mut retries = options.retries;
    let mut pace = Pace::of(options.spec, options.control);
    let mut furthest = -1;
    loop {
        let mut watched = Moved { observer: &mut observer, furthest: &mut furthest, forward: false };
        // Another name each time: what the one before held is taken up again.
        let claimer = Claimer { worker: options.worker, process: format!("{:032x}", rand::random::<u128>()) };
        let error = match worker::work(connector, options, &claimer, &mut pace, &mut watched).await {
            Ok(ending) => return Ok(ending),
            Err(error) if error.may_pass() => error,
            Err(error) => {
                end_others(connector, options).await;
                return Err(error);
            }
        };
        if watched.forward {
            retries = options.retries;
        }
        if let Some(error) = error.database() {
            pace.failed(error);
        }
        let Some(wait) = retries.next_wait() else {
            return Err(ApplyError::GaveUp { tries: options.retries.limit(), last: error.to_string() });
        };
        tracing::warn!(%error, ?wait, "trying again");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = options.stop.cancelled() => return Ok(Ending::Stopped),
        }
    }
}

/// A worker that fails for good stops the others: nothing more is written of a run that will be taken back. Where it
/// cannot, they come upon the same fault themselves.
async fn end_others(connector: &impl Connector, options: ApplyOptions<'_>) {
    if options.spec.workers > 1
        && let Ok(mut connection) = connector.connect().await
    {
        let _ = options.ledger.end_attempt(&mut connection, options.attempt).await;
    }
}

/// What is written so far, over all workers and attempts.
///
/// # Errors
/// [`LedgerError`].
pub async fn result(connection: &mut PgConnection, ledger: &Ledger) -> Result<ResultStatus, LedgerError> {
    let totals = ledger.totals(connection).await?;
    let drifted_keys = batch::drifted_keys(connection, ledger).await?;
    let sql =
        format!("SELECT written_digest FROM {} WHERE run_uid = $1 AND written_digest IS NOT NULL ORDER BY range", ledger.table("ranges"));
    let mut digest = RowsDigest::default();
    let mut parts = sqlx::query_scalar::<_, Vec<u8>>(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch(&mut *connection);
    while let Some(part) = parts.try_next().await? {
        digest.merge(&RowsDigest::from_bytes(&part).unwrap_or_default());
    }
    drop(parts);
    Ok(ResultStatus {
        written: totals.written,
        drifted: totals.drifted,
        drifted_keys,
        quarantined: totals.quarantined,
        quarantined_rows: quarantined(connection, ledger).await?,
        redacted: totals.redacted,
        changed_by_triggers: changed_by_triggers(connection, ledger).await?,
        rows_digest: digest.finish(),
        batches: totals.batches,
        output: String::new(),
        captured: Vec::new(),
    })
}

/// Columns in which a trigger left another value than the planned one.
async fn changed_by_triggers(connection: &mut PgConnection, ledger: &Ledger) -> Result<Vec<String>, LedgerError> {
    let sql = format!("SELECT DISTINCT unnest(changed_by_triggers) FROM {} WHERE run_uid = $1 ORDER BY 1", ledger.table("ranges"));
    Ok(sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_all(connection).await?)
}

/// The first rows that the database refused.
async fn quarantined(connection: &mut PgConnection, ledger: &Ledger) -> Result<Vec<QuarantinedStatus>, LedgerError> {
    let sql = format!(
        "SELECT ARRAY(SELECT jsonb_array_elements_text(key)), sqlstate, message FROM {} WHERE run_uid = $1 ORDER BY range, place LIMIT 10",
        ledger.table("quarantined")
    );
    let rows: Vec<(Vec<String>, String, String)> =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_all(connection).await?;
    Ok(rows.into_iter().map(|(key, sqlstate, message)| QuarantinedStatus { key: show(&key), sqlstate, message }).collect())
}

/// Keys for people, and whether there are more.
fn named(keys: &[String], of: i64) -> String {
    let more = if i64::try_from(keys.len()).is_ok_and(|named| named < of) { ", …" } else { "" };
    if keys.is_empty() { String::new() } else { format!(" ({}{more})", keys.join(", ")) }
}

/// The limit of the spec, in words.
fn limit(spec: &SqlBackfill) -> String {
    match spec.drift.mode {
        DriftMode::Fail => "none, as drift.mode is Fail".into(),
        DriftMode::Skip | DriftMode::Recompute => format!("{} percent", spec.drift.max_percent),
    }
}
