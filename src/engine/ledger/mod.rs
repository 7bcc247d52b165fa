//! The ledger: what the run has done to the database, kept in the database, in the transactions that did it.
//!
//! It holds the claim (one run at a time), the epochs (a worker of before cannot write), the ranges of planned keys with
//! their cursors, the batches, and what undo needs. `claim`, `apply`, `undo` and `verify` work through it.

mod claim;
mod migrate;
mod ranges;
mod schema;

pub use claim::{Claimed, claim, release};
pub use ranges::{ClaimedRange, Claimer, Totals};
pub use schema::{MARK, ensure};

use super::sql::quote;
use crate::protocol::RunIdentity;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row as _};
use thiserror::Error;

/// Why the ledger cannot be used.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The role may not make the schema or its tables.
    #[error("the role may not make the ledger's tables; run: {statements}")]
    CreateDenied {
        /// What to run.
        statements: String,
    },
    /// Something else has our name.
    #[error("the table {table} is there, but it is not the ledger's: set spec.database.ledgerSchema to another schema")]
    NotALedger {
        /// Which.
        table: String,
    },
    /// A later release made it.
    #[error("the ledger in {schema} was made by a later release: use that one")]
    Newer {
        /// Which schema.
        schema: String,
    },
    /// A run of an earlier release has not ended.
    #[error("the ledger's tables are of an earlier release, and its run {run} has not ended: finish or abort it with that release first")]
    RunOfBefore {
        /// Namespace and name.
        run: String,
    },
    /// The run is not in the ledger.
    #[error("the ledger does not know this run: its claim is missing")]
    RunUnknown,
    /// Nothing may be written any more.
    #[error("the run is {0} in the ledger: it writes nothing more; create a new run to write again")]
    RunEnded(String),
    /// The claim is another run's, or given back.
    #[error("the database is not claimed by this run any more: it writes nothing until it has claimed it again")]
    ClaimLost,
    /// Another worker of the run has come since.
    #[error("a later worker of the run has taken over: this one writes nothing more")]
    Fenced,
    /// Another worker has taken the range over.
    #[error("another worker of the run has taken over the range")]
    RangeTaken,
    /// The database.
    #[error("the ledger failed: {}", crate::postgres::describe(.0))]
    Database(#[from] sqlx::Error),
}

impl LedgerError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::CreateDenied { .. } => "LedgerCreateDenied",
            Self::NotALedger { .. } => "NotALedger",
            Self::Newer { .. } => "LedgerNewer",
            Self::RunOfBefore { .. } => "LedgerOfBefore",
            Self::RunUnknown => "RunUnknown",
            Self::RunEnded(_) => "RunEnded",
            Self::ClaimLost => "ClaimLost",
            Self::Fenced => "Fenced",
            Self::RangeTaken => "RangeTaken",
            Self::Database(_) => "LedgerFailed",
        }
    }
}

/// Where a run stands in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It holds, or held, the claim; nothing is written.
    Claimed,
    /// Batches are being written.
    Applying,
    /// All batches are written.
    Applied,
    /// They are being put back: no batch may follow.
    Undoing,
    /// They were put back.
    Undone,
    /// The database was restored from the run's backup.
    Restored,
    /// Applied, and its undo given up.
    Closed,
}

impl State {
    /// As the ledger writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "Claimed",
            Self::Applying => "Applying",
            Self::Applied => "Applied",
            Self::Undoing => "Undoing",
            Self::Undone => "Undone",
            Self::Restored => "Restored",
            Self::Closed => "Closed",
        }
    }
}

/// A run's row in the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRow {
    /// Where it stands, as [`State`] writes it.
    pub state: String,
    /// Its epoch: raised by every attempt to write, and by the way back.
    pub epoch: i64,
    /// The attempt to apply that raised it last.
    pub attempt: i32,
    /// Planned rows that are loaded.
    pub planned: i64,
    /// Planned rows that had changed when all were compared before the first write; -1 until then.
    pub drift_checked: i64,
    /// SHA-256 of the plan file that is loaded.
    pub plan_file_sha256: String,
}

impl FromRow<'_, PgRow> for RunRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            state: row.try_get("state")?,
            epoch: row.try_get("epoch")?,
            attempt: row.try_get("attempt")?,
            planned: row.try_get("planned")?,
            drift_checked: row.try_get("drift_checked")?,
            plan_file_sha256: row.try_get("plan_file_sha256")?,
        })
    }
}

/// The ledger of one run: its schema and its key.
#[derive(Clone, Debug)]
pub struct Ledger {
    schema: String,
    uid: String,
}

impl Ledger {
    /// The ledger of a run; reaches no database.
    #[must_use]
    pub fn of(schema: &str, run: &RunIdentity) -> Self {
        Self { schema: quote(schema), uid: run.uid.clone() }
    }

    /// A table of the ledger, quoted.
    #[must_use]
    pub fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.schema)
    }

    /// The schema, quoted.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The run's uid.
    #[must_use]
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// The run's row.
    ///
    /// # Errors
    /// [`LedgerError::RunUnknown`].
    pub async fn run(&self, connection: &mut PgConnection) -> Result<RunRow, LedgerError> {
        self.find(connection).await?.ok_or(LedgerError::RunUnknown)
    }

    /// The run's row, where there is one.
    ///
    /// # Errors
    /// [`LedgerError::Database`].
    pub async fn find(&self, connection: &mut PgConnection) -> Result<Option<RunRow>, LedgerError> {
        let sql = format!("SELECT * FROM {} WHERE uid = $1", self.table("runs"));
        Ok(sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(&self.uid).fetch_optional(connection).await?)
    }

    /// The run's row, locked for this transaction, if the epoch is still ours. This is the fence: a worker of before
    /// waits here for the present one's batch, and then finds another epoch.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`].
    pub async fn fence(&self, connection: &mut PgConnection, epoch: i64) -> Result<RunRow, LedgerError> {
        let sql = format!("SELECT * FROM {} WHERE uid = $1 AND epoch = $2 FOR UPDATE", self.table("runs"));
        let row = sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(&self.uid).bind(epoch).fetch_optional(connection).await?;
        row.ok_or(LedgerError::Fenced)
    }

    /// As [`Self::fence`], beside other sessions of the same epoch: whoever raises it waits for all of them.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`].
    pub async fn fence_shared(&self, connection: &mut PgConnection, epoch: i64) -> Result<(), LedgerError> {
        let sql = format!("SELECT 1 FROM {} WHERE uid = $1 AND epoch = $2 FOR SHARE", self.table("runs"));
        let row = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(&self.uid).bind(epoch).fetch_optional(connection).await?;
        row.map(|_| ()).ok_or(LedgerError::Fenced)
    }

    /// The epoch for a worker of this attempt: raised by the first one, so that workers of before are fenced off, and joined
    /// by the others. Only while the run holds the claim, and was not put back: without this a worker that starts late
    /// could fence off the way back, and write again what it took away.
    ///
    /// # Errors
    /// [`LedgerError::RunUnknown`], [`LedgerError::RunEnded`], [`LedgerError::ClaimLost`], [`LedgerError::Fenced`].
    pub async fn begin(&self, connection: &mut PgConnection, attempt: i32) -> Result<i64, LedgerError> {
        // Who joins only reads: the row is locked by the batches of the others, and hardly ever by none.
        let sql = format!(
            "SELECT epoch FROM {} WHERE uid = $1 AND attempt = $2 AND state IN ('Claimed', 'Applying', 'Applied')
               AND EXISTS (SELECT FROM {} WHERE run_uid = $1)",
            self.table("runs"),
            self.table("claim")
        );
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(&self.uid).bind(attempt);
        if let Some(epoch) = query.fetch_optional(&mut *connection).await? {
            return Ok(epoch);
        }
        let sql = format!(
            "UPDATE {} SET epoch = epoch + CASE WHEN attempt < $2 THEN 1 ELSE 0 END, attempt = $2, updated_at = now()
             WHERE uid = $1 AND attempt <= $2 AND state IN ('Claimed', 'Applying', 'Applied')
               AND EXISTS (SELECT FROM {} WHERE run_uid = $1) RETURNING epoch",
            self.table("runs"),
            self.table("claim")
        );
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(&self.uid).bind(attempt);
        if let Some(epoch) = query.fetch_optional(&mut *connection).await? {
            return Ok(epoch);
        }
        let run = self.run(connection).await?;
        let open = [State::Claimed, State::Applying, State::Applied].iter().any(|state| state.as_str() == run.state);
        Err(match (open, run.attempt > attempt) {
            (false, _) => LedgerError::RunEnded(run.state),
            (true, true) => LedgerError::Fenced,
            (true, false) => LedgerError::ClaimLost,
        })
    }

    /// Raises the epoch and answers it: every worker of before is fenced off.
    ///
    /// # Errors
    /// [`LedgerError::RunUnknown`].
    pub async fn raise_epoch(&self, connection: &mut PgConnection) -> Result<i64, LedgerError> {
        let sql = format!("UPDATE {} SET epoch = epoch + 1, updated_at = now() WHERE uid = $1 RETURNING epoch", self.table("runs"));
        let epoch = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(&self.uid).fetch_optional(connection).await?;
        epoch.ok_or(LedgerError::RunUnknown)
    }

    /// Fences off the workers of this attempt, and nobody else: not those of a later one, and not the way back.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn end_attempt(&self, connection: &mut PgConnection, attempt: i32) -> Result<(), sqlx::Error> {
        let sql = format!(
            "UPDATE {} SET epoch = epoch + 1, updated_at = now() WHERE uid = $1 AND attempt = $2 AND state IN ('Claimed', 'Applying', 'Applied')",
            self.table("runs")
        );
        sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(&self.uid).bind(attempt).execute(connection).await?;
        Ok(())
    }

    /// Says where the run stands.
    ///
    /// # Errors
    /// [`LedgerError::RunUnknown`].
    pub async fn set_state(&self, connection: &mut PgConnection, state: State) -> Result<(), LedgerError> {
        let sql = format!("UPDATE {} SET state = $2, updated_at = now() WHERE uid = $1", self.table("runs"));
        let done = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(&self.uid).bind(state.as_str()).execute(connection).await?;
        if done.rows_affected() == 1 { Ok(()) } else { Err(LedgerError::RunUnknown) }
    }
}

/// A run that has been applied before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppliedRun {
    /// Its uid.
    pub uid: String,
    /// Rows that it wrote.
    pub written: i64,
}

/// The run of this namespace, name and spec, but of another uid, that has been applied and not taken back: a run that
/// was deleted and is applied again. `None` where there is none, no ledger, or none that the role can see.
///
/// # Errors
/// [`LedgerError::Database`] where the connection failed.
pub async fn already_applied(
    connection: &mut PgConnection,
    schema: &str,
    run: &RunIdentity,
    spec_hash: &str,
) -> Result<Option<AppliedRun>, LedgerError> {
    let visible: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = 'runs' AND c.relkind = 'r' AND obj_description(c.oid, 'pg_class') LIKE $2 || '%'
           AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))",
    )
    .persistent(false)
    .bind(schema)
    .bind(MARK)
    .fetch_one(&mut *connection)
    .await?;
    if !visible {
        return Ok(None);
    }
    let sql = format!(
        "SELECT r.uid, (SELECT coalesce(sum(b.written), 0)::int8 FROM {schema}.batches b WHERE b.run_uid = r.uid)
         FROM {schema}.runs r WHERE r.namespace = $1 AND r.name = $2 AND r.spec_hash = $3 AND r.uid <> $4
           AND r.state IN ('Applied', 'Closed') ORDER BY r.updated_at DESC LIMIT 1",
        schema = quote(schema)
    );
    let query = sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(&run.namespace).bind(&run.name).bind(spec_hash).bind(&run.uid);
    let found: Option<(String, i64)> = query.fetch_optional(connection).await?;
    Ok(found.map(|(uid, written)| AppliedRun { uid, written }))
}
