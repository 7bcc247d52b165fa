//! What looks like a secret in a sampled value. Pure; shown values pass it, so that a status never holds a credential.
//!
//! A small list of rules with a high price of a miss; precision is left to the person who looks at the plan.

use regex::Regex;
use std::sync::LazyLock;

struct Rule {
    name: &'static str,
    regex: Option<Regex>,
}

/// Order matters: the longer finding comes first.
const RULES: &[(&str, &str)] = &[
    ("private-key", r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----[\s\S]*?(-----END [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----|$)"),
    ("connection-string", r"(?i)\b[a-z][a-z0-9+.-]{1,30}://[^\s:/@]*:[^\s/@]+@[^\s]+"),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{5,}"),
    ("aws-key", r"\b(AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b"),
    ("github-token", r"\b(gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})"),
    ("gitlab-token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("slack-token", r"\bxox[abeprs]-[A-Za-z0-9-]{10,}"),
    ("slack-webhook", r"hooks\.slack\.com/(services|workflows)/[A-Za-z0-9/+_-]{20,}"),
    ("stripe-key", r"\b[rs]k_(live|test)_[A-Za-z0-9]{10,}"),
    ("anthropic-key", r"\bsk-ant-[A-Za-z0-9_-]{20,}"),
    ("openai-key", r"\bsk-(proj-|svcacct-)?[A-Za-z0-9_-]{20,}"),
    ("google-key", r"\bAIza[A-Za-z0-9_-]{35}"),
    ("authorization", r"(?i)\bauthorization\W{1,4}[^\r\n]{6,}"),
    ("bearer", r"(?i)\bbearer\s+[a-z0-9._~+/=-]{16,}"),
    (
        "password",
        r#"(?i)[a-z0-9_.-]*(passwd|password|passphrase|pwd|secret|api[_-]?key|access[_-]?token|auth[_-]?token)["']?\s*(:=|=>|=|:)\s*["']?[^\s"',;}]{4,}"#,
    ),
];

static COMPILED: LazyLock<Vec<Rule>> =
    LazyLock::new(|| RULES.iter().map(|(name, pattern)| Rule { name, regex: Regex::new(pattern).ok() }).collect());

/// The text with each finding replaced by `[redacted: rule]`, and whether there was any.
#[must_use]
pub fn redact(text: &str) -> (String, bool) {
    let mut shown = text.to_owned();
    let mut found = false;
    for rule in COMPILED.iter() {
        let Some(regex) = &rule.regex else { continue };
        if regex.is_match(&shown) {
            found = true;
            shown = regex.replace_all(&shown, format!("[redacted: {}]", rule.name)).into_owned();
        }
    }
    (shown, found)
}

#[cfg(test)]
mod tests {
    use super::{COMPILED, redact};

    #[test]
    fn every_rule_compiles() {
        assert!(COMPILED.iter().all(|rule| rule.regex.is_some()));
    }

    #[test]
    fn secrets_are_redacted_by_the_name_of_their_rule() {
        let token = "x".repeat(40);
        for (text, rule) in [
            ("see postgres://app:hunter2@db.example/prod now".to_owned(), "connection-string"),
            ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc".to_owned(), "private-key"),
            (format!("Authorization: Basic {token}"), "authorization"),
            (format!("{{\"h\":\"Bearer {token}\"}}"), "bearer"),
            (format!("AKIA{}", "ABCDEFGH23456777"), "aws-key"),
            (format!("ghp_{token}"), "github-token"),
            (format!("xoxb-{token}"), "slack-token"),
            (format!("sk_{}_{token}", "live"), "stripe-key"),
            (format!("sk-proj-{token}"), "openai-key"),
            ("{\"password\": \"hunter2!\"}".to_owned(), "password"),
            ("DB_PASSWORD=hunter2".to_owned(), "password"),
        ] {
            let (shown, found) = redact(&text);
            assert!(found && shown.contains(&format!("[redacted: {rule}]")), "{rule}: {shown}");
            assert!(!shown.contains("hunter2") && !shown.contains("MIIE") && !shown.contains(&token), "{shown}");
        }
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        for text in ["Write a haiku about the password policy", "https://example.org/a?b=c", "12:30@noon", "{\"model\": \"m-1\"}"] {
            assert_eq!(redact(text), (text.to_owned(), false));
        }
    }
}
