//! One scalar expression of the user.

use super::SqlError;
use super::functions::{has_effects, is_aggregate, is_at_apply, is_session, reads_beyond_the_row, returns_set};
use super::identifier::only_targets;
use super::tree::{called, node, parse_one, says, strings, walk};
use super::volatility::Calls;
use serde_json::Value;

/// Where an expression stands: it decides whether values of the moment are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Chooses or judges rows: `where`, `match`, `onlyIf`, `pick`, `validate.value`. Must be the same at plan and apply.
    Chooses,
    /// A new value: `set`. Values of the moment are written at apply and kept out of the digest.
    Sets,
}

/// One scalar expression, known to be harmless as far as the grammar can tell.
#[derive(Clone, Debug)]
pub struct Expression {
    sql: String,
    at_apply: bool,
    calls: Calls,
}

impl Expression {
    /// Reads one expression.
    ///
    /// # Errors
    /// [`SqlError`] where it is not exactly one, or holds what its place does not allow.
    pub fn parse(text: &str, place: Place) -> Result<Self, SqlError> {
        let (kind, select) = parse_one(&format!("SELECT\n{text}\n"))?;
        if kind != "SelectStmt" || !only_targets(&select) {
            return Err(SqlError::NotOneExpression);
        }
        let targets = select.get("target_list").and_then(Value::as_array).map(Vec::as_slice);
        let Some([target]) = targets else { return Err(SqlError::NotOneExpression) };
        let value = match node(target) {
            Some(("ResTarget", target)) if !says(target, "name") && !says(target, "indirection") => target.get("val"),
            _ => None,
        };
        Self::judge(text, value.ok_or(SqlError::NotOneExpression)?, place)
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
        let mut calls = Calls::default();
        let mut moment = None;
        walk(tree, &mut |value| match node(value) {
            Some((kind, body)) => judge_node(kind, body, &mut calls, &mut moment),
            None => Ok(()),
        })?;
        match (place, moment) {
            (Place::Chooses, Some(name)) => Err(SqlError::MomentDependent(name)),
            (_, moment) => Ok(Self { sql: text.to_owned(), at_apply: moment.is_some(), calls }),
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
}

fn judge_node(kind: &str, body: &Value, calls: &mut Calls, moment: &mut Option<String>) -> Result<(), SqlError> {
    match kind {
        "ColumnRef" | "AConst" | "BoolExpr" | "NullTest" | "BooleanTest" | "CaseExpr" | "CaseWhen" | "CoalesceExpr" | "MinMaxExpr"
        | "AArrayExpr" | "AIndirection" | "AIndices" | "List" | "String" | "Integer" | "CollateClause" | "NamedArgExpr" | "RowExpr"
        | "SortBy" => Ok(()),
        "AExpr" => {
            calls.add_operator(strings(body.get("name")));
            Ok(())
        }
        "TypeCast" => judge_cast(body),
        "FuncCall" => judge_call(body, calls, moment),
        "SqlvalueFunction" => judge_value_function(body, moment),
        "AStar" => Err(SqlError::Star),
        "SubLink" => Err(SqlError::SubSelect),
        "ParamRef" => Err(SqlError::Parameter),
        other => Err(SqlError::Unsupported(other.to_owned())),
    }
}

fn judge_call(body: &Value, calls: &mut Calls, moment: &mut Option<String>) -> Result<(), SqlError> {
    let (schema, name) = called(body);
    let arguments = body.get("args").and_then(Value::as_array).map_or(0, Vec::len);
    if says(body, "over") {
        return Err(SqlError::Window(name));
    }
    let aggregates = ["agg_star", "agg_distinct", "agg_order", "agg_filter", "agg_within_group"];
    if is_aggregate(&name) || aggregates.iter().any(|field| says(body, field)) {
        return Err(SqlError::Aggregate(name));
    }
    if returns_set(&name) {
        return Err(SqlError::SetReturning(name));
    }
    if is_session(&name) {
        return Err(SqlError::SessionDependent(name));
    }
    if has_effects(&name) || reads_beyond_the_row(&name) {
        return Err(SqlError::SideEffect(name));
    }
    if is_at_apply(&name, arguments) {
        *moment = Some(format!("{name}()"));
    }
    calls.add_function(schema, name);
    Ok(())
}

/// `CURRENT_DATE` to `LOCALTIMESTAMP(n)` are 1 to 9 in the grammar's enumeration, roles and names of the session come after.
fn judge_value_function(body: &Value, moment: &mut Option<String>) -> Result<(), SqlError> {
    match body.get("op").and_then(Value::as_i64) {
        Some(1..=9) => {
            *moment = Some("current_timestamp, current_date and their kin".into());
            Ok(())
        }
        _ => Err(SqlError::SessionDependent("current_user and its kin".into())),
    }
}

/// Refuses `'today'::date`: the server turns the word into a moment while it reads the statement.
fn judge_cast(body: &Value) -> Result<(), SqlError> {
    let type_name = body.get("type_name").unwrap_or(&Value::Null);
    if says(type_name, "setof") {
        return Err(SqlError::SetReturning("SETOF".into()));
    }
    let kind = strings(type_name.get("names")).pop().unwrap_or_default();
    let literal = body.get("arg").and_then(node).and_then(|(_, arg)| arg.pointer("/val/Sval/sval")?.as_str().map(str::to_owned));
    match literal {
        Some(word) if is_date_type(&kind) && is_date_word(&word) => Err(SqlError::DateWord(word)),
        _ => Ok(()),
    }
}

fn is_date_type(name: &str) -> bool {
    matches!(name, "date" | "time" | "timetz" | "timestamp" | "timestamptz")
}

fn is_date_word(literal: &str) -> bool {
    let lower = literal.to_lowercase();
    ["now", "today", "tomorrow", "yesterday"].iter().any(|word| lower.contains(word))
}
