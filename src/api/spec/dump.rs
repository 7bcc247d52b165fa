//! In what form a dump is written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
