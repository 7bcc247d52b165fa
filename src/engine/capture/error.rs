//! Why a script's rows cannot be captured, or what was captured not be used.

use crate::engine::connector::ConnectRefused;
use crate::engine::ledger::LedgerError;
use crate::engine::sql::SqlError;
use crate::postgres::describe;
use thiserror::Error;

/// Each says what to change.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// No such table.
    #[error(
        "capture.tables: there is no table {table}: name one that is there when the script begins, with its schema where it is not public"
    )]
    TableMissing {
        /// As the spec names it.
        table: String,
    },
    /// Row triggers cannot see everything that happens to it.
    #[error(
        "capture.tables: {table} cannot be captured, as it is {why}: leave it out; what the script does to it only a restore takes back"
    )]
    NotCapturable {
        /// Which.
        table: String,
        /// What it is.
        why: String,
    },
    /// Rows could not be found again.
    #[error(
        "capture.tables: {table} has neither a primary key nor a unique index as replica identity, so its rows cannot be found again: ALTER TABLE {table} ADD PRIMARY KEY (…), or leave it out"
    )]
    KeyMissing {
        /// Which.
        table: String,
    },
    /// The role may not put triggers on and take them off.
    #[error("capture.tables: only the owner of {table} may put triggers on it and take them off; as its owner run: {grant}")]
    NotOwner {
        /// Which.
        table: String,
        /// What to run.
        grant: String,
    },
    /// The same table twice.
    #[error("capture.tables: {table} is named twice: name it once")]
    TableTwice {
        /// Which.
        table: String,
    },
    /// No such role.
    #[error("capture.role: there is no role {role} that may log in: CREATE ROLE … LOGIN, or leave capture.role out")]
    RoleMissing {
        /// Which.
        role: String,
    },
    /// The role tells nothing.
    #[error("capture.role: {role} is not the script's own: {why}. Give the script a role of its own, or leave capture.role out")]
    RoleShared {
        /// Which.
        role: String,
        /// Who else uses it.
        why: String,
    },
    /// A table's name cannot be read.
    #[error("capture.tables: {0}")]
    Name(#[from] SqlError),
    /// Somebody holds a table, or the script has a transaction open.
    #[error("{what} did not come free in {tries} attempts; what holds it is in pg_locks, and it is tried again")]
    Busy {
        /// What is waited for.
        what: String,
        /// How often it was tried.
        tries: u32,
    },
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectRefused),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A statement failed.
    #[error("a statement of the capture failed: {}", describe(.0))]
    Database(#[from] sqlx::Error),
}

impl CaptureError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TableMissing { .. } => "TableMissing",
            Self::NotCapturable { .. } => "NotCapturable",
            Self::KeyMissing { .. } => "KeyMissing",
            Self::NotOwner { .. } => "NotOwner",
            Self::TableTwice { .. } => "TableTwice",
            Self::RoleMissing { .. } => "RoleMissing",
            Self::RoleShared { .. } => "RoleShared",
            Self::Name(_) => "NameRefused",
            Self::Busy { .. } => "CaptureBusy",
            Self::Connect(refused) => refused.reason,
            Self::Ledger(error) => error.reason(),
            Self::Database(_) => "CaptureFailed",
        }
    }
}
