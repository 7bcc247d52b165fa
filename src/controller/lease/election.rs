//! Asking for the Lease, keeping it, giving it back.

use super::choice::{Choice, Seen, choose};
use super::{CALL, Candidate, LEASE, LeaseError, RENEW, STEP_DOWN_AFTER};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt as _};
use rand::Rng as _;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// The pause after a call that failed.
const RETRY: Duration = Duration::from_secs(1);

/// How one attempt ended.
enum Attempt {
    /// The Lease is ours, as of when the attempt began.
    Ours(Instant),
    /// It is another's; look again after this long.
    Others(Duration),
}

pub(super) struct Election {
    api: Api<Lease>,
    candidate: Candidate,
    seen: Option<Seen>,
}

impl Election {
    pub(super) fn new(client: Client, candidate: Candidate) -> Self {
        Self { api: Api::namespaced(client, &candidate.namespace), candidate, seen: None }
    }

    /// Returns when the Lease is ours: the moment before the winning call was sent.
    pub(super) async fn win(&mut self) -> Instant {
        loop {
            match self.attempt().await {
                Ok(Attempt::Ours(since)) => return since,
                Ok(Attempt::Others(left)) => sleep(left.min(jittered(RENEW))).await,
                Err(error) => {
                    tracing::warn!(%error, "cannot ask for the lease");
                    sleep(jittered(RETRY)).await;
                }
            }
        }
    }

    /// Renews; returns when the Lease is no longer ours, or cannot be said to be.
    pub(super) async fn keep(&mut self, mut renewed: Instant) {
        loop {
            let deadline = renewed + STEP_DOWN_AFTER;
            sleep(jittered(RENEW)).await;
            match timeout_at(deadline, self.renew()).await {
                Ok(Some(since)) => renewed = since,
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Tries until the Lease is renewed; `None` where it is another's.
    async fn renew(&mut self) -> Option<Instant> {
        loop {
            match self.attempt().await {
                Ok(Attempt::Ours(since)) => return Some(since),
                Ok(Attempt::Others(_)) => return None,
                Err(error) => {
                    tracing::warn!(%error, "cannot renew the lease");
                    sleep(jittered(RETRY)).await;
                }
            }
        }
    }

    /// Gives the Lease back, so that the next one need not wait for it to run out. One try: it runs out anyway.
    pub(super) async fn release(&self) {
        let work = async {
            let Some(mut lease) = call(self.api.get_opt(&self.candidate.lease)).await? else { return Ok(()) };
            if holder(&lease).as_deref() == Some(self.candidate.identity.as_str()) {
                lease.spec.get_or_insert_default().holder_identity = None;
                call(self.api.replace(&self.candidate.lease, &PostParams::default(), &lease)).await?;
            }
            Ok::<(), LeaseError>(())
        };
        if let Err(error) = work.await {
            tracing::warn!(%error, "cannot give the lease back; it runs out by itself");
        }
    }

    async fn attempt(&mut self) -> Result<Attempt, LeaseError> {
        let begun = Instant::now();
        let lease = call(self.api.get_opt(&self.candidate.lease)).await?;
        let now = Instant::now();
        let before = self.seen.take();
        self.seen = lease.as_ref().map(|lease| Seen::look(before, holder(lease), lease.resource_version().unwrap_or_default(), now));
        let written = match (choose(self.seen.as_ref(), &self.candidate.identity, now), lease) {
            (Choice::Wait(left), _) => return Ok(Attempt::Others(left)),
            (Choice::Acquire, Some(lease)) => self.write(self.acquired(lease)).await,
            (Choice::Renew, Some(lease)) => self.write(renewed(lease)).await,
            (Choice::Create | Choice::Acquire | Choice::Renew, _) => self.create().await,
        };
        match written {
            Ok(lease) => {
                self.seen = Some(Seen::look(None, holder(&lease), lease.resource_version().unwrap_or_default(), now));
                Ok(Attempt::Ours(begun))
            }
            // Another was faster, or changed a label: which of the two, the next look tells.
            Err(LeaseError::LeaseApi(kube::Error::Api(status))) if status.code == 409 => Err(LeaseError::LeaseConflict),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, lease: Lease) -> Result<Lease, LeaseError> {
        // It carries the version that was read: of two that write, one gets a conflict.
        call(self.api.replace(&self.candidate.lease, &PostParams::default(), &lease)).await
    }

    async fn create(&self) -> Result<Lease, LeaseError> {
        let metadata = ObjectMeta { name: Some(self.candidate.lease.clone()), ..ObjectMeta::default() };
        let lease = self.acquired(Lease { metadata, spec: None });
        call(self.api.create(&PostParams::default(), &lease)).await
    }

    fn acquired(&self, lease: Lease) -> Lease {
        let mut lease = renewed(lease);
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(self.candidate.identity.clone());
        spec.acquire_time.clone_from(&spec.renew_time);
        spec.lease_transitions = Some(spec.lease_transitions.map_or(0, |transitions| transitions.saturating_add(1)));
        lease
    }
}

/// The times are for people who look at the Lease; candidates go by its version.
fn renewed(mut lease: Lease) -> Lease {
    let spec: &mut LeaseSpec = lease.spec.get_or_insert_default();
    spec.renew_time = Some(MicroTime(Timestamp::now()));
    spec.lease_duration_seconds = i32::try_from(LEASE.as_secs()).ok();
    lease
}

fn holder(lease: &Lease) -> Option<String> {
    lease.spec.as_ref()?.holder_identity.clone()
}

async fn call<T>(work: impl Future<Output = kube::Result<T>>) -> Result<T, LeaseError> {
    timeout(CALL, work).await.map_err(|_| LeaseError::LeaseTimedOut)?.map_err(LeaseError::LeaseApi)
}

/// Between four fifths of a pause and the whole, so that candidates do not go in step.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - rand::rng().random_range(0.0..0.2))
}
