//! SQL out of a [`Model`]: one SELECT says for each source row what would be written. The same text asks at plan and at
//! apply, so that both see the same values; only where the rows come from differs.
//!
//! All values travel as texts. Aliases of ours hold a space, so that no expression of the user can name them by accident.

mod entry;
mod finds;
mod own;
mod referring;
mod unread;

pub use entry::{at_path, path_array, with_entry};
pub use own::{own_relation, own_scope};
pub use referring::{lock_captured, refers};
pub use unread::unread;

use super::catalog::Column;
use super::model::{Join, JoinFrom, Model, Set, Target, WriteAction};
use super::sql::{Expression, quote, quote_literal};
use crate::api::spec::ConflictMode;
use entry::{audit_before, audit_fits};
use finds::{all_of, exists, finds};
use std::fmt::Write as _;
use std::ops::Range;

/// The keys that a query is about: `$1` is their place, `$2` and on are the key's columns, then those of the winner.
const KEYS: &str = "\"backfill keys\"";
const PLACE: &str = "\"backfill place\"";

/// Whether values of the moment are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At plan: they are left NULL.
    Plan,
    /// At apply: with them, and with the versions of the rows that were read.
    Apply,
}

/// Where the source rows come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// The whole table, in key order, with what is validated.
    All,
    /// Those with the keys that are bound.
    Keys,
}

/// A SELECT and the meaning of its columns.
#[derive(Clone, Debug)]
pub struct Question {
    /// The SELECT.
    pub sql: String,
    /// The source key's columns.
    pub key: Range<usize>,
    /// [`Rows::Keys`]: the place of the key that was bound.
    pub place: Option<usize>,
    /// `xmin` of the source row; [`Moment::Apply`] only.
    pub version: Option<usize>,
    /// The winner's key, where losers are written; [`Rows::All`] only.
    pub winner: Range<usize>,
    /// Whether the row counts in its group.
    pub counts: usize,
    /// Whether the joins find what they must.
    pub joined: usize,
    /// Columns that tell the rows of one source row apart.
    pub many: Range<usize>,
    /// Values that the rules judge; [`Rows::All`] only.
    pub judged: Range<usize>,
    /// Whether the audit entry finds its place.
    pub audit_fits: usize,
    /// What is at the audit entry's path, and how many objects on the path there are; [`Moment::Apply`] only.
    pub audit_before: Range<usize>,
    /// Each write; rows that go with a deleted one are among the columns of the delete.
    pub writes: Vec<Option<WriteColumns>>,
}

/// The columns that one write takes.
#[derive(Clone, Debug)]
pub struct WriteColumns {
    /// Whether the target is there.
    pub found: usize,
    /// Whether `onlyIf` holds.
    pub holds: usize,
    /// `xmin` of the target row; [`Moment::Apply`] only.
    pub version: Option<usize>,
    /// A table whose rows refer to the target, for a delete.
    pub referred: Option<usize>,
    /// Key of the target.
    pub key: Range<usize>,
    /// Old values of the columns that are kept.
    pub old: Range<usize>,
    /// New values of the columns that are set.
    pub new: Range<usize>,
    /// Rows that go with the target: their place among the writes, and a JSON list of lists of texts: `xmin`, a table
    /// whose rows stand in the way, key, old values, and new values.
    pub captured: Vec<(usize, usize)>,
}

/// Collects the columns of a SELECT.
#[derive(Default)]
struct List {
    columns: Vec<String>,
}

impl List {
    fn one(&mut self, column: impl Into<String>) -> usize {
        self.columns.push(column.into());
        self.columns.len() - 1
    }

    fn some(&mut self, columns: impl IntoIterator<Item = String>) -> Range<usize> {
        let start = self.columns.len();
        self.columns.extend(columns);
        start..self.columns.len()
    }
}

/// What would be written, for each of these rows. A source row comes once for each row that a join with `rows: Many` finds;
/// where a join or a match finds more than it may, a row comes more often than that.
#[must_use]
pub fn question(model: &Model, rows: Rows, moment: Moment) -> Question {
    let source = &model.source;
    let apply = moment == Moment::Apply;
    let mut list = List::default();
    let key = list.some(texts("s", &source.key));
    let place = (rows == Rows::Keys).then(|| list.one(format!("{KEYS}.{PLACE}")));
    let version = apply.then(|| list.one("s.xmin::text"));
    let losers = model.writes_losers();
    let all = rows == Rows::All;
    let winner = list.some((0..if losers && all { source.key.len() } else { 0 }).map(|n| format!("\"backfill picked\".\"backfill w{n}\"")));
    let counts = list.one(match (&source.pick, rows) {
        (Some(pick), Rows::All) => format!("(\"backfill picked\".rank = 1) <> {}", pick.losers),
        _ => "true".into(),
    });
    let joined = list.one(joined(model));
    let many = list.some(model.joins.iter().flat_map(|join| join.many.iter().map(|c| format!("{}.{}::text", join.alias, quote(c)))));
    let rules = model.rules.iter().filter(|_| all);
    let judged = list.some(rules.map(|rule| format!("({}::jsonb)::text", rule.value.in_parentheses())));
    let audit_fits = list.one(audit_fits(model.audit.as_ref()));
    let audit_before = list.some(if apply { audit_before(model.audit.as_ref()) } else { Vec::new() });
    let mut from = from(model, rows);
    let writes = laterals(model, model.writes.len(), moment, &mut list, &mut from);
    let filter = source.filter.as_ref().map(|f| format!(" WHERE coalesce({}, false)", f.in_parentheses())).unwrap_or_default();
    let order = order(model, all);
    let sql = format!("{}SELECT {} FROM {from}{filter}{order}", with(model, rows), list.columns.join(", "));
    Question { sql, key, place, version, winner, counts, joined, many, judged, audit_fits, audit_before, writes }
}

/// Puts so many writes, with their values, beside the source rows.
fn laterals(model: &Model, writes: usize, moment: Moment, list: &mut List, from: &mut String) -> Vec<Option<WriteColumns>> {
    let mut columns: Vec<Option<WriteColumns>> = Vec::with_capacity(writes);
    for (index, write) in model.writes.iter().enumerate().take(writes) {
        if write.captured.is_some() {
            columns.push(None);
            continue;
        }
        let own = own::joins(model, write, list, &columns);
        let (lateral, its) = lateral(model, write, moment, list, &format!("\"backfill {index}\""), &own);
        from.push_str(&lateral);
        columns.push(Some(its));
    }
    columns
}

/// The whole table comes in key order. Rows of one source row come in the order of what tells them apart, so that plan and
/// apply see the same first one, and the same changes in the same order.
fn order(model: &Model, all: bool) -> String {
    let many = model.joins.iter().flat_map(|join| join.many.iter().map(|c| format!("{}.{}::text COLLATE \"C\"", join.alias, quote(c))));
    let many: Vec<String> = many.collect();
    let first = if all { names("s", &model.source.key) } else { format!("{KEYS}.{PLACE}") };
    match (all, many.is_empty()) {
        (false, true) => String::new(),
        (true, true) => format!(" ORDER BY {first}"),
        (_, false) => format!(" ORDER BY {first}, {}", many.join(", ")),
    }
}

/// Locks the source rows with these keys, in key order, so that two lockers never wait for each other.
#[must_use]
pub fn lock_source(model: &Model) -> String {
    let source = &model.source;
    // Of a row that goes away nobody may come to refer to.
    let deletes = model.writes.iter().any(|write| write.is_own_row() && matches!(write.action, WriteAction::Delete(_)));
    let lock = if deletes { "UPDATE" } else { "NO KEY UPDATE" };
    format!(
        "{with}SELECT 1 FROM {KEYS} JOIN {from} ON {of_key} ORDER BY {order} FOR {lock} OF s",
        with = with(model, Rows::Keys),
        from = source.table.relation("s"),
        of_key = key_equals("s", &source.key, "k"),
        order = names("s", &source.key),
    )
}

/// Locks the target rows that the source rows with these keys find, in their key's order.
#[must_use]
pub fn lock_target(model: &Model, write: &Target) -> String {
    let lock = if matches!(write.action, WriteAction::Delete(_)) { "UPDATE" } else { "NO KEY UPDATE" };
    format!(
        "{with}SELECT 1 FROM {from} JOIN {target} ON {matches} ORDER BY {order} FOR {lock} OF t",
        with = with(model, Rows::Keys),
        from = own::from(model, write),
        target = write.table.relation("t"),
        matches = matches(write),
        order = names("t", &write.key),
    )
}

/// What an expression may name, for trying it: source, parameters, winner, and the first joins.
#[must_use]
pub fn scope(model: &Model, joins: usize) -> String {
    let mut from = format!("{}{}", model.source.table.relation("s"), parameters(model));
    if model.writes_losers() {
        let _ = write!(from, " CROSS JOIN {}", model.source.table.relation("w"));
    }
    for join in model.joins.iter().take(joins).filter(|join| !join.is_condition()) {
        from.push_str(&joined_rows(join));
    }
    from
}

/// What a plan reads, as EXPLAIN takes it.
#[must_use]
pub fn explain(question: &Question) -> String {
    format!("EXPLAIN (FORMAT JSON) {}", question.sql)
}

/// Common table expressions: the keys that are bound, or the winner of each group.
fn with(model: &Model, rows: Rows) -> String {
    let source = &model.source;
    match (rows, &source.pick) {
        (Rows::Keys, _) => {
            let mut columns = PLACE.to_owned();
            let mut arrays = "$1::int4[]".to_owned();
            let winners = if model.writes_losers() { source.key.len() } else { 0 };
            let names = (0..source.key.len()).map(|n| format!("k{n}")).chain((0..winners).map(|n| format!("w{n}")));
            for (n, name) in names.enumerate() {
                let _ = write!(columns, ", \"backfill {name}\"");
                let _ = write!(arrays, ", ${}::text[]", n + 2);
            }
            format!("WITH {KEYS} AS MATERIALIZED (SELECT * FROM unnest({arrays}) AS k({columns})) ")
        }
        (Rows::All, Some(pick)) => {
            let per: Vec<String> = pick.per.iter().map(Expression::in_parentheses).collect();
            let window = format!("(PARTITION BY {} ORDER BY {}, {})", per.join(", "), pick.order.in_order_by(), names("s", &source.key));
            let key = source.key.iter().enumerate().map(|(n, c)| format!("s.{} AS \"backfill k{n}\"", quote(&c.name)));
            // Who won is asked only where the others are written.
            let winner = source.key.iter().enumerate().filter(|_| pick.losers);
            let winner = winner.map(|(n, c)| format!("first_value(s.{}::text) OVER {window} AS \"backfill w{n}\"", quote(&c.name)));
            let columns: Vec<String> = key.chain(winner).collect();
            let filter = source.filter.as_ref().map(|f| format!(" WHERE coalesce({}, false)", f.in_parentheses())).unwrap_or_default();
            format!(
                "WITH \"backfill picked\" AS (SELECT {}, row_number() OVER {window} AS rank FROM {}{}{filter}) ",
                columns.join(", "),
                source.table.relation("s"),
                parameters(model),
            )
        }
        (Rows::All, None) => String::new(),
    }
}

/// The source rows with parameters, winners and joins.
fn from(model: &Model, rows: Rows) -> String {
    let source = &model.source;
    let relation = source.table.relation("s");
    let picked = |n: usize, c: &Column| format!("\"backfill picked\".\"backfill k{n}\" = s.{}", quote(&c.name));
    let mut from = match (rows, &source.pick) {
        (Rows::Keys, _) => format!("{KEYS} JOIN {relation} ON {}", key_equals("s", &source.key, "k")),
        (Rows::All, None) => relation,
        (Rows::All, Some(_)) => {
            let on: Vec<String> = source.key.iter().enumerate().map(|(n, c)| picked(n, c)).collect();
            format!("{relation} JOIN \"backfill picked\" ON {}", on.join(" AND "))
        }
    };
    from.push_str(&parameters(model));
    if model.writes_losers() {
        let of = if rows == Rows::Keys { KEYS } else { "\"backfill picked\"" };
        let on = source.key.iter().enumerate();
        let on = on.map(|(n, c)| format!("w.{} = {of}.\"backfill w{n}\"::{}", quote(&c.name), c.base_type));
        let _ = write!(from, " JOIN {} ON {}", source.table.relation("w"), on.collect::<Vec<_>>().join(" AND "));
    }
    for join in model.joins.iter().filter(|join| !join.is_condition()) {
        from.push_str(&joined_rows(join));
    }
    from
}

/// `param`: one row of the values that were taken at plan.
fn parameters(model: &Model) -> String {
    if model.parameters.is_empty() {
        return String::new();
    }
    let values = model.parameters.iter().map(|p| {
        let value = p.value.as_deref().map_or("NULL".into(), quote_literal);
        format!("{value}::{} AS {}", p.type_name, quote(&p.name))
    });
    format!(" CROSS JOIN (SELECT {}) AS param", values.collect::<Vec<_>>().join(", "))
}

/// Joined rows carry a mark, so that a row of NULLs is told from none.
fn joined_rows(join: &Join) -> String {
    match &join.from {
        JoinFrom::Table { table, matches, .. } => format!(
            " LEFT JOIN (SELECT true AS \"backfill found\", x.* FROM {}) AS {} ON {}",
            table.relation("x"),
            quote(&join.alias),
            matches.in_parentheses()
        ),
        JoinFrom::Query { query, .. } => format!(
            " LEFT JOIN LATERAL (SELECT true AS \"backfill found\", x.* FROM {} AS x) AS {} ON true",
            query.in_parentheses(),
            quote(&join.alias)
        ),
    }
}

/// True where each join finds what it must.
fn joined(model: &Model) -> String {
    all_of(model.joins.iter().filter_map(|join| finds(join, || exists(join))))
}

/// One write's target and values, beside the source row. For an insert the target may be missing, and the values are there.
fn lateral(model: &Model, write: &Target, moment: Moment, list: &mut List, alias: &str, own: &own::Own) -> (String, WriteColumns) {
    let apply = moment == Moment::Apply;
    let inserts = matches!(write.action, WriteAction::Insert(_));
    let mut inner = Vec::new();
    let mut column = |sql: String, list: &mut List| {
        inner.push(format!("{sql} AS c{}", inner.len()));
        list.one(format!("{alias}.c{}", inner.len() - 1))
    };
    let holds = write.only_if.as_ref().map(|only_if| format!("coalesce({}, false)", only_if.in_parentheses()));
    let target_key = write.key.first().map(|c| format!("t.{}", quote(&c.name))).unwrap_or_default();
    let found = column(if inserts { format!("{target_key} IS NOT NULL") } else { "true".into() }, list);
    let holds_at = column(holds.clone().unwrap_or_else(|| "true".into()), list);
    let version = apply.then(|| column(if write.is_own_row() { "s.xmin::text" } else { "t.xmin::text" }.into(), list));
    let referred = referring::referred(write, "t").map(|sql| column(sql, list));
    let mut captured = Vec::new();
    for (n, target, path) in model.captured_by(write) {
        let rows = referring::captured_rows(target, path, moment);
        captured.push((n, column(holds.as_ref().map_or(rows.clone(), |holds| format!("CASE WHEN {holds} THEN {rows} END")), list)));
    }
    let mut many = |columns: Vec<String>, list: &mut List| {
        let start = list.columns.len();
        for sql in columns {
            column(sql, list);
        }
        start..list.columns.len()
    };
    let key = if inserts {
        // Of a row that is not there yet the key is what will be set.
        let of = |c: &Column| write.set_of(&c.name).map_or("NULL".into(), |set| new_text(set, moment));
        many(write.key.iter().map(of).collect(), list)
    } else {
        many(texts("t", &write.key), list)
    };
    let old = many(texts("t", &write.keeps), list);
    let guarded = |set: &Set| match &holds {
        Some(holds) => format!("CASE WHEN {holds} THEN {} END", new_text(set, moment)),
        None => new_text(set, moment),
    };
    let new = many(write.sets.iter().map(guarded).collect(), list);
    let columns = WriteColumns { found, holds: holds_at, version, referred, key, old, new, captured };
    let inner = inner.join(", ");
    let sql = if !write.joins.is_empty() {
        format!(" LEFT JOIN LATERAL (SELECT {inner} FROM {}) AS {alias} ON true", own.beside_target(write))
    } else if write.is_own_row() {
        format!(" CROSS JOIN LATERAL (SELECT {inner} FROM (SELECT s.*) AS t) AS {alias}")
    } else if inserts {
        let relation = write.table.relation("t");
        format!(
            " CROSS JOIN LATERAL (SELECT {inner} FROM (SELECT) AS \"backfill one\" LEFT JOIN {relation} ON {}) AS {alias}",
            matches(write)
        )
    } else {
        format!(" LEFT JOIN LATERAL (SELECT {inner} FROM {} WHERE {}) AS {alias} ON true", write.table.relation("t"), matches(write))
    };
    (sql, columns)
}

/// A new value as it will be stored, as text; values of the moment are NULL at plan.
fn new_text(set: &Set, moment: Moment) -> String {
    if moment == Moment::Plan && set.value.is_at_apply() {
        return "NULL::text".into();
    }
    format!("({})::text", stored(set))
}

/// A new value as it will be stored. One of the moment is a plain cast: the server would evaluate a subquery that names no row once
/// for all rows.
fn stored(set: &Set) -> String {
    let value = set.value.in_parentheses();
    if set.value.is_at_apply() { format!("{value}::{}", set.column.cast_type()) } else { set.column.stored(&value) }
}

/// Which row of the target table a source row means.
fn matches(write: &Target) -> String {
    if let Some(matches) = &write.matches {
        return matches.in_parentheses();
    }
    let pair = |c: &Column| match write.set_of(&c.name).filter(|_| !write.is_own_row()) {
        Some(set) => format!("t.{} = ({})", quote(&c.name), stored(set)),
        None => format!("t.{name} = s.{name}", name = quote(&c.name)),
    };
    write.key.iter().map(pair).collect::<Vec<_>>().join(" AND ")
}

/// True where an existing row is written, too.
#[must_use]
pub fn updates_existing(write: &Target) -> bool {
    matches!(write.action, WriteAction::Update | WriteAction::Insert(ConflictMode::Update))
}

fn key_equals(alias: &str, key: &[Column], bound: &str) -> String {
    let pairs =
        key.iter().enumerate().map(|(n, c)| format!("{alias}.{} = {KEYS}.\"backfill {bound}{n}\"::{}", quote(&c.name), c.base_type));
    pairs.collect::<Vec<_>>().join(" AND ")
}

/// Columns of an alias, as a list.
fn names(alias: &str, columns: &[Column]) -> String {
    columns.iter().map(|c| format!("{alias}.{}", quote(&c.name))).collect::<Vec<_>>().join(", ")
}

/// Columns of an alias, as texts.
fn texts(alias: &str, columns: &[Column]) -> Vec<String> {
    columns.iter().map(|c| format!("{alias}.{}::text", quote(&c.name))).collect()
}
