//! One rule: by which words it is found, what it looks like, and what is no hit all the same.

use super::judge::{self, Judge};
use regex::{Regex, RegexBuilder};
use std::ops::Range;
use std::sync::OnceLock;

/// A compiled rule may take so many bytes; a few of the standard ones need more than the default of the crate.
const SIZE_LIMIT: usize = 32 << 20;

/// Between a name and what assigns: an `s`, two quotes or brackets, and three blanks of at most three bytes.
const BETWEEN: usize = 1 + 2 + 3 * 3;

/// How a rule's expression is written down.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pattern {
    /// As it is.
    Whole(&'static str),
    /// As it is; the keyword ends a name, and what assigns (`=` or `:`) stands behind it, with at most [`BETWEEN`] bytes in between.
    Assigned(&'static str),
    /// The shape of a value that looks like many others: a finding only where it is assigned to something that one of the
    /// rule's keywords names.
    Named(&'static str),
}

/// A rule as the lists write it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) name: &'static str,
    pub(super) keywords: &'static [&'static str],
    pub(super) pattern: Pattern,
    pub(super) judge: Judge,
    /// Texts that are findings and texts that are none; `<h40>` stands for 40 characters of a kind (see the tests of `rules`).
    #[cfg(test)]
    pub(super) hits: &'static [&'static str],
    #[cfg(test)]
    pub(super) misses: &'static [&'static str],
}

/// A token that its own marks tell. The expression's first group that takes part is the finding, else all that it matches.
pub(super) const fn token(
    name: &'static str,
    keywords: &'static [&'static str],
    pattern: &'static str,
    hits: &'static [&'static str],
    misses: &'static [&'static str],
) -> Rule {
    rule(name, keywords, Pattern::Whole(pattern), Judge::Token, hits, misses)
}

/// A value without marks of its own, found by the name that it is assigned to.
pub(super) const fn named(
    name: &'static str,
    keywords: &'static [&'static str],
    shape: &'static str,
    hits: &'static [&'static str],
    misses: &'static [&'static str],
) -> Rule {
    rule(name, keywords, Pattern::Named(shape), Judge::Random, hits, misses)
}

pub(super) const fn rule(
    name: &'static str,
    keywords: &'static [&'static str],
    pattern: Pattern,
    judge: Judge,
    hits: &'static [&'static str],
    misses: &'static [&'static str],
) -> Rule {
    #[cfg(not(test))]
    {
        let _ = (hits, misses);
        Rule { name, keywords, pattern, judge }
    }
    #[cfg(test)]
    Rule { name, keywords, pattern, judge, hits, misses }
}

/// A rule that is ready to be used; its expression is compiled when its keyword first occurs.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) name: String,
    pub(super) keywords: Vec<String>,
    /// Its keyword is followed by what assigns.
    assigned: bool,
    source: String,
    judge: Judge,
    compiled: OnceLock<Option<Regex>>,
}

impl Ready {
    pub(super) fn of(rule: &Rule) -> Self {
        let source = match rule.pattern {
            Pattern::Whole(pattern) | Pattern::Assigned(pattern) => pattern.to_owned(),
            Pattern::Named(shape) => assigned(rule.keywords, shape),
        };
        // The word boundary of ASCII: at any other one the fast automaton gives up as soon as a text is not all ASCII, and what
        // takes its place needs thirty times as long.
        let source = source.replace(r"\b", r"(?-u:\b)");
        let keywords = rule.keywords.iter().map(|word| (*word).to_owned()).collect();
        let assigned = matches!(rule.pattern, Pattern::Assigned(_));
        Self { name: rule.name.to_owned(), keywords, assigned, source, judge: rule.judge, compiled: OnceLock::new() }
    }

    /// A rule of the run; no keywords: it is tried on every text.
    pub(super) fn own(name: &str, pattern: &str, keywords: &[String]) -> Result<Self, regex::Error> {
        let compiled = OnceLock::from(Some(compile(pattern)?));
        let (name, keywords, source) = (name.to_owned(), keywords.to_vec(), pattern.to_owned());
        Ok(Self { name, keywords, assigned: false, source, judge: Judge::Anything, compiled })
    }

    /// False where the rule finds nothing by a keyword that ends here: that is said without its expression.
    pub(super) fn may_follow(&self, text: &str, end: usize) -> bool {
        let behind = text.as_bytes().get(end..).unwrap_or_default();
        !self.assigned || behind.iter().take(BETWEEN + 1).any(|byte| matches!(byte, b'=' | b':'))
    }

    pub(super) fn regex(&self) -> Option<&Regex> {
        self.compiled.get_or_init(|| compile(&self.source).ok()).as_ref()
    }

    /// Where the rule finds something.
    pub(super) fn find(&self, text: &str) -> Vec<Range<usize>> {
        let Some(regex) = self.regex() else { return Vec::new() };
        let mut found = Vec::new();
        // Mostly there is none, which is said sooner without groups.
        if !regex.is_match(text) {
            return found;
        }
        for captures in regex.captures_iter(text) {
            let first = captures.iter().skip(1).flatten().next().or_else(|| captures.get(0));
            let Some(span) = first.filter(|span| !span.is_empty()) else { continue };
            let value = captures.name("value").unwrap_or(span);
            if judge::accepts(self.judge, value.as_str()) {
                found.push(span.range());
            }
        }
        found
    }
}

/// As long as it is linear in time it may be written by anybody: `regex` has no look-around and no back references.
pub(super) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).size_limit(SIZE_LIMIT).build()
}

/// A name with one of the words in it, something that assigns, perhaps a quote, and a value that ends where its shape ends.
fn assigned(words: &[&str], shape: &str) -> String {
    let words: Vec<String> = words.iter().map(|word| regex::escape(word)).collect();
    format!(
        "(?i:{})[A-Za-z0-9_ .-]{{0,40}}[\"'`\\])]{{0,2}}\\s{{0,4}}(?:=>|:=|==?|:|,|\\()\\s{{0,4}}[\"'`]?({shape})(?:[^A-Za-z0-9_-]|$)",
        words.join("|")
    )
}
