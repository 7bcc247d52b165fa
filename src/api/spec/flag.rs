//! The feature flag to switch on after verification.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The feature flag.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureFlag {
    /// Name of the flag, as people call it.
    #[schemars(length(min = 1, max = 128))]
    pub name: String,
    /// Where the flag lives.
    pub provider: FlagProvider,
}

/// Where a flag lives.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FlagProvider {
    /// A JSON document in a ConfigMap of the run's namespace.
    pub config_map: ConfigMapFlag,
}

/// A boolean in a JSON document in a ConfigMap.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapFlag {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key of the document.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Where in the document, as a JSON pointer (`/import_generation/enabled`).
    #[schemars(length(min = 2, max = 253), regex(pattern = "^(/([^/~]|~[01])+)+$"))]
    pub path: String,
}
