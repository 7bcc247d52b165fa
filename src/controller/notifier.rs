//! The second loop over the runs: delivers what waits in their outboxes.
//!
//! Apart from `reconcile`, so that a channel that does not answer holds up no run. Only the leader runs it. Delivery is at
//! least once: who dies between telling and recording tells again, under the same delivery id.

use super::metrics::Metrics;
use crate::api::BackfillRun;
use crate::api::status::NotificationStatus;
use crate::config::OperatorConfig;
use crate::notify::{Facts, NotifyError, channel, deliver, http_client, outbox};
use futures::StreamExt as _;
use futures::future::join_all;
use jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::watcher;
use kube::{Client, ResourceExt as _};
use rand::Rng as _;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// An API call that takes longer than this has failed.
const CALL: Duration = Duration::from_secs(10);
/// So often a write is tried again because somebody else wrote the status at the same time.
const CONFLICTS_MAX: u32 = 10;
/// The pause after an error.
const RETRY: Duration = Duration::from_secs(15);
/// Runs that are served at the same time.
const CONCURRENCY: u16 = 8;

/// Why messages could not be delivered or recorded. The next attempt is made after a pause.
#[derive(Debug, Error)]
pub enum NotifierError {
    /// No client for channels can be made.
    #[error(transparent)]
    NotifierClient(#[from] NotifyError),
    /// The API server did not answer in time.
    #[error("the API server did not answer within {} s", CALL.as_secs())]
    NotifierTimedOut,
    /// What the API server says.
    #[error("the API server: {0}")]
    NotifierApi(#[source] Box<kube::Error>),
    /// Others wrote the status again and again.
    #[error("{CONFLICTS_MAX} writes of the status met a conflict")]
    NotifierConflict,
    /// The run has no namespace; the API server does not serve such.
    #[error("a run without a namespace")]
    NotifierNamespace,
}

struct Context {
    client: Client,
    http: reqwest::Client,
    config: Arc<OperatorConfig>,
    metrics: Arc<Metrics>,
}

/// Delivers until `stop`.
///
/// # Errors
/// [`NotifierError::NotifierClient`] at the start; later errors are logged, and tried again.
pub async fn run(client: Client, config: Arc<OperatorConfig>, metrics: Arc<Metrics>, stop: CancellationToken) -> Result<(), NotifierError> {
    let (namespaces, fields) = config.watched();
    let api = |namespace| match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    };
    let apis: Vec<Api<BackfillRun>> = namespaces.into_iter().map(api).collect();
    let context = Arc::new(Context { client, http: http_client()?, config, metrics });
    join_all(apis.into_iter().map(|api| {
        Controller::new(api, watcher::Config::default().fields(&fields))
            .with_config(kube::runtime::controller::Config::default().concurrency(CONCURRENCY))
            .graceful_shutdown_on(stop.clone().cancelled_owned())
            .run(serve, |_, _, _| Action::requeue(RETRY), context.clone())
            .for_each(|end| async move {
                if let Err(error) = end {
                    tracing::warn!(%error, "a message was not delivered or not recorded");
                }
            })
    }))
    .await;
    Ok(())
}

async fn serve(cached: Arc<BackfillRun>, context: Arc<Context>) -> Result<Action, NotifierError> {
    let now = Timestamp::now();
    if outbox::due(messages(&cached), now).is_empty() {
        return Ok(wait(messages(&cached), now));
    }
    let namespace = cached.namespace().ok_or(NotifierError::NotifierNamespace)?;
    let api: Api<BackfillRun> = Api::namespaced(context.client.clone(), &namespace);
    // The cache may be behind our own last write: what it calls due may be delivered.
    let Some(run) = call(api.get_opt(&cached.name_any())).await? else { return Ok(Action::await_change()) };
    let tried = join_all(outbox::due(messages(&run), now).into_iter().map(|message| attempt(&context, &run, message))).await;
    if tried.is_empty() {
        return Ok(wait(messages(&run), now));
    }
    match record(&api, run, tried).await? {
        Some(run) => Ok(wait(messages(&run), Timestamp::now())),
        None => Ok(Action::await_change()),
    }
}

async fn attempt(context: &Context, run: &BackfillRun, message: &NotificationStatus) -> NotificationStatus {
    let result = match channel(&context.config.channels, &message.channel) {
        Ok(channel) => {
            let result = deliver(&context.http, channel, &Facts::of(run, message), Timestamp::now()).await;
            context.metrics.notified(&channel.name, result.as_ref().map_or_else(NotifyError::reason, |()| "ok"));
            result
        }
        Err(unknown) => Err(unknown),
    };
    match result {
        Ok(()) => outbox::delivered(message, Timestamp::now()),
        Err(error) => outbox::failed(message, &error.to_string(), Timestamp::now(), rand::rng().random()),
    }
}

/// Writes the outcome into the status: only `notifications`, and only into the version that was read. `None` where the run is gone.
async fn record(
    api: &Api<BackfillRun>,
    mut run: BackfillRun,
    tried: Vec<NotificationStatus>,
) -> Result<Option<BackfillRun>, NotifierError> {
    let name = run.name_any();
    for _ in 0..CONFLICTS_MAX {
        let mut notifications = messages(&run).to_vec();
        for message in &tried {
            outbox::record(&mut notifications, message.clone());
        }
        let patch = json!({"metadata": {"resourceVersion": run.resource_version()}, "status": {"notifications": notifications}});
        match call(api.patch_status(&name, &PatchParams::default(), &Patch::Merge(patch))).await {
            Ok(written) => return Ok(Some(written)),
            Err(NotifierError::NotifierApi(error)) if code(&error) == Some(404) => return Ok(None),
            Err(NotifierError::NotifierApi(error)) if code(&error) == Some(409) => {}
            Err(error) => return Err(error),
        }
        let pause = Duration::from_millis(rand::rng().random_range(20..200));
        tokio::time::sleep(pause).await;
        match call(api.get_opt(&name)).await? {
            Some(fresh) => run = fresh,
            None => return Ok(None),
        }
    }
    Err(NotifierError::NotifierConflict)
}

fn messages(run: &BackfillRun) -> &[NotificationStatus] {
    run.status.as_ref().map_or(&[], |status| &status.notifications)
}

fn wait(messages: &[NotificationStatus], now: Timestamp) -> Action {
    match outbox::next_due(messages, now).map(Duration::try_from) {
        Some(Ok(pause)) => Action::requeue(pause.max(Duration::from_secs(1))),
        Some(Err(_)) | None => Action::await_change(),
    }
}

fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

async fn call<T>(work: impl Future<Output = kube::Result<T>>) -> Result<T, NotifierError> {
    let answer = tokio::time::timeout(CALL, work).await.map_err(|_| NotifierError::NotifierTimedOut)?;
    answer.map_err(|error| NotifierError::NotifierApi(Box::new(error)))
}
