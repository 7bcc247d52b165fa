//! Which changes lead to a pass, and what happens to a pass that fails.

use super::context::Context;
use super::error::ControllerError;
use super::reconcile::reconcile;
use crate::api::{BackfillRun, RUN_UID_LABEL};
use futures::StreamExt as _;
use k8s_openapi::api::batch::v1::Job;
use kube::Api;
use kube::runtime::controller::{Action, Config};
use kube::runtime::{Controller, watcher};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// So many runs are worked on at once.
const CONCURRENCY: u16 = 16;
/// A failed pass is tried again after this, and up to as much later: many runs do not come back at once.
const RETRY: Duration = Duration::from_secs(2);

/// Works on all runs of one namespace, or of all, until the stop token is cancelled.
///
/// # Errors
/// [`ControllerError::WatchEnded`] where the watch ends by itself.
pub async fn run(context: Context, namespace: Option<String>, stop: CancellationToken) -> Result<(), ControllerError> {
    let client = context.client.clone();
    let (runs, jobs): (Api<BackfillRun>, Api<Job>) = match &namespace {
        Some(namespace) => (Api::namespaced(client.clone(), namespace), Api::namespaced(client, namespace)),
        None => (Api::all(client.clone()), Api::all(client)),
    };
    let graceful = stop.clone();
    let fields = context.config.watched().1;
    let controller = Controller::new(runs, watcher::Config::default().fields(&fields));
    let (store, metrics) = (controller.store(), context.metrics.clone());
    controller
        .with_config(Config::default().concurrency(CONCURRENCY))
        .owns(jobs, watcher::Config::default().labels(RUN_UID_LABEL).fields(&fields))
        .graceful_shutdown_on(async move { graceful.cancelled().await })
        .run(measured, on_error, Arc::new(context))
        .for_each(|end| {
            if let Err(error) = end {
                tracing::debug!(%error, "a pass ended early");
            }
            metrics.set_runs(store.state().iter().map(|run| run.status.as_ref().map(|s| s.phase).unwrap_or_default()));
            std::future::ready(())
        })
        .await;
    if stop.is_cancelled() { Ok(()) } else { Err(ControllerError::WatchEnded) }
}

/// A pass with its time and its outcome counted.
async fn measured(run: Arc<BackfillRun>, context: Arc<Context>) -> Result<Action, ControllerError> {
    let begun = tokio::time::Instant::now();
    let _pass = context.health.begin(begun);
    // In a box: a pass holds whole objects of Kubernetes across its calls.
    let end = Box::pin(reconcile(run, context.clone())).await;
    context.metrics.reconciled(end.as_ref().map_or_else(ControllerError::label, |_| "ok"), begun.elapsed());
    end
}

#[allow(clippy::needless_pass_by_value, reason = "the signature that the controller calls")]
fn on_error(run: Arc<BackfillRun>, error: &ControllerError, _: Arc<Context>) -> Action {
    match error {
        ControllerError::Conflict => Action::requeue(Duration::from_millis(200)),
        error => {
            tracing::warn!(namespace = run.metadata.namespace, run = run.metadata.name, label = error.label(), %error, "a pass failed; it is tried again");
            Action::requeue(RETRY.mul_f64(1.0 + rand::random::<f64>()))
        }
    }
}
