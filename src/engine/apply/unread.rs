//! Writes a range without reading it: one statement compares the versions of its rows with what the plan saw, and where all of
//! them are older, what would be written is what was planned, to the last byte. No value goes to the client and back.
//!
//! That is so because a planned value is made of one source row, one target row and the parameters, by functions that are not
//! replaced ([`only_builtin`]) and read no text as a date ([`casts_to_time`]), under the settings that every session of ours has.
//! Whatever else there is (joins, inserts, deletes, triggers, secrets to redact, values that depend on the server's locale) is read
//! and compared row by row, as is every range in which anything is not as the plan saw it.

use super::context::Context;
use super::write::{BatchNumber, Writer};
use super::{ApplyError, ApplyOptions, drift};
use crate::engine::catalog::Column;
use crate::engine::ledger::ClaimedRange;
use crate::engine::model::{AuditTarget, Model, Target, WriteAction};
use crate::engine::plan::Witness;
use crate::engine::query::{scope, unread, with_entry};
use crate::engine::row::Kind;
use crate::engine::sql::{Expression, casts_to_time, only_builtin, quote, stored_as_time};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

/// After a range that could not be written unread so many are read, then twice as many, up to this: where an application changes
/// many rows there is nothing to hope for.
const READ_AFTER_MISS_MAX: usize = 64;
/// `$1` is the run, `$2` the range, `$3` the batch; then the places, then the key's columns.
const PLACES: usize = 4;

/// The statement, for a run whose ranges can be written so.
#[derive(Debug)]
pub(super) struct Unread {
    sql: String,
    chance: Chance,
}

impl Unread {
    /// `None` where the run's rows have to be read.
    pub(super) async fn of(
        connection: &mut PgConnection,
        context: &Context,
        options: ApplyOptions<'_>,
    ) -> Result<Option<Self>, ApplyError> {
        let model = &context.model;
        let Some(target) = only_write(model) else { return Ok(None) };
        let Some(witness) = drift::witness(connection, options).await? else { return Ok(None) };
        // What others wrote after the backup is noted where it is written over, and so has to be seen.
        let witness = context.backup_saw.as_ref().map(|saw| saw.oldest_open).into_iter().fold(witness, Witness::as_of);
        let Some(forms_hold) = witness.forms_hold() else { return Ok(None) };
        let conditions = || model.source.filter.iter().chain(&target.matches).chain(&target.only_if);
        let planned = || target.sets.iter().filter(|set| !set.value.is_at_apply());
        let all = conditions().chain(target.sets.iter().map(|set| &set.value)).map(Expression::calls);
        let of_rows = conditions().chain(planned().map(|set| &set.value)).map(Expression::calls);
        if !only_builtin(connection, all).await? || casts_to_time(connection, of_rows).await? || !witness.holds(connection).await? {
            return Ok(None);
        }
        let rows = format!("{}, {}", scope(model, 0), target.table.relation("t"));
        for set in planned() {
            if stored_as_time(connection, &set.value, &rows, &target.table.quoted(), &set.column.name).await? {
                return Ok(None);
            }
        }
        Ok(Some(Self { sql: statement(context, target, &witness, &forms_hold), chance: Chance::default() }))
    }

    /// Whether a range of which nothing is written yet should be tried: all of it is one batch, and nothing is redacted in it.
    pub(super) fn suits(&self, range: &ClaimedRange, size: usize) -> bool {
        range.rows.len() <= size && range.rows.redact.is_empty() && self.chance.is_due()
    }

    /// Writes the whole range. False where anything in it is not as the plan saw it: then the transaction must be rolled back,
    /// and the rows be read.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        context: &Context,
        range: &ClaimedRange,
        number: BatchNumber,
    ) -> Result<bool, ApplyError> {
        let places: Vec<i32> = (0..i32::try_from(range.rows.len()).unwrap_or(i32::MAX)).collect();
        let query = sqlx::query(AssertSqlSafe(self.sql.clone())).persistent(false).bind(context.ledger.uid());
        let query = query.bind(number.range).bind(number.batch).bind(places);
        let columns = context.model.source.key.len();
        let query = range.rows.keys.iter().take(columns).fold(query, sqlx::query::Query::bind);
        let row = query.fetch_one(connection).await?;
        let rows = i64::try_from(range.rows.len()).unwrap_or(i64::MAX);
        let written = row.try_get::<i64, _>(0)? == rows && row.try_get::<i64, _>(1)? == rows;
        self.chance.was(written);
        Ok(written)
    }
}

/// The only write, where a planned value is made of its row, the source row and nothing else.
fn only_write(model: &Model) -> Option<&Target> {
    let [target] = model.writes.as_slice() else { return None };
    let plain = target.action == WriteAction::Update && target.captured.is_none() && target.triggers.is_empty();
    let alone = model.all_joins().next().is_none() && !model.recompute && !model.writes_losers();
    // A secret is redacted by us, and an entry that goes into a planned value is merged by another statement.
    let audited = match &model.audit {
        Some(AuditTarget::Column { column, .. }) => !(target.is_own_row() && target.set_of(&column.name).is_some()),
        Some(AuditTarget::Table(_)) | None => true,
    };
    (plain && alone && audited && model.server_dependent().is_empty()).then_some(target)
}

/// Reads, compares, writes, and keeps what undo needs; answers how many target rows and how many audit entries were written.
fn statement(context: &Context, target: &Target, witness: &Witness, forms_hold: &str) -> String {
    let (model, age) = (&context.model, witness.age());
    let writer = Writer::of(context);
    let own_audit = writer.own_entry(target);
    let keys = |key: &[Column], v: &str| (0..key.len()).fold(String::new(), |list, n| list + &format!(", v.{v}{n}::text AS k{n}"));
    let mut sets: Vec<String> = target.sets.iter().enumerate().map(|(n, set)| format!("{} = v.n{n}", quote(&set.column.name))).collect();
    if let Some((column, path)) = own_audit {
        let name = quote(&column.name);
        sets.push(format!("{name} = {}", with_entry(&format!("t.{name}"), path, &writer.entry_of(false))));
    }
    let old = (0..target.keeps.len()).fold(String::new(), |list, n| list + &format!(", v.o{n}"));
    let hashes = target.sets.iter().enumerate();
    let hashes = hashes.fold(String::new(), |list, (n, set)| {
        list + &format!(", hashtextextended(t.{}::text COLLATE \"C\", 0) AS h{n}", quote(&set.column.name))
    });
    let mut sql = format!(
        "WITH {read},
         sure AS MATERIALIZED (SELECT count(*) = cardinality(${PLACES}::int4[]) AND bool_and(as_planned) AND {forms_hold} AS sure FROM v),
         w AS (UPDATE {table} AS t SET {sets} FROM v WHERE t.ctid = v.target_at AND age(t.xmin) > {age} AND (SELECT sure FROM sure)
             RETURNING v.place, v.entry, v.depth, 'written'::text AS result{keys}{old}{hashes}){undo}{entries}",
        read = unread(model, target, PLACES, &age),
        table = target.table.quoted(),
        sets = sets.join(", "),
        keys = keys(&target.key, "t"),
        undo = writer.undo(0, target, Kind::Update).insert("u", "w"),
        entries = writer.audit_table(target, Kind::Update, "w"),
    );
    let mut entries = "w";
    if let Some(AuditTarget::Column { column, path }) = model.audit.as_ref().filter(|_| own_audit.is_none()) {
        let name = quote(&column.name);
        entries = "e";
        let _ = write!(
            sql,
            ", e AS (UPDATE {table} AS t SET {name} = {value} FROM v WHERE t.ctid = v.source_at AND age(t.xmin) > {age} AND (SELECT sure FROM sure)
                 RETURNING v.place, v.entry, v.depth{keys}){undo}",
            table = model.source.table.quoted(),
            value = with_entry(&format!("t.{name}"), path, &writer.entry_of(false)),
            keys = keys(&model.source.key, "s"),
            undo = writer.undo_of_entries(column).insert("ue", "e"),
        );
    }
    sql + &format!(" SELECT (SELECT count(*) FROM w), (SELECT count(*) FROM {entries})")
}

/// How many ranges are still read before the next one is tried, and how many it were the last time.
#[derive(Debug, Default)]
struct Chance {
    wait: AtomicUsize,
    last: AtomicUsize,
}

impl Chance {
    /// Whether the next range is tried.
    fn is_due(&self) -> bool {
        self.wait.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |wait| wait.checked_sub(1)).is_err()
    }

    fn was(&self, written: bool) {
        let last = self.last.load(Ordering::Relaxed);
        let next = if written { 0 } else { last.saturating_mul(2).clamp(1, READ_AFTER_MISS_MAX) };
        self.last.store(next, Ordering::Relaxed);
        self.wait.store(next, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Chance;

    #[test]
    fn after_each_miss_twice_as_many_ranges_are_read_before_the_next_try() {
        let chance = Chance::default();
        let read = |chance: &Chance| (0..1000).take_while(|_| !chance.is_due()).count();
        let mut waits = Vec::new();
        for _ in 0..9 {
            chance.was(false);
            waits.push(read(&chance));
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
        chance.was(true);
        assert_eq!(read(&chance), 0);
        chance.was(false);
        assert_eq!(read(&chance), 1);
    }
}
