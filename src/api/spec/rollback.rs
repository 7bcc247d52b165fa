//! The way back.

use crate::api::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens when the run fails after data has changed.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// `Failure`: at once. `Manual`: the flag goes back, the data stays as it is until somebody sets `spec.abort` (takes it back) or `spec.abandon` (leaves it). Default: `Failure`.
    #[serde(default)]
    pub trigger: RollbackTrigger,
    /// `Undo`: row by row from the ledger; later writes of the application stay. `Restore`: the dump. `Auto`: undo, else restore. Default: `Auto`.
    #[serde(default)]
    pub method: RollbackMethod,
    /// How a restore is made. `Swap`: into a new database beside the old one, checked there, then both are renamed; the old one is kept. `InPlace`: what is there is dropped first, in one transaction. Default: `Swap` where role and server allow it (`status.wayBack`), else `InPlace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreMode>,
    /// How long after its success a run can still be taken back. Then its undo rows are deleted from the ledger (`status.closedAt`). Default: `168h`.
    #[serde(default = "default_keep_undo")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub keep_undo: String,
    /// Take back a run that has succeeded: people are asked as for the plan, then the flag goes back, then the data. Only while its undo is kept; who asks for it cannot approve it. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub requested: bool,
}

impl Default for Rollback {
    fn default() -> Self {
        Self {
            trigger: RollbackTrigger::default(),
            method: RollbackMethod::default(),
            keep_undo: default_keep_undo(),
            requested: false,
            restore: None,
        }
    }
}

fn default_keep_undo() -> String {
    "168h".into()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_false(value: &bool) -> bool {
    !*value
}

/// How a restore is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestoreMode {
    /// Into a new database, which then takes the name of the old one.
    Swap,
    /// Into the database itself.
    InPlace,
}

/// When the way back is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RollbackTrigger {
    /// As soon as the run fails.
    #[default]
    Failure,
    /// When a person sets `spec.abort`.
    Manual,
}

/// How the data goes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RollbackMethod {
    /// Undo where it can serve, else restore.
    #[default]
    Auto,
    /// Row by row, from the ledger.
    Undo,
    /// The dump.
    Restore,
}
