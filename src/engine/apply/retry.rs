//! When to try again: soon at first, later with each failure, never in step with others, and not for ever.

use rand::Rng as _;
use std::time::Duration;

/// Waits between attempts, and how many are left.
#[derive(Clone, Copy, Debug)]
pub struct Retries {
    limit: u32,
    used: u32,
    first: Duration,
    longest: Duration,
}

impl Default for Retries {
    /// Fourteen attempts in about a minute and a half: a restart of the server, or a failover, takes less.
    fn default() -> Self {
        Self::new(14, Duration::from_millis(200), Duration::from_secs(10))
    }
}

impl Retries {
    /// At most `limit` attempts; waits double from `first` up to `longest`.
    #[must_use]
    pub const fn new(limit: u32, first: Duration, longest: Duration) -> Self {
        Self { limit, used: 0, first, longest }
    }

    /// How many attempts there are in all.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// The next wait: between half and the whole of the doubled one. `None` where no attempt is left.
    pub fn next_wait(&mut self) -> Option<Duration> {
        if self.used >= self.limit {
            return None;
        }
        let whole = self.first.saturating_mul(1 << self.used.min(16)).min(self.longest);
        self.used += 1;
        Some(whole.mul_f64(rand::rng().random_range(0.5..=1.0)))
    }
}

/// Pauses between looks at what somebody else is doing: short at first, so that little is waited in vain, and never longer
/// than what has been waited already, or than half a second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    next: Duration,
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(20);
    const LONGEST: Duration = Duration::from_millis(500);

    /// From the beginning.
    pub(super) const fn new() -> Self {
        Self { next: Self::FIRST }
    }

    /// The next pause.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(Self::LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::Retries;
    use std::time::Duration;

    #[test]
    fn waits_grow_up_to_the_longest_and_end() {
        let mut retries = Retries::new(5, Duration::from_millis(100), Duration::from_millis(300));
        let waits: Vec<Duration> = std::iter::from_fn(|| retries.next_wait()).collect();
        assert_eq!(waits.len(), 5);
        for (wait, whole) in waits.iter().zip([100, 200, 300, 300, 300]) {
            let whole = Duration::from_millis(whole);
            assert!(*wait <= whole && *wait >= whole / 2, "{wait:?} of {whole:?}");
        }
    }
}
