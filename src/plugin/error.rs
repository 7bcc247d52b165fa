//! Why a command did not do what it was asked, and what that is as an exit code.

use super::{OTHERWISE, UNUSABLE};
use std::time::Duration;
use thiserror::Error;

/// Why a command did not do what it was asked.
#[derive(Debug, Error)]
pub enum PluginError {
    /// The kubeconfig cannot be used.
    #[error("the kubeconfig cannot be used: {0}")]
    Kubeconfig(#[from] kube::config::KubeconfigError),
    /// No client can be made of the kubeconfig.
    #[error("no connection can be made: {0}")]
    Connect(#[source] Box<kube::Error>),
    /// There is no such run.
    #[error("there is no run {name} in the namespace {namespace}")]
    NoSuchRun {
        /// The run.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The API server said no, with its words.
    #[error("{what}: {message}")]
    Refused {
        /// What was asked.
        what: &'static str,
        /// The server's words.
        message: String,
    },
    /// The API server could not be reached, or its answer not be read.
    #[error("{what}: {source}")]
    Api {
        /// What was asked.
        what: &'static str,
        /// What went wrong.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("{what}: no answer within {} s", .after.as_secs())]
    NoAnswer {
        /// What was asked.
        what: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// The run was changed between look and write.
    #[error("the run was changed meanwhile")]
    Conflict,
    /// The run is not in a state for this.
    #[error("{0}")]
    NotNow(String),
    /// The arguments do not fit.
    #[error("{0}")]
    Usage(String),
    /// A document could not be written.
    #[error("the document cannot be written: {0}")]
    Document(String),
    /// The output could not be written, or the input not be read.
    #[error("terminal: {0}")]
    Output(#[from] std::io::Error),
}

impl PluginError {
    /// What the process ends with.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused { .. } | Self::Conflict | Self::NotNow(_) => OTHERWISE,
            Self::Kubeconfig(_)
            | Self::Connect(_)
            | Self::NoSuchRun { .. }
            | Self::Api { .. }
            | Self::NoAnswer { .. }
            | Self::Usage(_)
            | Self::Document(_)
            | Self::Output(_) => UNUSABLE,
        }
    }

    /// True for what may pass by itself: no connection, no answer, an overloaded server.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.code == 429 || status.code >= 500,
                kube::Error::Service(_) | kube::Error::HyperError(_) => true,
                _ => false,
            },
            Self::Kubeconfig(_)
            | Self::Connect(_)
            | Self::NoSuchRun { .. }
            | Self::Refused { .. }
            | Self::Conflict
            | Self::NotNow(_)
            | Self::Usage(_)
            | Self::Document(_)
            | Self::Output(_) => false,
        }
    }
}
