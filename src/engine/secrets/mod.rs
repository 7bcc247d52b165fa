//! What looks like a secret in a value. Pure; what is shown passes it, so that a status never holds a credential, and a
//! run may have the columns that it writes pass it, too (`sensitiveData`).
//!
//! Called by the plan, for samples and written columns, and by the controller, for what the team's Jobs print. A finding is a
//! rule's name and a place: the value itself is in no answer, error or debug output of this module. The rules are a net with holes.

mod judge;
mod leaves;
mod rule;
mod rules;
mod scanner;
#[cfg(test)]
mod speed;
#[cfg(test)]
mod tests;
mod words;

pub use scanner::{Finding, RuleError, Scanner, check};

/// The text with each finding replaced by `[redacted: rule]`, and whether there was any. A text that is a JSON object or
/// array stays one.
#[must_use]
pub fn redact(text: &str) -> (String, bool) {
    let (shown, rules) = Scanner::standard().redact(text, leaves::is_document(text));
    (shown.into_owned(), !rules.is_empty())
}
