//! One scalar expression of the user.

use super::SqlError;
use super::functions::{has_effects, is_aggregate, is_at_apply, is_session, reads_beyond_the_row, returns_set};
use super::identifier::only_targets;
use super::tree::{called, node, parse_one, says, strings, walk};
use super::volatility::Calls;
use serde_json::Value;
use std::collections::BTreeSet;

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
        let mut found = Found::default();
        walk(tree, &mut |value| match node(value) {
            Some((kind, body)) => judge_node(kind, body, &mut found),
            None => Ok(()),
        })?;
        match (place, found.moment) {
            (Place::Chooses, Some(name)) => Err(SqlError::MomentDependent(name)),
            (_, moment) => Ok(Self { sql: text.to_owned(), at_apply: moment.is_some(), calls: found.calls }),
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

/// What was found in the tree so far.
#[derive(Default)]
struct Found {
    calls: Calls,
    moment: Option<String>,
    /// Literals that are cast to a text, by their place: a word there is a word.
    texts: BTreeSet<i64>,
}

fn judge_node(kind: &str, body: &Value, found: &mut Found) -> Result<(), SqlError> {
    match kind {
        "AConst" => judge_literal(body, found),
        "ColumnRef" | "BoolExpr" | "NullTest" | "BooleanTest" | "CaseExpr" | "CaseWhen" | "CoalesceExpr" | "MinMaxExpr" | "AArrayExpr"
        | "AIndirection" | "AIndices" | "List" | "String" | "Integer" | "CollateClause" | "NamedArgExpr" | "RowExpr" | "SortBy" => Ok(()),
        "AExpr" => {
            found.calls.add_operator(strings(body.get("name")));
            Ok(())
        }
        "TypeCast" => judge_cast(body, found),
        "FuncCall" => judge_call(body, found),
        "SqlvalueFunction" => judge_value_function(body, found),
        "AStar" => Err(SqlError::Star),
        "SubLink" => Err(SqlError::SubSelect),
        "ParamRef" => Err(SqlError::Parameter),
        other => Err(SqlError::Unsupported(other.to_owned())),
    }
}

fn judge_call(body: &Value, found: &mut Found) -> Result<(), SqlError> {
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
        found.moment = Some(format!("{name}()"));
    }
    found.calls.add_function(schema, name);
    Ok(())
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

/// A literal that is cast to a text is one, whatever it says.
fn judge_cast(body: &Value, found: &mut Found) -> Result<(), SqlError> {
    let type_name = body.get("type_name").unwrap_or(&Value::Null);
    if says(type_name, "setof") {
        return Err(SqlError::SetReturning("SETOF".into()));
    }
    let kind = strings(type_name.get("names")).pop().unwrap_or_default();
    if matches!(kind.as_str(), "text" | "varchar" | "bpchar" | "json" | "jsonb") {
        found.texts.extend(body.get("arg").and_then(node).and_then(|(_, arg)| place(arg)));
    }
    Ok(())
}

/// Refuses `'today'`: where a date or time is meant, the server turns the word into a moment while it reads the
/// statement, and what is meant depends on types that are not known here.
fn judge_literal(body: &Value, found: &Found) -> Result<(), SqlError> {
    let Some(text) = body.pointer("/val/Sval/sval").and_then(Value::as_str) else { return Ok(()) };
    let excused = place(body).is_some_and(|place| found.texts.contains(&place));
    if !excused && is_date_word(text) { Err(SqlError::DateWord(text.to_owned())) } else { Ok(()) }
}

fn place(body: &Value) -> Option<i64> {
    body.get("location")?.as_i64()
}

/// The word, alone or with a time of day or a zone: `today 12:00`.
fn is_date_word(literal: &str) -> bool {
    let lower = literal.trim().to_lowercase();
    let mut words = lower.split_whitespace();
    let special = words.next().is_some_and(|word| matches!(word, "now" | "today" | "tomorrow" | "yesterday"));
    special && words.all(|word| word.chars().any(|c| c.is_ascii_digit()) || matches!(word, "utc" | "z" | "zulu" | "allballs"))
}
