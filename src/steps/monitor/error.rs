//! Why there is no watch, and what kind of end that is.

use crate::protocol::Outcome;
use thiserror::Error;

/// Why there is no watch over the logs.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum MonitorError {
    /// The input names no window or the spec no patterns.
    #[error("the run has no watch: spec.monitor or its times are missing")]
    NothingToWatch,
    /// A pattern is no regular expression.
    #[error("spec.monitor.logs.patterns: {name} is no regular expression that can be used: {why}")]
    PatternMalformed {
        /// Which pattern.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// The selector is none.
    #[error(
        "spec.monitor.logs.selector is no label selector: use matchLabels, and matchExpressions with In, NotIn, Exists or DoesNotExist"
    )]
    SelectorMalformed,
    /// The step's service account may not read logs.
    #[error(
        "the step's service account may not list pods and read their logs in this namespace: it needs the verb list on pods and get on pods/log"
    )]
    LogsForbidden,
    /// No answer of the API server.
    #[error("the API server does not answer")]
    ClusterUnreachable,
    /// Stopped from outside.
    #[error("stopped; the watch begins anew with the next attempt")]
    Stopped,
}

impl MonitorError {
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::NothingToWatch => "NothingToWatch",
            Self::PatternMalformed { .. } => "PatternMalformed",
            Self::SelectorMalformed => "SelectorMalformed",
            Self::LogsForbidden => "LogsForbidden",
            Self::ClusterUnreachable => "ClusterUnreachable",
            Self::Stopped => "Stopped",
        }
    }

    pub(super) const fn outcome(&self) -> Outcome {
        match self {
            Self::NothingToWatch | Self::PatternMalformed { .. } | Self::SelectorMalformed | Self::LogsForbidden => Outcome::Stalled,
            Self::ClusterUnreachable => Outcome::Lost,
            Self::Stopped => Outcome::Stopped,
        }
    }
}
