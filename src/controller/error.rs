//! What can go wrong in the shell. Every one of these is tried again; none of them is a verdict about a run.

use std::time::Duration;
use thiserror::Error;

/// Every call to the API server ends within this.
const CALL: Duration = Duration::from_secs(15);

/// Why a pass could not be completed. The variant is the metric's label.
#[derive(Debug, Error)]
pub enum ControllerError {
    /// The API server refused or could not be reached.
    #[error("{what}: {source}")]
    Api {
        /// What was asked.
        what: &'static str,
        /// What it said.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server did not answer in time.
    #[error("{what}: no answer within {} s", CALL.as_secs())]
    Timeout {
        /// What was asked.
        what: &'static str,
    },
    /// Somebody else changed the run meanwhile: it is read again.
    #[error("the run was changed meanwhile")]
    Conflict,
    /// A Job could not be built from its template.
    #[error("{0}")]
    Build(#[from] serde_json::Error),
    /// The flag could not be changed.
    #[error("{0}")]
    Flag(#[from] crate::flags::FlagError),
    /// The watch ended.
    #[error("the watch over the runs ended")]
    WatchEnded,
}

impl ControllerError {
    /// The metric's label.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Api { .. } => "Api",
            Self::Timeout { .. } => "Timeout",
            Self::Conflict => "Conflict",
            Self::Build(_) => "Build",
            Self::Flag(_) => "Flag",
            Self::WatchEnded => "WatchEnded",
        }
    }
}

impl ControllerError {
    /// What the API server will not do as things are; `None` for what may pass by itself.
    pub(super) fn refusal(&self) -> Option<String> {
        match self {
            Self::Api { what, source } => match source.as_ref() {
                kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => Some(format!("{what}: {}", status.message)),
                _ => None,
            },
            Self::Build(error) => Some(format!("the Job cannot be built from its template: {error}")),
            Self::Timeout { .. } | Self::Conflict | Self::Flag(_) | Self::WatchEnded => None,
        }
    }
}

/// Puts a limit on a call to the API server.
pub(super) async fn call<T>(what: &'static str, future: impl Future<Output = Result<T, kube::Error>>) -> Result<T, ControllerError> {
    match tokio::time::timeout(CALL, future).await {
        Err(_) => Err(ControllerError::Timeout { what }),
        Ok(Err(source)) => Err(ControllerError::Api { what, source: Box::new(source) }),
        Ok(Ok(answer)) => Ok(answer),
    }
}

/// The HTTP status of an API server's refusal.
pub(super) fn code(error: &ControllerError) -> Option<u16> {
    match error {
        ControllerError::Api { source, .. } => match source.as_ref() {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        },
        _ => None,
    }
}
