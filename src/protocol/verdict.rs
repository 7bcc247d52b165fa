//! The verdict: at most 3 KiB, in the termination message.

use serde::{Deserialize, Serialize};

/// The kubelet keeps 4096 bytes of a termination message; a quarter is left for escapes.
pub const VERDICT_MAX_BYTES: usize = 3072;

/// How a step says it ended. A step that says nothing is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Good.
    Passed,
    /// Bad: a verdict.
    Failed,
    /// Could not be measured; a person decides.
    Inconclusive,
    /// Cannot work as things are: the message says what to change. Tried again later, or when the spec changes.
    Stalled,
    /// Something outside gave way (connection lost, server restarting); tried again with back-off.
    Lost,
    /// Ended on SIGTERM, with whole batches only.
    Stopped,
}

/// The end of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// How it ended.
    pub outcome: Outcome,
    /// One CamelCase word: reason of conditions and events.
    pub reason: String,
    /// A sentence for people; never a value of a row, never a secret.
    pub message: String,
    /// SHA-256 of the details on stdout; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details_sha256: Option<String>,
}

impl Verdict {
    /// A verdict without details.
    #[must_use]
    pub fn new(outcome: Outcome, reason: &str, message: impl Into<String>) -> Self {
        Self { outcome, reason: reason.into(), message: message.into(), details_sha256: None }
    }

    /// The text of the termination message: the message is shortened until all fits in [`VERDICT_MAX_BYTES`].
    #[must_use]
    pub fn to_message(&self) -> String {
        let mut verdict = self.clone();
        loop {
            let text = serde_json::to_string(&verdict).unwrap_or_default();
            if text.len() <= VERDICT_MAX_BYTES || verdict.message.is_empty() {
                return text;
            }
            let keep = verdict.message.chars().count() * 3 / 4;
            verdict.message = verdict.message.chars().take(keep).collect();
        }
    }

    /// Reads a termination message; `None` where it is not a verdict.
    #[must_use]
    pub fn from_message(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_until_the_verdict_fits_and_still_reads_back() {
        let verdict = Verdict::new(Outcome::Failed, "ChecksFailed", "\u{1F40C}\"\n".repeat(4000));
        let text = verdict.to_message();
        assert!(text.len() <= VERDICT_MAX_BYTES);
        assert_eq!(Verdict::from_message(&text).unwrap().reason, "ChecksFailed");
    }

    #[test]
    fn what_is_no_verdict_is_none() {
        assert_eq!(Verdict::from_message(""), None);
        assert_eq!(Verdict::from_message("Killed"), None);
    }
}
