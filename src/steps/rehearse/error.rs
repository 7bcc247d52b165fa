//! Why a backup is not rehearsed, and what kind of end that is.
//!
//! The rule: what the dump itself shows is a verdict (Failed); what this image, node or time does not allow says nothing
//! about the dump, and is Inconclusive; what may pass by itself is Lost.

use crate::postgres::archive::ArchiveError;
use crate::postgres::{ConnectError, ToolError, describe, is_connection_loss};
use crate::protocol::Outcome;
use crate::steps::backup_store::StoreError;
use thiserror::Error;

/// Why a backup is not rehearsed.
#[derive(Debug, Error)]
pub enum RehearsalError {
    /// The dump or the plan file cannot be brought to hand.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What the dump's snapshot held is not known.
    #[error("the manifest beside the dump {path} is gone, of another dump, or not to be read: there is nothing to compare the copy with")]
    ManifestMissing {
        /// Where the dump is.
        path: String,
    },
    /// No server of the dump's major or a later one.
    #[error(
        "the rehearsal's image has {}, and the dump is of PostgreSQL {wanted}: set rehearsal.image in the chart's values to an image with that server (target `rehearsal` of the Dockerfile)",
        majors(found)
    )]
    ServerMajorMissing {
        /// The dump's.
        wanted: i32,
        /// The image's.
        found: Vec<i32>,
    },
    /// Extensions of the dump that the image does not have.
    #[error(
        "the rehearsal's image does not have what the dump needs ({missing}): build one with these extensions FROM the target `rehearsal`, and set rehearsal.image in the chart's values"
    )]
    ExtensionMissing {
        /// Which, and what the server said.
        missing: String,
    },
    /// A locale of the dump that the image does not have.
    #[error(
        "the rehearsal's image cannot sort as the database does, by {wanted} ({detail}): build the target `rehearsal` with --build-arg LOCALES=…, and set rehearsal.image in the chart's values"
    )]
    LocaleMissing {
        /// Which.
        wanted: String,
        /// What the server said.
        detail: String,
    },
    /// No space left.
    #[error("the copy needs more than its space of {limit}: set backup.rehearsal.storage to more")]
    RehearsalVolumeFull {
        /// What it may take.
        limit: String,
    },
    /// The disk cannot be used.
    #[error("the rehearsal's disk cannot be used: {0}")]
    RehearsalVolumeUnwritable(#[source] std::io::Error),
    /// It took too long.
    #[error("the rehearsal took longer than {timeout}: set backup.rehearsal.timeout to more")]
    RehearsalTimeout {
        /// What it may take.
        timeout: String,
    },
    /// The server did not come up.
    #[error("the scratch server does not start: {detail}")]
    ScratchServerFailed {
        /// What it said.
        detail: String,
    },
    /// The server went away.
    #[error("the scratch server was lost ({detail}); more memory for the step (podTemplate.resources) may help")]
    ScratchServerLost {
        /// What it said.
        detail: String,
    },
    /// A tool cannot be used.
    #[error("{0}")]
    Tool(#[from] ToolError),
    /// The dump cannot be listed.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// A statement on the copy failed.
    #[error("a statement on the copy failed: {}", describe(.0))]
    CopyFailed(#[from] sqlx::Error),
    /// The dump does not go into an empty database.
    #[error("the dump does not restore: {detail}")]
    RehearsalRestoreFailed {
        /// What `pg_restore` said.
        detail: String,
    },
    /// The plan does not go through on the copy.
    #[error("the plan cannot be applied on the restored copy, {reason}: {detail}")]
    RehearsalApplyFailed {
        /// The reason with which apply would end.
        reason: String,
        /// Its words.
        detail: String,
    },
    /// Stopped from outside.
    #[error("stopped; the copy is gone")]
    Stopped,
}

fn majors(found: &[i32]) -> String {
    if found.is_empty() {
        return "no PostgreSQL server".into();
    }
    format!("the servers {}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

impl RehearsalError {
    /// An error of the rehearsal's disk.
    pub fn disk(error: std::io::Error) -> Self {
        Self::RehearsalVolumeUnwritable(error)
    }

    /// No connection to the scratch server.
    pub fn connect(error: &ConnectError) -> Self {
        Self::ScratchServerLost { detail: error.to_string() }
    }

    /// The reason, as conditions and events write it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Store(error) => error.reason(),
            Self::ManifestMissing { .. } => "ManifestMissing",
            Self::ServerMajorMissing { .. } => "ServerMajorMissing",
            Self::ExtensionMissing { .. } => "ExtensionMissing",
            Self::LocaleMissing { .. } => "LocaleMissing",
            Self::RehearsalVolumeFull { .. } => "RehearsalVolumeFull",
            Self::RehearsalVolumeUnwritable(_) => "RehearsalVolumeUnwritable",
            Self::RehearsalTimeout { .. } => "RehearsalTimeout",
            Self::ScratchServerFailed { .. } => "ScratchServerFailed",
            Self::ScratchServerLost { .. } => "ScratchServerLost",
            Self::Tool(error) => error.reason(),
            Self::Archive(error) => error.reason(),
            Self::CopyFailed(_) => "CopyFailed",
            Self::RehearsalRestoreFailed { .. } => "RehearsalRestoreFailed",
            Self::RehearsalApplyFailed { .. } => "RehearsalApplyFailed",
            Self::Stopped => "Stopped",
        }
    }

    /// How the step ends.
    pub fn outcome(&self) -> Outcome {
        match self {
            // About the dump, or the plan.
            Self::ManifestMissing { .. }
            | Self::Store(
                StoreError::BackupChanged { .. } | StoreError::BackupOfAnotherDatabase { .. } | StoreError::ManifestMissing { .. },
            )
            | Self::RehearsalRestoreFailed { .. }
            | Self::RehearsalApplyFailed { .. }
            | Self::Archive(ArchiveError::DumpUnreadable { .. }) => Outcome::Failed,
            // About where it is rehearsed.
            Self::ServerMajorMissing { .. }
            | Self::ExtensionMissing { .. }
            | Self::LocaleMissing { .. }
            | Self::RehearsalVolumeFull { .. }
            | Self::RehearsalVolumeUnwritable(_)
            | Self::RehearsalTimeout { .. }
            | Self::ScratchServerFailed { .. } => Outcome::Inconclusive,
            Self::CopyFailed(error) if !is_connection_loss(error) => Outcome::Inconclusive,
            Self::CopyFailed(_) | Self::ScratchServerLost { .. } => Outcome::Lost,
            Self::Store(error) => error.outcome(),
            Self::Tool(_) | Self::Archive(_) => Outcome::Stalled,
            Self::Stopped => Outcome::Stopped,
        }
    }
}
