//! Row-level undo for a script: which tables, and whose sessions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rows that the script changes are recorded by triggers while it runs, so that they can be put back one by one. Only the script's
/// own sessions are recorded: those that begin with the setting in `PGOPTIONS` (and `BACKFILL_PGOPTIONS`) of its containers,
/// or, with `role`, those of that role.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Capture {
    /// The tables, as SQL names them: `scenarios`, `app.scenarios`, `"Booking"`. Each with a primary key, or a unique index as replica identity, and owned by the role of `database.secretRef`. One to 32.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    pub tables: Vec<String>,
    /// The role that the script, and nothing else, logs in as. Default: the sessions are told apart by their setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub role: Option<String>,
}
