//! Ranges of planned rows: loaded once, claimed by workers, done batch by batch.

use super::{Ledger, LedgerError};
use crate::engine::plan::{PlannedRange, RowsDigest};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, FromRow, PgConnection, Row as _};

/// A worker that has not touched its range for so long is taken for dead. A wrong guess costs time, never a row: the
/// range's epoch is raised, and the worker of before cannot write.
const ABANDONED_SECONDS: f64 = 30.0;

const COLUMNS: &str = "range, epoch, batches, cursor, keys::text AS keys, fingerprints, weights, redact, planned_digest, written_digest";

/// A range that is claimed.
#[derive(Clone, Debug)]
pub struct ClaimedRange {
    /// Its number.
    pub number: i64,
    /// Its epoch: raised by each claim.
    pub epoch: i64,
    /// Its batches so far.
    pub batches: i64,
    /// Rows of it that are handled.
    pub cursor: usize,
    /// Its rows.
    pub rows: PlannedRange,
    /// Digest over what was written of it so far.
    pub written_digest: RowsDigest,
}

/// Who claims: which worker of the run, and which process of it.
#[derive(Clone, Debug)]
pub struct Claimer {
    /// The worker's index, from 0.
    pub worker: i32,
    /// Random: another process of the same worker has another one.
    pub process: String,
}

/// What all ranges of a run add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Ranges that are not done.
    pub open: i64,
    /// Planned rows.
    pub planned: i64,
    /// Rows handled: written, drifted or quarantined.
    pub handled: i64,
    /// Source rows written.
    pub written: i64,
    /// Rows left alone, since they changed.
    pub drifted: i64,
    /// Rows that the database refused.
    pub quarantined: i64,
    /// Rows in which secrets were redacted.
    pub redacted: i64,
    /// Batches committed.
    pub batches: i64,
}

impl FromRow<'_, PgRow> for Totals {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            open: row.try_get("open")?,
            planned: row.try_get("planned")?,
            handled: row.try_get("handled")?,
            written: row.try_get("written")?,
            drifted: row.try_get("drifted")?,
            quarantined: row.try_get("quarantined")?,
            redacted: row.try_get("redacted")?,
            batches: row.try_get("batches")?,
        })
    }
}

impl Ledger {
    /// Adds a range of the plan.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn add_range(&self, connection: &mut PgConnection, number: i64, range: &PlannedRange) -> Result<(), sqlx::Error> {
        let sql = format!(
            "INSERT INTO {} (run_uid, range, rows, keys, fingerprints, weights, redact, planned_digest)
             VALUES ($1, $2, $3, $4::jsonb, $5, $6, $7, $8)",
            self.table("ranges")
        );
        let keys = serde_json::to_string(&range.keys).unwrap_or_default();
        let rows = i32::try_from(range.len()).unwrap_or(i32::MAX);
        let weights = (!range.weights.is_empty()).then_some(&range.weights);
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(self.uid()).bind(number).bind(rows).bind(keys);
        query.bind(&range.fingerprints).bind(weights).bind(&range.redact).bind(range.digest.to_bytes()).execute(connection).await?;
        Ok(())
    }

    /// Claims the next range for a worker: one that its process of before held, else one that nobody has, else one that
    /// its worker has abandoned. `None` where there is nothing to claim now.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn claim_range(&self, connection: &mut PgConnection, claimer: &Claimer) -> Result<Option<ClaimedRange>, sqlx::Error> {
        let ranges = self.table("ranges");
        let sql = format!(
            "UPDATE {ranges} SET epoch = epoch + 1, worker = $2, process = $3, touched_at = clock_timestamp()
             WHERE run_uid = $1 AND range = (
                 SELECT range FROM {ranges} WHERE run_uid = $1 AND done_at IS NULL AND process IS DISTINCT FROM $3
                   AND (process IS NULL OR worker = $2 OR touched_at < clock_timestamp() - make_interval(secs => $4))
                 ORDER BY worker = $2 DESC NULLS LAST, process IS NULL DESC, range LIMIT 1 FOR UPDATE SKIP LOCKED)
             RETURNING {COLUMNS}"
        );
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(self.uid()).bind(claimer.worker).bind(&claimer.process);
        query.bind(ABANDONED_SECONDS).fetch_optional(connection).await?.map(|row| claimed(&row)).transpose()
    }

    /// Says that the ranges of a process are still worked on, though no batch ends.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn touch_ranges(&self, connection: &mut PgConnection, claimer: &Claimer) -> Result<(), sqlx::Error> {
        let sql = format!(
            "UPDATE {} SET touched_at = clock_timestamp() WHERE run_uid = $1 AND process = $2 AND done_at IS NULL",
            self.table("ranges")
        );
        sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(self.uid()).bind(&claimer.process).execute(connection).await?;
        Ok(())
    }

    /// A range's rows, unclaimed.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn range(&self, connection: &mut PgConnection, after: i64) -> Result<Option<ClaimedRange>, sqlx::Error> {
        let sql = format!("SELECT {COLUMNS} FROM {} WHERE run_uid = $1 AND range > $2 ORDER BY range LIMIT 1", self.table("ranges"));
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(self.uid()).bind(after);
        query.fetch_optional(connection).await?.map(|row| claimed(&row)).transpose()
    }

    /// The run's and the range's rows, locked for this transaction, if both are still ours: the fence of a batch.
    ///
    /// # Errors
    /// [`LedgerError::Fenced`], [`LedgerError::RangeTaken`].
    pub async fn fence_range(&self, connection: &mut PgConnection, run_epoch: i64, range: i64, epoch: i64) -> Result<(), LedgerError> {
        self.fence_shared(connection, run_epoch).await?;
        let sql = format!("SELECT 1 FROM {} WHERE run_uid = $1 AND range = $2 AND epoch = $3 FOR NO KEY UPDATE", self.table("ranges"));
        let range = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(self.uid()).bind(range).bind(epoch);
        range.fetch_optional(connection).await?.map(|_| ()).ok_or(LedgerError::RangeTaken)
    }

    /// What all ranges add up to.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn totals(&self, connection: &mut PgConnection) -> Result<Totals, sqlx::Error> {
        let sql = format!(
            "SELECT count(*) FILTER (WHERE done_at IS NULL) AS open, coalesce(sum(rows), 0)::int8 AS planned,
                    coalesce(sum(cursor), 0)::int8 AS handled, coalesce(sum(written), 0)::int8 AS written,
                    coalesce(sum(drifted), 0)::int8 AS drifted, coalesce(sum(quarantined), 0)::int8 AS quarantined,
                    coalesce(sum(redacted), 0)::int8 AS redacted, coalesce(sum(batches), 0)::int8 AS batches
             FROM {} WHERE run_uid = $1",
            self.table("ranges")
        );
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(self.uid()).fetch_one(connection).await
    }
}

fn claimed(row: &PgRow) -> Result<ClaimedRange, sqlx::Error> {
    let keys: String = row.try_get("keys")?;
    let mut rows = PlannedRange::default();
    rows.keys = serde_json::from_str(&keys).map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    rows.fingerprints = row.try_get("fingerprints")?;
    rows.weights = row.try_get::<Option<Vec<i32>>, _>("weights")?.unwrap_or_default();
    rows.redact = row.try_get("redact")?;
    rows.digest = RowsDigest::from_bytes(&row.try_get::<Vec<u8>, _>("planned_digest")?).unwrap_or_default();
    let written: Option<Vec<u8>> = row.try_get("written_digest")?;
    Ok(ClaimedRange {
        number: row.try_get("range")?,
        epoch: row.try_get("epoch")?,
        batches: row.try_get("batches")?,
        cursor: usize::try_from(row.try_get::<i32, _>("cursor")?).unwrap_or(0),
        rows,
        written_digest: written.and_then(|bytes| RowsDigest::from_bytes(&bytes)).unwrap_or_default(),
    })
}
