//! Every standard rule finds what it should and leaves the rest. The texts are made from patterns, so that no scanner of
//! sources takes them for real: `<h40>` is 40 characters of the kind `h`.

use super::all;
use crate::engine::secrets::rule::Ready;
use crate::engine::secrets::scanner::Scanner;
use std::collections::BTreeSet;

const fn alphabet(kind: char) -> &'static str {
    match kind {
        'h' => "0123456789abcdef",
        'H' => "0123456789ABCDEF",
        'd' => "0123456789",
        'l' => "abcdefghijklmnopqrstuvwxyz0123456789",
        'u' => "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        'b' => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        'w' => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-",
        'B' => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
        'i' => "abcdefghijklmnopqrstuvwxyz234567",
        'q' => "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
        _ => "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
    }
}

struct Maker(u64);

impl Maker {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % below
    }

    fn body(&mut self, kind: char, length: usize) -> String {
        if kind == 'g' {
            return [8, 4, 4, 4, 12].map(|part| self.body('h', part)).join("-");
        }
        let letters: Vec<char> = alphabet(kind).chars().collect();
        let mut made: Vec<char> = (0..length).map(|_| letters[self.next(letters.len())]).collect();
        // As almost any random one: a digit in it, and no sign at its ends.
        let digit = if "Bi".contains(kind) { '7' } else { '8' };
        if length > 3 && !made.iter().any(char::is_ascii_digit) {
            made[length / 2] = digit;
        }
        for end in [0, length - 1] {
            if !made[end].is_ascii_alphanumeric() {
                made[end] = digit;
            }
        }
        made.into_iter().collect()
    }

    /// The text, and the longest body that was made for it.
    fn text(&mut self, pattern: &str) -> (String, String) {
        let kinds = regex::Regex::new("<([A-Za-z])([0-9]+)>").unwrap();
        let mut longest = String::new();
        let text = kinds.replace_all(pattern, |found: &regex::Captures<'_>| {
            let body = self.body(found[1].chars().next().unwrap(), found[2].parse().unwrap());
            if body.len() > longest.len() {
                longest.clone_from(&body);
            }
            body
        });
        (text.into_owned(), longest)
    }
}

#[test]
fn there_are_more_than_two_hundred_rules_each_with_its_own_name_and_word() {
    let names: BTreeSet<&str> = all().map(|rule| rule.name).collect();
    assert_eq!(names.len(), all().count());
    assert!(names.len() > 220, "{}", names.len());
    for rule in all() {
        assert!(!rule.keywords.is_empty() && !rule.hits.is_empty() && !rule.misses.is_empty(), "{}", rule.name);
        assert!(rule.name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{}", rule.name);
    }
}

#[test]
fn every_rule_compiles() {
    let broken: Vec<&str> = all().filter(|rule| Ready::of(rule).regex().is_none()).map(|rule| rule.name).collect();
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn every_rule_finds_what_it_should_whatever_the_secret_is() {
    let mut missed = Vec::new();
    for (index, rule) in all().enumerate() {
        let ready = Ready::of(rule);
        for (seed, pattern) in (0..5).flat_map(|seed| rule.hits.iter().map(move |hit| (seed, hit))) {
            let (text, body) = Maker(u64::try_from(index).unwrap() * 31 + seed).text(pattern);
            let (shown, names) = Scanner::standard().redact(&text, false);
            if ready.find(&text).is_empty() || names.is_empty() || shown.contains(&body) {
                missed.push(format!("{}: {text} -> {shown} {names:?}", rule.name));
            }
        }
    }
    assert!(missed.is_empty(), "{} missed:\n{}", missed.len(), missed.join("\n"));
}

#[test]
fn no_rule_finds_what_it_should_not() {
    let mut wrong = Vec::new();
    for (index, rule) in all().enumerate() {
        let ready = Ready::of(rule);
        for (seed, pattern) in (0..5).flat_map(|seed| rule.misses.iter().map(move |miss| (seed, miss))) {
            let (text, _) = Maker(u64::try_from(index).unwrap() * 17 + seed).text(pattern);
            if !ready.find(&text).is_empty() {
                wrong.push(format!("{}: {text}", rule.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_rule_is_found_by_its_own_name_where_no_other_one_sees_more() {
    // Each rule's first text, through the scanner: the rule itself, or one that sees at least as much.
    let mut others = Vec::new();
    for (index, rule) in all().enumerate() {
        let (text, _) = Maker(u64::try_from(index).unwrap()).text(rule.hits[0]);
        let found = Scanner::standard().find(&text);
        let own = Ready::of(rule).find(&text);
        let covered = own.iter().all(|range| found.iter().any(|f| f.range.start <= range.start && f.range.end >= range.end));
        assert!(covered, "{}: {text} {found:?}", rule.name);
        if !found.iter().any(|finding| finding.rule == rule.name) {
            others.push(format!("{} as {:?}", rule.name, found.iter().map(|f| f.rule).collect::<Vec<_>>()));
        }
    }
    assert!(others.len() < 25, "{} of {} are called otherwise: {others:#?}", others.len(), all().count());
}
