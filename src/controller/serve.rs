//! The operator's life: configuration, tasks, and an end that is noticed.

use super::context::Context;
use super::health::Health;
use super::lease::{self, Candidate, LeadEnd};
use super::metrics::Metrics;
use super::{http, notifier, watch};
use crate::config::OperatorConfig;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Why the operator ends other than when asked to.
#[derive(Debug, Error)]
pub enum ServeError {
    /// The configuration cannot be read.
    #[error("{0}")]
    Config(#[from] crate::config::ConfigError),
    /// There is no API server to be found.
    #[error("the API server: {0}")]
    Client(#[from] kube::Error),
    /// The Lease cannot be asked for.
    #[error("the Lease: {0}")]
    Lease(#[from] lease::LeaseError),
    /// The Lease is another's now.
    #[error("the Lease was lost: another operator may work now")]
    Deposed,
    /// The probes' server ended.
    #[error("the server of probes and metrics: {0}")]
    Http(#[from] http::HttpError),
    /// The watch over the runs ended.
    #[error("{0}")]
    Watch(#[from] super::error::ControllerError),
    /// The notifier ended.
    #[error("the notifier: {0}")]
    Notifier(#[from] notifier::NotifierError),
    /// A task panicked.
    #[error("a task broke: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Serves until the stop token is cancelled. Every task is joined; the end of any ends the process, so that no pod
/// looks ready without a controller in it.
///
/// # Errors
/// [`ServeError`] of the first task that failed.
pub async fn serve(config: &Path, address: SocketAddr, stop: CancellationToken) -> Result<(), ServeError> {
    let config = Arc::new(OperatorConfig::load(config)?);
    let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::default()));
    let client = Client::try_default().await?;
    let lease_client = lease::client().await?;
    let pod = std::env::var("POD_NAME").unwrap_or_else(|_| "backfill-operator".into());
    let reporter = Reporter { controller: "backfill-operator".into(), instance: Some(pod.clone()) };
    let context = Context {
        recorder: Recorder::new(client.clone(), reporter),
        client,
        config,
        health: health.clone(),
        metrics: metrics.clone(),
        policies_seen: Arc::default(),
    };
    let namespace = std::env::var("POD_NAMESPACE").unwrap_or_else(|_| "default".into());
    let candidate = Candidate::new(&namespace, &context.config.lease, &pod);

    let mut tasks: JoinSet<Result<(), ServeError>> = JoinSet::new();
    tasks.spawn({
        let (health, metrics, stop) = (health.clone(), metrics.clone(), stop.clone());
        async move { Ok(http::serve(address, health, metrics, stop).await?) }
    });
    // Standing by is what a second operator is there for.
    health.set_ready(true);
    let working = stop.clone();
    tasks.spawn(async move {
        match lease::lead(lease_client, &candidate, &working, |token| work(context, token)).await {
            LeadEnd::NeverLed => Ok(()),
            LeadEnd::Ended(end) => end,
            LeadEnd::Lost => Err(ServeError::Deposed),
        }
    });
    join(tasks, &stop).await
}

/// What only the leader does.
async fn work(context: Context, stop: CancellationToken) -> Result<(), ServeError> {
    context.metrics.leads(true);
    let mut tasks: JoinSet<Result<(), ServeError>> = JoinSet::new();
    for namespace in context.config.watched().0 {
        let (context, namespace, stop) = (context.clone(), namespace.map(str::to_owned), stop.clone());
        tasks.spawn(async move { Ok(watch::run(context, namespace, stop).await?) });
    }
    tasks.spawn({
        let (client, config, metrics, stop) = (context.client.clone(), context.config.clone(), context.metrics.clone(), stop.clone());
        async move { Ok(notifier::run(client, config, metrics, stop).await?) }
    });
    let end = join(tasks, &stop).await;
    context.metrics.leads(false);
    end
}

/// Waits for all; the first that ends, however it does, stops the others.
async fn join(mut tasks: JoinSet<Result<(), ServeError>>, stop: &CancellationToken) -> Result<(), ServeError> {
    let mut first = Ok(());
    while let Some(end) = tasks.join_next().await {
        stop.cancel();
        let end = end.map_err(ServeError::from).and_then(|e| e);
        if first.is_ok() {
            first = end;
        }
    }
    first
}
