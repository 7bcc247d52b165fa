//! How a backup is rehearsed.

use crate::api::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A rehearsal: a scratch PostgreSQL in a pod of its own, which nothing reaches, and which goes with its pod.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rehearsal {
    /// Space for the restored copy. `Auto`: one and a half times the database, and room for the write-ahead log. Default: `Auto`.
    #[serde(default = "auto")]
    #[schemars(length(max = 32), regex(pattern = "^(Auto|[0-9]+(\\.[0-9]+)?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?)$"))]
    pub storage: String,
    /// Storage class of a volume that is made for the rehearsal and removed after it. Default: none; the copy lies on the
    /// node's own disk (ephemeral storage).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// Whether the plan is applied on the copy, and the SQL checks of `verify` made there. Not where the run has migrations,
    /// or is a script. Default: true.
    #[serde(default = "apply_plan")]
    pub apply_plan: bool,
    /// The longest that the whole rehearsal may take, as a duration. Default: `6h`.
    #[serde(default = "timeout")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub timeout: String,
}

impl Default for Rehearsal {
    fn default() -> Self {
        Self { storage: auto(), storage_class_name: None, apply_plan: apply_plan(), timeout: timeout() }
    }
}

fn auto() -> String {
    "Auto".into()
}

const fn apply_plan() -> bool {
    true
}

fn timeout() -> String {
    "6h".into()
}
