//! What a declared backfill writes: update, insert or delete, a table each.

use super::source::Join;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One write for each source row.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.action == 'Insert' || has(self.table) == has(self.match)").message("writes: set table and match together, or neither (then the source row itself is written)"))]
#[x_kube(validation = Rule::new("(self.action == 'Insert') == has(self.onConflict)").message("writes: Insert needs onConflict (its key tells whether a row is there already, so that a second run inserts nothing); Update and Delete have none"))]
#[x_kube(validation = Rule::new("self.action != 'Insert' || (has(self.table) && !has(self.match))").message("writes: Insert needs table, and has no match: onConflict.key is its match"))]
#[x_kube(validation = Rule::new("(self.action == 'Delete') != has(self.set)").message("writes: Update and Insert need set; Delete has none"))]
#[x_kube(validation = Rule::new("self.action == 'Delete' || self.cascades == 'Refuse'").message("writes: cascades goes with action: Delete"))]
#[x_kube(validation = Rule::new("!has(self.joins) || self.joins.all(j, j.rows != 'Many')").message("writes: rows: Many goes with source.joins only; a join of a write finds one row at most"))]
pub struct Write {
    /// The table, aliased `t`. Default: the source row itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub table: Option<String>,
    /// What is done. Default: `Update`.
    #[serde(default)]
    pub action: Action,
    /// What is looked up for this write alone, in order; `match`, `onlyIf` and `set` may use it. Where an earlier write of the
    /// run writes the joined table, the join finds what that one leaves of it for the same source row. With `type: Inner` a
    /// source row without a match is left alone by this write only. At most 4. Default: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    pub joins: Vec<Join>,
    /// Which row of the table, as one boolean expression over `s`, `t` and the joins; it finds at most one, which is checked.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub matches: Option<String>,
    /// Written only if this boolean expression over `s`, `t` and the joins holds. Default: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub only_if: Option<String>,
    /// New values by column, each one expression over `s`, `t` and the joins. One to 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 32), inner(length(min = 1, max = 4096)))]
    pub set: BTreeMap<String, String>,
    /// Insert: what names a row, and what happens where there is one already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_conflict: Option<OnConflict>,
    /// Delete: what happens to rows whose foreign keys say `ON DELETE CASCADE`, `SET NULL` or `SET DEFAULT`. Default: `Refuse`.
    #[serde(default)]
    pub cascades: Cascades,
    /// Where a join has `rows: Many`: `Row` writes for each joined row, `Source` once for each source row. Default: `Row`.
    #[serde(default)]
    pub per: Per,
}

/// What is done to the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Columns are set.
    #[default]
    Update,
    /// A row is added.
    Insert,
    /// The row is removed; the whole of it is kept for undo.
    Delete,
}

/// What names an inserted row, and what happens where there is one already.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OnConflict {
    /// Columns with a unique index; each is in `set`. One to four.
    #[schemars(length(min = 1, max = 4), inner(length(min = 1, max = 128)))]
    pub key: Vec<String>,
    /// `Skip`: it stays as it is, and counts as done. `Fail`: the plan fails, and names it. `Update`: the other columns of `set`
    /// are written to it. Default: `Skip`.
    #[serde(default)]
    pub mode: ConflictMode,
}

/// What happens where the row is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ConflictMode {
    /// It stays as it is.
    #[default]
    Skip,
    /// The plan fails.
    Fail,
    /// It is updated.
    Update,
}

/// What happens to rows that go with a deleted one, or lose their reference to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Cascades {
    /// A row that any other refers to fails the plan.
    #[default]
    Refuse,
    /// Rows whose foreign keys cascade, and those that cascade from them, are planned, approved, deleted and put back with it;
    /// rows whose foreign keys say `SET NULL` or `SET DEFAULT` are planned, approved, written and put back likewise. One that
    /// anything else refers to fails the plan.
    Capture,
}

/// How often a write is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Per {
    /// For each joined row.
    #[default]
    Row,
    /// Once for each source row.
    Source,
}
