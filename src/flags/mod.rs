//! Feature flags: a file a provider.
//!
//! Called by the controller, after verification (enable) and first on any way back (restore). Knows `api`. A flag is
//! changed by compare-and-set only: what somebody else has changed meanwhile is never overwritten.

mod config_map;
mod json_flag;
mod json_span;

pub use config_map::{FlagReading, enable, read, restore};
pub use json_flag::{ABSENT, FlagValue};

use std::time::Duration;
use thiserror::Error;

/// A call that takes longer than this has failed.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a flag cannot be read or changed. The variant's name is the reason of conditions, events and metrics.
#[derive(Debug, Error)]
pub enum FlagError {
    /// The `ConfigMap` is not there.
    #[error("ConfigMap {name} does not exist: create it, or correct featureFlag.provider.configMap.name")]
    FlagConfigMapMissing {
        /// Its name.
        name: String,
    },
    /// The `ConfigMap` cannot be changed by anybody.
    #[error("ConfigMap {name} is immutable: replace it by one that is not")]
    FlagConfigMapImmutable {
        /// Its name.
        name: String,
    },
    /// The `ConfigMap` does not have the key.
    #[error("ConfigMap {name} has no key {key} in its data: correct featureFlag.provider.configMap.key")]
    FlagKeyMissing {
        /// Name of the `ConfigMap`.
        name: String,
        /// The key.
        key: String,
    },
    /// The document is not JSON.
    #[error("the document is not JSON: {0}")]
    FlagNotJson(#[source] serde_json::Error),
    /// The path leads nowhere.
    #[error("{path} leads nowhere: the document has no object at {missing}; add it, or correct featureFlag.provider.configMap.path")]
    FlagPathMissing {
        /// The path.
        path: String,
        /// The part of it where an object is missing; empty for the document itself.
        missing: String,
    },
    /// There is something else than a boolean.
    #[error("{path} is {found}, not a boolean")]
    FlagNotBoolean {
        /// The path.
        path: String,
        /// The type of what is there.
        found: &'static str,
    },
    /// The value is not what the run found or left.
    #[error("the flag is {found} now, not {expected}: somebody else has changed it, and it is left as it is")]
    FlagChangedByOther {
        /// What is there.
        found: FlagValue,
        /// What the run found or left there.
        expected: FlagValue,
    },
    /// Somebody changed the `ConfigMap` between reading and writing.
    #[error("ConfigMap {name} was changed at the same time; the next attempt reads it anew")]
    FlagConflict {
        /// Its name.
        name: String,
    },
    /// The operator may not do this.
    #[error("the operator may not {verb} ConfigMap {name}: {message}")]
    FlagForbidden {
        /// What it may not do.
        verb: &'static str,
        /// Name of the `ConfigMap`.
        name: String,
        /// What the API server says.
        message: String,
    },
    /// No answer in time.
    #[error("the API server did not answer within {} s", TIMEOUT.as_secs())]
    FlagTimedOut,
    /// Anything else that the API server says.
    #[error("the API server: {0}")]
    FlagApi(#[source] Box<kube::Error>),
    /// What the status keeps as the previous value is none.
    #[error("{0:?} is no value of a flag: true, false or absent")]
    FlagValueUnknown(String),
}

impl FlagError {
    /// The variant's name.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::FlagConfigMapMissing { .. } => "FlagConfigMapMissing",
            Self::FlagConfigMapImmutable { .. } => "FlagConfigMapImmutable",
            Self::FlagKeyMissing { .. } => "FlagKeyMissing",
            Self::FlagNotJson(_) => "FlagNotJson",
            Self::FlagPathMissing { .. } => "FlagPathMissing",
            Self::FlagNotBoolean { .. } => "FlagNotBoolean",
            Self::FlagChangedByOther { .. } => "FlagChangedByOther",
            Self::FlagConflict { .. } => "FlagConflict",
            Self::FlagForbidden { .. } => "FlagForbidden",
            Self::FlagTimedOut => "FlagTimedOut",
            Self::FlagApi(_) => "FlagApi",
            Self::FlagValueUnknown(_) => "FlagValueUnknown",
        }
    }

    /// True where a person has to change something; false where the next attempt may succeed by itself.
    #[must_use]
    pub const fn is_misconfiguration(&self) -> bool {
        match self {
            Self::FlagConfigMapMissing { .. }
            | Self::FlagConfigMapImmutable { .. }
            | Self::FlagKeyMissing { .. }
            | Self::FlagNotJson(_)
            | Self::FlagPathMissing { .. }
            | Self::FlagNotBoolean { .. }
            | Self::FlagChangedByOther { .. }
            | Self::FlagForbidden { .. }
            | Self::FlagValueUnknown(_) => true,
            Self::FlagConflict { .. } | Self::FlagTimedOut | Self::FlagApi(_) => false,
        }
    }
}
