//! What is written: declared as SQL, or by the team's own script.

use super::jobs::TeamJob;
use super::pods::open_object;
use super::references::ConfigMapKeyRef;
use super::sensitive::SensitiveData;
use crate::api::duration;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What is written: exactly one of `sql` and `job`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.sql) != has(self.job)").message("backfill: set exactly one of sql (declared, planned exactly, undone row by row) and job (the team's own script)"))]
pub struct Backfill {
    /// Declared: which rows, and what is written to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql: Option<SqlBackfill>,
    /// The team's own script, unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<ScriptBackfill>,
}

/// The team's own script, unchanged: a dry run, and the real one. The dump is mounted read-only at
/// `BACKFILL_BACKUP_PATH`; args may use `$(BACKFILL_BACKUP_PATH)`, `$(BACKFILL_RUN)` and `$(BACKFILL_PLAN_DIGEST)`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScriptBackfill {
    /// Shows what would change, and changes nothing. Its output's hash is part of the plan's digest.
    pub dry_run: TeamJob,
    /// Changes the data.
    pub apply: TeamJob,
}

/// Rows to read and what to write for each of them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SqlBackfill {
    /// The rows to read.
    pub source: Source,
    /// What a row must look like to be written. At most 8. Default: anything goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub validate: Vec<Validation>,
    /// What is written for each source row, all in one transaction. One to four.
    #[schemars(length(min = 1, max = 4))]
    pub writes: Vec<Write>,
    /// An entry in the source row that says what was done to it. Default: none; the ledger has it all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
    /// What happens to written values that look like secrets. Default: they are written as they are; samples are redacted all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitive_data: Option<SensitiveData>,
    /// What of the rows the status may show. Default: 5 rows, in full.
    #[serde(default)]
    pub samples: Samples,
    /// How many rows a transaction writes.
    #[serde(default)]
    pub batch: Batch,
    /// What happens to rows that changed between plan and apply. Default: left alone and counted, at most 1 percent.
    #[serde(default)]
    pub drift: Drift,
}

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
    /// Which rows, as one boolean expression over `s`. Default: all.
    #[serde(default, rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub filter: Option<String>,
    /// One winner of each group of rows; the others are not written, and counted as lost. Default: every row counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pick: Option<Pick>,
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
}

/// A JSON Schema that a value of each row must satisfy.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Validation {
    /// Name of the rule.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// The value, as one expression of type json or jsonb over `s`.
    #[schemars(length(min = 1, max = 4096))]
    pub value: String,
    /// The schema, JSON Schema 2020-12.
    pub schema: SchemaSource,
    /// What happens to a row that does not satisfy it: `Skip` it, or `Fail` the plan. Default: `Skip`.
    #[serde(default)]
    pub on_invalid: OnInvalid,
    /// With more invalid rows than this, in percent of the matching ones, the plan fails. Default: 5.
    #[serde(default = "max_invalid_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub max_invalid_percent: i32,
    /// How many invalid rows the status names. Default: 5.
    #[serde(default = "sample_count")]
    #[schemars(range(min = 0, max = 10))]
    pub sample: i32,
}

fn max_invalid_percent() -> i32 {
    5
}

fn sample_count() -> i32 {
    5
}

/// Where a JSON Schema is written: exactly one of `inline` and `configMapKeyRef`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.inline) != has(self.configMapKeyRef)").message("schema: set exactly one of inline (the schema itself) and configMapKeyRef (a key with the schema, as JSON or YAML)"))]
pub struct SchemaSource {
    /// The schema itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "open_object")]
    pub inline: Option<Map<String, Value>>,
    /// A key with the schema, as JSON or YAML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
}

impl SchemaSource {
    /// The schema, where it is written here; null, which no value satisfies, where it still is a reference.
    #[must_use]
    pub fn document(&self) -> Value {
        self.inline.clone().map_or(Value::Null, Value::Object)
    }
}

/// What happens to an invalid row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnInvalid {
    /// It is not written, and counted.
    #[default]
    Skip,
    /// The plan fails.
    Fail,
}

/// One write for each source row.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.table) == has(self.match)").message("writes: set table and match together, or neither (then the source row itself is written)"))]
pub struct Write {
    /// The table, aliased `t`. Default: the source row itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub table: Option<String>,
    /// What is done. Default: `Update`.
    #[serde(default)]
    pub action: Action,
    /// Which row of the table, as one boolean expression over `s` and `t`; it finds at most one, which is checked.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub matches: Option<String>,
    /// Written only if this boolean expression over `s` and `t` holds. Default: always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub only_if: Option<String>,
    /// New values by column, each one expression over `s` and `t`. One to 32.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 32), inner(length(min = 1, max = 4096)))]
    pub set: BTreeMap<String, String>,
}

/// What is done to the row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Action {
    /// Columns are set.
    #[default]
    Update,
}

/// An entry in a jsonb column of the source row: run, plan digest, time and result.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// The jsonb column of the source table.
    #[schemars(length(min = 1, max = 128))]
    pub column: String,
    /// Path in it. One to 4 names.
    #[schemars(length(min = 1, max = 4), inner(length(min = 1, max = 63)))]
    pub path: Vec<String>,
}

/// What of the rows the status may show.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Samples {
    /// `Full`: values, cut to 256 characters, secrets redacted. `Masked`: lengths and types only. `None`: nothing. Default: `Full`.
    #[serde(default)]
    pub show: SampleShow,
    /// How many rows. Default: 5.
    #[serde(default = "sample_count")]
    #[schemars(range(min = 0, max = 10))]
    pub count: i32,
}

impl Default for Samples {
    fn default() -> Self {
        Self { show: SampleShow::default(), count: sample_count() }
    }
}

/// How much of a sampled value is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SampleShow {
    /// Values, cut to 256 characters, secrets redacted.
    #[default]
    Full,
    /// Lengths only.
    Masked,
    /// Nothing.
    None,
}

/// How many rows a transaction writes.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Rows a transaction. May change while the run applies. Default: 1000.
    #[serde(default = "batch_size")]
    #[schemars(range(min = 1, max = 5000))]
    pub size: i32,
    /// Pause after each batch, as a duration. May change while the run applies. Default: `0s`.
    #[serde(default = "no_pause")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub pause: String,
}

impl Default for Batch {
    fn default() -> Self {
        Self { size: batch_size(), pause: no_pause() }
    }
}

fn batch_size() -> i32 {
    1000
}

fn no_pause() -> String {
    "0s".into()
}

/// What happens to rows that changed between plan and apply.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// `Skip`: left alone and counted. `Fail`: any such row fails the run. Default: `Skip`.
    #[serde(default)]
    pub mode: DriftMode,
    /// With more drifted rows than this, in percent of the planned ones, nothing is written and approval of a new plan is asked. Default: 1.
    #[serde(default = "max_drift_percent")]
    #[schemars(range(min = 0, max = 100))]
    pub max_percent: i32,
}

impl Default for Drift {
    fn default() -> Self {
        Self { mode: DriftMode::default(), max_percent: max_drift_percent() }
    }
}

fn max_drift_percent() -> i32 {
    1
}

/// What happens to a drifted row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DriftMode {
    /// Left alone and counted.
    #[default]
    Skip,
    /// The run fails.
    Fail,
}
