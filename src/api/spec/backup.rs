//! The backup that is taken and proved before the plan.

use crate::api::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The backup: `pg_dump -Fc`, read back to its last block before anything else happens.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Where the dump and the plan file are written.
    pub destination: Destination,
    /// A backup older than this is taken again before rows are written, as a duration. Default: `4h`.
    #[serde(default = "max_age")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub max_age: String,
    /// The longest that the dump and its proof may take, as a duration. Default: `6h`.
    #[serde(default = "timeout")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub timeout: String,
}

fn max_age() -> String {
    "4h".into()
}

fn timeout() -> String {
    "6h".into()
}

/// Where backups lie.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// A PersistentVolumeClaim in the run's namespace.
    pub persistent_volume_claim: PvcDestination,
}

/// A PersistentVolumeClaim in the run's namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PvcDestination {
    /// Name of the claim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// Folder in the volume, relative. Default: the volume's root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253), regex(pattern = "^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)?$"))]
    pub path: String,
}
