//! Parts of a spec that are written elsewhere: in a `ConfigMap` of the run's namespace.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key of a ConfigMap of the run's namespace. It is read before the plan, and approved with it: another content voids the plan.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
