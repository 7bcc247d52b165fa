//! A task a container: follows its log, over restarts and broken connections.

use super::ANSWER_WITHIN;
use super::lines::{Position, next, timed};
use super::tally::Tally;
use futures::io::AsyncBufRead;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::api::{Api, LogParams};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;

/// Between two connections to the same log.
const PAUSE: Duration = Duration::from_secs(2);
/// A connection without a line for this long may be dead without either side knowing.
const SILENCE: Duration = Duration::from_mins(5);
/// A selector that finds more than this is not meant.
const STREAMS_MAX: usize = 512;

/// A container that has run at least once.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pod: String,
    uid: String,
    name: String,
    restarts: i32,
}

impl Container {
    /// The containers of a pod that have logs.
    pub(super) fn of(pod: &Pod) -> Vec<Self> {
        let (Some(name), Some(uid), Some(status)) = (&pod.metadata.name, &pod.metadata.uid, &pod.status) else { return Vec::new() };
        let statuses = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
        statuses
            .filter(|container| has_run(container))
            .map(|container| Self { pod: name.clone(), uid: uid.clone(), name: container.name.clone(), restarts: container.restart_count })
            .collect()
    }

    fn key(&self) -> (String, String) {
        (self.uid.clone(), self.name.clone())
    }
}

fn has_run(container: &ContainerStatus) -> bool {
    let state = container.state.as_ref();
    container.restart_count > 0 || state.is_some_and(|s| s.running.is_some() || s.terminated.is_some())
}

/// What a task and the watch share about a container.
#[derive(Debug, Default)]
struct Shared {
    restarts: AtomicI32,
    unread: AtomicBool,
}

/// The logs that are followed. Dropping it ends all of them.
pub(super) struct Streams {
    pods: Api<Pod>,
    tally: Arc<Tally>,
    since: Timestamp,
    tasks: JoinSet<()>,
    known: BTreeMap<(String, String), (String, Arc<Shared>)>,
    forbidden: Arc<AtomicBool>,
    left_out: Mutex<bool>,
}

impl Streams {
    pub(super) fn new(pods: Api<Pod>, tally: Arc<Tally>, since: Timestamp) -> Self {
        Self { pods, tally, since, tasks: JoinSet::new(), known: BTreeMap::new(), forbidden: Arc::default(), left_out: Mutex::new(false) }
    }

    /// Follows a container, if it is not followed yet; else notes its restarts.
    pub(super) fn follow(&mut self, container: Container) {
        if let Some((_, shared)) = self.known.get(&container.key()) {
            shared.restarts.store(container.restarts, Ordering::Relaxed);
            return;
        }
        if self.known.len() >= STREAMS_MAX {
            *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) = true;
            return;
        }
        let shared = Arc::new(Shared { restarts: AtomicI32::new(container.restarts), unread: AtomicBool::new(false) });
        let label = format!("{}/{}", container.pod, container.name);
        self.known.insert(container.key(), (label, Arc::clone(&shared)));
        let follower = Follower {
            pods: self.pods.clone(),
            tally: Arc::clone(&self.tally),
            since: self.since,
            container,
            shared,
            forbidden: Arc::clone(&self.forbidden),
        };
        self.tasks.spawn(follower.run());
    }

    /// True where the API server refused a log.
    pub(super) fn is_forbidden(&self) -> bool {
        self.forbidden.load(Ordering::Relaxed)
    }

    /// Logs that could not be read to the end, by pod and container; at most ten.
    pub(super) fn unread(&self) -> Vec<String> {
        let mut labels: Vec<String> = self
            .known
            .values()
            .filter(|(_, shared)| shared.unread.load(Ordering::Relaxed))
            .map(|(label, _)| label.clone())
            .take(10)
            .collect();
        if *self.left_out.lock().unwrap_or_else(PoisonError::into_inner) {
            labels.push(format!("those beyond the first {STREAMS_MAX} containers"));
        }
        labels
    }
}

struct Follower {
    pods: Api<Pod>,
    tally: Arc<Tally>,
    since: Timestamp,
    container: Container,
    shared: Arc<Shared>,
    forbidden: Arc<AtomicBool>,
}

impl Follower {
    /// Ends with the pod, or with the watch that dropped it.
    async fn run(self) {
        let mut position = Position::default();
        let mut restarts_read = 0;
        loop {
            let restarts = self.shared.restarts.load(Ordering::Relaxed);
            if restarts > restarts_read {
                // What the last container logged before it died, as far as the kubelet still has it.
                let _ = self.read(true, &mut position).await;
                restarts_read = restarts;
            }
            match self.read(false, &mut position).await {
                Ok(()) => self.shared.unread.store(false, Ordering::Relaxed),
                Err(kube::Error::Api(status)) if status.code == 404 => return,
                Err(kube::Error::Api(status)) if status.code == 403 || status.code == 401 => {
                    self.forbidden.store(true, Ordering::Relaxed);
                    return;
                }
                // 400: between two starts a container has no log.
                Err(kube::Error::Api(status)) if status.code == 400 => {}
                Err(_) => self.shared.unread.store(true, Ordering::Relaxed),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn read(&self, previous: bool, position: &mut Position) -> Result<(), kube::Error> {
        let since = position.resume().unwrap_or(self.since);
        let parameters = LogParams {
            container: Some(self.container.name.clone()),
            follow: !previous,
            previous,
            timestamps: true,
            since_time: Some(since),
            ..LogParams::default()
        };
        let opening = self.pods.log_stream(&self.container.pod, &parameters);
        let Ok(stream) = tokio::time::timeout(ANSWER_WITHIN, opening).await else {
            return Err(kube::Error::Service("the log was not opened in time".into()));
        };
        let stream = std::pin::pin!(stream?);
        self.tally.pod(&self.container.uid);
        self.shared.unread.store(false, Ordering::Relaxed);
        self.count(stream, position).await;
        Ok(())
    }

    async fn count(&self, mut stream: impl AsyncBufRead + Unpin, position: &mut Position) {
        // A broken or silent connection is taken up again where it was left.
        while let Ok(Ok(Some(line))) = tokio::time::timeout(SILENCE, next(&mut stream)).await {
            if let Some((at, text)) = timed(&line)
                && position.is_new(at)
            {
                self.tally.line(at, &text);
            }
        }
    }
}
