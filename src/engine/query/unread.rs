//! What would be written for planned rows, as the server's own values: nothing of it travels. For rows that are in the version
//! that the plan saw, so that nothing is judged again.

use super::{KEYS, PLACE, audit_before, key_equals, matches, parameters};
use crate::engine::model::{Model, Target};
use crate::engine::sql::quote;
use std::fmt::Write as _;

/// Two common table expressions: the keys that are bound from the parameter `first` on (their places, then the key's columns),
/// and `v` over them, with `place`, `s0` and on (the source's key), `t0` and on (the target's key), `source_at` and `target_at`
/// (where their versions lie in the tables), `o0` and on (old values, as texts), `n0` and on (new values), `entry` and `depth`
/// (what undo needs of the audit entry), and `as_planned`: true where both rows are older than `age`. For a model with one
/// write, an update, and no joins, of tables with a single file each.
#[must_use]
pub fn unread(model: &Model, write: &Target, first: usize, age: &str) -> String {
    let source = &model.source;
    let mut names = PLACE.to_owned();
    let mut arrays = format!("${first}::int4[]");
    for n in 0..source.key.len() {
        let _ = write!(names, ", \"backfill k{n}\"");
        let _ = write!(arrays, ", ${}::text[]", first + 1 + n);
    }
    let key = source.key.iter().enumerate().map(|(n, c)| format!("s.{} AS s{n}", quote(&c.name)));
    let of_source = key.collect::<Vec<_>>().join(", ");
    let [entry, depth] =
        <[String; 2]>::try_from(audit_before(model.audit.as_ref())).unwrap_or_else(|_| ["NULL::text".into(), "NULL::text".into()]);
    let mut inner: Vec<String> = write.key.iter().enumerate().map(|(n, c)| format!("t.{} AS t{n}", quote(&c.name))).collect();
    inner.extend(write.keeps.iter().enumerate().map(|(n, c)| format!("t.{}::text AS o{n}", quote(&c.name))));
    let new = |(n, set): (usize, &crate::engine::model::Set)| format!("{}::{} AS n{n}", set.value.in_parentheses(), set.column.cast_type());
    inner.extend(write.sets.iter().enumerate().map(new));
    let target = if write.is_own_row() {
        inner.extend(["true AS \"backfill old\"".into(), "s.ctid AS target_at".into()]);
        "(SELECT s.*) AS t".to_owned()
    } else {
        inner.extend([format!("age(t.xmin) > {age} AS \"backfill old\""), "t.ctid AS target_at".into()]);
        format!("{} WHERE {}", write.table.relation("t"), matches(write))
    };
    format!(
        "{KEYS} AS MATERIALIZED (SELECT * FROM unnest({arrays}) AS k({names})),
         v AS MATERIALIZED (SELECT {KEYS}.{PLACE} AS place, {of_source}, s.ctid AS source_at, {entry} AS entry, {depth} AS depth,
                age(s.xmin) > {age} AND \"backfill 0\".\"backfill old\" AS as_planned, \"backfill 0\".*
             FROM {KEYS} JOIN {source} ON {of_key}{parameters} CROSS JOIN LATERAL (SELECT {inner} FROM {target}) AS \"backfill 0\")",
        source = source.table.relation("s"),
        of_key = key_equals("s", &source.key, "k"),
        parameters = parameters(model),
        inner = inner.join(", "),
    )
}
