//! Jobs of the team: migrations, scripts, tests.

use super::pods::open_object;
use crate::api::duration;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A Job of the team: its image, its command. A Job that is lost (evicted, its node gone) is run again, so it must
/// bear being run twice.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TeamJob {
    /// The pod, as in a Job's `spec.template`. `restartPolicy` is always `Never`; exit code 0 is success.
    #[schemars(schema_with = "open_object")]
    #[x_kube(validation = Rule::new("has(self.spec) && has(self.spec.containers)").message("template.spec.containers is missing"))]
    pub template: Map<String, Value>,
    /// The longest that the Job may take, as a duration; then it counts as failed. Default: `1h`.
    #[serde(default = "timeout")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub timeout: String,
}

fn timeout() -> String {
    "1h".into()
}

/// The team's migrations.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Migrations {
    /// The Job that runs them.
    pub job: TeamJob,
    /// Columns that they add: planned as NULL until they exist. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub adds: Vec<AddedColumn>,
}

/// A column that the migrations add.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddedColumn {
    /// The table, as in `writes[].table`.
    #[schemars(length(min = 1, max = 128))]
    pub table: String,
    /// The column.
    #[schemars(length(min = 1, max = 128))]
    pub column: String,
    /// Its type, as in `CREATE TABLE`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 128))]
    pub column_type: String,
}
