//! Progress: a JSON line a second on stdout.

use serde::{Deserialize, Serialize};

pub(super) const MARK: &str = "BACKFILL-PROGRESS ";

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
    /// True while others write, and the step therefore writes gently.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gentle: bool,
    /// The reading that holds the step at this moment: one CamelCase word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_by: Option<String>,
    /// What was measured, and of what limit; empty where nothing holds the step.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub throttle_message: String,
    /// Readings that could not be taken, and what to do about it, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<String>,
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
        let early = Progress { done: 1, total: 10, unit: "rows".into(), per_second: 1, ..Progress::default() };
        let late = Progress { done: 5, ..early.clone() };
        let log = format!("{}\nnoise\n{}\nBACKFILL-PROGRESS {{broken\n", early.to_line(), late.to_line());
        assert_eq!(Progress::latest(&log), Some(late.clone()));
        assert_eq!(late.remaining_seconds(), Some(5));
    }

    #[test]
    fn what_holds_a_step_is_said_only_while_it_does() {
        let free = Progress { done: 1, ..Progress::default() };
        assert!(!free.to_line().contains("throttle"), "{}", free.to_line());
        let held = Progress { throttled_by: Some("WalRate".into()), throttle_message: "60 MiB a second".into(), ..free };
        assert_eq!(Progress::latest(&held.to_line()), Some(held));
    }
}
