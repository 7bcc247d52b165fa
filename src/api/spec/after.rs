//! Runs that come before this one.

use crate::api::conditions::ConditionType;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A run of the same namespace that must have got somewhere before this one begins. Where it goes back, this one must have
/// gone back before.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct After {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// How far it must be: the condition that must be True. Default: `Verified`.
    #[serde(default)]
    pub condition: AfterCondition,
}

/// How far a run must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AfterCondition {
    /// Its rows are written.
    Applied,
    /// Its rows are written, and its checks hold.
    #[default]
    Verified,
    /// All of it is done: flag and watch, too.
    Succeeded,
}

impl AfterCondition {
    /// The condition of a run.
    #[must_use]
    pub const fn condition(self) -> ConditionType {
        match self {
            Self::Applied => ConditionType::Applied,
            Self::Verified => ConditionType::Verified,
            Self::Succeeded => ConditionType::Succeeded,
        }
    }
}
