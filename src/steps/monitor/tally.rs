//! What the logs showed, as counts.

use super::error::MonitorError;
use crate::api::spec::LogPattern;
use crate::api::status::PatternStatus;
use jiff::Timestamp;
use regex::{Regex, RegexBuilder};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio_util::sync::CancellationToken;

/// A compiled pattern needs no more memory than this; `regex` matches in linear time whatever the pattern.
const PATTERN_MAX_BYTES: usize = 1024 * 1024;

/// Which lines count: read from `since` on, as before until `from`, as after until `until`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub since: Timestamp,
    pub from: Timestamp,
    pub until: Timestamp,
}

/// The counts of a watch.
#[derive(Debug)]
pub(super) struct Tally {
    window: Window,
    patterns: Vec<Counted>,
    lines: AtomicI64,
    pods: Mutex<BTreeSet<String>>,
    exceeded: CancellationToken,
}

#[derive(Debug)]
struct Counted {
    name: String,
    regex: Regex,
    max: i32,
    before: AtomicI64,
    after: AtomicI64,
}

impl Tally {
    pub(super) fn new(patterns: &[LogPattern], window: Window) -> Result<Self, MonitorError> {
        let patterns = patterns.iter().map(Counted::new).collect::<Result<_, _>>()?;
        Ok(Self { window, patterns, lines: AtomicI64::new(0), pods: Mutex::default(), exceeded: CancellationToken::new() })
    }

    /// Counts a line.
    pub(super) fn line(&self, at: Timestamp, text: &str) {
        if at < self.window.since || at > self.window.until {
            return;
        }
        self.lines.fetch_add(1, Ordering::Relaxed);
        for pattern in self.patterns.iter().filter(|p| p.regex.is_match(text)) {
            if at < self.window.from {
                pattern.before.fetch_add(1, Ordering::Relaxed);
            } else if pattern.after.fetch_add(1, Ordering::Relaxed) >= i64::from(pattern.max) {
                self.exceeded.cancel();
            }
        }
    }

    /// Remembers that logs of this pod are read.
    pub(super) fn pod(&self, uid: &str) {
        if let Ok(mut pods) = self.pods.lock() {
            pods.insert(uid.to_owned());
        }
    }

    /// Returns as soon as a pattern showed too often.
    pub(super) async fn exceeded(&self) {
        self.exceeded.cancelled().await;
    }

    pub(super) fn has_exceeded(&self) -> bool {
        self.exceeded.is_cancelled()
    }

    pub(super) fn lines(&self) -> i64 {
        self.lines.load(Ordering::Relaxed)
    }

    pub(super) fn pods(&self) -> i64 {
        self.pods.lock().map_or(0, |pods| i64::try_from(pods.len()).unwrap_or(i64::MAX))
    }

    pub(super) fn patterns(&self) -> Vec<PatternStatus> {
        self.patterns
            .iter()
            .map(|p| PatternStatus {
                name: p.name.clone(),
                before: p.before.load(Ordering::Relaxed),
                after: p.after.load(Ordering::Relaxed),
                max: p.max,
            })
            .collect()
    }
}

impl Counted {
    fn new(pattern: &LogPattern) -> Result<Self, MonitorError> {
        let regex = RegexBuilder::new(&pattern.regex).size_limit(PATTERN_MAX_BYTES).build().map_err(|error| {
            let why = match error {
                regex::Error::CompiledTooBig(_) => "it becomes too large; repeat less".to_owned(),
                // The last line of a syntax error says what it is; those before draw it.
                other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
            };
            MonitorError::PatternMalformed { name: pattern.name.clone(), why }
        })?;
        Ok(Self { name: pattern.name.clone(), regex, max: pattern.max, before: AtomicI64::new(0), after: AtomicI64::new(0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(max: i32) -> Tally {
        let at = |second| Timestamp::from_second(second).unwrap();
        let pattern = LogPattern { name: "importer".into(), regex: "(?i)error.*importer".into(), max };
        Tally::new(&[pattern], Window { since: at(100), from: at(200), until: at(300) }).unwrap()
    }

    fn count(tally: &Tally) -> (i64, i64, i64, bool) {
        let pattern = tally.patterns().remove(0);
        (tally.lines(), pattern.before, pattern.after, tally.has_exceeded())
    }

    #[test]
    fn lines_count_before_and_after_the_flag_and_only_inside_the_watch() {
        let tally = tally(1);
        for (second, text) in [
            (99, "Error in importer"),
            (150, "ERROR: the Importer"),
            (199, "all is well"),
            (200, "error importer"),
            (301, "error importer"),
        ] {
            tally.line(Timestamp::from_second(second).unwrap(), text);
        }
        assert_eq!(count(&tally), (3, 1, 1, false));
        tally.line(Timestamp::from_second(300).unwrap(), "error importer");
        assert_eq!(count(&tally), (4, 1, 2, true), "more than max");
    }

    #[test]
    fn a_bad_pattern_is_named_with_what_is_wrong() {
        let window = Window { since: Timestamp::UNIX_EPOCH, from: Timestamp::UNIX_EPOCH, until: Timestamp::UNIX_EPOCH };
        for regex in ["(unclosed", "(?=look)", "(a{1000}){1000}"] {
            let pattern = LogPattern { name: "bad".into(), regex: regex.into(), max: 0 };
            let error = Tally::new(&[pattern], window).unwrap_err();
            assert_eq!(error.reason(), "PatternMalformed", "{error}");
        }
    }
}
