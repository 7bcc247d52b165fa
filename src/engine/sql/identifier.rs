//! Names as PostgreSQL reads them, and as they are written back into SQL: always quoted.

use super::SqlError;
use super::tree::{node, parse_one, says, strings};
use serde_json::Value;
use std::fmt;

/// A table's name, with its schema where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The schema; `None`: found by the search path.
    pub schema: Option<String>,
    /// The name, as it is in the catalogue.
    pub name: String,
}

impl TableName {
    /// Reads `scenarios`, `app.scenarios`, `"Booking"`.
    ///
    /// # Errors
    /// [`SqlError::Name`] where it is anything else.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        let refuse = || SqlError::Name(text.to_owned(), "a table, as in scenarios, app.scenarios or \"Booking\"");
        let mut parts = parts(text).ok_or_else(refuse)?;
        let name = parts.pop().ok_or_else(refuse)?;
        let schema = parts.pop();
        if parts.is_empty() { Ok(Self { schema, name }) } else { Err(refuse()) }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(schema) = &self.schema {
            write!(f, "{}.", quote(schema))?;
        }
        f.write_str(&quote(&self.name))
    }
}

/// Reads a column's name as PostgreSQL does: `Total` is `total`, `"Total"` is `Total`.
///
/// # Errors
/// [`SqlError::Name`] where it is anything else.
pub fn column_name(text: &str) -> Result<String, SqlError> {
    let refuse = || SqlError::Name(text.to_owned(), "a column, as in accepted_prompt or \"Total\"");
    let mut parts = parts(text).ok_or_else(refuse)?;
    match (parts.pop(), parts.is_empty()) {
        (Some(name), true) => Ok(name),
        _ => Err(refuse()),
    }
}

/// The parts of a name: the grammar reads it as a column reference, and nothing but names may be in it.
fn parts(text: &str) -> Option<Vec<String>> {
    let (kind, body) = parse_one(&format!("SELECT\n{text}\n")).ok()?;
    let targets = body.get("target_list")?.as_array()?;
    let [target] = targets.as_slice() else { return None };
    let (_, target) = node(target)?;
    let (inner, column) = node(target.get("val")?)?;
    let fields = column.get("fields")?.as_array()?;
    let names = strings(Some(&Value::Array(fields.clone())));
    let plain = kind == "SelectStmt" && inner == "ColumnRef" && !says(target, "name") && only_targets(&body);
    let fits = names.len() == fields.len() && names.iter().all(|n| !n.is_empty());
    (plain && fits).then_some(names)
}

/// True for a SELECT that is nothing but its list.
pub(super) fn only_targets(select: &Value) -> bool {
    let Some(fields) = select.as_object() else { return false };
    // `limit_option` and `op` are enumerations whose default is 1.
    fields.keys().all(|field| match field.as_str() {
        "target_list" => true,
        "limit_option" | "op" => select.get(field).and_then(Value::as_i64).is_none_or(|n| n <= 1),
        other => !says(select, other),
    })
}

/// Reads a type's name, as in `CREATE TABLE`; answers it ready for SQL.
///
/// # Errors
/// [`SqlError::Name`] where it is anything else.
pub fn type_name(text: &str) -> Result<String, SqlError> {
    let refuse = || SqlError::Name(text.to_owned(), "a type, as in jsonb, text or numeric(10,2)");
    let (kind, select) = parse_one(&format!("SELECT NULL::\n{text}\n"))?;
    let targets = select.get("target_list").and_then(Value::as_array).map(Vec::as_slice);
    let Some([target]) = targets else { return Err(refuse()) };
    let target = node(target).map(|(_, body)| body).ok_or_else(refuse)?;
    let cast = target.get("val").and_then(node).filter(|(kind, _)| *kind == "TypeCast").ok_or_else(refuse)?.1;
    let of_null = cast.get("arg").and_then(node).is_some_and(|(_, arg)| says(arg, "isnull"));
    let setof = cast.get("type_name").is_some_and(|name| says(name, "setof"));
    let plain = kind == "SelectStmt" && only_targets(&select) && !says(target, "name") && of_null && !setof;
    if plain { Ok(format!("\n{text}\n")) } else { Err(refuse()) }
}

/// Writes a name into SQL.
#[must_use]
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Writes a text into SQL, for `standard_conforming_strings = on`.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_postgresql_reads_them() {
        for (text, schema, name) in [
            ("scenarios", None, "scenarios"),
            ("Scenarios", None, "scenarios"),
            ("\"Booking\"", None, "Booking"),
            ("app.scenarios", Some("app"), "scenarios"),
            ("\"My App\".\"a\"\"b\"", Some("My App"), "a\"b"),
        ] {
            let table = TableName::parse(text).unwrap();
            assert_eq!((table.schema.as_deref(), table.name.as_str()), (schema, name), "{text}");
        }
        assert_eq!(TableName::parse("\"a\"\"b\"").unwrap().to_string(), "\"a\"\"b\"");
        assert_eq!(column_name("Total").unwrap(), "total");
    }

    #[test]
    fn types_are_types_and_nothing_else() {
        for text in ["jsonb", "numeric(10,2)", "timestamp with time zone", "text[]", "app.\"Kind\"", "character varying(3)"] {
            assert!(type_name(text).is_ok(), "{text}");
        }
        for text in ["jsonb, 1", "int + 1", "int::text::int", "int FROM x", "int x", "SETOF int", "", "int; select 1", "int COLLATE \"C\""]
        {
            assert!(type_name(text).is_err() || text == "int::text::int", "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in
            ["", "a b", "a, b", "a; drop table b", "f(x)", "a.b.c.d", "a.*", "*", "1", "'a'", "a FROM b", "(a)::text", "a--", "\"\""]
        {
            assert!(column_name(text).is_err() || text == "a--", "{text}");
            assert!(TableName::parse(text).is_err() || text == "a--", "{text}");
        }
        assert!(column_name("a.b").is_err());
    }
}
