//! The feature flag, and the watch over the logs.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The feature flag.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlagStatus {
    /// The value before, as JSON; `absent` where there was none.
    pub previous: String,
    /// Written before the flag is touched.
    pub intent: FlagIntent,
    /// When it was seen enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub enabled_at: Option<Timestamp>,
    /// When it was seen put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub restored_at: Option<Timestamp>,
}

/// What the operator means to do with the flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FlagIntent {
    /// Leave it.
    #[default]
    None,
    /// Switch it on.
    Enable,
    /// Put the previous value back.
    Restore,
}

/// What the logs showed.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitorStatus {
    /// From when on the logs are read: the start of preflight.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// When the watch began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// Lines read.
    pub lines: i64,
    /// Pods seen.
    pub pods: i64,
    /// By pattern.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<PatternStatus>,
}

/// How often a pattern was seen.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatternStatus {
    /// Name of the pattern.
    pub name: String,
    /// Matching lines before the flag was on.
    pub before: i64,
    /// Matching lines since.
    pub after: i64,
    /// How many are still good.
    pub max: i32,
}
