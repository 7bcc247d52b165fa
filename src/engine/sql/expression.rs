//! One scalar expression of the user.

use super::SqlError;
use super::functions::{is_aggregate, returns_set};
use super::identifier::only_targets;
use super::judge::{Found, judge};
use super::tree::{called, node, parse_one, says, walk};
use super::volatility::Calls;
use serde_json::Value;

/// Where an expression stands: it decides whether values of the moment are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Chooses or judges rows: `where`, `match`, `onlyIf`, `pick`, `validate.value`. Must be the same at plan and apply.
    Chooses,
    /// A new value: `set`. Values of the moment are written at apply and kept out of the digest.
    Sets,
    /// A SELECT of rows beside the source's: `source.joins[].query`. Aggregates, windows and sets may stand there, too.
    JoinQuery,
}

/// One scalar expression, known to be harmless as far as the grammar can tell.
#[derive(Clone, Debug)]
pub struct Expression {
    sql: String,
    at_apply: bool,
    calls: Calls,
    server: Vec<String>,
}

impl Expression {
    /// Reads one expression.
    ///
    /// # Errors
    /// [`SqlError`] where it is not exactly one, or holds what its place does not allow.
    pub fn parse(text: &str, place: Place) -> Result<Self, SqlError> {
        let value = only_value(&format!("SELECT\n{text}\n"))?;
        let parsed = Self::judge(text, &value, place)?;
        // As it will be written: `ALL s.a` is an expression's worth of a SELECT only without the parentheses.
        only_value(&format!("SELECT {}", parsed.in_parentheses())).map_err(|_| SqlError::NotOneExpression)?;
        Ok(parsed)
    }

    /// Reads one sort clause, as in `s.updated_at DESC, s.rank`; [`Expression::in_order_by`] writes it back.
    ///
    /// # Errors
    /// [`SqlError`] where it is anything else.
    pub fn parse_order(text: &str) -> Result<Self, SqlError> {
        let (kind, mut select) = parse_one(&format!("SELECT 1 ORDER BY\n{text}\n"))?;
        let sort = select.get_mut("sort_clause").map(Value::take).unwrap_or_default();
        if kind != "SelectStmt" || !only_targets(&select) {
            return Err(SqlError::NotOneExpression);
        }
        Self::judge(text, &sort, Place::Chooses)
    }

    fn judge(text: &str, tree: &Value, place: Place) -> Result<Self, SqlError> {
        let mut found = Found::default();
        walk(tree, &mut |value| match node(value) {
            Some((kind, body)) => judge_node(kind, body, &mut found),
            None => Ok(()),
        })?;
        let Found { calls, moment, server, .. } = found;
        match (place, moment) {
            (Place::Chooses | Place::JoinQuery, Some(name)) => Err(SqlError::MomentDependent(name)),
            (_, moment) => Ok(Self { sql: text.to_owned(), at_apply: moment.is_some(), calls, server: server.into_iter().collect() }),
        }
    }

    /// The expression in parentheses, on lines of its own: a comment at its end cannot swallow what follows.
    #[must_use]
    pub fn in_parentheses(&self) -> String {
        format!("(\n{}\n)", self.sql)
    }

    /// A sort clause, on lines of its own.
    #[must_use]
    pub fn in_order_by(&self) -> String {
        format!("\n{}\n", self.sql)
    }

    /// True where the value is one of the moment: written at apply, kept out of the digest.
    #[must_use]
    pub const fn is_at_apply(&self) -> bool {
        self.at_apply
    }

    /// Functions and operators that it calls, for [`super::refuse_volatile`].
    #[must_use]
    pub const fn calls(&self) -> &Calls {
        &self.calls
    }

    /// What in it depends on the server (locale, dictionaries, time zones, …), by name, sorted: the value may be another one
    /// on another server. What is not marked although it may: [`super::SelectQuery::server_dependent`].
    #[must_use]
    pub fn server_dependent(&self) -> Vec<String> {
        self.server.clone()
    }
}

/// The one target of a SELECT that is nothing else.
fn only_value(sql: &str) -> Result<Value, SqlError> {
    let (kind, mut select) = parse_one(sql)?;
    if kind != "SelectStmt" || !only_targets(&select) {
        return Err(SqlError::NotOneExpression);
    }
    let targets = select.get_mut("target_list").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
    let [target] = targets.as_slice() else { return Err(SqlError::NotOneExpression) };
    match node(target) {
        Some(("ResTarget", target)) if !says(target, "name") && !says(target, "indirection") => {
            target.get("val").cloned().ok_or(SqlError::NotOneExpression)
        }
        _ => Err(SqlError::NotOneExpression),
    }
}

fn judge_node(kind: &str, body: &Value, found: &mut Found) -> Result<(), SqlError> {
    match kind {
        "FuncCall" => refuse_other_than_one_value(body)?,
        "AConst" | "ColumnRef" | "BoolExpr" | "NullTest" | "BooleanTest" | "CaseExpr" | "CaseWhen" | "CoalesceExpr" | "MinMaxExpr"
        | "AArrayExpr" | "AIndirection" | "AIndices" | "List" | "String" | "Integer" | "CollateClause" | "NamedArgExpr" | "RowExpr"
        | "SortBy" | "AExpr" | "TypeCast" | "SqlvalueFunction" | "ParamRef" => {}
        "AStar" => return Err(SqlError::Star),
        "SubLink" => return Err(SqlError::SubSelect),
        other => return Err(SqlError::Unsupported(other.to_owned())),
    }
    judge(kind, body, found)
}

/// An expression sees one row and has one value.
fn refuse_other_than_one_value(body: &Value) -> Result<(), SqlError> {
    let (_, name) = called(body);
    if says(body, "over") {
        return Err(SqlError::Window(name));
    }
    let aggregates = ["agg_star", "agg_distinct", "agg_order", "agg_filter", "agg_within_group"];
    if is_aggregate(&name) || aggregates.iter().any(|field| says(body, field)) {
        return Err(SqlError::Aggregate(name));
    }
    if returns_set(&name) { Err(SqlError::SetReturning(name)) } else { Ok(()) }
}
