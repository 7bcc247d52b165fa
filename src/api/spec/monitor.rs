//! The watch over the logs, and who is told what.

use super::pods::open_object;
use crate::api::duration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The watch over the logs.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Monitor {
    /// How long, as a duration, from the moment the flag is on. Default: `2h`.
    #[serde(default = "two_hours")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub duration: String,
    /// Which logs, and what to look for.
    pub logs: Logs,
    /// What a hit does: `DisableFlag` puts the flag back and leaves the data, `Rollback` takes the data back, too, `Notify` only tells. Default: `DisableFlag`.
    #[serde(default)]
    pub on_failure: OnMonitorFailure,
}

fn two_hours() -> String {
    "2h".into()
}

/// Which logs, and what to look for.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Logs {
    /// The pods whose logs are watched, in the run's namespace: `matchLabels` and `matchExpressions`.
    #[schemars(schema_with = "open_object")]
    pub selector: LabelSelector,
    /// What to look for. One to 16.
    #[schemars(length(min = 1, max = 16))]
    pub patterns: Vec<LogPattern>,
}

/// A pattern, and how many lines of it are too many.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogPattern {
    /// Name of the pattern.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// A regular expression in the syntax of Rust's `regex` (no look-around).
    #[schemars(length(min = 1, max = 1024))]
    pub regex: String,
    /// How many matching lines are still good. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub max: i32,
}

/// What a hit does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnMonitorFailure {
    /// The flag goes back; the data stays.
    #[default]
    DisableFlag,
    /// The flag goes back, then the data.
    Rollback,
    /// People are told; nothing is changed.
    Notify,
}

/// Who is told what.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notification {
    /// Name of a channel in the operator's configuration.
    #[schemars(length(min = 1, max = 63))]
    pub channel: String,
    /// Which events. One to 8.
    #[schemars(length(min = 1, max = 8))]
    pub events: Vec<NotificationEvent>,
}

/// What people can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum NotificationEvent {
    /// Somebody must approve: a plan, or what a restore would lose.
    ApprovalNeeded,
    /// Somebody must still approve: told once.
    ApprovalReminder,
    /// Somebody approved, denied, or took it back.
    Decided,
    /// All rows are written and verified.
    Applied,
    /// The run failed, was denied, expired or aborted.
    Failed,
    /// The data is as it was before; or the way back did not work.
    RolledBack,
    /// The run cannot go on until something is changed.
    Stalled,
    /// All done.
    Succeeded,
}

impl NotificationEvent {
    /// The name as the resource writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ApprovalNeeded => "ApprovalNeeded",
            Self::ApprovalReminder => "ApprovalReminder",
            Self::Decided => "Decided",
            Self::Applied => "Applied",
            Self::Failed => "Failed",
            Self::RolledBack => "RolledBack",
            Self::Stalled => "Stalled",
            Self::Succeeded => "Succeeded",
        }
    }
}
