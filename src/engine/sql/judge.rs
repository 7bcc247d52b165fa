//! What holds for the user's SQL wherever it stands, node by node: what it calls, casts to and depends on, and what is
//! refused in every place.

use super::SqlError;
use super::functions::{has_effects, is_at_apply, is_session, reads_beyond_the_row};
use super::moment::is_date_word;
use super::server::server_dependence;
use super::tree::{called, node, says, strings};
use super::volatility::Calls;
use serde_json::Value;
use std::collections::BTreeSet;

/// What was found in the tree so far.
#[derive(Default)]
pub(super) struct Found {
    /// Whatever the catalogue has to be asked about.
    pub calls: Calls,
    /// A value of the moment, by its name.
    pub moment: Option<String>,
    /// What depends on the server.
    pub server: BTreeSet<String>,
    /// Literals that are cast to a text, by their place: a word there is a word.
    texts: BTreeSet<i64>,
}

/// Judges one node for itself; which kinds of nodes may stand in a place is the caller's to say.
pub(super) fn judge(kind: &str, body: &Value, found: &mut Found) -> Result<(), SqlError> {
    found.server.extend(server_dependence(kind, body));
    match kind {
        "AConst" => judge_literal(body, found),
        "TypeCast" => judge_cast(body, found),
        "FuncCall" => judge_call(body, found),
        "SqlvalueFunction" => judge_value_function(body, found),
        "ParamRef" => Err(SqlError::Parameter),
        _ => {
            note(kind, body, &mut found.calls);
            Ok(())
        }
    }
}

/// Notes what a node calls without the look of a call.
pub(super) fn note(kind: &str, body: &Value, calls: &mut Calls) {
    match kind {
        // `s.f` is the function f of the whole row where there is no such column.
        "ColumnRef" => {
            let mut names = strings(body.get("fields"));
            if let (Some(last), false) = (names.pop(), names.is_empty()) {
                calls.add_column(last);
            }
        }
        // `(s.a).f` is the function f of the value where it has no such field: also nextval.
        "AIndirection" => strings(body.get("indirection")).into_iter().for_each(|name| calls.add_field(name)),
        "AExpr" => {
            let name = strings(body.get("name"));
            if name.last().is_some_and(|name| name.contains("BETWEEN")) {
                for name in ["<", "<=", ">", ">="] {
                    calls.add_operator(vec![name.into()]);
                }
            }
            calls.add_operator(name);
        }
        "CaseExpr" | "JoinExpr" => calls.add_operator(vec!["=".into()]),
        "SubLink" => calls.add_operator(strings(body.get("oper_name"))),
        "SortBy" => calls.add_operator(strings(body.get("use_op"))),
        "TypeCast" => calls.add_type(qualified(body.pointer("/type_name/names"))),
        "FuncCall" => calls.add_function(called(body)),
        _ => {}
    }
}

fn qualified(names: Option<&Value>) -> (Option<String>, String) {
    let mut parts = strings(names);
    let name = parts.pop().unwrap_or_default();
    (parts.pop(), name)
}

fn judge_call(body: &Value, found: &mut Found) -> Result<(), SqlError> {
    let (schema, name) = called(body);
    let arguments = body.get("args").and_then(Value::as_array);
    refuse_temporary(schema.as_deref())?;
    if is_session(&name) {
        return Err(SqlError::SessionDependent(name));
    }
    if has_effects(&name) || reads_beyond_the_row(&name) {
        return Err(SqlError::SideEffect(name));
    }
    if is_moment_type(&name) {
        arguments.into_iter().flatten().try_for_each(refuse_hidden_word)?;
    }
    if is_at_apply(&name, arguments.map_or(0, Vec::len)) {
        found.moment = Some(format!("{name}()"));
    }
    found.calls.add_function((schema, name));
    Ok(())
}

/// Functions and types of a session's own schema are nobody's that the catalogue could be asked about.
fn refuse_temporary(schema: Option<&str>) -> Result<(), SqlError> {
    match schema {
        Some(schema) if schema.starts_with("pg_temp") => Err(SqlError::SessionDependent(schema.to_owned())),
        _ => Ok(()),
    }
}

/// `CURRENT_DATE` to `LOCALTIMESTAMP(n)` are 1 to 9 in the grammar's enumeration, roles and names of the session come after.
fn judge_value_function(body: &Value, found: &mut Found) -> Result<(), SqlError> {
    match body.get("op").and_then(Value::as_i64) {
        Some(1..=9) => {
            found.moment = Some("current_timestamp, current_date and their kin".into());
            Ok(())
        }
        _ => Err(SqlError::SessionDependent("current_user and its kin".into())),
    }
}

/// A literal that is cast to a text is one, whatever it says, until the text is cast on.
fn judge_cast(body: &Value, found: &mut Found) -> Result<(), SqlError> {
    let type_name = body.get("type_name").unwrap_or(&Value::Null);
    if says(type_name, "setof") {
        return Err(SqlError::SetReturning("SETOF".into()));
    }
    let (schema, name) = qualified(type_name.get("names"));
    refuse_temporary(schema.as_deref())?;
    if name.starts_with("reg") && CATALOGUE_TYPES.contains(&name.as_str()) {
        return Err(SqlError::SideEffect(name));
    }
    let arg = body.get("arg").unwrap_or(&Value::Null);
    if matches!(name.as_str(), "text" | "varchar" | "bpchar" | "json" | "jsonb") {
        found.texts.extend(node(arg).and_then(|(_, arg)| place(arg)));
    } else {
        refuse_hidden_word(arg)?;
    }
    found.calls.add_type((schema, name));
    Ok(())
}

/// Types whose input reads the catalogue by the session's search path, and whose values are another server's no more.
const CATALOGUE_TYPES: &[&str] = &[
    "regclass",
    "regcollation",
    "regconfig",
    "regdatabase",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

fn is_moment_type(name: &str) -> bool {
    matches!(name, "date" | "time" | "timetz" | "timestamp" | "timestamptz")
}

/// Refuses `'now'::text::timestamptz`: the word is a moment after all, at each evaluation.
fn refuse_hidden_word(value: &Value) -> Result<(), SqlError> {
    match node(value) {
        Some(("TypeCast", inner)) => refuse_hidden_word(inner.get("arg").unwrap_or(&Value::Null)),
        Some(("AConst", literal)) => match word(literal) {
            Some(text) if is_date_word(text) => Err(SqlError::DateWord(text.to_owned())),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Refuses `'today'`: where a date or time is meant, the server turns the word into a moment while it reads the
/// statement, and what is meant depends on types that are not known here.
fn judge_literal(body: &Value, found: &Found) -> Result<(), SqlError> {
    let Some(text) = word(body) else { return Ok(()) };
    let excused = place(body).is_some_and(|place| found.texts.contains(&place));
    if !excused && is_date_word(text) { Err(SqlError::DateWord(text.to_owned())) } else { Ok(()) }
}

fn word(literal: &Value) -> Option<&str> {
    literal.pointer("/val/Sval/sval")?.as_str()
}

fn place(body: &Value) -> Option<i64> {
    body.get("location")?.as_i64()
}
