//! The statements that change data: one a target table and batch, each with its undo rows in the same statement.

use super::ApplyError;
use crate::engine::catalog::{Column, Table};
use crate::engine::ledger::Ledger;
use crate::engine::model::{AuditTarget, Model, Target};
use crate::engine::query::{at_path, path_array, with_entry};
use crate::engine::row::{Change, Key};
use crate::engine::sql::{quote, quote_literal};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Row as _};
use std::collections::BTreeSet;

/// A planned change of one target row.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowChange<'a> {
    /// Ordinal of the source row.
    pub(super) ordinal: i64,
    /// Its key.
    pub(super) source_key: &'a Key,
    /// What is written.
    pub(super) change: &'a Change,
}

/// Writes all changes of a batch, and the audit entry of each source row: in the same UPDATE where the row itself is
/// written, in one of its own where it is not.
pub(super) async fn write(
    connection: &mut PgConnection,
    model: &Model,
    ledger: &Ledger,
    batch: i64,
    changes: &[RowChange<'_>],
    entry: Option<&str>,
) -> Result<(), ApplyError> {
    let audit = model.audit.as_ref().zip(entry);
    let mut audited = BTreeSet::new();
    for (seq, target) in model.writes.iter().enumerate() {
        let rows: Vec<RowChange<'_>> = changes.iter().filter(|row| row.change.write == seq).copied().collect();
        if rows.is_empty() {
            continue;
        }
        let own_audit = audit.filter(|_| target.is_own_row());
        if own_audit.is_some() {
            audited.extend(rows.iter().map(|row| row.ordinal));
        }
        let statement = Statement { ledger, batch, seq, audit_seq: model.writes.len(), audit: own_audit };
        statement.update_rows(connection, target, &rows).await?;
    }
    if let Some((audit, entry)) = audit {
        let mut rows: Vec<RowChange<'_>> = changes.iter().filter(|row| !audited.contains(&row.ordinal)).copied().collect();
        rows.dedup_by_key(|row| row.ordinal);
        let statement = Statement { ledger, batch, seq: model.writes.len(), audit_seq: model.writes.len(), audit: Some((audit, entry)) };
        statement.update_audit(connection, &model.source.table, &model.source.key, &rows).await?;
    }
    Ok(())
}

/// What one UPDATE and its undo rows have in common.
struct Statement<'a> {
    ledger: &'a Ledger,
    batch: i64,
    seq: usize,
    audit_seq: usize,
    audit: Option<(&'a AuditTarget, &'a str)>,
}

/// `$1` ordinals, `$2` source keys, `$3` run, `$4` batch, `$5` audit entry; arrays of keys and values follow.
const FIXED: usize = 5;

impl Statement<'_> {
    async fn update_rows(&self, connection: &mut PgConnection, target: &Target, rows: &[RowChange<'_>]) -> Result<(), ApplyError> {
        let (k, c) = (target.key.len(), target.sets.len());
        let names = Names { keys: k, columns: c };
        // The entry goes into the new value where the write sets the audit column itself.
        let merged = |column: &Column| self.audit.filter(|(audit, _)| audit.column.name == column.name);
        let added = self.audit.filter(|(audit, _)| target.sets.iter().all(|set| set.column.name != audit.column.name));
        let mut sets: Vec<String> = Vec::new();
        let (mut unchanged, mut after, mut differs) = (Vec::new(), Vec::new(), Vec::new());
        let (mut before_pairs, mut after_pairs, mut compare) = (Vec::new(), Vec::new(), Vec::new());
        for (n, set) in target.sets.iter().enumerate() {
            let (column, name) = (quote(&set.column.name), quote_literal(&set.column.name));
            let cast = format!("v.n{n}::{}", set.column.cast_type());
            let value = merged(&set.column).map_or(cast.clone(), |(audit, _)| with_entry(&cast, &audit.path, ENTRY));
            sets.push(format!("{column} = {value}"));
            unchanged.push(format!("t.{column}::text IS NOT DISTINCT FROM v.o{n}"));
            after.push(format!("t.{column}::text AS a{n}"));
            before_pairs.push(format!("{name}, v.o{n}"));
            after_pairs.push(format!("{name}, hashtextextended(w.a{n}, 0)"));
            if !set.value.is_at_apply() {
                compare.push(name);
                if merged(&set.column).is_none() {
                    differs.push(format!("w.a{n} IS DISTINCT FROM v.n{n}"));
                }
            }
        }
        let differs = if differs.is_empty() { "false".into() } else { differs.join(" OR ") };
        let audit_after = added.map(|(audit, _)| {
            let column = format!("t.{}", quote(&audit.column.name));
            sets.push(format!("{} = {}", quote(&audit.column.name), with_entry(&column, &audit.path, ENTRY)));
            format!(", {column}::text AS am, {}::text AS ae", at_path(&column, &audit.path))
        });
        let key_of = key_equals("t", &target.key);
        let old = added.map(|(audit, _)| Self::old_audit(&target.table, &target.key, audit));
        let sql = format!(
            "WITH v AS (SELECT * FROM unnest($1::int8[], $2::text[]{arrays}) AS v(ordinal, sk{columns})){old},
             w AS (UPDATE {table} AS t SET {sets} FROM v WHERE {key_of} AND {unchanged} RETURNING v.ordinal, {after}{audit_after}),
             u AS (INSERT INTO {undo} ({UNDO}) SELECT $3, $4, w.ordinal, {seq}, v.sk::jsonb, {table_name}, {key},
                   jsonb_build_object({before}), jsonb_build_object({hashes}), ARRAY[{compare}]::text[], NULL::text[], NULL::text
                   FROM w JOIN v USING (ordinal)){audit_undo}
             SELECT count(*) AS rows, count(*) FILTER (WHERE {differs}) AS differing, max($5::text) AS entry FROM w JOIN v USING (ordinal)",
            arrays = names.arrays(),
            columns = names.names(),
            old = old.unwrap_or_default(),
            table = target.table.quoted(),
            sets = sets.join(", "),
            unchanged = unchanged.join(" AND "),
            after = after.join(", "),
            audit_after = audit_after.unwrap_or_default(),
            undo = self.ledger.table("undo"),
            seq = self.seq,
            table_name = quote_literal(&target.table.quoted()),
            key = key_object(&target.key),
            before = before_pairs.join(", "),
            hashes = after_pairs.join(", "),
            compare = compare.join(", "),
            audit_undo = added.map(|(audit, _)| self.audit_undo(&target.table, &target.key, audit)).unwrap_or_default(),
        );
        let mut query = self.bind(sql, rows);
        for n in 0..k {
            query = query.bind(rows.iter().map(|row| row.change.key.get(n).cloned()).collect::<Vec<_>>());
        }
        for n in 0..c {
            query = query.bind(rows.iter().map(|row| row.change.old.get(n).cloned().flatten()).collect::<Vec<_>>());
        }
        for n in 0..c {
            query = query.bind(rows.iter().map(|row| row.change.new.get(n).cloned().flatten()).collect::<Vec<_>>());
        }
        let done = query.fetch_one(connection).await?;
        judge(&target.table, rows.len(), done.try_get("rows")?, done.try_get("differing")?)
    }

    async fn update_audit(
        &self,
        connection: &mut PgConnection,
        table: &Table,
        key: &[Column],
        rows: &[RowChange<'_>],
    ) -> Result<(), ApplyError> {
        let Some((audit, _)) = self.audit.filter(|_| !rows.is_empty()) else { return Ok(()) };
        let names = Names { keys: key.len(), columns: 0 };
        let column = format!("t.{}", quote(&audit.column.name));
        let sql = format!(
            "WITH v AS (SELECT * FROM unnest($1::int8[], $2::text[]{arrays}) AS v(ordinal, sk{columns})){old},
             w AS (UPDATE {quoted} AS t SET {name} = {value} FROM v WHERE {key_of}
                   RETURNING v.ordinal, {column}::text AS am, {entry}::text AS ae){audit_undo}
             SELECT count(*) AS rows, 0::int8 AS differing FROM w",
            arrays = names.arrays(),
            columns = names.names(),
            old = Self::old_audit(table, key, audit),
            quoted = table.quoted(),
            name = quote(&audit.column.name),
            value = with_entry(&column, &audit.path, ENTRY),
            key_of = key_equals("t", key),
            entry = at_path(&column, &audit.path),
            audit_undo = self.audit_undo(table, key, audit),
        );
        let mut query = self.bind(sql, rows);
        for n in 0..key.len() {
            query = query.bind(rows.iter().map(|row| row.source_key.get(n).cloned()).collect::<Vec<_>>());
        }
        let done = query.fetch_one(connection).await?;
        judge(table, rows.len(), done.try_get("rows")?, done.try_get("differing")?)
    }

    fn bind<'q>(&self, sql: String, rows: &[RowChange<'_>]) -> Query<'q, Postgres, PgArguments> {
        let ordinals: Vec<i64> = rows.iter().map(|row| row.ordinal).collect();
        let source_keys: Vec<String> = rows.iter().map(|row| serde_json::json!(row.source_key).to_string()).collect();
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ordinals).bind(source_keys);
        query.bind(self.ledger.uid().to_owned()).bind(self.batch).bind(self.audit.map(|(_, entry)| entry.to_owned()))
    }

    /// The audit column as it was: statements of one WITH all see the rows from before.
    fn old_audit(table: &Table, key: &[Column], audit: &AuditTarget) -> String {
        let column = quote(&audit.column.name);
        format!(", b AS (SELECT v.ordinal, t.{column}::text AS bm FROM v JOIN {} AS t ON {})", table.quoted(), key_equals("t", key))
    }

    fn audit_undo(&self, table: &Table, key: &[Column], audit: &AuditTarget) -> String {
        let name = quote_literal(&audit.column.name);
        format!(
            ", au AS (INSERT INTO {undo} ({UNDO}) SELECT $3, $4, w.ordinal, {seq}, v.sk::jsonb, {table_name}, {key},
                 jsonb_build_object({name}, b.bm), jsonb_build_object({name}, hashtextextended(w.am, 0)), ARRAY[]::text[], {path}, w.ae
                 FROM w JOIN v USING (ordinal) JOIN b USING (ordinal))",
            undo = self.ledger.table("undo"),
            seq = self.audit_seq,
            table_name = quote_literal(&table.quoted()),
            key = key_object(key),
            path = path_array(&audit.path),
        )
    }
}

const UNDO: &str = "run_uid, batch, ordinal, seq, source_key, table_name, key, before, after, compare, path, entry";
/// The audit entry: what is the same for all rows, and the moment.
const ENTRY: &str = "($5::jsonb || jsonb_build_object('at', now()))";

fn judge(table: &Table, wanted: usize, rows: i64, differing: i64) -> Result<(), ApplyError> {
    let missing = i64::try_from(wanted).unwrap_or(i64::MAX) - rows;
    if missing != 0 {
        return Err(ApplyError::RowsHeldBack { table: table.display(), missing });
    }
    if differing != 0 {
        return Err(ApplyError::WrittenOtherwise { table: table.display(), rows: differing });
    }
    Ok(())
}

fn key_equals(alias: &str, key: &[Column]) -> String {
    let pairs = key.iter().enumerate().map(|(n, c)| format!("{alias}.{} = v.k{n}::{}", quote(&c.name), c.base_type));
    pairs.collect::<Vec<_>>().join(" AND ")
}

fn key_object(key: &[Column]) -> String {
    let pairs = key.iter().enumerate().map(|(n, c)| format!("{}, v.k{n}", quote_literal(&c.name)));
    format!("jsonb_build_object({})", pairs.collect::<Vec<_>>().join(", "))
}

/// The arrays after the fixed parameters: keys, old values, new values.
struct Names {
    keys: usize,
    columns: usize,
}

impl Names {
    fn arrays(&self) -> String {
        (1..=self.keys + 2 * self.columns).fold(String::new(), |list, n| list + &format!(", ${}::text[]", FIXED + n))
    }

    fn names(&self) -> String {
        let kinds = [("k", self.keys), ("o", self.columns), ("n", self.columns)];
        kinds.iter().flat_map(|(kind, count)| (0..*count).map(move |n| format!(", {kind}{n}"))).collect()
    }
}
