//! What the rehearsal of a backup found.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The rehearsal of a backup: restored into a scratch server, compared, and where asked the plan applied there.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RehearsalStatus {
    /// SHA-256 of the dump that was restored.
    pub backup_sha256: String,
    /// Version of the scratch server.
    pub server_version: String,
    /// How long the restore took, in seconds: from the empty database to the last index. The estimate for a real one.
    pub restore_seconds: i64,
    /// Tables that were compared with the dump's snapshot, and are the same.
    pub tables: i64,
    /// Rows in them.
    pub rows: i64,
    /// How long the plan took on the copy, in seconds; absent where it was not applied there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apply_seconds: Option<i64>,
    /// What the plan predicted, what it did on the copy, and what it really did, side by side.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counts: Vec<CountStatus>,
    /// What the rehearsal did otherwise than a restore by hand would, and what it left out. At most 8.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub remarks: Vec<String>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub rehearsed_at: Option<Timestamp>,
}

/// A count of rows: predicted, rehearsed and real.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CountStatus {
    /// What is counted: `Written`, `Drifted` (left alone, as they are not as planned) or `Quarantined` (refused by the database).
    pub name: String,
    /// By the plan.
    pub predicted: i64,
    /// On the copy. The copy is older than the plan: rows that the application wrote between them are `Drifted` there.
    pub rehearsed: i64,
    /// In the database; absent until the plan is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real: Option<i64>,
}

impl RehearsalStatus {
    /// Notes what really happened beside what was rehearsed.
    pub fn note_real(&mut self, written: i64, drifted: i64, quarantined: i64) {
        for count in &mut self.counts {
            count.real = match count.name.as_str() {
                WRITTEN => Some(written),
                DRIFTED => Some(drifted),
                QUARANTINED => Some(quarantined),
                _ => count.real,
            };
        }
    }

    /// The row of this name.
    #[must_use]
    pub fn count(&self, name: &str) -> Option<&CountStatus> {
        self.counts.iter().find(|count| count.name == name)
    }
}

/// Name of the count of source rows that are written.
pub const WRITTEN: &str = "Written";
/// Name of the count of planned rows that are left alone.
pub const DRIFTED: &str = "Drifted";
/// Name of the count of planned rows that the database refuses.
pub const QUARANTINED: &str = "Quarantined";
