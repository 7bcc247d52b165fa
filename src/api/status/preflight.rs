//! What was found before anything was touched: release, environment, database, checks.

use crate::api::phase::Phase;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a reference of the spec led to.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceStatus {
    /// Name of the ConfigMap.
    pub config_map: String,
    /// Key in it.
    pub key: String,
    /// SHA-256 of what it says, whatever its order and form.
    pub sha256: String,
}

/// The release found at preflight.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The workload: kind/name.
    pub workload: String,
    /// The image with its digest, as a ready pod runs it.
    pub image: String,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// SHA-256 over the container's environment (names, literal values, references).
    pub environment_hash: String,
}

/// The database found at preflight.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DatabaseStatus {
    /// System identifier and OID: the same database, whatever it is called.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Version of the server.
    pub server_version: String,
    /// Size in bytes.
    pub size_bytes: i64,
}

/// A check.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// Name of the check.
    pub name: String,
    /// The phase that made it.
    pub phase: Phase,
    /// `Passed`, `Failed` or `Inconclusive`.
    pub result: CheckResult,
    /// What was found.
    pub message: String,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CheckResult {
    /// Good.
    Passed,
    /// Bad.
    Failed,
    /// Could not be measured; the approver sees it.
    Inconclusive,
}
