//! Why the dump is not restored, and what kind of end that is.

use super::accounted::CHANGED;
use crate::postgres::archive::ArchiveError;
use crate::postgres::clients::ClientError;
use crate::postgres::{ToolError, describe, is_connection_loss};
use crate::protocol::Outcome;
use crate::steps::backup_store::StoreError;
use crate::steps::loss_account::LossError;
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
    /// No client fits the server.
    #[error("{0}")]
    Client(#[from] ClientError),
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
    /// What would be lost cannot be said.
    #[error("what the restore would lose cannot be compared with what was approved: {0}")]
    LossUnknown(#[source] Box<LossError>),
    /// Something else would be lost than was approved.
    #[error(
        "since the loss account was approved something else was written ({tables}): it is drawn up again. Stop the application's writes before you approve it"
    )]
    LossChanged {
        /// Tables of the account as it is now, or those that were changed after it.
        tables: String,
    },
    /// A table into which rows are put back is not there.
    #[error(
        "{table} is not there any more, and a backup of scope Tables is put back into the tables that are there: make it again by its definition in the dump (pg_restore --schema-only --table), or set spec.abandon: true to give the way back up"
    )]
    TableGone {
        /// Which.
        table: String,
    },
    /// A database beside the old one is not possible.
    #[error("a restore beside the old database is not possible: {}. Set that right, or set spec.abandon: true and restore by hand", .0.join("; "))]
    SwapImpossible(Vec<String>),
    /// A database of that name is there and is not ours.
    #[error("there is a database {name} already, which no restore of this run made: rename it")]
    DatabaseInTheWay {
        /// Its name.
        name: String,
    },
    /// Two attempts at once.
    #[error("another attempt at this restore is at work on its own copy: the names were not exchanged, and the database is as it was")]
    OtherAttempt,
    /// Sessions that cannot be ended.
    #[error("{what}, because sessions stay connected that the role may not end ({who}): end them, or GRANT pg_signal_backend TO {role};")]
    SessionsRemain {
        /// What was not done.
        what: String,
        /// Whose.
        who: String,
        /// The role of the restore.
        role: String,
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
            Self::Client(error) => error.reason(),
            Self::Archive(error) => error.reason(),
            Self::PreparationFailed(_) => "PreparationFailed",
            Self::Store(error) => error.reason(),
            Self::ScratchUnwritable(_) => "ScratchUnwritable",
            Self::RestoreRefused { .. } => "RestoreRefused",
            Self::LossUnknown(error) => error.reason(),
            Self::LossChanged { .. } => "LossChanged",
            Self::TableGone { .. } => "TableGone",
            Self::SwapImpossible(_) => "SwapImpossible",
            Self::DatabaseInTheWay { .. } => "DatabaseInTheWay",
            Self::OtherAttempt => "OtherAttempt",
            Self::SessionsRemain { .. } => "SessionsRemain",
            Self::RestoreBlocked { .. } => "RestoreBlocked",
            Self::RestoreLost { .. } => "RestoreLost",
            Self::Stopped => "Stopped",
        }
    }

    /// How the step ends. But for changed losses nothing here is a verdict: the database is as it was, and a person or time can help.
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Session(error) => error.outcome(),
            Self::Store(error) => error.outcome(),
            Self::LossUnknown(error) => error.outcome(),
            // A verdict, so that the account is drawn up again.
            Self::LossChanged { .. } => Outcome::Failed,
            Self::PreparationFailed(error) if is_connection_loss(error) => Outcome::Lost,
            Self::OtherAttempt | Self::RestoreBlocked { .. } | Self::RestoreLost { .. } => Outcome::Lost,
            Self::Stopped => Outcome::Stopped,
            Self::Tool(_)
            | Self::Client(_)
            | Self::Archive(_)
            | Self::PreparationFailed(_)
            | Self::ScratchUnwritable(_)
            | Self::TableGone { .. }
            | Self::SwapImpossible(_)
            | Self::DatabaseInTheWay { .. }
            | Self::SessionsRemain { .. }
            | Self::RestoreRefused { .. } => Outcome::Stalled,
        }
    }

    /// True where the same again a little later may work.
    pub const fn is_contention(&self) -> bool {
        matches!(self, Self::RestoreBlocked { .. })
    }

    /// Reads what psql said; with `VERBOSITY=verbose` it gives the SQLSTATE.
    pub fn from_psql(stderr: &str, detail: String) -> Self {
        let says = |texts: &[&str]| texts.iter().any(|text| stderr.contains(text));
        let changed = stderr.lines().find_map(|line| line.split_once(&format!("ERROR:  {CHANGED}: ")));
        if let Some((_, tables)) = changed {
            return Self::LossChanged { tables: tables.to_owned() };
        }
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
