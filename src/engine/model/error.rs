//! Why a spec cannot be worked with.

use crate::engine::catalog::CatalogError;
use crate::engine::sql::SqlError;
use thiserror::Error;

/// Why a spec cannot be worked with. Each says where and what to change.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A text of the spec is refused by the guard.
    #[error("{place}: {source}")]
    ExpressionRefused {
        /// Where it stands in the spec.
        place: String,
        /// Why.
        source: SqlError,
    },
    /// The server does not understand an expression.
    #[error("{place}: the server says: {message}")]
    ExpressionInvalid {
        /// Where it stands in the spec.
        place: String,
        /// The server's words; nothing of a row, for none was read.
        message: String,
    },
    /// A name is not in the catalogue, or serves not as wanted.
    #[error("{place}: {source}")]
    Catalog {
        /// Where it stands in the spec.
        place: String,
        /// Why.
        source: CatalogError,
    },
    /// A key column would be written.
    #[error("{place}: {column} names the row, so that it cannot be set: the way back would not find it")]
    KeyColumnWritten {
        /// Where it stands in the spec.
        place: String,
        /// Which column.
        column: String,
    },
    /// An inserted row would have no known key.
    #[error("{place}: {column} is in onConflict.key, so that set must give it a value that is known at plan")]
    ConflictKeyNotSet {
        /// Where it stands in the spec.
        place: String,
        /// Which column.
        column: String,
    },
    /// One column has two new values.
    #[error("{place}: the column {column} is set twice: names without quotes are folded to lower case")]
    ColumnSetTwice {
        /// Where it stands in the spec.
        place: String,
        /// Which column.
        column: String,
    },
    /// Every new value is one of the moment.
    #[error(
        "{place}: every value is one of the moment (now() and its kin), so that a second run would write every row again: set at least one value that is known at plan"
    )]
    NothingPlannable {
        /// Where it stands in the spec.
        place: String,
    },
    /// The audit column is not jsonb.
    #[error("backfill.sql.audit.column: {column} has the type {found}, it must be jsonb")]
    AuditNotJsonb {
        /// Which column.
        column: String,
        /// Its type.
        found: String,
    },
    /// The audit column is written through another row.
    #[error("{place}: the audit column {column} is set by a write that is not to the source row itself: choose another audit column")]
    AuditColumnWritten {
        /// Where it stands in the spec.
        place: String,
        /// Which column.
        column: String,
    },
    /// The audited row goes away.
    #[error("{place}: it deletes the source row, and the audit entry with it: use audit.table")]
    AuditedRowDeleted {
        /// Where it stands in the spec.
        place: String,
    },
    /// Foreign keys that cascade lead back to where they began.
    #[error(
        "{place}: the foreign keys to {table} lead in a circle, or too far (they cascade, or set a reference to NULL or its default): delete its rows, or clear those references, by a run of their own"
    )]
    CascadeInACircle {
        /// Where it stands in the spec.
        place: String,
        /// The table that comes again.
        table: String,
    },
    /// Two joins of one name.
    #[error("{place}: the alias {alias} is given twice")]
    AliasTwice {
        /// Where it stands in the spec.
        place: String,
        /// Which.
        alias: String,
    },
    /// A join would see what an earlier write leaves, and the plan cannot.
    #[error(
        "{place}: {write} writes {table} before, and {why}: what the join finds after that cannot be planned; move this write to a run that comes after (spec.after), or join it in source.joins, where it finds what is there before the run"
    )]
    JoinNotPlannable {
        /// Where it stands in the spec.
        place: String,
        /// The earlier write.
        write: String,
        /// The table.
        table: String,
        /// What stands against it.
        why: &'static str,
    },
    /// A column of a joined row is only known when an earlier write has been made.
    #[error(
        "{place}: {alias}.{column} is not known when the run is planned, since {write} writes rows of {table} before, and does not set it to a value that is known by then (without now() and its kin, without sensitiveData.onMatch: Redact): set it there, or move this write to a run that comes after (spec.after)"
    )]
    ValueNotPlannable {
        /// Where it stands in the spec.
        place: String,
        /// The join.
        alias: String,
        /// The column.
        column: String,
        /// The earlier write.
        write: String,
        /// The table.
        table: String,
    },
    /// The connection failed.
    #[error("the catalogue could not be read: {0}")]
    Database(#[source] sqlx::Error),
}

impl ModelError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ExpressionRefused { .. } => "ExpressionRefused",
            Self::ExpressionInvalid { .. } => "ExpressionInvalid",
            Self::Catalog { source, .. } => source.reason(),
            Self::KeyColumnWritten { .. } => "KeyColumnWritten",
            Self::ConflictKeyNotSet { .. } => "ConflictKeyNotSet",
            Self::ColumnSetTwice { .. } => "ColumnSetTwice",
            Self::NothingPlannable { .. } => "NothingPlannable",
            Self::AuditNotJsonb { .. } => "AuditNotJsonb",
            Self::AuditColumnWritten { .. } => "AuditColumnWritten",
            Self::AuditedRowDeleted { .. } => "AuditedRowDeleted",
            Self::CascadeInACircle { .. } => "CascadeInACircle",
            Self::AliasTwice { .. } => "AliasTwice",
            Self::JoinNotPlannable { .. } => "JoinNotPlannable",
            Self::ValueNotPlannable { .. } => "ValueNotPlannable",
            Self::Database(_) => "CatalogUnreadable",
        }
    }

    /// The driver's error behind it, where the database was at fault and not the spec.
    #[must_use]
    pub const fn database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error)
            | Self::ExpressionRefused { source: SqlError::Database(error), .. }
            | Self::Catalog { source: CatalogError::Database(error) | CatalogError::Name(SqlError::Database(error)), .. } => Some(error),
            _ => None,
        }
    }
}

/// Puts the place into an error of the catalogue or of the guard.
pub(super) trait At<T> {
    fn at(self, place: &str) -> Result<T, ModelError>;
}

impl<T> At<T> for Result<T, CatalogError> {
    fn at(self, place: &str) -> Result<T, ModelError> {
        self.map_err(|source| ModelError::Catalog { place: place.to_owned(), source })
    }
}

impl<T> At<T> for Result<T, SqlError> {
    fn at(self, place: &str) -> Result<T, ModelError> {
        self.map_err(|source| ModelError::ExpressionRefused { place: place.to_owned(), source })
    }
}
