//! A query of `source.joins[]`: one SELECT that reads rows beside the source's, for each source row.

use super::identifier::TableName;
use super::judge::{Found, judge};
use super::tree::{node, parse_one, says, walk};
use super::volatility::Calls;
use super::{CheckQuery, SqlError};
use serde_json::Value;

/// One SELECT that only reads, and reads the same at plan and apply as long as its tables are the same. It may name outer
/// aliases, and have sub-selects, aggregates, windows, sets and WITH that selects.
#[derive(Clone, Debug)]
pub struct SelectQuery {
    sql: String,
    tables: Vec<TableName>,
    calls: Calls,
    server: Vec<String>,
}

impl SelectQuery {
    /// Reads one SELECT.
    ///
    /// # Errors
    /// [`SqlError`] where it is anything else; where it writes, locks or calls what has effects; where its value is one of
    /// the moment or of the session; where it holds a parameter, or reads the system's own tables.
    pub fn parse(text: &str) -> Result<Self, SqlError> {
        CheckQuery::parse(text)?;
        let (_, tree) = parse_one(text)?;
        let mut found = Found::default();
        walk(&tree, &mut |value| match node(value) {
            Some((kind, body)) => judge_node(kind, body, &mut found),
            None => Ok(()),
        })?;
        if let Some(name) = found.moment {
            return Err(SqlError::MomentDependent(name));
        }
        let mut tables = Vec::new();
        read_tables(&tree, &[], &mut tables);
        if let Some(table) = tables.iter().find(|table| is_system(table)) {
            return Err(SqlError::SessionDependent(table.to_string()));
        }
        let query = Self { sql: text.to_owned(), tables, calls: found.calls, server: found.server.into_iter().collect() };
        // As it will be written: a semicolon or anything else behind the SELECT does not fit into parentheses.
        match parse_one(&format!("SELECT 1 FROM LATERAL {} AS q", query.in_parentheses())) {
            Ok((kind, whole)) if kind == "SelectStmt" && is_one_lateral(&whole) => Ok(query),
            _ => Err(SqlError::SeveralStatements),
        }
    }

    /// The statement, as the user wrote it.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The query in parentheses, on lines of its own: a comment at its end cannot swallow what follows.
    #[must_use]
    pub fn in_parentheses(&self) -> String {
        format!("(\n{}\n)", self.sql)
    }

    /// The tables that it reads wherever it does, each once, in the order of their first use; names of its own WITH are none.
    #[must_use]
    pub fn tables(&self) -> &[TableName] {
        &self.tables
    }

    /// Functions, operators and types that it uses, for [`super::refuse_volatile`] with [`super::Place::JoinQuery`].
    #[must_use]
    pub const fn calls(&self) -> &Calls {
        &self.calls
    }

    /// What in it depends on the server (locale, dictionaries, time zones, …), by name, sorted. Not marked, because it depends
    /// on types that the grammar does not know: texts that are compared or sorted under their column's own collation.
    #[must_use]
    pub fn server_dependent(&self) -> Vec<String> {
        self.server.clone()
    }
}

/// Kinds of nodes that only read: what is not listed is refused, also what later grammars bring.
fn judge_node(kind: &str, body: &Value, found: &mut Found) -> Result<(), SqlError> {
    match kind {
        "SelectStmt" | "ResTarget" | "RangeVar" | "RangeSubselect" | "RangeFunction" | "RangeTableFunc" | "RangeTableFuncCol"
        | "JoinExpr" | "CommonTableExpr" | "SubLink" | "WindowDef" | "GroupingSet" | "GroupingFunc" | "AStar" | "ColumnDef"
        | "TypeName" | "AConst" | "ColumnRef" | "BoolExpr" | "NullTest" | "BooleanTest" | "CaseExpr" | "CaseWhen" | "CoalesceExpr"
        | "MinMaxExpr" | "AArrayExpr" | "AIndirection" | "AIndices" | "List" | "String" | "Integer" | "CollateClause" | "NamedArgExpr"
        | "RowExpr" | "SortBy" | "AExpr" | "TypeCast" | "FuncCall" | "SqlvalueFunction" | "ParamRef" => {}
        "RangeTableSample" => return Err(SqlError::MomentDependent("TABLESAMPLE".into())),
        other => return Err(SqlError::Unsupported(other.to_owned())),
    }
    judge(kind, body, found)
}

/// Collects tables; `hidden` are the names that WITH has given in the scopes around.
fn read_tables(value: &Value, hidden: &[String], tables: &mut Vec<TableName>) {
    if let Some(("RangeVar", body)) = node(value) {
        let text = |field: &str| body.get(field).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
        let table = TableName { schema: text("schemaname"), name: text("relname").unwrap_or_default() };
        let own = table.schema.is_none() && hidden.contains(&table.name);
        if !own && !tables.contains(&table) {
            tables.push(table);
        }
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| read_tables(item, hidden, tables)),
        Value::Object(fields) => {
            let mut scope = hidden.to_vec();
            if let Some(with) = fields.get("with_clause") {
                read_with(with, &mut scope, tables);
            }
            for field in fields.iter().filter(|(name, _)| *name != "with_clause").map(|(_, field)| field) {
                read_tables(field, &scope, tables);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Each query of a WITH sees the names before it; of a WITH RECURSIVE it sees all.
fn read_with(with: &Value, scope: &mut Vec<String>, tables: &mut Vec<TableName>) {
    let queries = || with.get("ctes").and_then(Value::as_array).into_iter().flatten().filter_map(node).map(|(_, body)| body);
    let name = |body: &Value| body.get("ctename").and_then(Value::as_str).unwrap_or_default().to_owned();
    let recursive = says(with, "recursive");
    if recursive {
        scope.extend(queries().map(name));
    }
    for body in queries() {
        read_tables(body, scope, tables);
        if !recursive {
            scope.push(name(body));
        }
    }
}

/// The catalogue and the views over sessions: what they show depends on who asks, and when.
fn is_system(table: &TableName) -> bool {
    match &table.schema {
        Some(schema) => schema.starts_with("pg_") || schema == "information_schema",
        None => table.name.starts_with("pg_"),
    }
}

fn is_one_lateral(select: &Value) -> bool {
    let from = select.get("from_clause").and_then(Value::as_array).map(Vec::as_slice);
    matches!(from, Some([one]) if matches!(node(one), Some(("RangeSubselect", body)) if says(body, "lateral")))
        && ["where_clause", "group_clause", "having_clause", "sort_clause", "limit_count", "larg", "rarg", "with_clause"]
            .iter()
            .all(|field| !says(select, field))
}

#[cfg(test)]
mod tests {
    use super::SelectQuery;

    #[test]
    fn tables_are_named_wherever_they_are_read_and_names_of_with_are_none() {
        for (text, wanted) in [
            ("SELECT 1", &[][..]),
            ("SELECT o.a FROM orders o WHERE o.id = s.id", &["\"orders\""]),
            (
                "SELECT (SELECT max(x) FROM app.\"Deep\") FROM a JOIN b USING (id), LATERAL (SELECT * FROM c) q",
                &["\"app\".\"Deep\"", "\"a\"", "\"b\"", "\"c\""],
            ),
            ("WITH a AS (SELECT * FROM a) SELECT * FROM a, app.a", &["\"a\"", "\"app\".\"a\""]),
            ("WITH RECURSIVE a AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM a WHERE n < 9) SELECT * FROM a", &[]),
            ("WITH a AS (SELECT 1), b AS (SELECT * FROM a, c) SELECT * FROM b", &["\"c\""]),
            ("SELECT * FROM (WITH a AS (SELECT 1) SELECT * FROM a) x, a", &["\"a\""]),
            ("TABLE a", &["\"a\""]),
            ("SELECT 1 FROM a UNION SELECT 2 FROM b", &["\"a\"", "\"b\""]),
            ("SELECT 1 WHERE EXISTS (TABLE a) ORDER BY (SELECT 1 FROM b)", &["\"b\"", "\"a\""]),
        ] {
            let mut tables: Vec<String> = SelectQuery::parse(text).unwrap().tables().iter().map(ToString::to_string).collect();
            let mut wanted: Vec<String> = wanted.iter().map(|w| (*w).to_owned()).collect();
            tables.sort();
            wanted.sort();
            assert_eq!(tables, wanted, "{text}");
        }
    }
}
