//! Who must approve, and what they said.

use crate::api::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many people must approve, and how long is waited for them.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalPolicy {
    /// How many people. Default: 1.
    #[serde(default = "required")]
    #[schemars(range(min = 1, max = 10))]
    pub required: i32,
    /// How long is waited for them, as a duration. Default: `72h`.
    #[serde(default = "timeout")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub timeout: String,
    /// After how long people are reminded, once, as a duration. Default: half of the timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub remind_after: Option<String>,
    /// What happens when the release or a ConfigMap changes before the first write. Default: `PlanAgain`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on_change: OnChange,
}

impl Default for ApprovalPolicy {
    fn default() -> Self {
        Self { required: required(), timeout: timeout(), remind_after: None, on_change: OnChange::PlanAgain }
    }
}

/// What a change from outside does to a run that has not written yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnChange {
    /// The run starts over at preflight, plans again and asks again.
    #[default]
    PlanAgain,
    /// The run fails.
    Stop,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_default(value: &OnChange) -> bool {
    *value == OnChange::default()
}

fn required() -> i32 {
    1
}

fn timeout() -> String {
    "72h".into()
}

/// What one person said.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalEntry {
    /// `Approve` or `Deny`.
    pub decision: Approval,
    /// The digest of `status.awaiting` that the decision is about; for another one it does not count.
    #[schemars(length(max = 80), regex(pattern = "^sha256:[0-9a-f]{64}$"))]
    pub digest: String,
    /// Why. Default: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Approval {
    /// Go on.
    Approve,
    /// Stop.
    Deny,
}
