//! What the probes ask: is the operator ready, and does its loop move?

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A pass of `reconcile` has a timeout around each of its calls, about a minute in all: longer than this it hangs.
pub const STUCK_AFTER: Duration = Duration::from_mins(5);

/// The state that the probes read.
#[derive(Debug, Default)]
pub struct Health {
    ready: AtomicBool,
    passes: Mutex<Vec<(u64, Instant)>>,
}

/// A pass of `reconcile` that is under way; it ends when this is dropped, whatever became of it.
#[must_use = "the pass ends when this is dropped"]
#[derive(Debug)]
pub struct Pass<'a> {
    health: &'a Health,
    id: u64,
}

impl Health {
    /// To be called once the caches are filled, or once the operator stands by for the Lease.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// True where the operator does what it is there for.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// To be called at the start of each pass of `reconcile`.
    pub fn begin(&self, now: Instant) -> Pass<'_> {
        let mut passes = self.lock();
        let id = passes.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
        passes.push((id, now));
        drop(passes);
        Pass { health: self, id }
    }

    /// False where a pass has taken longer than [`STUCK_AFTER`]. With nothing to do nothing can hang: an idle operator
    /// and one that stands by are alive.
    #[must_use]
    pub fn is_alive(&self, now: Instant) -> bool {
        self.lock().iter().all(|(_, begun)| now.saturating_duration_since(*begun) < STUCK_AFTER)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Instant)>> {
        // The list is whole between any two statements: a panic of another holder has not broken it.
        self.passes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.health.lock().retain(|(id, _)| *id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_is_alive_busy_is_alive_and_stuck_is_not() {
        let (health, start) = (Health::default(), Instant::now());
        assert!(health.is_alive(start + STUCK_AFTER * 100));
        let quick = health.begin(start);
        let stuck = health.begin(start);
        assert!(health.is_alive(start + STUCK_AFTER / 2));
        drop(quick);
        let busy = health.begin(start + STUCK_AFTER);
        assert!(!health.is_alive(start + STUCK_AFTER), "one that hangs is not hidden by others that end");
        drop(stuck);
        assert!(health.is_alive(start + STUCK_AFTER));
        drop(busy);
    }
}
