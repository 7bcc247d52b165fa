//! Jobs of the team: migrations, scripts, tests.

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
    #[schemars(schema_with = "pod_template")]
    pub template: Map<String, Value>,
    /// The longest that the Job may take, as a duration; then it counts as failed. Default: `1h`.
    #[serde(default = "timeout")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub timeout: String,
}

fn timeout() -> String {
    "1h".into()
}

/// A pod template as Kubernetes defines it, of which the schema knows just what must be there. No rule can say it: rules
/// do not see into unknown fields.
fn pod_template(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
        "required": ["spec"],
        "properties": {
            "spec": {
                "description": "The pod's spec, as in a Job's `spec.template.spec`.",
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": true,
                "required": ["containers"],
                "properties": {
                    "containers": {
                        "description": "The pod's containers. One to 16.",
                        "type": "array",
                        "minItems": 1,
                        "maxItems": 16,
                        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}
                    }
                }
            }
        }
    })
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
