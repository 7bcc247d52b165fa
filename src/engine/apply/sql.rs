//! Pieces of the statements that change data: the arrays that they are given, and the lists that undo gets from them.

use super::write::BatchNumber;
use crate::engine::catalog::Column;
use crate::engine::ledger::Ledger;
use crate::engine::model::Source;
use crate::engine::sql::{quote, quote_literal};
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Postgres};
use std::fmt::Write as _;

/// Lists of the same length: `v` in the statement. Those whose values differ are bound as arrays; a list of one value over
/// and over is a literal, since each array costs the server about a microsecond a row.
#[derive(Debug, Default)]
pub(super) struct Arrays<'a> {
    places: Vec<i32>,
    constants: Vec<(String, Option<&'a str>)>,
    lists: Vec<(String, Vec<Option<&'a str>>)>,
}

/// `$1` is the run, `$2` the range, `$3` the batch; then the places, then the texts.
const PLACES: usize = 4;

impl<'a> Arrays<'a> {
    /// The places of the rows.
    pub(super) fn places(&mut self, places: impl Iterator<Item = i32>) {
        self.places = places.collect();
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, name: String, texts: impl Iterator<Item = Option<&'a str>>) {
        let texts: Vec<Option<&'a str>> = texts.collect();
        match texts.first() {
            Some(first) if texts.iter().all(|text| text == first) => self.constants.push((name, *first)),
            _ => self.lists.push((name, texts)),
        }
    }

    /// `SELECT … FROM unnest(…)`. OFFSET 0 keeps literals in here: the planner takes the version of rows, once it is a literal
    /// beside the table, for a reason to read all of it for each batch.
    pub(super) fn select(&self) -> String {
        let mut arrays = format!("${PLACES}::int4[]");
        let mut names = "place".to_owned();
        for (n, (name, _)) in self.lists.iter().enumerate() {
            let _ = write!(arrays, ", ${}::text[]", PLACES + 1 + n);
            let _ = write!(names, ", {name}");
        }
        let constants = self
            .constants
            .iter()
            .fold(String::new(), |list, (name, text)| list + &format!(", {}::text AS {name}", text.map_or("NULL".into(), quote_literal)));
        format!("SELECT v.*{constants} FROM unnest({arrays}) AS v({names}) OFFSET 0")
    }

    /// The statement with everything bound.
    pub(super) fn query(self, sql: String, ledger: &Ledger, number: BatchNumber) -> Query<'a, Postgres, PgArguments> {
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid().to_owned()).bind(number.range).bind(number.batch);
        self.lists.into_iter().fold(query.bind(self.places), |query, (_, texts)| query.bind(texts))
    }
}

/// What undo is given of the written rows, as an INSERT beside the statement.
#[derive(Debug)]
pub(super) struct Undo {
    table: String,
    lists: Vec<String>,
    rows: Vec<String>,
    seq: usize,
    action: &'static str,
}

impl Undo {
    /// For the rows of one write, by their places.
    pub(super) fn new(ledger: &Ledger, seq: usize, action: &'static str) -> Self {
        let mut undo = Self { table: ledger.table("undo"), lists: Vec::new(), rows: Vec::new(), seq, action };
        undo.row(seq, action, "row", "", None, Some("w.place::int8"));
        undo
    }

    fn list(&mut self, expression: &str) -> String {
        if let Some(n) = self.lists.iter().position(|list| list == expression) {
            return format!("l.l{n}");
        }
        self.lists.push(expression.to_owned());
        format!("l.l{}", self.lists.len() - 1)
    }

    fn row(&mut self, seq: usize, action: &str, role: &str, name: &str, texts: Option<&str>, hashes: Option<&str>) {
        let texts = texts.map_or("NULL::text[]".into(), |texts| self.list(texts));
        let hashes = hashes.map_or("NULL::int8[]".into(), |hashes| self.list(hashes));
        self.rows.push(format!("({seq}, '{action}', '{role}', {}, {texts}, {hashes})", quote_literal(name)));
    }

    /// The columns that name the written row.
    pub(super) fn keys(&mut self, key: &[Column]) {
        for (n, column) in key.iter().enumerate() {
            self.row(self.seq, self.action, "key", &column.name, Some(&format!("w.k{n}")), None);
        }
    }

    /// A column: its old value, and the hash of its new one.
    pub(super) fn column(&mut self, name: &str, old: Option<usize>, hash: Option<usize>) {
        let (old, hash) = (old.map(|n| format!("w.o{n}")), hash.map(|n| format!("w.h{n}")));
        self.row(self.seq, self.action, "column", name, old.as_deref(), hash.as_deref());
    }

    /// The audit entry: what was at its path.
    pub(super) fn entry(&mut self, column: &Column) {
        self.row(self.seq, self.action, "column", &column.name, Some("w.entry"), Some("w.depth::int8"));
    }

    /// The audit entry that went into the written row itself.
    pub(super) fn own_entry(&mut self, seq: usize, key: &[Column], column: &Column) {
        self.row(seq, "Entry", "row", "", None, Some("w.place::int8"));
        for (n, column) in key.iter().enumerate() {
            self.row(seq, "Entry", "key", &column.name, Some(&format!("w.k{n}")), None);
        }
        self.row(seq, "Entry", "column", &column.name, Some("w.entry"), Some("w.depth::int8"));
    }

    /// The INSERT, as a further common table expression of this name; `from` has the written rows.
    pub(super) fn insert(&self, name: &str, from: &str) -> String {
        let lists: Vec<String> = self.lists.iter().enumerate().map(|(n, list)| format!("array_agg({list}) AS l{n}")).collect();
        format!(
            ", {name} AS (INSERT INTO {table} (run_uid, range, batch, seq, action, role, name, texts, hashes)
                 SELECT $1, $2, $3, r.* FROM (SELECT {lists} FROM {from} AS w HAVING count(*) > 0) AS l,
                 LATERAL (VALUES {rows}) AS r(seq, action, role, name, texts, hashes))",
            table = self.table,
            lists = lists.join(", "),
            rows = self.rows.join(", "),
        )
    }
}

/// The target's key is the one that was read.
pub(super) fn key_equals(alias: &str, key: &[Column]) -> String {
    let pairs = key.iter().enumerate().map(|(n, c)| format!("{alias}.{} = v.k{n}::{}", quote(&c.name), c.base_type));
    pairs.collect::<Vec<_>>().join(" AND ")
}

/// The source row, in the version in which it was read: what it is joined by.
pub(super) fn source_as_read(source: &Source) -> String {
    let pairs = source.key.iter().enumerate().map(|(n, c)| format!("s.{} = v.s{n}::{}", quote(&c.name), c.base_type));
    format!("{} AND s.xmin = v.source::xid", pairs.collect::<Vec<_>>().join(" AND "))
}
