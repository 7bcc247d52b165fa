//! The plan: which rows would be written and to what, found out without writing anything.
//!
//! One READ ONLY, REPEATABLE READ transaction. A cursor yields the source's keys in order, a page at a time; each page
//! is judged by the very SQL that apply uses. Memory grows with the page, and by 16 bytes for each row that is written
//! through `match` (to notice a target that is written twice).

mod digest;
mod file;
mod sample;
mod validate;

pub use digest::RowsDigest;
pub use file::{PlanFile, PlanFileError, PlanReader, PlannedRow, Trailer};
pub use validate::ValidationError;

use super::model::Model;
use super::query::{self, Moment};
use super::row::{self, Change, Judged, Key, RowError, show};
use crate::api::spec::Samples;
use crate::api::status::PlanStatus;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Instant;
use thiserror::Error;
use validate::Validation;

/// Source rows a page: large enough to be fast, small enough to fit in memory with wide rows.
pub const PAGE: usize = 5000;

/// Why there is no plan.
#[derive(Debug, Error)]
pub enum PlanError {
    /// Rows cannot be judged.
    #[error(transparent)]
    Row(#[from] RowError),
    /// Rows are not good enough.
    #[error(transparent)]
    Validation(#[from] ValidationError),
    /// There is a plan, but too many rows are invalid.
    #[error("{source}")]
    NotGoodEnough {
        /// By which rule.
        source: ValidationError,
        /// What was found, for the person who has to look at it.
        plan: Box<PlanStatus>,
    },
    /// The plan file.
    #[error(transparent)]
    File(#[from] PlanFileError),
    /// Two writes meet in one row.
    #[error(
        "the row {key} of {table} would be written more than once (the last time for the source row {source_key}): narrow source.where or match, choose one winner a group with source.pick, or set all columns of a row in one write"
    )]
    TargetWrittenTwice {
        /// The target table.
        table: String,
        /// Key of the target row.
        key: String,
        /// Key of the source row.
        source_key: String,
    },
    /// Stopped.
    #[error("planning was stopped")]
    Stopped,
    /// The database.
    #[error("planning failed: {}", crate::postgres::describe(.0))]
    Database(#[from] sqlx::Error),
}

/// How to plan.
#[derive(Clone, Copy, Debug)]
pub struct PlanOptions<'a> {
    /// Uid of the run.
    pub run_uid: &'a str,
    /// Where the plan file goes.
    pub path: &'a Path,
    /// Source rows a page.
    pub page: usize,
    /// What may be shown.
    pub samples: &'a Samples,
}

/// Plans. `progress` is told rows read and the catalogue's estimate of all, after each page, and answers whether to go on.
/// The status has no digest for approval, no path and no time: those are the caller's.
///
/// # Errors
/// [`PlanError`].
pub async fn plan(
    connection: &mut PgConnection,
    model: &Model,
    options: PlanOptions<'_>,
    mut progress: impl FnMut(i64, i64) -> bool,
) -> Result<PlanStatus, PlanError> {
    let begun = Instant::now();
    let estimate: i64 = sqlx::query_scalar("SELECT greatest(reltuples, 0)::int8 FROM pg_class WHERE oid = $1::oid")
        .persistent(false)
        .bind(model.source.table.oid)
        .fetch_one(&mut *connection)
        .await?;
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let declare = format!("DECLARE backfill_keys NO SCROLL CURSOR FOR {}", query::source_keys(&model.source));
    sqlx::query(AssertSqlSafe(declare)).persistent(false).execute(&mut *transaction).await?;
    let mut planner = Planner::new(model, options)?;
    loop {
        let fetch = format!("FETCH FORWARD {} FROM backfill_keys", options.page.max(1));
        let rows = sqlx::query(AssertSqlSafe(fetch)).persistent(false).fetch_all(&mut *transaction).await?;
        if rows.is_empty() {
            break;
        }
        let candidates = planner.candidates(&rows)?;
        planner.page(&mut transaction, candidates).await?;
        if !progress(planner.counts.scanned, estimate.max(planner.counts.scanned)) {
            return Err(PlanError::Stopped);
        }
    }
    transaction.rollback().await?;
    let mut status = planner.finish()?;
    let millis = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX).max(1);
    status.rows_per_second = status.scanned.saturating_mul(1000) / millis;
    Ok(status)
}

struct Planner<'a> {
    model: &'a Model,
    options: PlanOptions<'a>,
    counts: PlanStatus,
    digest: RowsDigest,
    file: PlanFile,
    validation: Validation,
    seen: HashSet<u128>,
}

impl<'a> Planner<'a> {
    fn new(model: &'a Model, options: PlanOptions<'a>) -> Result<Self, PlanError> {
        let validation = Validation::of(model)?;
        let file = PlanFile::create(options.path, options.run_uid)?;
        let counts = PlanStatus::default();
        Ok(Self { model, options, counts, digest: RowsDigest::default(), file, validation, seen: HashSet::new() })
    }

    /// Counts a page, and keeps the keys of the rows that `where` finds and that win their group.
    fn candidates(&mut self, rows: &[sqlx::postgres::PgRow]) -> Result<BTreeMap<i64, Key>, PlanError> {
        let mut candidates = BTreeMap::new();
        for row in rows {
            self.counts.scanned += 1;
            if !row.try_get::<bool, _>("holds")? {
                continue;
            }
            self.counts.matching += 1;
            if row.try_get::<i64, _>("rank")? == 1 {
                candidates.insert(self.counts.scanned, row.try_get("key")?);
            } else {
                self.counts.lost += 1;
            }
        }
        Ok(candidates)
    }

    async fn page(&mut self, connection: &mut PgConnection, mut keys: BTreeMap<i64, Key>) -> Result<(), PlanError> {
        self.drop_invalid(connection, &mut keys).await?;
        if keys.is_empty() {
            return Ok(());
        }
        let judged = row::judge(connection, self.model, &keys, Moment::Plan).await?;
        for (ordinal, key) in &keys {
            // In one snapshot every key is found again.
            let Some(judged) = judged.get(ordinal) else { continue };
            match (judged.applies, judged.changes.is_empty()) {
                (false, _) => self.counts.no_match += 1,
                (true, true) => self.counts.already_done += 1,
                (true, false) => self.write(key, judged)?,
            }
        }
        Ok(())
    }

    async fn drop_invalid(&mut self, connection: &mut PgConnection, keys: &mut BTreeMap<i64, Key>) -> Result<(), PlanError> {
        if self.model.rules.is_empty() || keys.is_empty() {
            return Ok(());
        }
        let sql = query::judged_values(self.model);
        let rows = row::with_keys(&sql, keys, self.model.source.key.len()).fetch_all(connection).await?;
        // In key order: what is named as a sample must not depend on how the server joins.
        let mut values: BTreeMap<i64, Vec<Option<String>>> = BTreeMap::new();
        for row in rows {
            values.insert(row.try_get("ordinal")?, row.try_get("judged")?);
        }
        for (ordinal, values) in values {
            let Some(key) = keys.get(&ordinal) else { continue };
            if !self.validation.judge(key, &values)? {
                self.counts.invalid += 1;
                keys.remove(&ordinal);
            }
        }
        Ok(())
    }

    fn write(&mut self, key: &Key, judged: &Judged) -> Result<(), PlanError> {
        judged.check(self.model, key)?;
        for change in &judged.changes {
            self.only_once(key, change)?;
            self.digest.add(self.model, change);
        }
        self.counts.will_write += 1;
        let Samples { show, count } = self.options.samples;
        if self.counts.will_write <= i64::from(*count) {
            let (shown, sensitive) = sample::sample(self.model, key, &judged.changes, *show);
            self.counts.sample.extend(shown);
            self.counts.sensitive += i64::from(sensitive);
        }
        self.file.add(&PlannedRow { key: key.clone(), fingerprint: judged.fingerprint(self.model, key) })?;
        Ok(())
    }

    /// A source row is written once by its own key; what is found by `match` has to be remembered.
    fn only_once(&mut self, source_key: &Key, change: &Change) -> Result<(), PlanError> {
        let Some(write) = self.model.writes.get(change.write) else { return Ok(()) };
        if write.is_own_row() && self.model.writes.len() == 1 {
            return Ok(());
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&write.table.oid.to_be_bytes());
        for part in &change.key {
            hasher.update(&(part.len() as u64).to_be_bytes()).update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        hasher.finalize_xof().fill(&mut bytes);
        if self.seen.insert(u128::from_be_bytes(bytes)) {
            return Ok(());
        }
        Err(PlanError::TargetWrittenTwice { table: write.table.display(), key: show(&change.key), source_key: show(source_key) })
    }

    fn finish(mut self) -> Result<PlanStatus, PlanError> {
        // Of the rows that were judged: losers never were.
        let within = self.validation.within_limits(self.counts.matching - self.counts.lost);
        self.counts.rows_digest = self.digest.finish();
        self.counts.file_sha256 = self.file.finish(&self.counts.rows_digest)?;
        self.counts.remarks = self.validation.remarks();
        self.counts.invalid_sample = self.validation.into_sample();
        match within {
            Ok(()) => Ok(self.counts),
            Err(source) => Err(PlanError::NotGoodEnough { source, plan: Box::new(self.counts) }),
        }
    }
}
