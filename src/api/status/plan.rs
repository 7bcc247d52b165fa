//! The plan: what would be written, and what a person needs to decide on it.

use super::none;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The plan.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanStatus {
    /// What people approve: over all that will run.
    pub digest: String,
    /// Over every planned write (key, old value, new value).
    pub rows_digest: String,
    /// File of the plan, relative to the claim's root. Empty in script mode.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// SHA-256 of the plan file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file_sha256: String,
    /// What is written, by write of the spec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<PlannedWrites>,
    /// Values of `parameters`, taken once: these are what is approved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ParameterStatus>,
    /// What the written tables are: columns, constraints, unique indexes, triggers, rules and row security. Empty in script mode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub definitions: Vec<DefinitionStatus>,
    /// Rows of the source table.
    pub scanned: i64,
    /// Source rows that the source's `where` finds.
    pub matching: i64,
    /// Source rows that will be written.
    pub will_write: i64,
    /// Rows whose new values are the old ones.
    pub already_done: i64,
    /// Rows that find no target row, or for which `onlyIf` does not hold.
    pub no_match: i64,
    /// Rows that lost to the winner of their group (`source.pick`).
    pub lost: i64,
    /// Rows that fail validation.
    pub invalid: i64,
    /// Rows in whose new values something looks like a secret: of all rows where `sensitiveData` is set, else of the sample.
    pub sensitive: i64,
    /// Of them, those that are not written for it (`onMatch: Skip`).
    #[serde(skip_serializing_if = "none")]
    pub skipped_sensitive: i64,
    /// The first findings, at most 20: where, and by which rule; never the value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingStatus>,
    /// True where a role that can only SELECT made it.
    pub proved_read_only: bool,
    /// Planned changes, before and after.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<SampleStatus>,
    /// Invalid rows, and what is wrong with them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invalid_sample: Vec<InvalidStatus>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub planned_at: Option<Timestamp>,
    /// Rows planned a second.
    pub rows_per_second: i64,
    /// Rows that all workers together will write a second, gently (`throttle.besideWriters`), where others wrote while the plan was
    /// made; absent where none did, where `batch.size` is a number, or where it is not known.
    #[serde(skip_serializing_if = "none")]
    pub gentle_rows_per_second: i64,
    /// Script mode: the last lines of the dry run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Remarks for the approver: what is inconclusive, what does not hold in script mode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// What a written table was when the plan was made. Another definition voids the approval.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionStatus {
    /// Schema and name, quoted as in SQL.
    pub name: String,
    /// The same for people.
    pub table: String,
    /// SHA-256 of its definition; `absent` where it was not there.
    pub sha256: String,
}

/// Where something looks like a secret.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingStatus {
    /// Key of the source row.
    pub key: String,
    /// The table that is written.
    pub table: String,
    /// The column.
    pub column: String,
    /// The rule that found it.
    pub rule: String,
}

/// How many target rows one write of the spec changes.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedWrites {
    /// The table.
    pub table: String,
    /// Rows whose columns are set.
    pub updates: i64,
    /// Rows that are added.
    pub inserts: i64,
    /// Rows that are removed.
    pub deletes: i64,
}

/// The value of a parameter.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParameterStatus {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its value, as text; absent for NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A planned change of one row.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleStatus {
    /// Key of the source row.
    pub key: String,
    /// Table that is written.
    pub table: String,
    /// The columns.
    pub changes: Vec<ChangeStatus>,
}

/// A planned change of one column; values are cut to 256 characters, secrets redacted.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeStatus {
    /// The column.
    pub column: String,
    /// The value before; absent for NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value after; absent for NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// An invalid row.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvalidStatus {
    /// Key of the source row.
    pub key: String,
    /// Name of the rule.
    pub rule: String,
    /// Where in the value, as a JSON pointer.
    pub pointer: String,
    /// What the schema asks there; never the value.
    pub message: String,
}
