//! The audit entry at its path in a jsonb column.

use crate::engine::model::AuditTarget;
use crate::engine::sql::{quote, quote_literal};

/// True where each object on the way to the entry is an object or not there yet: nothing else is ever replaced.
pub(super) fn audit_fits(audit: Option<&AuditTarget>) -> String {
    let Some(AuditTarget::Column { column, path }) = audit else { return "true".into() };
    let column = format!("s.{}", quote(&column.name));
    let steps: Vec<String> = (0..path.len())
        .map(|n| format!("coalesce(jsonb_typeof({}), 'object') = 'object'", at_path(&column, path.get(..n).unwrap_or_default())))
        .collect();
    format!("({})", steps.join(" AND "))
}

/// The entry that is there, as text, and the number of objects on its path, as text: what undo needs to leave nothing behind.
pub(super) fn audit_before(audit: Option<&AuditTarget>) -> Vec<String> {
    let Some(AuditTarget::Column { column, path }) = audit else { return Vec::new() };
    let column = format!("s.{}", quote(&column.name));
    let objects: Vec<String> = (0..path.len())
        .map(|n| format!("coalesce((jsonb_typeof({}) = 'object')::int, 0)", at_path(&column, path.get(..n).unwrap_or_default())))
        .collect();
    vec![format!("{}::text", at_path(&column, path)), format!("({})::text", objects.join(" + "))]
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
