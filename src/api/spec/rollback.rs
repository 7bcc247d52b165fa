//! The way back.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens when the run fails after data has changed.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// `Failure`: at once. `Manual`: the flag goes back, the data stays as it is until somebody sets `spec.abort` (takes it back) or `spec.abandon` (leaves it). Default: `Failure`.
    #[serde(default)]
    pub trigger: RollbackTrigger,
    /// `Undo`: row by row from the ledger; later writes of the application stay. `Restore`: the dump, in place. `Auto`: undo, else restore. Default: `Auto`.
    #[serde(default)]
    pub method: RollbackMethod,
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
    /// The dump, in place.
    Restore,
}
