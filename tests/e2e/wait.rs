//! Waiting: looking again and again until a deadline. A pause is never a proof.

use std::time::{Duration, Instant};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// Looks until it finds, and fails at the deadline with what was seen last.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        let seen = match look().await {
            Ok(found) => return found,
            Err(seen) => seen,
        };
        assert!(begun.elapsed() < within, "{what}: not within {} s; seen last: {seen}", within.as_secs());
        tokio::time::sleep(PAUSE).await;
    }
}
