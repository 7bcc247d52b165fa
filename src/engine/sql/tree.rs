//! The parse tree as plain data: every node of any kind is reached, also of kinds that nobody thought of.

use super::SqlError;
use pg_query::ParserOptions;
use serde_json::Value;

/// Parses exactly one statement; answers its kind and body.
pub(super) fn parse_one(sql: &str) -> Result<(String, Value), SqlError> {
    let parsed = pg_query::parse(sql, ParserOptions::DEFAULT).map_err(|error| SqlError::Syntax(said(&error)))?;
    let mut statements = parsed.protobuf.stmts.into_iter();
    let (Some(first), None) = (statements.next(), statements.next()) else {
        return Err(SqlError::SeveralStatements);
    };
    let tree = serde_json::to_value(&first.stmt).map_err(|error| SqlError::Syntax(error.to_string()))?;
    node(&tree).map(|(kind, body)| (kind.to_owned(), body.clone())).ok_or(SqlError::NotASelect)
}

fn said(error: &pg_query::Error) -> String {
    match error {
        pg_query::Error::Parse(message) => message.clone(),
        pg_query::Error::Decode(_) => "it is nested too deeply".into(),
        pg_query::Error::Conversion(_) => "it holds a zero byte".into(),
        other => other.to_string(),
    }
}

/// The kind and body of a value that is a node: `{"node": {"FuncCall": {…}}}`.
pub(super) fn node(value: &Value) -> Option<(&str, &Value)> {
    let inner = value.as_object()?.get("node")?.as_object()?;
    let (kind, body) = inner.iter().next()?;
    (inner.len() == 1 && kind.starts_with(|c: char| c.is_ascii_uppercase())).then_some((kind.as_str(), body))
}

/// Calls `see` with each value of the tree, parents first, and ends at the first error.
pub(super) fn walk(value: &Value, see: &mut impl FnMut(&Value) -> Result<(), SqlError>) -> Result<(), SqlError> {
    see(value)?;
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| walk(item, see)),
        Value::Object(fields) => fields.values().try_for_each(|field| walk(field, see)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

/// True where a field says something: not missing, null, false, zero, or empty.
pub(super) fn says(body: &Value, field: &str) -> bool {
    match body.get(field) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(b)) => *b,
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Number(n)) => n.as_i64() != Some(0),
        Some(Value::Object(_)) => true,
    }
}

/// The strings of a list of String nodes, as in the parts of a name.
pub(super) fn strings(list: Option<&Value>) -> Vec<String> {
    let text = |item: &Value| node(item).and_then(|(_, body)| body.get("sval")?.as_str().map(str::to_owned));
    list.and_then(Value::as_array).into_iter().flatten().filter_map(text).collect()
}

/// Schema (where written) and name of a called function.
pub(super) fn called(body: &Value) -> (Option<String>, String) {
    let mut parts = strings(body.get("funcname"));
    let name = parts.pop().unwrap_or_default();
    (parts.pop(), name)
}
