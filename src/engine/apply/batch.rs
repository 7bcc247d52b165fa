//! One batch: one transaction that holds the fence, writes what is still as planned, and records where it stands.

use super::ApplyError;
use super::context::Context;
use super::read_ahead::{Prepared, Refused};
use super::unread::Unread;
use super::write::{BatchNumber, Outcome, Writer, Writing};
use super::written_over::WrittenOver;
use crate::api::spec::{DriftMode, SqlBackfill};
use crate::engine::ledger::{ClaimedRange, Ledger, LedgerError};
use crate::engine::plan::RowsDigest;
use crate::engine::query;
use crate::engine::row::{Change, Judged, Key, Keys, Kind, RowError, show};
use crate::engine::sql::quote_literal;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Postgres, Transaction};
use std::collections::{BTreeMap, BTreeSet};

/// How many drifted keys a person is shown.
const NAMED: i64 = 10;

/// Where a range stands while it is worked on.
#[derive(Clone, Debug)]
pub(super) struct Standing {
    /// Batches so far.
    pub(super) batches: i64,
    /// Digest over what was written.
    pub(super) digest: RowsDigest,
}

/// How a batch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// As it was read: rows that changed since are looked at again.
    AsRead,
    /// Everything is locked and looked at again first.
    Locked,
}

/// Writes a whole range without reading it, and commits it. False where that cannot be: then nothing was written.
pub(super) async fn write_unread(
    connection: &mut PgConnection,
    context: &Context,
    unread: &Unread,
    range: &ClaimedRange,
) -> Result<bool, ApplyError> {
    let mut transaction = begin(connection, context, range).await?;
    // By key, as all else: a table of middling size is otherwise read whole for each range, to find few of its rows.
    sqlx::query("SET LOCAL enable_seqscan = off").persistent(false).execute(&mut *transaction).await?;
    let number = BatchNumber { range: range.number, batch: range.batches + 1 };
    if !unread.write(&mut transaction, context, range, number).await? {
        transaction.rollback().await?;
        return Ok(false);
    }
    let (last, written) = (range.rows.len().saturating_sub(1), range.rows.len());
    let recorded =
        Recorded { number, first: 0, last, written, drifted: 0, quarantined: 0, redacted: 0, digest: &range.rows.digest, triggers: &[] };
    recorded.record(&mut transaction, context).await?;
    transaction.commit().await?;
    Ok(true)
}

/// The transaction of a batch, with the fence held. Each statement sees what was committed before it, whatever the role's default is.
async fn begin<'c>(
    connection: &'c mut PgConnection,
    context: &Context,
    range: &ClaimedRange,
) -> Result<Transaction<'c, Postgres>, ApplyError> {
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL READ COMMITTED").await?;
    context.ledger.fence_range(&mut transaction, context.epoch, range.number, range.epoch).await?;
    Ok(transaction)
}

/// Writes a batch, and commits it.
pub(super) async fn write(
    connection: &mut PgConnection,
    context: &Context,
    prepared: &Prepared,
    standing: &mut Standing,
    spec: &SqlBackfill,
    mode: Mode,
) -> Result<(), ApplyError> {
    let range = &prepared.range;
    let mut transaction = begin(connection, context, range).await?;
    let mut batch = Batch::new(context, prepared, standing, spec.drift.mode);
    if mode == Mode::AsRead {
        let places: Vec<usize> = prepared.places.iter().copied().filter(|place| !prepared.refused.contains_key(place)).collect();
        batch.round(&mut transaction, &places, &prepared.judged, false).await?;
    }
    let left = batch.left();
    if !left.is_empty() {
        let keys = Context::keys(&range.rows.keys, &left);
        lock(&mut transaction, context, &keys).await?;
        let judged = match context.judge(&mut transaction, &context.question, &keys, &range.rows.redact).await {
            Ok(judged) => judged,
            Err(RowError::Database(error)) => return Err(error.into()),
            // No longer unique, or referred to: found out again with each row alone, where it is drift.
            Err(_) if left.len() > 1 => return Err(ApplyError::Ambiguous),
            Err(_) => BTreeMap::new(),
        };
        batch.round(&mut transaction, &left, &judged, true).await?;
    }
    // Last of all, so that nobody waits for long.
    within_quarantine(&mut transaction, context, prepared, spec.quarantine.max).await?;
    let digest = batch.record(&mut transaction).await?;
    transaction.commit().await?;
    standing.batches += 1;
    standing.digest = digest;
    Ok(())
}

/// Holds the refused rows to the limit, over all workers: who leaves one out waits for the others that do.
async fn within_quarantine(connection: &mut PgConnection, context: &Context, prepared: &Prepared, max: i32) -> Result<(), ApplyError> {
    let Some((place, why)) = prepared.refused.iter().find(|(place, _)| prepared.places.contains(place)) else { return Ok(()) };
    let lock = format!("SELECT pg_advisory_xact_lock(hashtextextended({}, 0))", quote_literal(&context.ledger.table("quarantined")));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *connection).await?;
    let (max, more) = (i64::from(max), i64::try_from(prepared.refused.len()).unwrap_or(i64::MAX));
    let quarantined = context.ledger.totals(connection).await?.quarantined;
    if quarantined.saturating_add(more) <= max {
        return Ok(());
    }
    let key = prepared.show(context, *place);
    Err(ApplyError::RowRefused { key, sqlstate: why.sqlstate.clone(), message: why.message.clone(), max })
}

struct Batch<'a> {
    context: &'a Context,
    prepared: &'a Prepared,
    number: BatchNumber,
    drift: DriftMode,
    digest: RowsDigest,
    written: BTreeSet<i32>,
    redacted: usize,
    drifted: BTreeMap<usize, Key>,
    changed_by_triggers: BTreeSet<String>,
    written_over: WrittenOver,
}

impl<'a> Batch<'a> {
    fn new(context: &'a Context, prepared: &'a Prepared, standing: &Standing, drift: DriftMode) -> Self {
        let number = BatchNumber { range: prepared.range.number, batch: standing.batches + 1 };
        let (written, drifted, changed_by_triggers) = (BTreeSet::new(), BTreeMap::new(), BTreeSet::new());
        let (digest, written_over) = (standing.digest.clone(), WrittenOver::default());
        Self { context, prepared, number, drift, digest, written, redacted: 0, drifted, changed_by_triggers, written_over }
    }

    /// Writes those of the places that are as planned; the others drifted. In a round without locks a row that changed
    /// since it was read is left for the next one.
    async fn round(
        &mut self,
        connection: &mut PgConnection,
        places: &[usize],
        judged: &BTreeMap<i32, Judged>,
        locked: bool,
    ) -> Result<(), ApplyError> {
        let range = &self.prepared.range.rows;
        let keys: Vec<Key> = places.iter().map(|place| self.prepared.key(self.context, *place)).collect();
        let mut rows = Vec::with_capacity(places.len());
        let mut hashes = BTreeMap::new();
        for (place, key) in places.iter().zip(&keys) {
            let at = i32::try_from(*place).unwrap_or(i32::MAX);
            let row = judged.get(&at);
            match (row, Context::as_planned(range.fingerprints.get(*place), row)) {
                (Some(row), Some(changes)) => {
                    hashes.insert(at, changes);
                    rows.push(Writing { place: at, key, judged: row, redacted: range.redact.contains(&at) });
                }
                _ => self.drifted(*place, key, row)?,
            }
        }
        if rows.is_empty() {
            return Ok(());
        }
        let (model, writer) = (&self.context.model, Writer::of(self.context));
        let Outcome { written, changed_by_triggers } = writer.write(connection, self.number, &rows, locked).await?;
        for row in rows.iter().filter(|row| locked && !written.contains(&row.place)) {
            // What is not there cannot be locked: somebody else may have inserted it in between.
            let may_be_there = |change: &Change| {
                change.kind == Kind::Insert && model.writes.get(change.write).is_some_and(|write| write.triggers.is_empty())
            };
            if !row.judged.changes.first().is_some_and(may_be_there) {
                return Err(ApplyError::RowHeldBack { key: show(row.key) });
            }
            let place = usize::try_from(row.place).unwrap_or(usize::MAX);
            self.drifted(place, row.key, None)?;
        }
        if let Some(all) = self.prepared.digest.as_ref().filter(|_| !locked && written.len() == rows.len()) {
            self.digest.merge(all);
        } else {
            let of_written = hashes.iter().filter(|(place, _)| written.contains(place));
            for change in of_written.flat_map(|(_, changes)| changes.iter()) {
                self.digest.add(change);
            }
        }
        self.redacted += rows.iter().filter(|row| row.redacted && written.contains(&row.place)).count();
        self.written_over.note(self.context, rows.iter().filter(|row| written.contains(&row.place)));
        self.written.extend(written);
        self.changed_by_triggers.extend(changed_by_triggers);
        Ok(())
    }

    /// The row is not what was planned. Where only the rule is approved, a value that is there already is none to write.
    fn drifted(&mut self, place: usize, key: &Key, judged: Option<&Judged>) -> Result<(), ApplyError> {
        if self.drift == DriftMode::Fail {
            return Err(ApplyError::RowDrifted { key: show(key) });
        }
        if !self.context.is_satisfied(judged) {
            self.drifted.insert(place, key.clone());
        }
        Ok(())
    }

    /// Rows that are neither written nor drifted nor refused.
    fn left(&self) -> Vec<usize> {
        let open = |place: &usize| {
            let at = i32::try_from(*place).unwrap_or(i32::MAX);
            let satisfied = self.context.is_satisfied(self.prepared.judged.get(&at));
            !self.written.contains(&at) && !self.drifted.contains_key(place) && !self.prepared.refused.contains_key(place) && !satisfied
        };
        self.prepared.places.iter().copied().filter(open).collect()
    }

    /// Records the batch; answers the digest over what is written of the range.
    async fn record(self, connection: &mut PgConnection) -> Result<RowsDigest, ApplyError> {
        let ledger = &self.context.ledger;
        let range = &self.prepared.range;
        let (Some(first), Some(last)) = (self.prepared.places.first(), self.prepared.places.last()) else {
            return Ok(self.digest);
        };
        let refused: Vec<(usize, &Refused)> = self
            .prepared
            .refused
            .iter()
            .filter(|(place, _)| self.prepared.places.contains(place))
            .map(|(place, why)| (*place, why))
            .collect();
        let triggers: Vec<&str> = self.changed_by_triggers.iter().map(String::as_str).collect();
        let recorded = Recorded {
            number: self.number,
            first: *first,
            last: *last,
            written: self.written.len(),
            drifted: self.drifted.len(),
            quarantined: refused.len(),
            redacted: self.redacted,
            digest: &self.digest,
            triggers: &triggers,
        };
        recorded.record(connection, self.context).await?;
        self.written_over.record(connection, ledger, self.number).await?;
        if !self.drifted.is_empty() {
            record_drifted(connection, ledger, range.number, &self.drifted).await?;
        }
        for (place, why) in refused {
            quarantine(connection, ledger, range.number, place, &self.prepared.key(self.context, place), why).await?;
        }
        Ok(self.digest)
    }
}

/// What the ledger says of a batch.
struct Recorded<'a> {
    number: BatchNumber,
    /// Places of its first and its last row.
    first: usize,
    last: usize,
    written: usize,
    drifted: usize,
    quarantined: usize,
    redacted: usize,
    /// Over all that is written of the range by now.
    digest: &'a RowsDigest,
    /// Columns in which triggers left another value.
    triggers: &'a [&'a str],
}

impl Recorded<'_> {
    async fn record(&self, connection: &mut PgConnection, context: &Context) -> Result<(), sqlx::Error> {
        let ledger = &context.ledger;
        let int = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let sql = format!(
            "WITH b AS (INSERT INTO {} (run_uid, range, batch, epoch, first, last, written, drifted) VALUES ($1, $2, $3, $4, $5, $6, $7, $8))
             UPDATE {} SET cursor = $6 + 1, batches = $3, written = written + $7, drifted = drifted + $8, quarantined = quarantined + $9,
                 redacted = redacted + $10, written_digest = $11, touched_at = clock_timestamp(),
                 changed_by_triggers = ARRAY(SELECT DISTINCT unnest(changed_by_triggers || $12::text[]) ORDER BY 1),
                 done_at = CASE WHEN rows = $6 + 1 THEN clock_timestamp() END
             WHERE run_uid = $1 AND range = $2",
            ledger.table("batches"),
            ledger.table("ranges")
        );
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(self.number.range).bind(self.number.batch);
        let query = query.bind(context.epoch).bind(int(self.first)).bind(int(self.last)).bind(i64::from(int(self.written)));
        let query = query.bind(i64::from(int(self.drifted))).bind(i64::from(int(self.quarantined)));
        query.bind(i64::from(int(self.redacted))).bind(self.digest.to_bytes()).bind(self.triggers).execute(connection).await?;
        Ok(())
    }
}

async fn record_drifted(
    connection: &mut PgConnection,
    ledger: &Ledger,
    range: i64,
    drifted: &BTreeMap<usize, Key>,
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO {} (run_uid, range, place, key) SELECT $1, $2, p, k::jsonb FROM unnest($3::int4[], $4::text[]) AS d(p, k)",
        ledger.table("drifted")
    );
    let places: Vec<i32> = drifted.keys().map(|place| i32::try_from(*place).unwrap_or(i32::MAX)).collect();
    let keys: Vec<String> = drifted.values().map(|key| serde_json::json!(key).to_string()).collect();
    let insert = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(range).bind(places).bind(keys);
    insert.execute(connection).await?;
    Ok(())
}

async fn quarantine(
    connection: &mut PgConnection,
    ledger: &Ledger,
    range: i64,
    place: usize,
    key: &Key,
    why: &Refused,
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO {} (run_uid, range, place, key, sqlstate, message) VALUES ($1, $2, $3, $4::jsonb, $5, $6)",
        ledger.table("quarantined")
    );
    let query =
        sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(range).bind(i32::try_from(place).unwrap_or(i32::MAX));
    query.bind(serde_json::json!(key).to_string()).bind(&why.sqlstate).bind(&why.message).execute(connection).await?;
    Ok(())
}

/// Locks source and target rows, each in key order.
async fn lock(connection: &mut PgConnection, context: &Context, keys: &Keys) -> Result<(), sqlx::Error> {
    if context.locks_source {
        keys.bind(&query::lock_source(&context.model)).execute(&mut *connection).await?;
    }
    let model = &context.model;
    for (_, write) in model.named() {
        if write.is_locked_for_itself() {
            keys.bind(&query::lock_target(model, write)).execute(&mut *connection).await?;
        }
        // Nobody can come to refer to a locked row: what goes with it is all there by now. The nearest first.
        let captured: Vec<_> = model.captured_by(write).collect();
        for (_, target, path) in captured.into_iter().rev() {
            keys.bind(&query::lock_captured(model, write, target, path)).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Keys of the first drifted rows.
pub(super) async fn drifted_keys(connection: &mut PgConnection, ledger: &Ledger) -> Result<Vec<String>, LedgerError> {
    let sql = format!(
        "SELECT ARRAY(SELECT jsonb_array_elements_text(key)) FROM {} WHERE run_uid = $1 ORDER BY range, place LIMIT $2",
        ledger.table("drifted")
    );
    let keys: Vec<Vec<String>> =
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(NAMED).fetch_all(connection).await?;
    Ok(keys.iter().map(|key| show(key)).collect())
}
