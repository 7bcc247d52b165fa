//! In what form a dump is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What of the database a dump holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Scope {
    /// All of it, but for the ledger.
    #[default]
    Database,
    /// Every definition, and the rows of those tables only that the run writes.
    Tables,
}

impl Scope {
    /// As the status writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Database => "Database",
            Self::Tables => "Tables",
        }
    }

    /// True for the default: a spec that does not ask for less keeps the hash that it had.
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    #[must_use]
    pub const fn is_database(&self) -> bool {
        matches!(self, Self::Database)
    }
}

/// The archive that `pg_dump` writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DumpFormat {
    /// One file, `pg_dump -Fc`.
    #[default]
    Custom,
    /// A folder with a file a table, `pg_dump -Fd`: dumped and restored by several sessions at once.
    Directory,
}

impl DumpFormat {
    /// As `pg_dump --format` and the status write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Custom => "Custom",
            Self::Directory => "Directory",
        }
    }
}

/// How a dump is compressed. What client and server offer decides what is possible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Compression {
    /// The fastest that needs no newer `pg_restore` than the dump needs anyway: zstd from client 16 on, else gzip.
    #[default]
    Default,
    /// None.
    None,
    /// gzip, of its fastest level.
    Gzip,
    /// lz4: client 16 or newer.
    Lz4,
    /// zstd: client 16 or newer.
    Zstd,
}

impl Compression {
    /// As the spec and the status write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "Default",
            Self::None => "None",
            Self::Gzip => "Gzip",
            Self::Lz4 => "Lz4",
            Self::Zstd => "Zstd",
        }
    }
}
