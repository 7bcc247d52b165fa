//! The phases of a run, for people. Programs read conditions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Accepted; nothing has begun.
    #[default]
    Pending,
    /// The release, the environment, the server and the backup volume are checked.
    Preflight,
    /// `pg_dump` writes the backup, and every block of it is read back.
    BackingUp,
    /// The exact changes are computed, read-only.
    Planning,
    /// Waits for people: `status.awaiting` says for what.
    AwaitingApproval,
    /// The team's migrations run.
    Migrating,
    /// Rows are written.
    Applying,
    /// What was written is compared with what was planned; the run's own checks are made.
    Verifying,
    /// The feature flag is switched on.
    EnablingFlag,
    /// The logs are watched.
    Monitoring,
    /// The way back: flag first, then undo or restore.
    RollingBack,
    /// Terminal: all done, or nothing to do.
    Succeeded,
    /// Terminal: stopped before anything changed, or by choice left as it is.
    Failed,
    /// Terminal: an approver said no.
    Denied,
    /// Terminal: nobody approved in time.
    Expired,
    /// Terminal: aborted before anything changed.
    Aborted,
    /// Terminal: the data is as it was before.
    RolledBack,
    /// Terminal: the way back did not work; the message says what a person has to do.
    RollbackFailed,
}

impl Phase {
    /// Every phase, in the order of a run.
    pub const ALL: [Self; 18] = [
        Self::Pending,
        Self::Preflight,
        Self::BackingUp,
        Self::Planning,
        Self::AwaitingApproval,
        Self::Migrating,
        Self::Applying,
        Self::Verifying,
        Self::EnablingFlag,
        Self::Monitoring,
        Self::RollingBack,
        Self::Succeeded,
        Self::Failed,
        Self::Denied,
        Self::Expired,
        Self::Aborted,
        Self::RolledBack,
        Self::RollbackFailed,
    ];

    /// True where nothing follows.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Succeeded | Self::Failed | Self::Denied | Self::Expired | Self::Aborted | Self::RolledBack | Self::RollbackFailed
        )
    }

    /// The name as the resource writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Preflight => "Preflight",
            Self::BackingUp => "BackingUp",
            Self::Planning => "Planning",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::Migrating => "Migrating",
            Self::Applying => "Applying",
            Self::Verifying => "Verifying",
            Self::EnablingFlag => "EnablingFlag",
            Self::Monitoring => "Monitoring",
            Self::RollingBack => "RollingBack",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Denied => "Denied",
            Self::Expired => "Expired",
            Self::Aborted => "Aborted",
            Self::RolledBack => "RolledBack",
            Self::RollbackFailed => "RollbackFailed",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
