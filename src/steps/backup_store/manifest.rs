//! The manifest beside a dump: what was dumped, and what its files must be.

use crate::api::spec::{Compression, DumpFormat, Scope};
use crate::postgres::origin::Origin;
use crate::postgres::table_sums::TableSum;
use crate::postgres::transactions::SeenTransactions;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// How the name of a dump ends.
pub const DUMP: &str = ".dump";
const MANIFEST: &str = ".manifest.json";

/// What a dump is, and what its snapshot held. It lies beside the dump, so that it lives as long as the dump does; it is
/// written last, and makes a backup of the files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Uid of the run that took it.
    pub run_uid: String,
    /// SHA-256 of the dump: that of its file; of many files that over their SHA-256 and names, see [`sha256_of`].
    pub sha256: String,
    /// The archive.
    #[serde(default)]
    pub format: DumpFormat,
    /// What of the database it holds.
    #[serde(default)]
    pub scope: Scope,
    /// Of scope `Tables`: foreign keys of its tables whose other side has no rows in it, and their comments, as the archive's list names them. No copy can be made with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leads_out: Vec<String>,
    /// How it is compressed.
    #[serde(default)]
    pub compression: Compression,
    /// The public half of the key that its files are encrypted for; absent where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted_for: Option<String>,
    /// What a person needs to read it.
    #[serde(default)]
    pub restore_with: String,
    /// Its files.
    #[serde(default)]
    pub files: Vec<ManifestFile>,
    /// Which database it is of.
    #[serde(default)]
    pub database: ManifestDatabase,
    /// Position in the write-ahead log at the snapshot.
    #[serde(default)]
    pub lsn: String,
    /// When the snapshot was taken.
    pub taken_at: Timestamp,
    /// True for a dump that was made elsewhere. Where nobody measured its tables then, `tables` is empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub existing: bool,
    /// Every table with its sum.
    pub tables: Vec<TableSum>,
    /// The transactions that the snapshot saw: by them rows are known that were written since. Backups of former releases have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactions: Option<SeenTransactions>,
    /// What a server must be like for the dump to fit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

impl Manifest {
    /// True where nobody knows what the tables held when they were dumped.
    #[must_use]
    pub fn is_unmeasured(&self) -> bool {
        self.existing && self.tables.is_empty()
    }
}

/// The database of a dump.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestDatabase {
    /// The server's system identifier and the database's OID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Version of the server.
    pub server_version: String,
    /// Encoding, collation, and what the database sets by itself.
    pub settings: BTreeMap<String, String>,
    /// Roles that a restore needs.
    pub roles: Vec<String>,
}

/// A file of a dump.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ManifestFile {
    /// Its name, from the root of the destination.
    pub name: String,
    /// Its size in bytes, as stored.
    pub size: i64,
    /// SHA-256 of its bytes, as stored.
    pub sha256: String,
}

/// One digest for all files: that of the only one, else over a line for each, as `sha256sum` writes them.
#[must_use]
pub fn sha256_of(files: &[ManifestFile]) -> String {
    match files {
        [only] => only.sha256.clone(),
        many => {
            let lines = many.iter().map(|file| format!("{}  {}\n", file.sha256, file.name));
            hex::encode(lines.fold(Sha256::new(), Sha256::chain_update).finalize())
        }
    }
}

/// The name of a dump's manifest.
#[must_use]
pub fn name(dump: &str) -> String {
    format!("{}{MANIFEST}", dump.strip_suffix(DUMP).unwrap_or(dump))
}

/// The dump that a manifest is of; `None` for other files.
#[must_use]
pub fn dump_of_manifest(file: &str) -> Option<String> {
    file.strip_suffix(MANIFEST).map(|stem| format!("{stem}{DUMP}"))
}

/// The dump that a file is, or belongs to; `None` for other files.
#[must_use]
pub fn dump_of(file: &str) -> Option<&str> {
    if file.ends_with(DUMP) {
        return Some(file);
    }
    let at = file.find(".dump/")?;
    file.get(..at + DUMP.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_knows_its_dump_and_a_dump_its_manifest() {
        assert_eq!(name("staging/a.b-1.dump"), "staging/a.b-1.manifest.json");
        assert_eq!(dump_of("staging/a-1.dump"), Some("staging/a-1.dump"));
        assert_eq!(dump_of("staging/a-1.dump/toc.dat"), Some("staging/a-1.dump"));
        assert_eq!(dump_of("staging/a-1.manifest.json"), None);
        assert_eq!(dump_of("staging/a-1.plan"), None);
        assert_eq!(dump_of_manifest("staging/a-1.manifest.json").as_deref(), Some("staging/a-1.dump"));
        assert_eq!(dump_of_manifest("staging/a-1.dump"), None);
    }
}
