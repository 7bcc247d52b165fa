//! The backup that is taken and proved before the plan.

use super::destination::Destination;
use super::dump::{Compression, DumpFormat, Scope};
use super::existing::ExistingBackup;
use super::rehearsal::Rehearsal;
use crate::api::{duration, quantity};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The backup: `pg_dump`, read back to its last block before anything else happens.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.rehearsal) || (has(self.proof) && self.proof == 'Restore')").message("backup.rehearsal says how a dump is restored for its proof: set backup.proof: Restore, or take the block out"))]
#[x_kube(validation = Rule::new("!has(self.existing) || !(has(self.retain) || (has(self.scope) && self.scope == 'Tables'))").message("backup.existing: what others have made is neither deleted nor cut to some tables: take backup.retain and backup.scope out"))]
#[x_kube(validation = Rule::new("!has(self.existing) || !has(self.existing.cnpgBackup) || !has(self.proof) || self.proof == 'Read'").message("backup.existing.cnpgBackup: only CloudNativePG can restore its backups, so none can be rehearsed: take backup.proof: Restore out"))]
pub struct Backup {
    /// Where the dump and the plan file are written.
    pub destination: Destination,
    /// A backup that was made elsewhere, in place of one that the run takes. Default: the run takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<ExistingBackup>,
    /// What of the database is in it. `Database`: all of it. `Tables`: every definition, and the rows of those tables only that the
    /// run writes; a restore then puts the rows of these tables back, all or none of them, and nothing else. Default: `Database`.
    #[serde(default, skip_serializing_if = "Scope::is_database")]
    pub scope: Scope,
    /// How far the backup is proved before people are asked. `Read`: every block was read back, and every table of the run is
    /// in it. `Restore`: a rehearsal restores it into a scratch PostgreSQL and compares every table with what was dumped;
    /// only then is it called restorable. Default: `Read`.
    #[serde(default, skip_serializing_if = "Proof::is_read")]
    pub proof: Proof,
    /// How it is rehearsed, with `proof: Restore`. Default: in the pod's own disk, with the plan applied on the copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<Rehearsal>,
    /// One file, or a folder with a file a table. Default: `Custom`.
    #[serde(default)]
    pub format: DumpFormat,
    /// Sessions that dump at once, with `format: Directory`. Default: 2.
    #[serde(default = "jobs")]
    #[schemars(range(min = 1, max = 32))]
    pub jobs: i32,
    /// How the dump is compressed. Default: the fastest way that needs no newer `pg_restore` than the dump needs anyway.
    #[serde(default)]
    pub compression: Compression,
    /// Encrypts dump and plan file before they leave the pod. Default: they are written as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Disk of step pods for what cannot be streamed: the plan file, a restore out of a bucket, and a dump of many files on its way there. Default: the node's, without a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
    /// How many backups of the database are kept in the folder. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retain: Option<Retain>,
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

const fn jobs() -> i32 {
    2
}

fn max_age() -> String {
    "4h".into()
}

fn timeout() -> String {
    "6h".into()
}

/// Encryption at rest, in the format of age: with the key anybody reads it by `age --decrypt`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Encryption {
    /// The Secret key with the key, as `age-keygen` writes it. Keep a copy outside of the cluster: without it no backup comes back.
    pub secret_ref: EncryptionKeyRef,
}

/// One key of a Secret in the run's namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it. Default: `identity`.
    #[serde(default = "identity")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn identity() -> String {
    "identity".into()
}

/// How many backups are kept. A new one that is proved makes older ones go; never one that an unfinished run needs, or one that can still be taken back.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retain {
    /// The last so many good ones of the same database stay, of whatever run.
    #[schemars(range(min = 1, max = 1000))]
    pub last: i32,
}

/// Disk of a step pod that goes with it.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Scratch {
    /// How much, as a quantity. It must hold the whole dump.
    #[schemars(length(min = 1, max = 32), regex(pattern = *quantity::PATTERN))]
    pub size: String,
    /// The storage class of an own volume, made and deleted with the pod. Default: the node's disk is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
}
