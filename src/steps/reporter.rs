//! Progress lines on stdout, at most one a second.

use crate::protocol::Progress;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Not more often than this.
const EVERY: Duration = Duration::from_secs(1);
/// The speed is taken over about this long.
const WINDOW: Duration = Duration::from_secs(10);

/// Prints how far a step is.
#[derive(Debug, Default)]
pub struct Reporter {
    state: Mutex<Option<State>>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    window_start: Instant,
    window_done: i64,
    printed: Instant,
}

impl Reporter {
    /// Says how far the step is; prints where the last line is a second old. `total` is 0 where it is not known.
    pub fn progress(&self, done: i64, total: i64, unit: &str) {
        let now = Instant::now();
        let Ok(mut guard) = self.state.lock() else { return };
        let Some(state) = guard.as_mut() else {
            *guard = Some(State { window_start: now, window_done: done, printed: now });
            print(&Progress { done, total, unit: unit.into(), per_second: 0 });
            return;
        };
        if now - state.printed < EVERY {
            return;
        }
        let elapsed = now - state.window_start;
        let millis = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX).max(1);
        print(&Progress { done, total, unit: unit.into(), per_second: (done - state.window_done).max(0) * 1000 / millis });
        state.printed = now;
        if elapsed > WINDOW {
            (state.window_start, state.window_done) = (now, done);
        }
    }
}

/// A reader that went away is no reason to stop the work.
fn print(progress: &Progress) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", progress.to_line()).and_then(|()| out.flush());
}
