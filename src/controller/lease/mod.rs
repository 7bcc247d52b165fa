//! Which of several operators works: a Lease of `coordination.k8s.io`.
//!
//! Economy, not safety: two that work at the same time are kept apart by the fence in the database and by the
//! compare-and-set of every status write. Times are measured on this process' own monotonic clock, from when *it* saw the
//! Lease change: clocks of two nodes are never compared.
//!
//! Why nobody leads before the leader has stepped down: the leader counts [`STEP_DOWN_AFTER`] from before it sent its last
//! renewal that succeeded, a contender [`LEASE`] from when it saw that renewal, which is later.

mod choice;
mod election;

use election::Election;
use kube::Client;
use rand::Rng as _;
use std::time::Duration;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A Lease that was not renewed for this long may be taken.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often the leader renews, less a jitter of up to a fifth.
pub const RENEW: Duration = Duration::from_secs(5);
/// A leader that could not renew for this long stops to work.
pub const STEP_DOWN_AFTER: Duration = Duration::from_secs(10);
/// How long the work may take to end once the Lease is lost; with [`STEP_DOWN_AFTER`] less than [`LEASE`].
pub const WORK_ENDS_WITHIN: Duration = Duration::from_secs(4);
/// Three calls fit between a renewal and stepping down.
const CALL: Duration = Duration::from_secs(3);
/// Which Lease, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Namespace of the Lease: the operator's own.
    pub namespace: String,
    /// Name of the Lease.
    pub lease: String,
    /// Who asks: unique to this process, so that a restarted container does not take its own past for itself.
    pub identity: String,
}

impl Candidate {
    /// A candidate by the name of its pod and a random suffix.
    #[must_use]
    pub fn new(namespace: &str, lease: &str, pod: &str) -> Self {
        Self { namespace: namespace.into(), lease: lease.into(), identity: format!("{pod}_{:08x}", rand::rng().random::<u32>()) }
    }
}

/// How leading ended.
#[derive(Debug, PartialEq, Eq)]
pub enum LeadEnd<T> {
    /// The stop signal came before the Lease was ours.
    NeverLed,
    /// The work ended by itself or on the stop signal; the Lease was given back.
    Ended(T),
    /// The Lease was lost; the work was stopped. The process should end: what it knows is of the past.
    Lost,
}

/// Why the Lease could not be asked for. Never the end of [`lead`]: it goes on trying.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// No answer in time.
    #[error("the API server did not answer within {} s", CALL.as_secs())]
    LeaseTimedOut,
    /// Another wrote the Lease between our reading and our writing.
    #[error("another wrote it at the same time")]
    LeaseConflict,
    /// What the API server says.
    #[error("the API server: {0}")]
    LeaseApi(#[from] kube::Error),
    /// The cluster's address or credentials cannot be found.
    #[error("no cluster: {0}")]
    LeaseConfig(#[from] kube::config::InferConfigError),
}

/// A client for the Lease alone: it does not retry by itself, as an answer that comes late is worth nothing.
///
/// # Errors
/// [`LeaseError`] where the cluster's configuration cannot be found or used.
pub async fn client() -> Result<Client, LeaseError> {
    let mut config = kube::Config::infer().await?;
    config.default_retry = false;
    config.connect_timeout = Some(CALL);
    config.read_timeout = Some(CALL);
    Ok(Client::try_from(config)?)
}

/// Waits for the Lease, then runs `work` for as long as it is ours. `work` gets a token that is cancelled on `stop` and
/// when the Lease is lost, and must end within [`WORK_ENDS_WITHIN`] of the latter; then it is dropped.
pub async fn lead<F, Fut>(client: Client, candidate: &Candidate, stop: &CancellationToken, work: F) -> LeadEnd<Fut::Output>
where
    F: FnOnce(CancellationToken) -> Fut,
    Fut: Future,
{
    let mut election = Election::new(client.clone(), candidate.clone());
    let renewed = tokio::select! {
        biased;
        () = stop.cancelled() => return LeadEnd::NeverLed,
        renewed = election.win() => renewed,
    };
    tracing::info!(identity = candidate.identity, lease = candidate.lease, "leads");
    let token = stop.child_token();
    // A task of its own, so that work that computes for long does not hold up the renewal; it ends with this set.
    let mut keeper = JoinSet::new();
    keeper.spawn(async move { election.keep(renewed).await });
    let mut work = std::pin::pin!(work(token.clone()));
    tokio::select! {
        end = &mut work => {
            keeper.shutdown().await;
            Election::new(client, candidate.clone()).release().await;
            LeadEnd::Ended(end)
        }
        _ = keeper.join_next() => {
            tracing::warn!(identity = candidate.identity, lease = candidate.lease, "no longer leads");
            token.cancel();
            let _ = tokio::time::timeout(WORK_ENDS_WITHIN, work).await;
            LeadEnd::Lost
        }
    }
}
