//! The scanner as its callers see it.

use super::{RuleError, Scanner, check, redact};
use crate::api::spec::{ExtraRules, SecretRule, SensitiveData};
use serde_json::{Value, json};

fn token() -> String {
    "q7Zp1xT0vW".repeat(4)
}

fn own(name: &str, regex: &str, keywords: &[&str]) -> SecretRule {
    SecretRule { name: name.into(), regex: regex.into(), keywords: keywords.iter().map(|word| (*word).to_owned()).collect() }
}

fn with(rules: Vec<SecretRule>) -> SensitiveData {
    SensitiveData { extra_rules: Some(ExtraRules { inline: Some(rules), config_map_key_ref: None }), ..SensitiveData::default() }
}

#[test]
fn secrets_are_redacted_by_the_name_of_their_rule() {
    let token = token();
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
    for text in [
        "Write a haiku about the password policy",
        "https://example.org/a?b=c",
        "12:30@noon",
        "{\"model\": \"m-1\", \"max_tokens\": 4096, \"n\": 1.50}",
        "The secret: be kind. Password: please choose one of your own.",
        "commit 3f2a9c1d8e7b6a5f4c3d2e1f0a9b8c7d6e5f4a3b",
        "id 0b6f1c2e-aaaa-4bbb-8ccc-0123456789ab",
    ] {
        assert_eq!(redact(text), (text.to_owned(), false));
    }
}

#[test]
fn redacted_json_is_json_with_all_the_rest_to_the_byte() {
    let token = token();
    let inner = json!({"deep": format!("ghp_{token}"), "kept": 1}).to_string();
    let text = format!(
        "{{ \"z\": 1.50, \"a\" : [\"x\\nglpat-{token}\", {{\"password\": \"correct horse\"}}],\n \"inner\": {}, \"n\": 123456789012345678901234567890, \"z\": 2 }}",
        Value::String(inner)
    );
    let (shown, rules) = Scanner::standard().redact(&text, true);
    assert_eq!(rules, ["gitlab-token", "password", "github-token"]);
    let expected = "{ \"z\": 1.50, \"a\" : [\"x\\n[redacted: gitlab-token]\", {\"password\": \"[redacted: password]\"}],\n \"inner\": \"{\\\"deep\\\":\\\"[redacted: github-token]\\\",\\\"kept\\\":1}\", \"n\": 123456789012345678901234567890, \"z\": 2 }";
    assert_eq!(shown, expected);
    assert!(serde_json::from_str::<Value>(&shown).is_ok());
    assert_eq!(Scanner::standard().rules_found(&text), rules);
}

#[test]
fn the_name_of_an_entry_tells_what_its_value_is_and_names_may_be_secrets_themselves() {
    let hex = "0a1b2c3d4e5f60718293a4b5c6d7e8f9";
    let text = json!({"datadog_api_key": hex, "trace": hex, "pwd": 12_345_678, format!("AKIA{}", "ABCDEFGH23456777"): "me"}).to_string();
    let (shown, rules) = Scanner::standard().redact(&text, true);
    assert_eq!(rules, ["datadog-key", "password", "aws-key"]);
    let expected =
        json!({"datadog_api_key": "[redacted: datadog-key]", "trace": hex, "pwd": "[redacted: password]", "[redacted: aws-key]": "me"});
    assert_eq!(shown, expected.to_string());
}

#[test]
fn where_findings_overlap_all_of_it_goes_under_the_longer_ones_name() {
    let token = token();
    let text = format!("clone https://me:ghp_{token}@git.internal/x.git now");
    let (shown, rules) = Scanner::standard().redact(&text, false);
    assert_eq!((&*shown, rules), ("clone [redacted: connection-string] now", vec!["connection-string"]));
    // A rule that is allowed hides nothing of another one.
    let scanner = Scanner::of(&SensitiveData { allow: vec!["connection-string".into()], ..SensitiveData::default() }).unwrap();
    assert_eq!(scanner.redact(&text, false).1, ["github-token"]);
}

#[test]
fn what_a_run_allows_is_no_finding_and_its_own_rules_find() {
    let spec = SensitiveData {
        allow_values: vec!["ghp_q7Z.*".into(), "hunter2".into()],
        ..with(vec![own("our-token", r"\bacme_([a-f0-9]{8})\b", &["ACME_"]), own("no-words", r"\bX{3}\d+", &[])])
    };
    let scanner = Scanner::of(&spec).unwrap();
    let text = format!("ghp_{} password=hunter2 acme_0a1b2c3d XXX1 password=hunter22", token());
    let (shown, rules) = scanner.redact(&text, false);
    assert_eq!(rules, ["our-token", "no-words", "password"]);
    assert!(shown.ends_with("password=hunter2 acme_[redacted: our-token] [redacted: no-words] password=[redacted: password]"), "{shown}");
    assert_eq!(scanner.redact("{\"password\": \"hunter2\"}", true).1, Vec::<&str>::new());
}

#[test]
fn rules_that_cannot_work_are_refused_with_what_to_change() {
    let refused = |spec: &SensitiveData| {
        let error = Scanner::of(spec).map(|_| ()).unwrap_err();
        assert_eq!(check(spec), Err(error.clone()));
        (error.reason(), error.to_string())
    };
    let (reason, message) = refused(&with(vec![own("a", "(?=x)", &[])]));
    assert!(reason == "BadSecretRegex" && message.contains("extraRules[0].regex"), "{message}");
    let (reason, message) = refused(&with(vec![own("a", "x*", &[])]));
    assert!(reason == "BadSecretRule" && message.contains("empty text"), "{message}");
    let (reason, message) = refused(&with(vec![own("aws-key", "x", &[])]));
    assert!(reason == "BadSecretRule" && message.contains("another name"), "{message}");
    let (reason, message) = refused(&SensitiveData { allow: vec!["aws-keys".into()], ..SensitiveData::default() });
    assert!(reason == "UnknownSecretRule" && message.contains("as in aws-key"), "{message}");
    for pattern in ["(", "a)|(b"] {
        assert_eq!(refused(&SensitiveData { allow_values: vec![pattern.into()], ..SensitiveData::default() }).0, "BadSecretRegex");
    }
    let unresolved = SensitiveData { extra_rules: Some(ExtraRules::default()), ..SensitiveData::default() };
    assert_eq!(check(&unresolved), Err(RuleError::SecretRulesUnresolved));
}

#[test]
fn a_scanner_may_be_used_from_many_threads() {
    let text = format!("ghp_{}", token());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(Scanner::standard().rules_found(&text), ["github-token"]));
        }
    });
}
