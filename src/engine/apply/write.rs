//! The statements that change data: one a write of the spec, action and batch, each with what undo needs in the same statement.
//!
//! A row is written only in the version in which it was read (`xmin`), unless it is locked: so nothing that was written
//! between reading and writing is overwritten, and nothing has to be compared again.

use super::ApplyError;
use super::context::Context;
use super::sql::{Arrays, key_equals, source_as_read};
use crate::engine::catalog::Column;
use crate::engine::ledger::Ledger;
use crate::engine::model::{AuditTarget, Model, Target};
use crate::engine::query::{refers, with_entry};
use crate::engine::row::{Change, Judged, Key, Kind, show};
use crate::engine::sql::quote;
use sqlx::{PgConnection, Row as _};
use std::collections::{BTreeMap, BTreeSet};

/// A source row that is to be written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Writing<'a> {
    /// Its place in the range.
    pub(super) place: i32,
    /// Its key.
    pub(super) key: &'a Key,
    /// What is written for it.
    pub(super) judged: &'a Judged,
    /// True where a secret was redacted in it.
    pub(super) redacted: bool,
}

/// Which batch of which range.
#[derive(Clone, Copy, Debug)]
pub(super) struct BatchNumber {
    pub(super) range: i64,
    pub(super) batch: i64,
}

/// What the statements of a batch have in common.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) model: &'a Model,
    pub(super) ledger: &'a Ledger,
    /// The audit entry: what is the same for all rows, as JSON.
    pub(super) entry: &'a str,
    /// Namespace and name of the run.
    pub(super) run: &'a str,
    pub(super) plan_digest: &'a str,
}

/// What the statements did.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Places of the source rows that were written, all their changes.
    pub(super) written: BTreeSet<i32>,
    /// Columns in which a trigger left another value than the planned one.
    pub(super) changed_by_triggers: BTreeSet<String>,
}

impl<'a> Writer<'a> {
    pub(super) fn of(context: &'a Context) -> Self {
        let Context { model, ledger, entry, run, plan_digest, .. } = context;
        Self { model, ledger, entry, run, plan_digest }
    }

    /// Writes all changes of these rows, with the audit entry of each. A row that is not in the version in which it was
    /// read is left out, whole; `locked` rows are in it.
    ///
    /// # Errors
    /// [`ApplyError::Interleaved`] where a row could only be written in part: the transaction must be rolled back.
    pub(super) async fn write(
        &self,
        connection: &mut PgConnection,
        number: BatchNumber,
        rows: &[Writing<'_>],
        locked: bool,
    ) -> Result<Outcome, ApplyError> {
        let mut outcome = Outcome::default();
        let mut begun: BTreeSet<i32> = BTreeSet::new();
        let mut left: BTreeSet<i32> = BTreeSet::new();
        let mut audited: BTreeSet<i32> = BTreeSet::new();
        for (seq, target) in self.model.writes.iter().enumerate() {
            for kind in [Kind::Update, Kind::Insert, Kind::Delete] {
                let changes: Vec<RowChange<'_>> = changes(rows, seq, kind).filter(|row| !left.contains(&row.source.place)).collect();
                if changes.is_empty() {
                    continue;
                }
                let statement = Statement { writer: self, number, seq, target, kind, locked, begun: &begun };
                let done = statement.execute(connection, &changes).await?;
                if target.is_own_row() {
                    audited.extend(&done.places);
                }
                outcome.changed_by_triggers.extend(done.changed_by_triggers);
                let written = counted(done.places.iter().copied());
                for (place, wanted) in counted(changes.iter().map(|row| row.source.place)) {
                    match (written.get(&place).copied().unwrap_or(0), begun.contains(&place)) {
                        (0, false) => {
                            left.insert(place);
                        }
                        (got, _) if got < wanted => return Err(ApplyError::Interleaved),
                        _ => {}
                    }
                }
                begun.extend(written.keys());
            }
        }
        outcome.written = begun;
        if let Some(AuditTarget::Column { column, path }) = &self.model.audit {
            let rest = |row: &&Writing<'_>| outcome.written.contains(&row.place) && !audited.contains(&row.place);
            let rest: Vec<Writing<'_>> = rows.iter().filter(rest).copied().collect();
            self.write_entries(connection, number, column, path, &rest, locked).await?;
        }
        Ok(outcome)
    }

    /// The audit entry of rows that are not written themselves.
    async fn write_entries(
        &self,
        connection: &mut PgConnection,
        number: BatchNumber,
        column: &Column,
        path: &[String],
        rows: &[Writing<'_>],
        locked: bool,
    ) -> Result<(), ApplyError> {
        if rows.is_empty() {
            return Ok(());
        }
        let source = &self.model.source;
        let mut arrays = Arrays::default();
        arrays.places(rows.iter().map(|row| row.place));
        for n in 0..source.key.len() {
            arrays.texts(format!("k{n}"), rows.iter().map(|row| row.key.get(n).map(String::as_str)));
        }
        arrays.texts("version".into(), rows.iter().map(|row| row.judged.version.as_deref()));
        audit_arrays(&mut arrays, rows);
        let version = if locked { "" } else { " AND t.xmin = v.version::xid" };
        let name = quote(&column.name);
        let sql = format!(
            "WITH v AS ({arrays}),
             w AS (UPDATE {table} AS t SET {name} = {value} FROM v WHERE {key}{version} RETURNING v.*){undo}
             SELECT count(*) FROM w",
            arrays = arrays.select(),
            table = source.table.quoted(),
            value = with_entry(&format!("t.{name}"), path, &self.entry()),
            key = key_equals("t", &source.key),
            undo = self.undo_of_entries(column).insert("u", "w"),
        );
        let done: i64 = arrays.query(sql, self.ledger, number).fetch_one(connection).await?.try_get(0)?;
        if usize::try_from(done).is_ok_and(|done| done == rows.len()) { Ok(()) } else { Err(ApplyError::Interleaved) }
    }
}

fn audit_arrays<'a>(arrays: &mut Arrays<'a>, rows: &[Writing<'a>]) {
    let before = |n: usize| rows.iter().map(move |row| row.judged.audit_before.get(n).and_then(Option::as_deref));
    arrays.texts("entry".into(), before(0));
    arrays.texts("depth".into(), before(1));
    arrays.texts("result".into(), rows.iter().map(|row| Some(result(row.redacted))));
}

/// How often each place comes.
fn counted(places: impl Iterator<Item = i32>) -> BTreeMap<i32, usize> {
    let mut times = BTreeMap::new();
    for place in places {
        *times.entry(place).or_default() += 1;
    }
    times
}

pub(super) const fn result(redacted: bool) -> &'static str {
    if redacted { "redacted" } else { "written" }
}

/// One change of one source row.
#[derive(Clone, Copy, Debug)]
struct RowChange<'a> {
    source: &'a Writing<'a>,
    change: &'a Change,
}

fn changes<'a>(rows: &'a [Writing<'a>], seq: usize, kind: Kind) -> impl Iterator<Item = RowChange<'a>> {
    rows.iter().flat_map(move |source| {
        let of = source.judged.changes.iter().filter(move |change| change.write == seq && change.kind == kind);
        of.map(move |change| RowChange { source, change })
    })
}

/// What one statement did.
struct Done {
    /// Places of the source rows of the written rows.
    places: Vec<i32>,
    changed_by_triggers: Vec<String>,
}

/// One write of the spec, one action, one batch.
struct Statement<'a> {
    writer: &'a Writer<'a>,
    number: BatchNumber,
    seq: usize,
    target: &'a Target,
    kind: Kind,
    locked: bool,
    /// Source rows of which an earlier statement has written something: those are as they were read.
    begun: &'a BTreeSet<i32>,
}

impl Statement<'_> {
    async fn execute(&self, connection: &mut PgConnection, changes: &[RowChange<'_>]) -> Result<Done, ApplyError> {
        let target = self.target;
        let audit = self.writer.own_entry(target);
        if self.kind == Kind::Delete && !target.references().is_empty() {
            self.lock_referred(connection, changes).await?;
        }
        let (statement, checked) = match self.kind {
            Kind::Update => self.update(audit, self.stores_as_sent(changes)),
            Kind::Insert => self.insert(),
            Kind::Delete => (self.delete(), Vec::new()),
        };
        let flags: String = (0..checked.len()).fold(String::new(), |list, n| list + &format!(", coalesce(bool_or(w.d{n}), false)"));
        let arrays = self.arrays(changes);
        let sql = format!(
            "WITH v AS ({arrays}), w AS ({statement}){inserted}{undo}{entries}
             SELECT coalesce(array_agg(w.place), '{{}}'::int4[]), {all}{flags} FROM {written} AS w",
            arrays = arrays.select(),
            inserted = if self.kind == Kind::Insert { self.inserted(&checked) } else { String::new() },
            undo = self.writer.undo(self.seq, target, self.kind).insert("u", self.written()),
            entries = self.writer.audit_table(target, self.kind, self.written()),
            // Of the other kinds the written rows are these very ones.
            all = if self.kind == Kind::Insert { "(SELECT count(*) FROM w)" } else { "count(*)" },
            written = self.written(),
        );
        let row = arrays.query(sql, self.writer.ledger, self.number).fetch_one(connection).await?;
        let places: Vec<i32> = row.try_get(0)?;
        if let Some(first) = changes.first().filter(|_| row.try_get::<i64, _>(1).ok() != i64::try_from(places.len()).ok()) {
            // Inserted, and not found again by its key.
            return Err(ApplyError::KeyChanged { key: show(first.source.key) });
        }
        let mut changed_by_triggers = Vec::new();
        for (n, column) in checked.iter().enumerate() {
            if row.try_get::<bool, _>(n + 2)? {
                changed_by_triggers.push(format!("{}.{column}", target.table.display()));
            }
        }
        Ok(Done { places, changed_by_triggers })
    }

    /// Which relation of the statement has the written rows: an INSERT cannot return what it selected from, so that its
    /// rows are found again by their key.
    const fn written(&self) -> &'static str {
        match self.kind {
            Kind::Insert => "written",
            Kind::Update | Kind::Delete => "w",
        }
    }

    fn arrays<'r>(&self, changes: &[RowChange<'r>]) -> Arrays<'r> {
        let (target, source) = (self.target, &self.writer.model.source);
        let mut arrays = Arrays::default();
        arrays.places(changes.iter().map(|row| row.source.place));
        for n in 0..target.key.len() {
            arrays.texts(format!("k{n}"), changes.iter().map(|row| row.change.key.get(n).map(String::as_str)));
        }
        if self.kind != Kind::Insert && !self.locked {
            arrays.texts("version".into(), changes.iter().map(|row| row.change.version.as_deref()));
        }
        if self.asks_source() {
            for n in 0..source.key.len() {
                arrays.texts(format!("s{n}"), changes.iter().map(|row| row.source.key.get(n).map(String::as_str)));
            }
            let version = |row: &RowChange<'r>| row.source.judged.version.as_deref().filter(|_| !self.begun.contains(&row.source.place));
            arrays.texts("source".into(), changes.iter().map(version));
        }
        if self.kind != Kind::Insert {
            for n in 0..target.keeps.len() {
                arrays.texts(format!("o{n}"), changes.iter().map(|row| row.change.old.get(n).and_then(Option::as_deref)));
            }
        }
        if self.kind != Kind::Delete {
            for n in 0..target.sets.len() {
                arrays.texts(format!("n{n}"), changes.iter().map(|row| row.change.new.get(n).and_then(Option::as_deref)));
            }
        }
        if self.writer.model.audit.is_some() {
            let sources: Vec<Writing<'r>> = changes.iter().map(|row| *row.source).collect();
            audit_arrays(&mut arrays, &sources);
        }
        arrays
    }

    /// The row's own version is that of the source row where that is what is written. An audit entry in the source row is
    /// only written to the version that was read, and takes the batch back where there is another one.
    fn asks_source(&self) -> bool {
        let entry_asks = matches!(self.writer.model.audit, Some(AuditTarget::Column { .. }));
        !self.locked && !self.target.is_own_row() && !entry_asks
    }

    /// True where columns hold the very texts that were sent: those are texts of their types already, unless something has
    /// been redacted in them.
    fn stores_as_sent(&self, changes: &[RowChange<'_>]) -> bool {
        self.target.triggers.is_empty() && !changes.iter().any(|row| row.source.redacted)
    }

    fn conditions(&self) -> String {
        let mut conditions = key_equals("t", &self.target.key);
        if !self.locked {
            conditions.push_str(" AND t.xmin = v.version::xid");
        }
        conditions
    }

    /// The rows to write: those whose source row is as it was read. One of which something was written already is.
    fn given_rows(&self) -> String {
        let source = &self.writer.model.source;
        match (self.asks_source(), self.begun.is_empty()) {
            (false, _) => "v".into(),
            (true, true) => format!("v JOIN {} AS s ON {}", source.table.quoted(), source_as_read(source)),
            (true, false) => format!(
                "(SELECT * FROM v WHERE v.source IS NULL OR EXISTS (SELECT FROM {} AS s WHERE {})) AS v",
                source.table.quoted(),
                source_as_read(source)
            ),
        }
    }

    fn update(&self, audit: Option<(&Column, &[String])>, as_sent: bool) -> (String, Vec<String>) {
        let target = self.target;
        let (mut sets, mut returning, mut checked) = (Vec::new(), Vec::new(), Vec::new());
        for (n, set) in target.updated() {
            let name = quote(&set.column.name);
            let cast = format!("v.n{n}::{}", set.column.cast_type());
            // The entry goes into the new value where the write sets the audit column itself.
            let merged = audit.filter(|(column, _)| column.name == set.column.name);
            let value = merged.map_or(cast.clone(), |(_, path)| with_entry(&cast, path, &self.writer.entry()));
            sets.push(format!("{name} = {value}"));
            let stored = if as_sent && merged.is_none() { format!("v.n{n}") } else { format!("t.{name}::text") };
            returning.push(format!("hashtextextended({stored} COLLATE \"C\", 0) AS h{n}"));
            if !target.triggers.is_empty() && merged.is_none() && !set.value.is_at_apply() {
                returning.push(format!("t.{name}::text IS DISTINCT FROM v.n{n} AS d{}", checked.len()));
                checked.push(set.column.name.clone());
            }
        }
        if let Some((column, path)) = audit.filter(|(column, _)| target.set_of(&column.name).is_none()) {
            let name = quote(&column.name);
            sets.push(format!("{name} = {}", with_entry(&format!("t.{name}"), path, &self.writer.entry())));
        }
        let sql = format!(
            "UPDATE {} AS t SET {} FROM {} WHERE {} RETURNING {}, {}",
            target.table.quoted(),
            sets.join(", "),
            self.given_rows(),
            self.conditions(),
            self.given(),
            returning.join(", ")
        );
        (sql, checked)
    }

    fn insert(&self) -> (String, Vec<String>) {
        let target = self.target;
        let columns: Vec<String> = target.sets.iter().map(|set| quote(&set.column.name)).collect();
        let values: Vec<String> = target.sets.iter().enumerate().map(|(n, set)| format!("v.n{n}::{}", set.column.cast_type())).collect();
        let key: Vec<String> = target.key.iter().map(|c| quote(&c.name)).collect();
        let mut returning: Vec<String> =
            target.key.iter().enumerate().map(|(n, c)| format!("t.{}::text AS k{n}", quote(&c.name))).collect();
        returning.push("hashtextextended((t.*)::text, 0) AS h0".into());
        let mut checked = Vec::new();
        for set in target.sets.iter().filter(|set| !target.triggers.is_empty() && !set.value.is_at_apply()) {
            returning.push(format!("t.{}::text AS x{}", quote(&set.column.name), checked.len()));
            checked.push(set.column.name.clone());
        }
        let sql = format!(
            "INSERT INTO {} AS t ({}) SELECT {} FROM {} ON CONFLICT ({}) DO NOTHING RETURNING {}",
            target.table.quoted(),
            columns.join(", "),
            values.join(", "),
            self.given_rows(),
            key.join(", "),
            returning.join(", ")
        );
        (sql, checked)
    }

    /// The inserted rows beside what they were made of.
    fn inserted(&self, checked: &[String]) -> String {
        let target = self.target;
        let on: Vec<String> = (0..target.key.len()).map(|n| format!("w.k{n} = v.k{n}")).collect();
        let differs = checked.iter().enumerate().filter_map(|(n, column)| {
            let set = target.sets.iter().position(|set| set.column.name == *column)?;
            Some(format!(", w.x{n} IS DISTINCT FROM v.n{set} AS d{n}"))
        });
        format!(", written AS (SELECT {}, w.h0{} FROM w JOIN v ON {})", self.given(), differs.collect::<String>(), on.join(" AND "))
    }

    /// A row that is referred to by now stays: its foreign key might take the other row with it. Rows of one source row that go
    /// in one statement may refer to one another.
    fn delete(&self) -> String {
        let key = self.target.key.iter().enumerate();
        let key = key.fold(String::new(), |list, (n, c)| list + &format!(" AND c.{} = o.k{n}::{}", quote(&c.name), c.base_type));
        let others = format!(" AND NOT EXISTS (SELECT FROM v AS o WHERE o.place = v.place{key})");
        let alone = self.target.references().iter().fold(String::new(), |list, reference| {
            let same = self.target.captures && reference.table.oid == self.target.table.oid;
            list + " AND NOT " + &refers(reference, "t", if same { &others } else { "" })
        });
        format!(
            "DELETE FROM {} AS t USING {} WHERE {}{alone} RETURNING {}",
            self.target.table.quoted(),
            self.given_rows(),
            self.conditions(),
            self.given()
        )
    }

    /// Locks rows against new references: who is about to refer to one is waited for, and seen by the next statement; who
    /// comes later waits, and finds it gone.
    async fn lock_referred(&self, connection: &mut PgConnection, changes: &[RowChange<'_>]) -> Result<(), sqlx::Error> {
        let arrays = self.arrays(changes);
        let key: Vec<String> = self.target.key.iter().map(|c| format!("t.{}", quote(&c.name))).collect();
        let sql = format!(
            "WITH v AS ({}) SELECT 1 FROM {} AS t JOIN v ON {} ORDER BY {} FOR UPDATE OF t",
            arrays.select(),
            self.target.table.quoted(),
            key_equals("t", &self.target.key),
            key.join(", ")
        );
        arrays.query(sql, self.writer.ledger, self.number).execute(connection).await?;
        Ok(())
    }

    /// What the statement passes on of what it was given: all but the new values.
    fn given(&self) -> String {
        let keys = (0..self.target.key.len()).map(|n| format!("v.k{n}"));
        let old = (0..self.target.keeps.len()).filter(|_| self.kind != Kind::Insert).map(|n| format!("v.o{n}"));
        let audit = ["v.entry", "v.depth", "v.result"].into_iter().filter(|_| self.writer.model.audit.is_some()).map(str::to_owned);
        std::iter::once("v.place".to_owned()).chain(keys).chain(old).chain(audit).collect::<Vec<_>>().join(", ")
    }
}
