//! Why there is no backup, and what kind of end that is.

use crate::destination::DestinationError;
use crate::postgres::archive::ArchiveError;
use crate::postgres::clients::ClientError;
use crate::postgres::{ToolError, describe, is_connection_loss};
use crate::protocol::Outcome;
use crate::steps::backup_store::StoreError;
use crate::steps::session::SessionError;
use thiserror::Error;

/// Why there is no proved backup.
#[derive(Debug, Error)]
pub enum BackupError {
    /// No connection.
    #[error("{0}")]
    Session(#[from] SessionError),
    /// A tool cannot be used.
    #[error("{0}")]
    Tool(#[from] ToolError),
    /// The dump does not read back.
    #[error("{0}")]
    Archive(ArchiveError),
    /// A statement failed.
    #[error("while reading the snapshot: {}", describe(.0))]
    SnapshotFailed(#[from] sqlx::Error),
    /// No client of the image can write it.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// The client is built without the compression.
    #[error("pg_dump cannot compress so: {detail}. Set spec.backup.compression: Gzip, or use an image whose client can")]
    CompressionUnsupported {
        /// What it said.
        detail: String,
    },
    /// The dump cannot be written or read.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The destination gives back something else than it was sent.
    #[error(
        "{path} is not what was sent: {read} bytes with another SHA-256 came back. The destination, or something on the way, changes what it keeps"
    )]
    DumpDiffers {
        /// Where it is.
        path: String,
        /// Bytes that came back.
        read: i64,
    },
    /// `pg_dump` gave up.
    #[error("pg_dump failed: {detail}")]
    DumpFailed {
        /// What it said.
        detail: String,
    },
    /// `pg_dump` lost the server.
    #[error("pg_dump lost the server: {detail}")]
    DumpLost {
        /// What it said.
        detail: String,
    },
    /// `pg_dump` waited too long for a table.
    #[error(
        "pg_dump gave up waiting for a table that somebody holds exclusively (a migration, VACUUM FULL, …): {detail}. It is tried again"
    )]
    DumpBlocked {
        /// What it said.
        detail: String,
    },
    /// A table of the run is not there.
    #[error("there is no table {table}, or the role may not see it: check the spec's table names (schema.table outside of public)")]
    TableMissing {
        /// Which.
        table: String,
    },
    /// A table of the run is not in the dump.
    #[error(
        "the rows of {table} are not in the dump: pg_dump leaves out tables of extensions and of the ledger's schema; such a table cannot be written by a run"
    )]
    TableNotInDump {
        /// Which.
        table: String,
    },
    /// A dump of others is of another database.
    #[error("{path} is a dump of the database {of}, and the run changes {database}: correct backup.existing.path")]
    ExistingOfAnotherDatabase {
        /// Where it is.
        path: String,
        /// The database that it is of.
        of: String,
        /// The database of the run.
        database: String,
    },
    /// A dump of others is not all of the database.
    #[error(
        "{path} is not a dump of the whole database as it is now: {missing} is not in it, and a restore would take it away. Make a new one, without leaving anything out"
    )]
    ExistingIncomplete {
        /// Where it is.
        path: String,
        /// What is missing.
        missing: String,
    },
    /// A dump of others is of a format that a restore does not read.
    #[error("{path} is of the format {format}: make one with pg_dump --format=custom, or --format=directory")]
    ExistingFormat {
        /// Where it is.
        path: String,
        /// The format.
        format: String,
    },
    /// A dump of others is too old.
    #[error(
        "{path} was begun at {taken_at}, which is longer ago than backup.maxAge ({max_age}): make a new one and name it, or set a longer maxAge"
    )]
    ExistingTooOld {
        /// Where it is.
        path: String,
        /// When it was begun.
        taken_at: String,
        /// How old it may be.
        max_age: String,
    },
    /// A dump of others is not what its own manifest says.
    #[error("{path} is not what the manifest beside it says: take the manifest away if it is of another dump")]
    ExistingChanged {
        /// Where it is.
        path: String,
    },
    /// Stopped from outside.
    #[error("stopped; the unfinished dump was removed")]
    Stopped,
}

impl From<DestinationError> for BackupError {
    fn from(error: DestinationError) -> Self {
        Self::Store(error.into())
    }
}

impl From<ArchiveError> for BackupError {
    /// What a destination says while a dump is read from it is the destination's.
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::SourceFailed(error) => DestinationError::of_reader(error).into(),
            other => Self::Archive(other),
        }
    }
}

impl BackupError {
    /// The reason, as conditions and events write it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Session(error) => error.reason(),
            Self::Tool(error) => error.reason(),
            Self::Archive(error) => error.reason(),
            Self::SnapshotFailed(_) => "SnapshotFailed",
            Self::Client(error) => error.reason(),
            Self::CompressionUnsupported { .. } => "CompressionUnsupported",
            Self::Store(error) => error.reason(),
            Self::DumpDiffers { .. } => "DumpDiffers",
            Self::DumpFailed { .. } => "DumpFailed",
            Self::DumpLost { .. } => "DumpLost",
            Self::DumpBlocked { .. } => "DumpBlocked",
            Self::TableMissing { .. } => "TableMissing",
            Self::TableNotInDump { .. } => "TableNotInDump",
            Self::ExistingOfAnotherDatabase { .. } => "ExistingOfAnotherDatabase",
            Self::ExistingIncomplete { .. } => "ExistingIncomplete",
            Self::ExistingFormat { .. } => "ExistingFormat",
            Self::ExistingTooOld { .. } => "ExistingTooOld",
            Self::ExistingChanged { .. } => "ExistingChanged",
            Self::Stopped => "Stopped",
        }
    }

    /// How the step ends.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Session(error) => error.outcome(),
            Self::SnapshotFailed(error) if is_connection_loss(error) => Outcome::Lost,
            Self::DumpLost { .. } | Self::DumpBlocked { .. } => Outcome::Lost,
            // A destination that does not give back what was written to it is a verdict about the backup.
            Self::Archive(ArchiveError::DumpUnreadable { .. } | ArchiveError::SourceFailed(_))
            | Self::DumpDiffers { .. }
            | Self::Store(StoreError::Destination(
                DestinationError::BackupUnreadable(_) | DestinationError::BackupMissing { .. } | DestinationError::UploadTruncated { .. },
            )) => Outcome::Failed,
            Self::Store(error) => error.outcome(),
            Self::Stopped => Outcome::Stopped,
            Self::Archive(ArchiveError::Tool(_))
            | Self::Tool(_)
            | Self::SnapshotFailed(_)
            | Self::Client(_)
            | Self::CompressionUnsupported { .. }
            | Self::DumpFailed { .. }
            | Self::ExistingOfAnotherDatabase { .. }
            | Self::ExistingIncomplete { .. }
            | Self::ExistingFormat { .. }
            | Self::ExistingTooOld { .. }
            | Self::ExistingChanged { .. }
            | Self::TableMissing { .. }
            | Self::TableNotInDump { .. } => Outcome::Stalled,
        }
    }
}
