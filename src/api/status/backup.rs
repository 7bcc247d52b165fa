//! The backup that was taken, and what proves it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The proved backup.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// Where it lies: `pvc/CLAIM/PATH`.
    pub path: String,
    /// File, relative to the claim's root.
    pub file: String,
    /// Size in bytes.
    pub size_bytes: i64,
    /// SHA-256 of the file; of a folder, over the SHA-256 and name of every file in it.
    pub sha256: String,
    /// `Custom`, or `Directory`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// `Dump` or `CnpgBackup` where it was made elsewhere (`backup.existing`); absent where the run took it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub existing: String,
    /// Of one that was made elsewhere: what is not known of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unproved: Vec<String>,
    /// Of a dump that was made elsewhere: the file of its manifest, which the run has written; else it lies beside the dump.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub manifest: String,
    /// `Tables` where only the rows of the tables in `tables` are in it; absent where all of the database is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Of scope `Tables`: the tables whose rows are in it, at most 50 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// How it is compressed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
    /// The public half of the key that it is encrypted for; absent where it is not encrypted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub encrypted_for: String,
    /// Which `pg_dump` wrote it, and why that one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// Version of the server.
    pub server_version: String,
    /// Which database it is of: the server's system identifier and the database's OID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub database_id: String,
    /// Write-ahead log position at the dump's snapshot.
    pub lsn: String,
    /// When the snapshot was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub taken_at: Option<Timestamp>,
    /// What is proved. `Read`: every block was read back, and every table of the run is in it. `Restore`: it was restored into
    /// a scratch server, and every table is as it was dumped.
    pub proof: String,
    /// What a person needs to restore it.
    pub restore_with: String,
}
