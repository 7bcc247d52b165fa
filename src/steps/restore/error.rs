//! Why the dump is not restored, and what kind of end that is.

use crate::postgres::archive::ArchiveError;
use crate::postgres::{ToolError, describe, is_connection_loss};
use crate::protocol::Outcome;
use crate::steps::backup_store::StoreError;
use crate::steps::session::SessionError;
use thiserror::Error;

/// Why the dump is not restored. In every case the database is as it was before.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// No connection.
    #[error("{0}")]
    Session(#[from] SessionError),
    /// A tool cannot be used.
    #[error("{0}")]
    Tool(#[from] ToolError),
    /// The dump cannot be listed.
    #[error("{0}")]
    Archive(#[from] ArchiveError),
    /// A statement beside the restore failed.
    #[error("while preparing the restore: {}", describe(.0))]
    PreparationFailed(#[from] sqlx::Error),
    /// The dump cannot be had, or is another one.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// No scratch.
    #[error("the step's scratch volume cannot be written: {0}")]
    ScratchUnwritable(#[source] std::io::Error),
    /// A statement of the restore failed; all of it was rolled back.
    #[error("the restore was rolled back: {detail}")]
    RestoreRefused {
        /// What psql or `pg_restore` said.
        detail: String,
    },
    /// Locks were not to be had.
    #[error(
        "the restore was rolled back, because the application holds locks on its tables: {detail}. It is tried again; scaling the application down helps"
    )]
    RestoreBlocked {
        /// What psql said.
        detail: String,
    },
    /// The server went away.
    #[error("the server was lost during the restore, which was rolled back: {detail}")]
    RestoreLost {
        /// What psql said.
        detail: String,
    },
    /// Stopped from outside.
    #[error("stopped; the restore was rolled back")]
    Stopped,
}

impl RestoreError {
    /// The reason, as conditions and events write it.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Session(error) => error.reason(),
            Self::Tool(error) => error.reason(),
            Self::Archive(error) => error.reason(),
            Self::PreparationFailed(_) => "PreparationFailed",
            Self::Store(error) => error.reason(),
            Self::ScratchUnwritable(_) => "ScratchUnwritable",
            Self::RestoreRefused { .. } => "RestoreRefused",
            Self::RestoreBlocked { .. } => "RestoreBlocked",
            Self::RestoreLost { .. } => "RestoreLost",
            Self::Stopped => "Stopped",
        }
    }

    /// How the step ends. Nothing here is a verdict: the database is as it was, and a person or time can help.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Session(error) => error.outcome(),
            Self::Store(error) => error.outcome(),
            Self::PreparationFailed(error) if is_connection_loss(error) => Outcome::Lost,
            Self::RestoreBlocked { .. } | Self::RestoreLost { .. } => Outcome::Lost,
            Self::Stopped => Outcome::Stopped,
            Self::Tool(_) | Self::Archive(_) | Self::PreparationFailed(_) | Self::ScratchUnwritable(_) | Self::RestoreRefused { .. } => {
                Outcome::Stalled
            }
        }
    }

    /// True where the same again a little later may work.
    pub const fn is_contention(&self) -> bool {
        matches!(self, Self::RestoreBlocked { .. })
    }

    /// Reads what psql said; with `VERBOSITY=verbose` it gives the SQLSTATE.
    pub fn from_psql(stderr: &str, detail: String) -> Self {
        let says = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
        // Lock timeout, deadlock, serialisation.
        if says(&["ERROR:  55P03:", "ERROR:  40P01:", "ERROR:  40001:"]) {
            return Self::RestoreBlocked { detail };
        }
        let lost = [
            "server closed the connection unexpectedly",
            "connection to server was lost",
            "could not connect",
            "Connection refused",
            "FATAL:  57P0",
            "FATAL:  53300",
            "the database system is",
            "SSL SYSCALL error",
        ];
        if says(&lost) { Self::RestoreLost { detail } } else { Self::RestoreRefused { detail } }
    }
}
