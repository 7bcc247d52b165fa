//! How far a run is, and what it wrote.

use super::none;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How far the step in hand is.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProgressStatus {
    /// For people: `52000/117990 (44%), 3s left`, or `52000/117990 (44%), held by ReplicationLag`.
    pub summary: String,
    /// Done.
    pub done: i64,
    /// Of how many.
    pub total: i64,
    /// What is counted: `rows` or `bytes`.
    pub unit: String,
    /// A second.
    pub per_second: i64,
    /// Time left, as a duration; empty where it is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remaining: String,
    /// True while other sessions write, and the worker is gentle to them (`throttle.besideWriters`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gentle: bool,
    /// The reading that holds the worker at this moment: `ReplicationLag`, `ActiveBackends`, `WaitingLocks`, `WalRate`,
    /// `Autovacuum` or `Query`; empty where none does. The condition `Throttled` has what was measured.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub throttled_by: String,
    /// Readings of the throttle that cannot be taken, with what to do about it: they do not hold the worker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<String>,
    /// When it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
}

/// What was written.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResultStatus {
    /// Source rows written; of a script, the rows that were captured.
    pub written: i64,
    /// Planned rows left alone because they changed since the plan.
    pub drifted: i64,
    /// Keys of the first of them; at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drifted_keys: Vec<String>,
    /// Planned rows that the database refused.
    #[serde(skip_serializing_if = "none")]
    pub quarantined: i64,
    /// The first of them, with what the database said; at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantined_rows: Vec<QuarantinedStatus>,
    /// Rows in which secrets were redacted.
    #[serde(skip_serializing_if = "none")]
    pub redacted: i64,
    /// Columns in which a trigger left another value than the planned one, as `table.column`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed_by_triggers: Vec<String>,
    /// Over every write that was made (key, old value, new value): the plan's, where no row was left alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rows_digest: String,
    /// Batches.
    pub batches: i64,
    /// Script mode: the last lines of the script.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Script mode: what was captured of each table, so that it can be put back. At most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub captured: Vec<CapturedStatus>,
}

/// What was captured of a table.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapturedStatus {
    /// The table.
    pub table: String,
    /// Rows that the script inserted; a row counts each time it was written.
    #[serde(default)]
    pub inserted: i64,
    /// Rows that it updated.
    #[serde(default)]
    pub updated: i64,
    /// Rows that it deleted.
    #[serde(default)]
    pub deleted: i64,
    /// Rows that other sessions wrote meanwhile, by the server's statistics: the application's, as a rule. They are not captured.
    #[serde(default)]
    pub others: i64,
    /// What only a restore brings back: the table was emptied by TRUNCATE, or its definition changed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fault: String,
}

/// A planned row that the database refused.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedStatus {
    /// Key of the source row.
    pub key: String,
    /// PostgreSQL's error code.
    pub sqlstate: String,
    /// What the database said.
    pub message: String,
}
