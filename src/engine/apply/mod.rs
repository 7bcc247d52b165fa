//! Apply: writes the planned rows, a batch a transaction: data, audit entry, undo rows and cursor together or not at all.
//!
//! Everything here can be repeated: the ledger knows what is done. So there is one loop around all of it, which after a
//! lost connection, a deadlock or a conflict begins again where the cursor stands.

mod batch;
mod control;
mod drift;
mod load;
mod pace;
mod retry;
mod size;
mod write;

pub use control::{BatchSettings, Control};
pub use pace::{Next, Pace};
pub use retry::Retries;
pub use size::{BatchSize, Trouble};

use super::connector::{ConnectRefused, Connector};
use super::ledger::{Ledger, LedgerError, State};
use super::model::{Model, ModelError};
use super::plan::PlanFileError;
use super::row::RowError;
use crate::api::spec::{DriftMode, SqlBackfill};
use crate::api::status::{PlanStatus, ResultStatus};
use crate::postgres::{describe, is_connection_loss, sqlstate};
use crate::protocol::RunIdentity;
use batch::Batch;
use sqlx::{Connection as _, PgConnection};
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
    /// Another plan has been begun.
    #[error("rows of another plan of this run are already written: abort the run, so that they are put back, and create a new one")]
    PlanReplaced,
    /// Too many rows changed since the plan.
    #[error("{drifted} of {planned} planned rows changed since the plan, more than drift allows ({limit}): nothing was written")]
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
    /// The database stored another value than the one that was planned and approved.
    #[error(
        "{rows} rows of {table} would hold other values than those planned: something in the database changes them while they are written (a trigger?); take the columns that it sets out of set"
    )]
    WrittenOtherwise {
        /// The target table.
        table: String,
        /// How many rows of the batch.
        rows: i64,
    },
    /// The database did not write some rows.
    #[error(
        "{missing} rows of {table} were not written although they are there: a trigger or a row security policy holds them back; use a role that it does not apply to"
    )]
    RowsHeldBack {
        /// The target table.
        table: String,
        /// How many rows of the batch.
        missing: i64,
    },
    /// A constraint refuses a planned value.
    #[error("a constraint refuses a planned value: {0}")]
    ConstraintViolated(String),
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

    /// True where trying again may help by itself: connection, serialization, deadlock, lock or statement timeout, and a
    /// server that is read-only because it is just being replaced.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        if let Self::Connect(refused) = self {
            return refused.may_pass;
        }
        let transient = |code: String| matches!(code.as_str(), "40001" | "40P01" | "55P03" | "57014" | "25006");
        self.database().is_some_and(|error| is_connection_loss(error) || sqlstate(error).is_some_and(transient))
    }

    /// True where a smaller batch may do better.
    fn wants_smaller(&self) -> bool {
        self.database().and_then(sqlstate).is_some_and(|code| code == "57014" || code == "53200")
    }

    fn refine(self) -> Self {
        match self.database() {
            Some(error) if sqlstate(error).is_some_and(|code| code.starts_with("23")) => Self::ConstraintViolated(describe(error)),
            _ => self,
        }
    }
}

/// What to apply, and how.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions<'a> {
    /// The run.
    pub run: &'a RunIdentity,
    /// The ledger.
    pub ledger: &'a Ledger,
    /// The declared backfill.
    pub spec: &'a SqlBackfill,
    /// The approved plan.
    pub plan: &'a PlanStatus,
    /// Its file.
    pub plan_file: &'a Path,
    /// The pod's annotations.
    pub control: &'a Path,
    /// Ends the work after the batch in hand.
    pub stop: &'a CancellationToken,
    /// How often it is tried again without getting on.
    pub retries: Retries,
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

/// Applies the plan, as far as it is not applied yet. `progress` is told rows handled and rows planned, over all attempts.
///
/// # Errors
/// [`ApplyError`]; whole batches are committed or not, whatever it is.
pub async fn apply(
    connector: &impl Connector,
    options: ApplyOptions<'_>,
    mut progress: impl FnMut(i64, i64),
) -> Result<Ending, ApplyError> {
    let mut epoch = None;
    let mut retries = options.retries;
    let mut control = Control::of(options.spec, options.control);
    loop {
        let mut moved = false;
        let mut tell = |done, total| {
            moved = true;
            progress(done, total);
        };
        let error = match work(connector, options, &mut epoch, &mut control, &mut tell).await {
            Ok(ending) => return Ok(ending),
            Err(error) if error.may_pass() => error,
            Err(error) => return Err(error.refine()),
        };
        if moved {
            retries = options.retries;
        }
        if error.wants_smaller() {
            control.halve();
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

/// One connection's work: all of it, or up to the first error.
async fn work(
    connector: &impl Connector,
    options: ApplyOptions<'_>,
    epoch: &mut Option<i64>,
    control: &mut Control,
    progress: &mut impl FnMut(i64, i64),
) -> Result<Ending, ApplyError> {
    let mut connection = connector.connect().await?;
    let ledger = options.ledger;
    // Once for this worker: after a lost connection the epoch is still its own, and tells whether another came since.
    let epoch = match *epoch {
        Some(epoch) => epoch,
        None => *epoch.insert(ledger.begin(&mut connection).await?),
    };
    let model = Model::resolve(&mut connection, options.spec, &[]).await?;
    model.require_writable(&mut connection).await?;
    load::load(&mut connection, options, epoch).await?;
    if !drift::check(&mut connection, &model, options, epoch).await? {
        return Ok(Ending::Stopped);
    }
    let batches = Batch::new(&mut connection, &model, options, epoch).await?;
    loop {
        if options.stop.is_cancelled() {
            return Ok(Ending::Stopped);
        }
        if control.refresh().suspended() {
            return Ok(Ending::Suspended);
        }
        let run = batches.next(&mut connection, control.size()).await?;
        progress(run.written + run.drifted, run.planned);
        if run.state == State::Applied.as_str() {
            // Only a courtesy: the answer is committed.
            let _ = connection.close().await;
            return Ok(Ending::Done);
        }
        if !control.pause().is_zero() {
            tokio::select! {
                () = tokio::time::sleep(control.pause()) => {}
                () = options.stop.cancelled() => {}
            }
        }
    }
}

/// What is written so far, over all attempts.
///
/// # Errors
/// [`LedgerError`].
pub async fn result(connection: &mut PgConnection, ledger: &Ledger) -> Result<ResultStatus, LedgerError> {
    let run = ledger.run(connection).await?;
    let drifted_keys = batch::drifted_keys(connection, ledger).await?;
    Ok(ResultStatus { written: run.written, drifted: run.drifted, drifted_keys, batches: run.batches, output: String::new() })
}

/// The limit of the spec, in words.
fn limit(spec: &SqlBackfill) -> String {
    match spec.drift.mode {
        DriftMode::Fail => "none, as drift.mode is Fail".into(),
        DriftMode::Skip => format!("{} percent", spec.drift.max_percent),
    }
}
