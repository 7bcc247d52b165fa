//! What happened when, how long it took, and who was told.

use super::Step;
use crate::api::phase::Phase;
use crate::api::spec::NotificationEvent;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Estimate and actual time of a step, in seconds.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EstimateStatus {
    /// The step.
    pub step: Step,
    /// Estimated, in seconds; absent where nothing was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_seconds: Option<i64>,
    /// Measured, in seconds; absent until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_seconds: Option<i64>,
}

/// A message to a channel.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationStatus {
    /// The event.
    pub event: NotificationEvent,
    /// The channel.
    pub channel: String,
    /// Distinguishes two events of one kind.
    pub id: String,
    /// When it happened.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What is told, in a sentence.
    pub text: String,
    /// When it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub delivered_at: Option<Timestamp>,
    /// Attempts so far.
    #[serde(default)]
    pub attempts: i32,
    /// Not tried again before this; absent where it is due, delivered or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub retry_at: Option<Timestamp>,
    /// Why the last attempt failed; never an address or a key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A change of phase.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryStatus {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// From.
    pub from: Phase,
    /// To.
    pub to: Phase,
    /// Why, as one word.
    pub reason: String,
}
