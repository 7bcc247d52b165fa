//! The rows that a declared backfill reads: a table, what is joined to it, and which row of a group counts.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The rows to read, aliased `s` in every expression.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The table, as PostgreSQL writes it: `scenarios`, `app.scenarios`, `"Booking"`.
    #[schemars(length(min = 1, max = 128))]
    pub table: String,
    /// Columns that name a row: unique, not null and indexed. At most 4. Default: the primary key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(min = 1, max = 128)))]
    pub key: Vec<String>,
    /// Which rows, as one boolean expression over `s` and `param`. Default: all.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub filter: Option<String>,
    /// What is looked up for each row, in order; a later join may use the aliases before it. At most 8. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub joins: Vec<Join>,
    /// One winner of each group of rows; the others are not written, and counted as lost. Default: every row counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Pick>,
}

/// Rows of another table, or of a query, for each source row.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.table) != has(self.query)").message("joins: set exactly one of table (with match) and query (a SELECT that may use the aliases before it)"))]
#[x_kube(validation = Rule::new("has(self.table) == has(self.match)").message("joins: match goes with table; a query has its own WHERE"))]
#[x_kube(validation = Rule::new("self.rows != 'Many' || (has(self.key) && self.type == 'Inner')").message("joins: rows: Many needs key (the columns that tell the joined rows of one source row apart) and type: Inner"))]
pub struct Join {
    /// Its alias in expressions; not `s`, `t`, `w` or `param`.
    #[serde(rename = "as")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z_][a-z0-9_]*$"))]
    #[x_kube(validation = Rule::new("!(self in ['s', 't', 'w', 'param'])").message("as: s, t, w and param are taken: choose another alias"))]
    pub alias: String,
    /// The table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub table: Option<String>,
    /// Which row of the table, as one boolean expression over the aliases so far; more than one row for a source row fails the plan.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub matches: Option<String>,
    /// One SELECT that may use the aliases before it, for each source row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub query: Option<String>,
    /// `Inner`: a source row without a match is not written. `Left`: its values are NULL. `Semi`: written only if there is
    /// a match, `Anti`: only if there is none; neither has an alias in expressions. Default: `Inner`.
    #[serde(default, rename = "type")]
    pub kind: JoinType,
    /// `One` row for each source row, or `Many`: then the writes are made for each of them. Default: `One`.
    #[serde(default)]
    pub rows: JoinRows,
    /// With `rows: Many`: columns of the query or table that tell the rows of one source row apart. At most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(min = 1, max = 128)))]
    pub key: Vec<String>,
}

/// What becomes of a source row for which a join finds nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JoinType {
    /// It is not written.
    #[default]
    Inner,
    /// The join's values are NULL.
    Left,
    /// It is not written; one with a match is.
    Semi,
    /// It is written; one with a match is not.
    Anti,
}

/// How many rows a join finds for a source row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum JoinRows {
    /// At most one, which is checked.
    #[default]
    One,
    /// Any number.
    Many,
}

/// One winner of each group of the rows that `where` finds, chosen once, when the run is planned.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pick {
    /// What makes a group, each one expression over `s`. One to four.
    #[schemars(length(min = 1, max = 4), inner(length(min = 1, max = 1024)))]
    pub per: Vec<String>,
    /// Who wins: the first row in this order, as in `s.updated_at DESC`. The key is always the last tie-break.
    #[schemars(length(min = 1, max = 1024))]
    pub order: String,
    /// `Winner`: the winners are written. `Losers`: all other rows are, and the winner of a row's group is `w` in expressions
    /// (to remove duplicates). Default: `Winner`.
    #[serde(default)]
    pub write: PickWrite,
}

/// Which rows of a group are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PickWrite {
    /// The winner.
    #[default]
    Winner,
    /// All but the winner.
    Losers,
}

/// A value that is taken once, when the run is planned, shown and approved.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameter {
    /// One expression, as in `date_trunc('day', now())`.
    #[schemars(length(min = 1, max = 1024))]
    pub sql: String,
    /// Its type, as in `timestamptz`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 128))]
    pub type_name: String,
}
