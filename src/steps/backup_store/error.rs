//! Why a stored file cannot be used.

use crate::destination::DestinationError;
use crate::protocol::Outcome;
use crate::steps::StepEnd;
use thiserror::Error;

/// Why a stored file cannot be used.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The destination.
    #[error("{0}")]
    Destination(#[from] DestinationError),
    /// The controller named no backup.
    #[error("there is no proved backup: the run's status has none")]
    BackupUnknown,
    /// The file is another one.
    #[error(
        "{path} is not the file that was proved (its SHA-256 differs): bring that one back, or set spec.abandon: true to give the way back up"
    )]
    BackupChanged {
        /// Where it is.
        path: String,
    },
    /// The dump is one of another database.
    #[error(
        "{path} has the right name, but is a dump of another database ({database}): bring the proved one back, or set spec.abandon: true to give the way back up"
    )]
    BackupOfAnotherDatabase {
        /// Where it is.
        path: String,
        /// The database that its manifest names.
        database: String,
    },
    /// The manifest of a dump of many files is gone.
    #[error(
        "the manifest beside {path} is not there, and without it nobody knows which files the dump must have: bring it back, or set spec.abandon: true to give the way back up"
    )]
    ManifestMissing {
        /// Where the dump is.
        path: String,
    },
    /// The key is none.
    #[error("the Secret of spec.backup.encryption holds no key: it must have one as age-keygen writes it, AGE-SECRET-KEY-1…")]
    EncryptionKeyUnusable,
    /// It is encrypted for another key.
    #[error(
        "{path} is encrypted for another key than that of spec.backup.encryption ({recipient}): bring the key back with which it was written"
    )]
    EncryptionKeyWrong {
        /// Which file.
        path: String,
        /// The public half of the key at hand.
        recipient: String,
    },
    /// It could not be encrypted.
    #[error("the backup could not be encrypted")]
    EncryptionFailed,
    /// The pod's disk is full.
    #[error("the step's own disk is full: set spec.backup.scratch.size to more than the dump has")]
    WorkspaceFull,
    /// The pod's disk cannot be written.
    #[error("the step's own disk cannot be written: {0}")]
    WorkspaceUnwritable(#[source] std::io::Error),
}

impl StoreError {
    /// An error of the pod's disk.
    #[must_use]
    pub fn workspace(error: std::io::Error) -> Self {
        if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
            Self::WorkspaceFull
        } else {
            Self::WorkspaceUnwritable(error)
        }
    }

    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Destination(error) => error.reason(),
            Self::BackupUnknown => "BackupUnknown",
            Self::BackupChanged { .. } => "BackupChanged",
            Self::BackupOfAnotherDatabase { .. } => "BackupOfAnotherDatabase",
            Self::ManifestMissing { .. } => "ManifestMissing",
            Self::EncryptionKeyUnusable => "EncryptionKeyUnusable",
            Self::EncryptionKeyWrong { .. } => "EncryptionKeyWrong",
            Self::EncryptionFailed => "EncryptionFailed",
            Self::WorkspaceFull => "WorkspaceFull",
            Self::WorkspaceUnwritable(_) => "WorkspaceUnwritable",
        }
    }

    /// How a step ends that needed the file: what may pass by itself is lost, the rest a person must set right.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Destination(error) if error.may_pass() => Outcome::Lost,
            Self::Destination(_)
            | Self::BackupUnknown
            | Self::BackupChanged { .. }
            | Self::BackupOfAnotherDatabase { .. }
            | Self::ManifestMissing { .. }
            | Self::EncryptionKeyUnusable
            | Self::EncryptionKeyWrong { .. }
            | Self::EncryptionFailed
            | Self::WorkspaceFull
            | Self::WorkspaceUnwritable(_) => Outcome::Stalled,
        }
    }

    /// The end of such a step.
    #[must_use]
    pub fn end(&self) -> StepEnd {
        StepEnd::bare(self.outcome(), self.reason(), self.to_string())
    }
}
