//! The operator's life: configuration, tasks, and an end that is noticed.

use super::context::Context;
use super::watch;
use crate::config::OperatorConfig;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use std::path::Path;
use std::sync::Arc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

type End = Box<dyn std::error::Error + Send + Sync>;

/// Serves until the stop token is cancelled. Every task is joined; the end of any ends the process, so that no pod
/// looks ready without a controller in it.
///
/// # Errors
/// The first task's that failed.
pub async fn serve(config: &Path, stop: CancellationToken) -> Result<(), End> {
    let config = Arc::new(OperatorConfig::load(config)?);
    let client = Client::try_default().await?;
    let reporter = Reporter { controller: "backfill-operator".into(), instance: std::env::var("POD_NAME").ok() };
    let context = Context { client: client.clone(), config: config.clone(), recorder: Recorder::new(client, reporter) };
    let mut tasks: JoinSet<Result<(), End>> = JoinSet::new();
    for namespace in watched(&config) {
        let (context, stop) = (context.clone(), stop.clone());
        tasks.spawn(async move { Ok(watch::run(context, namespace, stop).await?) });
    }
    let mut first = Ok(());
    while let Some(end) = tasks.join_next().await {
        stop.cancel();
        let end = end.map_err(End::from).and_then(|e| e);
        if first.is_ok() {
            first = end;
        }
    }
    first
}

fn watched(config: &OperatorConfig) -> Vec<Option<String>> {
    if config.watch_namespaces.is_empty() { vec![None] } else { config.watch_namespaces.iter().cloned().map(Some).collect() }
}
