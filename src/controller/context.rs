//! What every pass works with.

use super::health::Health;
use super::metrics::Metrics;
use crate::config::OperatorConfig;
use kube::Client;
use kube::runtime::events::Recorder;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Mutex;

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
    /// In which namespaces the admission policies were in force, and when.
    pub policies_seen: Arc<Mutex<HashMap<String, Instant>>>,
}
