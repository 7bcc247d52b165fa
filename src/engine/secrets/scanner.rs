//! The scanner: first the words by which secrets are known, all at once; then only the rules whose word occurs.

use super::leaves::{self, Leaf};
use super::rule::{Ready, compile};
use super::rules;
use super::words::Words;
use crate::api::spec::{SecretRule, SensitiveData};
use regex::Regex;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;
use thiserror::Error;

/// JSON in a string in JSON is looked into so deep.
const MAX_DEPTH: u32 = 8;
/// At most so many rules of the run, wherever they are written.
const MAX_OWN_RULES: usize = 256;
/// At most so many characters in an expression of the run.
const MAX_REGEX_CHARS: usize = 1024;

/// Something that looks like a secret: the rule that says so, and where. Never what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding<'a> {
    /// Name of the rule.
    pub rule: &'a str,
    /// Bytes of the text, on character boundaries.
    pub range: Range<usize>,
}

/// Why the rules of a run cannot be used. The variant is the reason of the Stalled condition.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RuleError {
    /// An expression does not compile.
    #[error("{field}: {message}")]
    BadSecretRegex {
        /// Where.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// A rule cannot be told from others, or would find nothing or everything.
    #[error("{field}: {message}")]
    BadSecretRule {
        /// Where.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// A rule is allowed that is none.
    #[error("backfill.sql.sensitiveData.allow: there is no rule {name:?}: use the name that the finding has{}", like(near))]
    UnknownSecretRule {
        /// What stands there.
        name: String,
        /// Rules with a like name; at most five.
        near: Vec<String>,
    },
    /// The extra rules are still a reference.
    #[error("backfill.sql.sensitiveData.extraRules: the ConfigMap's content is missing in the step's input")]
    SecretRulesUnresolved,
}

impl RuleError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BadSecretRegex { .. } => "BadSecretRegex",
            Self::BadSecretRule { .. } => "BadSecretRule",
            Self::UnknownSecretRule { .. } => "UnknownSecretRule",
            Self::SecretRulesUnresolved => "SecretRulesUnresolved",
        }
    }
}

fn like(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!(", as in {}", near.join(", ")) }
}

/// Finds what looks like a secret. Made once, used for every value, from as many threads as there are.
#[derive(Debug)]
pub struct Scanner {
    rules: Vec<Ready>,
    words: Words,
    /// The rule of each word.
    word_rules: Vec<usize>,
    /// Rules without a word: tried on every text.
    always: Vec<usize>,
    allowed: Vec<String>,
    allowed_values: Vec<Regex>,
}

static STANDARD: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(Vec::new(), Vec::new(), Vec::new()));

impl Scanner {
    /// The standard rules, and nothing allowed.
    #[must_use]
    pub fn standard() -> &'static Self {
        &STANDARD
    }

    /// The standard rules and those of the run, without what the run allows.
    ///
    /// # Errors
    /// [`RuleError`] says what to change.
    pub fn of(spec: &SensitiveData) -> Result<Self, RuleError> {
        let own = own_rules(spec)?;
        check_allowed(spec, &own)?;
        Ok(Self::new(own, spec.allow.clone(), allowed_values(spec)?))
    }

    fn new(own: Vec<Ready>, allowed: Vec<String>, allowed_values: Vec<Regex>) -> Self {
        let mut all = own;
        all.extend(rules::all().map(Ready::of));
        let mut words = Vec::new();
        let mut word_rules = Vec::new();
        let mut always = Vec::new();
        for (index, rule) in all.iter().enumerate() {
            if rule.keywords.is_empty() {
                always.push(index);
            }
            for word in &rule.keywords {
                words.push(word.as_str());
                word_rules.push(index);
            }
        }
        let words = Words::of(words);
        Self { rules: all, words, word_rules, always, allowed, allowed_values }
    }

    /// What looks like a secret, in the order of the text, none overlapping another. Where several rules see the same place,
    /// all of it is one finding, named by the rule that sees most of it; at a tie, by the one that is first in the list.
    #[must_use]
    pub fn find(&self, text: &str) -> Vec<Finding<'_>> {
        let mut seen = Vec::new();
        for index in self.candidates(text) {
            let Some(rule) = self.rules.get(index).filter(|rule| !self.allowed.contains(&rule.name)) else { continue };
            for range in rule.find(text) {
                let value = text.get(range.clone()).unwrap_or_default();
                if !self.allowed_values.iter().any(|allowed| allowed.is_match(value)) {
                    seen.push((range, index));
                }
            }
        }
        self.joined(seen)
    }

    /// Names of the rules that find something, each once, in the order of the text. Of a JSON object or array the decoded
    /// strings are scanned, with the names of their entries, and JSON within them.
    #[must_use]
    pub fn rules_found(&self, text: &str) -> Vec<&str> {
        let mut names = Vec::new();
        if leaves::is_document(text) {
            self.redact_document(text, 0, &mut names);
        } else {
            note(&mut names, &self.find(text));
        }
        names
    }

    /// The text with each finding replaced by `[redacted: rule]`, and the names of the rules, each once. With `is_json` (the
    /// column is one of json or jsonb) decoded strings are scanned and put back encoded: what was JSON stays JSON, and what
    /// is no finding stays as it is to the byte.
    #[must_use]
    pub fn redact<'t>(&self, text: &'t str, is_json: bool) -> (Cow<'t, str>, Vec<&str>) {
        let mut names = Vec::new();
        let changed = if is_json { self.redact_document(text, 0, &mut names) } else { self.redact_text(text, &mut names) };
        (changed.map_or(Cow::Borrowed(text), Cow::Owned), names)
    }

    /// Indices of the rules whose word occurs, followed by what must follow it, ascending.
    fn candidates(&self, text: &str) -> Vec<usize> {
        let mut found = self.always.clone();
        self.words.each(text, |word, end| {
            if let Some(index) = self.word_rules.get(word)
                && !found.contains(index)
                && self.rules.get(*index).is_some_and(|rule| rule.may_follow(text, end))
            {
                found.push(*index);
            }
        });
        found.sort_unstable();
        found
    }

    /// Places that overlap become one, so that no part of a secret is left over.
    fn joined(&self, mut seen: Vec<(Range<usize>, usize)>) -> Vec<Finding<'_>> {
        seen.sort_unstable_by_key(|(range, index)| (range.start, range.end, *index));
        let mut found: Vec<(Range<usize>, usize, usize)> = Vec::new();
        for (range, index) in seen {
            let length = range.len();
            match found.last_mut() {
                Some((whole, longest, name)) if range.start < whole.end => {
                    whole.end = whole.end.max(range.end);
                    if length > *longest || (length == *longest && index < *name) {
                        (*longest, *name) = (length, index);
                    }
                }
                _ => found.push((range, length, index)),
            }
        }
        found.into_iter().filter_map(|(range, _, index)| Some(Finding { rule: &self.rules.get(index)?.name, range })).collect()
    }

    /// `None` where nothing is found.
    fn redact_text<'a>(&'a self, text: &str, names: &mut Vec<&'a str>) -> Option<String> {
        let found = self.find(text);
        note(names, &found);
        replaced(text, &found)
    }

    /// `None` where nothing is found.
    fn redact_document<'a>(&'a self, text: &str, depth: u32, names: &mut Vec<&'a str>) -> Option<String> {
        let mut changed = String::new();
        let mut copied = 0;
        let mut keys = 0;
        for leaf in leaves::leaves(text) {
            let Some(mut value) = self.redact_leaf(&leaf, depth, names) else { continue };
            if leaf.is_key {
                // Two entries must not end up with one name.
                keys += 1;
                if keys > 1 {
                    value = format!("{value} {keys}");
                }
            }
            changed.push_str(text.get(copied..leaf.span.start).unwrap_or_default());
            changed.push_str(&serde_json::Value::String(value).to_string());
            copied = leaf.span.end;
        }
        if copied == 0 {
            return None;
        }
        changed.push_str(text.get(copied..).unwrap_or_default());
        Some(changed)
    }

    fn redact_leaf<'a>(&'a self, leaf: &Leaf<'_>, depth: u32, names: &mut Vec<&'a str>) -> Option<String> {
        if depth < MAX_DEPTH && leaves::is_document(&leaf.value) {
            return self.redact_document(&leaf.value, depth + 1, names);
        }
        let Some(key) = &leaf.key else { return self.redact_text(&leaf.value, names) };
        // The name tells what the value is: `{"password": …}`, `{"datadog_key": …}`.
        let entry = format!("{key}={}", leaf.value);
        let offset = key.len() + 1;
        let mut found = self.find(&entry);
        found.retain(|finding| finding.range.end > offset);
        for finding in &mut found {
            finding.range = finding.range.start.max(offset) - offset..finding.range.end - offset;
        }
        let whole = 0..leaf.value.len();
        if self.is_password(key, &leaf.value) && !found.iter().any(|finding| finding.range == whole) {
            // A password in a string of its own is all of it, blanks included.
            found = vec![Finding { rule: rules::PASSWORD, range: whole }];
        }
        note(names, &found);
        replaced(&leaf.value, &found)
    }

    fn is_password(&self, key: &str, value: &str) -> bool {
        rules::names_a_password(key, value)
            && !self.allowed.iter().any(|allowed| allowed == rules::PASSWORD)
            && !self.allowed_values.iter().any(|allowed| allowed.is_match(value))
    }
}

/// What [`Scanner::of`] refuses, without the price of making one.
///
/// # Errors
/// [`RuleError`] says what to change.
pub fn check(spec: &SensitiveData) -> Result<(), RuleError> {
    let own = own_rules(spec)?;
    check_allowed(spec, &own)?;
    allowed_values(spec).map(drop)
}

fn note<'a>(names: &mut Vec<&'a str>, found: &[Finding<'a>]) {
    for finding in found {
        if !names.contains(&finding.rule) {
            names.push(finding.rule);
        }
    }
}

fn replaced(text: &str, found: &[Finding<'_>]) -> Option<String> {
    if found.is_empty() {
        return None;
    }
    let mut changed = String::new();
    let mut copied = 0;
    for finding in found {
        changed.push_str(text.get(copied..finding.range.start).unwrap_or_default());
        changed.push_str("[redacted: ");
        changed.push_str(finding.rule);
        changed.push(']');
        copied = finding.range.end;
    }
    changed.push_str(text.get(copied..).unwrap_or_default());
    Some(changed)
}

fn bad_regex(field: String, error: &regex::Error) -> RuleError {
    RuleError::BadSecretRegex { field, message: error.to_string() }
}

fn bad_rule(field: String, message: impl Into<String>) -> RuleError {
    RuleError::BadSecretRule { field, message: message.into() }
}

fn check_length(list: &str, index: usize, pattern: &str) -> Result<(), RuleError> {
    if pattern.chars().count() > MAX_REGEX_CHARS {
        let message = format!("an expression has at most {MAX_REGEX_CHARS} characters: make it shorter, or two of it");
        return Err(bad_rule(format!("backfill.sql.sensitiveData.{list}[{index}]"), message));
    }
    Ok(())
}

fn own_rules(spec: &SensitiveData) -> Result<Vec<Ready>, RuleError> {
    let list: &[SecretRule] = match &spec.extra_rules {
        None => &[],
        Some(extra) => extra.inline.as_deref().ok_or(RuleError::SecretRulesUnresolved)?,
    };
    let field = |index: usize| format!("backfill.sql.sensitiveData.extraRules[{index}]");
    if list.len() > MAX_OWN_RULES {
        return Err(bad_rule(field(MAX_OWN_RULES), format!("at most {MAX_OWN_RULES} rules: join some by |")));
    }
    let mut own: Vec<Ready> = Vec::new();
    for (index, rule) in list.iter().enumerate() {
        let known = rules::all().any(|standard| standard.name == rule.name) || own.iter().any(|earlier| earlier.name == rule.name);
        if known {
            return Err(bad_rule(field(index), format!("there is a rule {:?} already: give it another name", rule.name)));
        }
        if !is_name(&rule.name) {
            return Err(bad_rule(field(index), "name: 1 to 63 small letters, digits and hyphens, as in our-token"));
        }
        if rule.keywords.iter().any(|word| word.is_empty() || word.len() > 64) {
            return Err(bad_rule(field(index), "keywords: words of 1 to 64 bytes, or none at all"));
        }
        check_length("extraRules", index, &rule.regex)?;
        let ready =
            Ready::own(&rule.name, &rule.regex, &rule.keywords).map_err(|error| bad_regex(format!("{}.regex", field(index)), &error))?;
        if ready.regex().is_none_or(|regex| regex.is_match("")) {
            return Err(bad_rule(field(index), "regex: it matches an empty text, and so every value: ask for at least one character"));
        }
        own.push(ready);
    }
    Ok(own)
}

fn is_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Each must match all of a finding, or it would allow what is around the value that is meant.
fn allowed_values(spec: &SensitiveData) -> Result<Vec<Regex>, RuleError> {
    let values = spec.allow_values.iter().enumerate().map(|(index, pattern)| {
        check_length("allowValues", index, pattern)?;
        // By itself first: `a)|(b` is an expression only in parentheses.
        let compiled = compile(pattern).and_then(|_| compile(&format!("^(?:{pattern})$")));
        compiled.map_err(|error| bad_regex(format!("backfill.sql.sensitiveData.allowValues[{index}]"), &error))
    });
    values.collect()
}

fn check_allowed(spec: &SensitiveData, own: &[Ready]) -> Result<(), RuleError> {
    let names = || rules::all().map(|rule| rule.name).chain(own.iter().map(|rule| rule.name.as_str()));
    for allowed in &spec.allow {
        if !names().any(|name| name == allowed) {
            let start = allowed.split('-').next().filter(|start| start.len() > 2).unwrap_or("no-rule-begins-so");
            let near = names().filter(|name| name.starts_with(start)).take(5).map(str::to_owned).collect();
            return Err(RuleError::UnknownSecretRule { name: allowed.clone(), near });
        }
    }
    Ok(())
}
