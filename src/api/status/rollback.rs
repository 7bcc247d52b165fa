//! The way back: what was asked for, what it would lose, and what it brought back.

use super::is_false;
use crate::api::spec::RollbackMethod;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The way back that was taken.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollbackStatus {
    /// `Undo` or `Restore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<RollbackMethod>,
    /// Why.
    pub reason: String,
    /// True where people asked for it after the run had succeeded.
    #[serde(skip_serializing_if = "is_false")]
    pub requested: bool,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub began_at: Option<Timestamp>,
    /// When it had ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// Rows put back.
    pub undone: i64,
    /// Rows left alone because the application changed them since.
    pub skipped_because_changed_since: i64,
    /// Keys of the first of them; at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped_keys: Vec<String>,
    /// What a restore loses, by table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LossStatus>,
    /// The database as it was before a restore beside it, under its new name; kept until `status.closedAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_database: Option<String>,
    /// Digest of that account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub loss_digest: String,
}

/// A rollback that was asked for and is not made.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedStatus {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Why, as one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
}

/// What a restore would lose in one table.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossStatus {
    /// The table.
    pub table: String,
    /// What differs from what the run left.
    pub message: String,
    /// Rows that are there now, and that others than the run inserted or changed since the snapshot; absent where only sums
    /// could be compared, as the message then says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<i64>,
    /// Rows of the snapshot that others than the run changed or deleted since, whether or not the run then wrote over them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<i64>,
    /// Rows that others had written since the snapshot when the run wrote over them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_over: Option<i64>,
    /// Rows that are there now as the run wrote them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_run: Option<i64>,
    /// When the first of the written rows was committed; absent where the server does not keep that (`track_commit_timestamp`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub first_at: Option<Timestamp>,
    /// When the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub last_at: Option<Timestamp>,
}
