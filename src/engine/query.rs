//! SQL out of a [`Model`]: the same text asks at plan and at apply, so that both see the same values.
//!
//! Keys travel as texts, in arrays, and are cast to their columns' types by the server. Aliases of ours hold a space,
//! so that no expression of the user can name them by accident.

use super::catalog::Column;
use super::model::{AuditTarget, Model, Source, Target};
use super::sql::{Expression, quote, quote_literal};
use std::fmt::Write as _;

/// The keys that a query is about, as a common table expression: `$1` is the ordinal, `$2` and on the key's columns.
const KEYS: &str = "\"backfill keys\"";
const ORDINAL: &str = "\"backfill ord\"";

/// Whether values of the moment are evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At plan: they are left NULL.
    Plan,
    /// At apply.
    Apply,
}

/// All source rows in key order: key as text array, whether `where` holds, rank in its group (1: the winner).
#[must_use]
pub fn source_keys(source: &Source) -> String {
    let holds = match &source.filter {
        Some(filter) => format!("coalesce({}, false)", filter.in_parentheses()),
        None => "true".into(),
    };
    let rank = match &source.pick {
        None => "1::int8".into(),
        Some(pick) => {
            let groups = std::iter::once(holds.clone()).chain(pick.per.iter().map(Expression::in_parentheses));
            let groups = groups.collect::<Vec<_>>().join(", ");
            let order = pick.order.in_order_by();
            format!("row_number() OVER (PARTITION BY {groups} ORDER BY {order}, {})", columns("s", &source.key))
        }
    };
    let (key, from, order) = (texts("s", &source.key), source.table.relation("s"), columns("s", &source.key));
    format!("SELECT {key} AS key, {holds} AS holds, {rank} AS rank FROM {from} ORDER BY {order}")
}

/// Of the rows with these keys: for one write, whether there is a target and `onlyIf` holds, the target's key, old and
/// new values, and whether the audit entry finds its place. A source row that finds several targets comes several times.
#[must_use]
pub fn evaluate(model: &Model, write: &Target, moment: Moment) -> String {
    let found = format!("t.{} IS NOT NULL", write.key.first().map(|c| quote(&c.name)).unwrap_or_default());
    let holds = match &write.only_if {
        Some(only_if) => format!("({found} AND coalesce({}, false))", only_if.in_parentheses()),
        None => format!("({found})"),
    };
    let new: Vec<String> = write
        .sets
        .iter()
        .map(|set| match moment {
            Moment::Plan if set.value.is_at_apply() => "NULL::text".into(),
            Moment::Plan | Moment::Apply => format!("({}::{})::text", set.value.in_parentheses(), set.column.cast_type()),
        })
        .collect();
    let old: Vec<Column> = write.sets.iter().map(|set| set.column.clone()).collect();
    format!(
        "{head} SELECT {KEYS}.{ORDINAL} AS ordinal, {found} AS found, {holds} AS holds, {key} AS key, {old} AS old, \
         CASE WHEN {holds} THEN ARRAY[{new}]::text[] END AS new, {audit} AS audit_fits \
         FROM {KEYS} JOIN s ON {of_key} {target}",
        head = head(&model.source),
        key = texts("t", &write.key),
        old = texts("t", &old),
        new = new.join(", "),
        audit = audit_fits(model.audit.as_ref()),
        of_key = key_equals("s", &model.source.key),
        target = join_target(write, &model.source),
    )
}

/// Of the rows with these keys: the values that the rules judge, as JSON texts.
#[must_use]
pub fn judged_values(model: &Model) -> String {
    let values: Vec<String> = model.rules.iter().map(|rule| format!("({}::jsonb)::text", rule.value.in_parentheses())).collect();
    format!(
        "{head} SELECT {KEYS}.{ORDINAL} AS ordinal, ARRAY[{values}]::text[] AS judged FROM {KEYS} JOIN s ON {of_key}",
        head = head(&model.source),
        values = values.join(", "),
        of_key = key_equals("s", &model.source.key),
    )
}

/// Locks the source rows with these keys, in key order, so that two lockers never wait for each other.
#[must_use]
pub fn lock_source(source: &Source) -> String {
    format!(
        "WITH {keys} SELECT 1 FROM {KEYS} JOIN {from} ON {of_key} ORDER BY {order} FOR UPDATE OF s",
        keys = keys(&source.key),
        from = source.table.relation("s"),
        of_key = key_equals("s", &source.key),
        order = columns("s", &source.key),
    )
}

/// Locks the target rows that the source rows with these keys find, in their key's order.
#[must_use]
pub fn lock_target(source: &Source, write: &Target) -> String {
    format!(
        "{head} SELECT 1 FROM s JOIN {from} ON {matches} ORDER BY {order} FOR UPDATE OF t",
        head = head(source),
        from = write.table.relation("t"),
        matches = match_condition(write, source),
        order = columns("t", &write.key),
    )
}

/// `WITH keys, s`: the source rows with these keys for which `where` holds.
fn head(source: &Source) -> String {
    let filter = source.filter.as_ref().map(|f| format!(" WHERE coalesce({}, false)", f.in_parentheses())).unwrap_or_default();
    format!(
        "WITH {keys}, s AS MATERIALIZED (SELECT s.* FROM {KEYS} JOIN {from} ON {of_key}{filter})",
        keys = keys(&source.key),
        from = source.table.relation("s"),
        of_key = key_equals("s", &source.key),
    )
}

fn keys(key: &[Column]) -> String {
    let mut names = ORDINAL.to_owned();
    let mut arrays = "$1::int8[]".to_owned();
    for n in 1..=key.len() {
        let _ = write!(names, ", \"backfill k{n}\"");
        let _ = write!(arrays, ", ${}::text[]", n + 1);
    }
    format!("{KEYS} AS MATERIALIZED (SELECT * FROM unnest({arrays}) AS k({names}))")
}

fn key_equals(alias: &str, key: &[Column]) -> String {
    let pairs: Vec<String> = key
        .iter()
        .enumerate()
        .map(|(n, c)| format!("{alias}.{} = {KEYS}.\"backfill k{}\"::{}", quote(&c.name), n + 1, c.base_type))
        .collect();
    pairs.join(" AND ")
}

fn join_target(write: &Target, source: &Source) -> String {
    let kind = if write.is_own_row() { "JOIN" } else { "LEFT JOIN" };
    format!("{kind} {} ON {}", write.table.relation("t"), match_condition(write, source))
}

fn match_condition(write: &Target, source: &Source) -> String {
    if let Some(matches) = &write.matches {
        return matches.in_parentheses();
    }
    let pairs: Vec<String> = source.key.iter().map(|c| format!("t.{name} = s.{name}", name = quote(&c.name))).collect();
    pairs.join(" AND ")
}

/// Columns of an alias, as a list.
fn columns(alias: &str, columns: &[Column]) -> String {
    columns.iter().map(|c| format!("{alias}.{}", quote(&c.name))).collect::<Vec<_>>().join(", ")
}

/// Columns of an alias, as one array of texts.
fn texts(alias: &str, columns: &[Column]) -> String {
    let texts: Vec<String> = columns.iter().map(|c| format!("{alias}.{}::text", quote(&c.name))).collect();
    format!("ARRAY[{}]::text[]", texts.join(", "))
}

/// True where each object on the way to the entry is an object or not there yet: nothing else is ever replaced.
fn audit_fits(audit: Option<&AuditTarget>) -> String {
    let Some(audit) = audit else { return "true".into() };
    let column = format!("s.{}", quote(&audit.column.name));
    let steps: Vec<String> = (0..audit.path.len())
        .map(|n| format!("coalesce(jsonb_typeof({}), 'object') = 'object'", at_path(&column, audit.path.get(..n).unwrap_or_default())))
        .collect();
    format!("({})", steps.join(" AND "))
}

/// The value at a path of a jsonb expression.
#[must_use]
pub fn at_path(json: &str, path: &[String]) -> String {
    if path.is_empty() { format!("({json})") } else { format!("({json} #> {})", path_array(path)) }
}

/// A path as a text array.
#[must_use]
pub fn path_array(path: &[String]) -> String {
    let parts: Vec<String> = path.iter().map(|part| quote_literal(part)).collect();
    format!("ARRAY[{}]::text[]", parts.join(", "))
}

/// The jsonb expression with `entry` at the path; objects on the way are made where they are missing.
#[must_use]
pub fn with_entry(json: &str, path: &[String], entry: &str) -> String {
    let Some((last, parents)) = path.split_last() else { return json.to_owned() };
    // From the inside out: {a: {b: entry}} is set into what is at a, and that into the column.
    let mut value = entry.to_owned();
    let mut name = last;
    for depth in (0..=parents.len()).rev() {
        let here = at_path(json, parents.get(..depth).unwrap_or_default());
        value = format!("jsonb_set(coalesce({here}, '{{}}'::jsonb), ARRAY[{}]::text[], {value}, true)", quote_literal(name));
        if let Some(outer) = depth.checked_sub(1).and_then(|n| parents.get(n)) {
            name = outer;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::with_entry;

    #[test]
    fn a_missing_path_is_made_from_the_inside_out() {
        let sql = with_entry("t.m", &["a".into(), "b".into()], "E");
        assert_eq!(
            sql,
            "jsonb_set(coalesce((t.m), '{}'::jsonb), ARRAY['a']::text[], \
             jsonb_set(coalesce((t.m #> ARRAY['a']::text[]), '{}'::jsonb), ARRAY['b']::text[], E, true), true)"
        );
    }
}
