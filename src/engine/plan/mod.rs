//! The plan: which rows would be written and to what, found out without writing anything.
//!
//! One READ ONLY, REPEATABLE READ transaction. A stream yields the answers of the very SELECT that apply asks, in key
//! order; chunks of them are assessed side by side, and taken in order into ranges. Memory does not grow with the table.

mod answers;
mod assess;
mod borrowed;
mod closing;
mod digest;
mod file;
mod findings;
mod once;
mod parameters;
mod range;
mod read;
mod sample;
mod validate;
mod witness;

pub use digest::RowsDigest;
pub use file::{PlanFile, PlanFileError, PlanReader, Trailer};
pub use range::{PlannedRange, WRITES_MAX};
pub use validate::ValidationError;
pub use witness::{Seen, Witness};

use super::model::Model;
use super::query::{self, Moment, Rows};
use super::row::{RowError, show};
use super::secrets::RuleError;
use super::sensitive::{Found, Sensitive};
use crate::api::duration;
use crate::api::spec::{OnMatch, Samples, SensitiveData};
use crate::api::status::{FindingStatus, PlanStatus, PlannedWrites};
use assess::{Assessed, Assessor, Verdict, Writing};
use closing::Closing;
use once::Once;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thiserror::Error;
use validate::{Rules, Tally};

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
    /// Two source rows meet in one target row.
    #[error(
        "the source rows {first} and {second} would write the same row: narrow source.where or match, choose one winner a group with source.pick, or set all columns of a row in one write"
    )]
    TargetWrittenTwice {
        /// Key of a source row.
        first: String,
        /// Key of another, or the same one.
        second: String,
    },
    /// Something looks like a secret, and nothing may.
    #[error(
        "the new value of {column} in {table} looks like a secret ({rule}) for the source row {key}: change the expression, or allow the rule in sensitiveData.allow"
    )]
    Sensitive {
        /// The target table.
        table: String,
        /// The column.
        column: String,
        /// The rule.
        rule: String,
        /// Key of the source row.
        key: String,
    },
    /// The rules for secrets are none.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The server is too slow.
    #[error(
        "planning failed: no further rows within {} (spec.database.statementTimeout): raise it, or narrow source.where", duration::display(*patience)
    )]
    TooSlow {
        /// For so long it was waited.
        patience: Duration,
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
    /// Most planned rows of a range.
    pub range: usize,
    /// What may be shown.
    pub samples: &'a Samples,
    /// What happens to values that look like secrets.
    pub sensitive: Option<&'a SensitiveData>,
}

/// Plans. `progress` is told matching rows read and the server's estimate of all, and answers whether to go on. The model
/// comes back with the values of its parameters. The status has no digest for approval, no path and no time: those are
/// the caller's.
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
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let mut model = model.clone();
    let parameters = parameters::take(&mut transaction, &mut model).await?;
    let question = query::question(&model, Rows::All, Moment::Plan);
    // One process of the server is as fast as what is done with its rows here, and two would take more from the application.
    sqlx::query("SET LOCAL max_parallel_workers_per_gather = 0").persistent(false).execute(&mut *transaction).await?;
    let findings = findings::of(&mut transaction, &model, &question).await?;
    let rules = Rules::of(&model)?;
    let sensitive = Sensitive::of(options.sensitive)?;
    // A source row is written once by its own key; what is found in another way has to be remembered.
    let sure = model.writes.len() == 1 && model.writes.iter().all(super::model::Target::is_own_row) && !model.has_many();
    let taken = (!sure).then(|| model.writes.iter().map(|write| model.taken_by(write)).collect());
    let assessor = Arc::new(Assessor { model, question, rules, sensitive, taken, shown: AtomicBool::new(false) });
    let mut planner = Planner::new(Arc::clone(&assessor), options)?;
    planner.counts.parameters = parameters;
    let read = read::read(&mut transaction, assessor, |chunk| {
        planner.take(chunk)?;
        let done = planner.counts.matching;
        if progress(done, findings.estimate.max(done)) { Ok(()) } else { Err(PlanError::Stopped) }
    })
    .await;
    if let Err(error) = read {
        // A file that takes no more stops the planner; why, the file knows.
        return planner.closing.finish().map_err(PlanError::from).and(Err(error));
    }
    planner.counts.scanned = scanned(&mut transaction, &planner).await?;
    planner.witness = witness::take(&mut transaction, &planner.with.model, &planner.counts).await?;
    transaction.rollback().await?;
    planner.counts.remarks.extend(findings.remarks(planner.counts.scanned, planner.counts.matching));
    let mut status = planner.finish()?;
    let millis = i64::try_from(begun.elapsed().as_millis()).unwrap_or(i64::MAX).max(1);
    status.rows_per_second = status.scanned.saturating_mul(1000) / millis;
    Ok(status)
}

/// Rows of the source table: what `where` leaves out was read, too.
async fn scanned(connection: &mut PgConnection, planner: &Planner<'_>) -> Result<i64, sqlx::Error> {
    let source = &planner.with.model.source;
    if source.filter.is_none() {
        return Ok(planner.counts.matching);
    }
    let sql = format!("SELECT count(*) FROM {}", source.table.quoted());
    sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(connection).await
}

struct Planner<'a> {
    with: Arc<Assessor>,
    options: PlanOptions<'a>,
    counts: PlanStatus,
    range: PlannedRange,
    /// Of each write of the range.
    hashes: Vec<blake3::Hash>,
    closing: Closing,
    tally: Tally,
    once: Option<Once>,
    /// What each write does, by action.
    writes: Vec<[i64; 3]>,
    /// Findings of each rule for secrets.
    by_rule: BTreeMap<String, i64>,
    witness: Option<Witness>,
    /// The source row that writes the most target rows, where those are more than a batch has.
    heaviest: Option<(String, usize)>,
}

/// So many findings are named.
const FINDINGS: usize = 20;

impl<'a> Planner<'a> {
    fn new(with: Arc<Assessor>, options: PlanOptions<'a>) -> Result<Self, PlanError> {
        let closing = Closing::begin(PlanFile::create(options.path, options.run_uid)?);
        let tally = Tally::of(&with.rules);
        let once = with.taken.as_ref().map(|_| Once::new(&options.path.with_extension("once")));
        let writes = vec![[0; 3]; with.model.writes.len()];
        let (counts, range, hashes) = (PlanStatus::default(), PlannedRange::default(), Vec::new());
        Ok(Self {
            with,
            options,
            counts,
            range,
            hashes,
            closing,
            tally,
            once,
            writes,
            by_rule: BTreeMap::new(),
            witness: None,
            heaviest: None,
        })
    }

    fn take(&mut self, chunk: Assessed) -> Result<(), PlanError> {
        for (all, writes) in self.writes.iter_mut().zip(&chunk.writes) {
            all.iter_mut().zip(writes).for_each(|(all, some)| *all += some);
        }
        let (mut keys, mut hashes, mut marks) = (chunk.keys.into_iter(), chunk.hashes.iter(), chunk.marks.into_iter());
        for verdict in chunk.verdicts {
            self.counts.matching += 1;
            match verdict {
                Verdict::Lost => self.counts.lost += 1,
                Verdict::NoMatch => self.counts.no_match += 1,
                Verdict::AlreadyDone => self.counts.already_done += 1,
                Verdict::Invalid(key, violations) => {
                    self.counts.invalid += 1;
                    let with = Arc::clone(&self.with);
                    self.tally.add(&with.rules, &key, violations)?;
                }
                Verdict::Sensitive(key, found) => {
                    let fails = self.options.sensitive.is_some_and(|sensitive| sensitive.on_match == OnMatch::Fail);
                    if let Some(Found { table, column, rule }) = found.first().cloned().filter(|_| fails) {
                        return Err(PlanError::Sensitive { table, column, rule, key: show(&key) });
                    }
                    self.counts.skipped_sensitive += 1;
                    self.found(&key, &found);
                }
                Verdict::Write(writing) => {
                    let number = u64::try_from(self.counts.will_write).unwrap_or(0);
                    if let Some(once) = &mut self.once {
                        marks.by_ref().take(writing.marks).try_for_each(|mark| once.add(mark, number))?;
                    }
                    self.hashes.extend(hashes.by_ref().take(writing.changes));
                    let question = &self.with.question;
                    let columns = question.key.len() + question.winner.len();
                    self.write(keys.by_ref().take(columns), &writing)?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, key: impl Iterator<Item = String>, writing: &Writing) -> Result<(), PlanError> {
        let place = self.range.len();
        self.range.add(key, writing.fingerprint, writing.changes, writing.bytes);
        self.counts.will_write += 1;
        if writing.changes > self.heaviest.as_ref().map_or(WRITES_MAX, |(_, most)| *most) {
            self.heaviest = Some((show(&self.key(place)), writing.changes));
        }
        if !writing.found.is_empty() {
            self.range.redact.push(i32::try_from(place).unwrap_or(i32::MAX));
            self.found(&self.key(place), &writing.found);
        }
        let Samples { show, count } = self.options.samples;
        if self.counts.will_write <= i64::from(*count) {
            let (shown, sensitive) = sample::sample(&self.with.model, &self.key(place), &writing.shown, *show);
            self.counts.sample.extend(shown);
            // Of all rows, where all are searched; else of those that are shown.
            self.counts.sensitive += i64::from(sensitive && self.options.sensitive.is_none());
        } else if !self.with.shown.load(Ordering::Relaxed) {
            // Once: a write a row would take the rules' cache line from the threads that assess.
            self.with.shown.store(true, Ordering::Relaxed);
        }
        if self.range.is_full(self.options.range.max(1)) { self.close() } else { Ok(()) }
    }

    /// The source key of a row of the range at hand.
    fn key(&self, place: usize) -> Vec<String> {
        self.range.key(place, self.with.question.key.len())
    }

    /// Counts a row with findings, and names the first of them.
    fn found(&mut self, key: &[String], found: &[Found]) {
        self.counts.sensitive += 1;
        for Found { table, column, rule } in found {
            *self.by_rule.entry(rule.clone()).or_default() += 1;
            if self.counts.findings.len() < FINDINGS {
                let (table, column, rule) = (table.clone(), column.clone(), rule.clone());
                self.counts.findings.push(FindingStatus { key: show(key), table, column, rule });
            }
        }
    }

    fn close(&mut self) -> Result<(), PlanError> {
        if self.range.is_empty() {
            return Ok(());
        }
        let (range, hashes) = (std::mem::take(&mut self.range), std::mem::take(&mut self.hashes));
        if self.closing.end(range, hashes) { Ok(()) } else { Err(PlanError::Stopped) }
    }

    fn finish(mut self) -> Result<PlanStatus, PlanError> {
        self.close()?;
        let (file, digest) = self.closing.finish()?;
        self.counts.rows_digest = digest.finish();
        self.counts.file_sha256 = file.finish(&self.counts.rows_digest, self.witness)?;
        if let Some((first, second)) = self.once.map(Once::twice).transpose()?.flatten() {
            let key = |number| key_of(&self.options, number, self.with.model.source.key.len());
            return Err(PlanError::TargetWrittenTwice { first: key(first)?, second: key(second)? });
        }
        let rules = &self.with.rules;
        // Of the rows that were judged: losers never were.
        let within = self.tally.within_limits(rules, self.counts.matching - self.counts.lost);
        self.counts.remarks.extend(self.tally.remarks(rules));
        if let Some((key, rows)) = &self.heaviest {
            let remark = format!(
                "the source row {key} writes {rows} rows, which are one transaction: more than the {WRITES_MAX} that a batch has at most"
            );
            self.counts.remarks.push(remark);
        }
        let by_rule = self.by_rule.iter().map(|(rule, times)| format!("{times} values look like secrets by the rule {rule}"));
        self.counts.remarks.extend(by_rule.take(FINDINGS));
        self.counts.invalid_sample = self.tally.into_sample();
        let targets = self.with.model.writes.iter().zip(&self.writes);
        let planned = targets.map(|(write, [updates, inserts, deletes])| PlannedWrites {
            table: write.table.display(),
            updates: *updates,
            inserts: *inserts,
            deletes: *deletes,
        });
        self.counts.writes = planned.collect();
        match within {
            Ok(()) => Ok(self.counts),
            Err(source) => Err(PlanError::NotGoodEnough { source, plan: Box::new(self.counts) }),
        }
    }
}

/// The key of a planned row, by its number.
fn key_of(options: &PlanOptions<'_>, number: u64, columns: usize) -> Result<String, PlanError> {
    let mut reader = PlanReader::open(options.path, options.run_uid)?;
    let mut place = usize::try_from(number).unwrap_or(usize::MAX);
    while let Some(range) = reader.next_range()? {
        if place < range.len() {
            return Ok(show(&range.key(place, columns)));
        }
        place -= range.len();
    }
    Ok(String::new())
}
