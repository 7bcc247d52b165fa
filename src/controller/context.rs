//! What every pass works with.

use super::health::Health;
use super::metrics::Metrics;
use crate::config::OperatorConfig;
use kube::Client;
use kube::runtime::events::Recorder;
use std::sync::Arc;

/// What every pass works with.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The operator's configuration.
    pub config: Arc<OperatorConfig>,
    /// Where events go.
    pub recorder: Recorder,
    /// What the probes ask.
    pub health: Arc<Health>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}
