//! The backup that is taken and proved before the plan.

use super::rehearsal::Rehearsal;
use crate::api::duration;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The backup: `pg_dump -Fc`, read back to its last block before anything else happens.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.rehearsal) || (has(self.proof) && self.proof == 'Restore')").message("backup.rehearsal says how a dump is restored for its proof: set backup.proof: Restore, or take the block out"))]
pub struct Backup {
    /// Where the dump and the plan file are written.
    pub destination: Destination,
    /// How far the backup is proved before people are asked. `Read`: every block was read back, and every table of the run is
    /// in it. `Restore`: a rehearsal restores it into a scratch PostgreSQL and compares every table with what was dumped;
    /// only then is it called restorable. Default: `Read`.
    #[serde(default, skip_serializing_if = "Proof::is_read")]
    pub proof: Proof,
    /// How it is rehearsed, with `proof: Restore`. Default: in the pod's own disk, with the plan applied on the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsal>,
    /// A backup older than this is taken again before rows are written, as a duration. Default: `4h`.
    #[serde(default = "max_age")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub max_age: String,
    /// The longest that the dump and its proof may take, as a duration. Default: `6h`.
    #[serde(default = "timeout")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub timeout: String,
}

/// How far a backup is proved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Proof {
    /// Every block was read back, and every table of the run is in it.
    #[default]
    Read,
    /// It was restored into a scratch server, and every table compared.
    Restore,
}

impl Proof {
    /// As the status writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Restore => "Restore",
        }
    }

    /// True for the default: a spec that does not ask for more keeps the hash that it had.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    const fn is_read(&self) -> bool {
        matches!(self, Self::Read)
    }
}

fn max_age() -> String {
    "4h".into()
}

fn timeout() -> String {
    "6h".into()
}

/// Where backups lie.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// A PersistentVolumeClaim in the run's namespace.
    pub persistent_volume_claim: PvcDestination,
}

/// A PersistentVolumeClaim in the run's namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PvcDestination {
    /// Name of the claim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// Folder in the volume, relative. Default: the volume's root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253), regex(pattern = "^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)?$"))]
    pub path: String,
}
