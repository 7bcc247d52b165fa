//! Progress lines on stdout, at most one a second; what holds a step, and what lets it go, at once.

use crate::engine::throttle::{Held, Remark};
use crate::protocol::Progress;
use std::collections::VecDeque;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Not more often than this.
const EVERY: Duration = Duration::from_secs(1);
/// The speed is taken over about this long.
const WINDOW: Duration = Duration::from_secs(10);
/// So many readings that could not be taken are said; there are six readings.
const REMARKS: usize = 12;

/// Prints how far a step is.
#[derive(Debug, Default)]
pub struct Reporter {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The line to print next.
    now: Progress,
    /// What was done when a line was printed, the oldest first: no more than the window's.
    marks: VecDeque<(Instant, i64)>,
    printed: Option<Instant>,
}

impl Reporter {
    /// Says how far the step is; prints where the last line is a second old. `total` is 0 where it is not known.
    pub fn progress(&self, done: i64, total: i64, unit: &str) {
        let Ok(mut state) = self.state.lock() else { return };
        if let Some(line) = state.progress(done, total, unit, Instant::now()) {
            print(&line);
        }
    }

    /// Says that all is done, at once: the last look may be long ago, and a short step has had none.
    pub fn finished(&self, total: i64, unit: &str) {
        let Ok(mut state) = self.state.lock() else { return };
        if let Some(line) = state.finished(total, unit, Instant::now()) {
            print(&line);
        }
    }

    /// Says whether the step writes gently from now on; printed with the next line.
    pub fn gentle(&self, gentle: bool) {
        let Ok(mut state) = self.state.lock() else { return };
        state.now.gentle = gentle;
    }

    /// Says what holds the step from now on, or that nothing does any more, and which readings could not be taken. Prints at
    /// once where another reading holds it than before; else as [`Reporter::progress`] does.
    pub fn throttled<'a>(&self, held: Option<&Held>, remarks: impl IntoIterator<Item = &'a Remark>) {
        let Ok(mut state) = self.state.lock() else { return };
        if let Some(line) = state.throttled(held, remarks, Instant::now()) {
            print(&line);
        }
    }
}

impl State {
    fn progress(&mut self, done: i64, total: i64, unit: &str, now: Instant) -> Option<Progress> {
        (self.now.done, self.now.total, self.now.unit) = (done, total, unit.into());
        // The newest mark before the window stays: the speed is taken over all of the window, not over what follows it.
        while self.marks.get(1).is_some_and(|(marked, _)| now - *marked >= WINDOW) {
            self.marks.pop_front();
        }
        let (start, done_then) = *self.marks.front().unwrap_or(&(now, done));
        let millis = i64::try_from((now - start).as_millis()).unwrap_or(i64::MAX).max(1);
        self.now.per_second = (done - done_then).max(0) * 1000 / millis;
        let line = self.line(false, now);
        if line.is_some() || self.marks.is_empty() {
            self.marks.push_back((now, done));
        }
        line
    }

    fn finished(&mut self, total: i64, unit: &str, now: Instant) -> Option<Progress> {
        // Nobody is to be spared any more.
        self.now.gentle = false;
        self.progress(total, total, unit, now).or_else(|| self.line(true, now))
    }

    fn throttled<'a>(&mut self, held: Option<&Held>, remarks: impl IntoIterator<Item = &'a Remark>, now: Instant) -> Option<Progress> {
        let (by, message) = held.map_or((None, String::new()), |held| (Some(held.reading.to_owned()), held.message.clone()));
        let unmeasured: Vec<String> = remarks.into_iter().take(REMARKS).map(|r| format!("{}: {}", r.reading, r.message)).collect();
        let other = by != self.now.throttled_by || unmeasured != self.now.unmeasured;
        if by.is_some() {
            // Nothing is done, and the speed before says nothing about the time left.
            self.now.per_second = 0;
            self.marks.clear();
        }
        let quiet = by.is_none() && !other;
        (self.now.throttled_by, self.now.throttle_message, self.now.unmeasured) = (by, message, unmeasured);
        if quiet { None } else { self.line(other, now) }
    }

    fn line(&mut self, at_once: bool, now: Instant) -> Option<Progress> {
        let due = self.printed.is_none_or(|printed| now - printed >= EVERY);
        (due || at_once).then(|| {
            self.printed = Some(now);
            self.now.clone()
        })
    }
}

/// A reader that went away is no reason to stop the work.
fn print(progress: &Progress) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{}", progress.to_line()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::State;
    use crate::engine::throttle::{Held, Remark};
    use std::time::{Duration, Instant};

    #[test]
    fn the_last_line_says_that_all_is_done_and_that_nobody_is_spared_any_more() {
        let (mut state, start) = (State::default(), Instant::now());
        state.now.gentle = true;
        assert!(state.progress(5, 10, "rows", start).unwrap().gentle);
        let last = state.finished(10, "rows", start + Duration::from_millis(1)).unwrap();
        assert_eq!((last.done, last.total, last.gentle), (10, 10, false));
    }

    #[test]
    fn a_line_a_second_says_how_fast_it_goes() {
        let (mut state, start) = (State::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(state.progress(0, 100, "rows", at(0)).map(|line| line.done), Some(0));
        assert_eq!(state.progress(5, 100, "rows", at(500)), None);
        let line = state.progress(20, 100, "rows", at(2000)).unwrap();
        assert_eq!((line.done, line.per_second, line.remaining_seconds()), (20, 10, Some(8)));
    }

    #[test]
    fn the_speed_is_that_of_the_last_ten_seconds_and_a_short_stop_does_not_make_it_nothing() {
        let (mut state, start) = (State::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for second in 0..=30 {
            state.progress(10 * i64::try_from(second).unwrap(), 1000, "rows", at(second));
        }
        for second in 31..=35 {
            state.progress(300, 1000, "rows", at(second));
        }
        assert_eq!(state.now.per_second, 5, "five seconds of ten");
        state.progress(300, 1000, "rows", at(60));
        assert_eq!(state.progress(300, 1000, "rows", at(61)).unwrap().per_second, 0);
    }

    #[test]
    fn what_holds_a_step_is_said_at_once_again_each_second_and_taken_back_at_once() {
        let (mut state, start) = (State::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        let held = |message: &str| Held { reading: "WalRate", message: message.into() };
        state.progress(0, 100, "rows", at(0));
        state.progress(10, 100, "rows", at(1000));
        assert_eq!(state.throttled(None, [], at(1100)), None, "nothing held it before, either");
        let line = state.throttled(Some(&held("a")), [], at(1200)).unwrap();
        assert_eq!((line.done, line.per_second, line.throttled_by.as_deref()), (10, 0, Some("WalRate")));
        assert_eq!(state.throttled(Some(&held("b")), [], at(1300)), None);
        assert_eq!(state.throttled(Some(&held("c")), [], at(2300)).unwrap().throttle_message, "c");
        let line = state.throttled(None, [], at(2400)).unwrap();
        assert_eq!((line.throttled_by, line.throttle_message.as_str()), (None, ""));
        assert_eq!(state.progress(11, 100, "rows", at(4000)).unwrap().per_second, 0, "the time it was held is not counted");
        assert_eq!(state.progress(21, 100, "rows", at(5000)).unwrap().per_second, 10);
    }

    #[test]
    fn a_reading_that_could_not_be_taken_is_on_every_line_from_then_on() {
        let (mut state, start) = (State::default(), Instant::now());
        let remark = Remark { reading: "ActiveBackends", message: "GRANT".into() };
        assert_eq!(state.throttled(None, [&remark], start).unwrap().unmeasured, ["ActiveBackends: GRANT"]);
        assert_eq!(state.throttled(None, [&remark], start), None);
        assert_eq!(state.progress(1, 2, "rows", start + Duration::from_secs(2)).unwrap().unmeasured.len(), 1);
    }
}
