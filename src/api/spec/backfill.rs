//! What is written: declared as SQL, or by the team's own script.

use super::batch::Batch;
use super::capture::Capture;
use super::jobs::TeamJob;
use super::pods::open_object;
use super::references::ConfigMapKeyRef;
use super::sensitive::SensitiveData;
use super::source::{Parameter, Source};
use super::throttle::Throttle;
use super::write::Write;
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
    /// Records the rows that the script changes, so that they can be put back one by one. Default: nothing is recorded; the way back is a restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
}

/// Rows to read and what to write for each of them.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SqlBackfill {
    /// The rows to read.
    pub source: Source,
    /// Values taken once, when the run is planned, shown and approved; `param.NAME` in expressions. At most 8. Default: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub parameters: BTreeMap<String, Parameter>,
    /// What a row must look like to be written. At most 8. Default: anything goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub validate: Vec<Validation>,
    /// What is written for each source row, all in one transaction. One to four.
    #[schemars(length(min = 1, max = 4))]
    pub writes: Vec<Write>,
    /// An entry that says what was done to each row. Default: none; the ledger has it all the same.
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
    /// What holds the worker between two batches. Default: standbys that are more than 10 s behind.
    #[serde(default)]
    pub throttle: Throttle,
    /// What happens to rows that changed between plan and apply. Default: left alone and counted, at most 1 percent.
    #[serde(default)]
    pub drift: Drift,
    /// What happens to rows that the database refuses to write (a constraint, a trigger's error). Default: the first one fails the run.
    #[serde(default)]
    pub quarantine: Quarantine,
    /// How many pods write at the same time, each its own key ranges. May change while the run applies. Default: 1.
    #[serde(default = "one_worker")]
    #[schemars(range(min = 1, max = 16))]
    pub workers: i32,
}

fn one_worker() -> i32 {
    1
}

/// What happens to rows that the database refuses.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Quarantine {
    /// So many rows are left out and listed with the reason; one more fails the run. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 10000))]
    pub max: i32,
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

/// What was done to each row: run, plan digest, time and result, in a jsonb column of the source row or in a table.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.table) != has(self.column)").message("audit: set exactly one of column (with path) and table"))]
#[x_kube(validation = Rule::new("has(self.column) == has(self.path)").message("audit: path goes with column"))]
pub struct Audit {
    /// The jsonb column of the source table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub column: Option<String>,
    /// Path in it. One to 4 names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), inner(length(min = 1, max = 63)))]
    pub path: Vec<String>,
    /// A table of entries, one for each written row; made when the run applies if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub table: Option<String>,
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

/// What happens to rows that changed between plan and apply.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// `Skip`: left alone and counted. `Fail`: any such row fails the run. `Recompute`: the approval is for the rule and the
    /// rows, and what is written is computed when it is written. Default: `Skip`.
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
    /// The approval is for the rule and the rows: values are those of the moment of apply. For counters on a live table.
    Recompute,
}
