//! Progress: a JSON line a second on stdout.

use serde::{Deserialize, Serialize};

const MARK: &str = "BACKFILL-PROGRESS ";

/// How far a step is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Done so far, over all attempts.
    pub done: i64,
    /// Of how many; 0 where it is not known.
    pub total: i64,
    /// What is counted: `rows` or `bytes`.
    pub unit: String,
    /// A second, over the last seconds of this attempt.
    pub per_second: i64,
}

impl Progress {
    /// The line to print.
    #[must_use]
    pub fn to_line(&self) -> String {
        format!("{MARK}{}", serde_json::to_string(self).unwrap_or_default())
    }

    /// The latest progress in a log.
    #[must_use]
    pub fn latest(log: &str) -> Option<Self> {
        log.lines().rev().find_map(|line| serde_json::from_str(line.strip_prefix(MARK)?).ok())
    }

    /// Seconds left at the present speed; `None` where it cannot be said.
    #[must_use]
    pub fn remaining_seconds(&self) -> Option<i64> {
        (self.per_second > 0 && self.total >= self.done && self.total > 0)
            .then(|| (self.total - self.done + self.per_second - 1) / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn the_latest_line_counts() {
        let early = Progress { done: 1, total: 10, unit: "rows".into(), per_second: 1 };
        let late = Progress { done: 5, ..early.clone() };
        let log = format!("{}\nnoise\n{}\nBACKFILL-PROGRESS {{broken\n", early.to_line(), late.to_line());
        assert_eq!(Progress::latest(&log), Some(late.clone()));
        assert_eq!(late.remaining_seconds(), Some(5));
    }
}
