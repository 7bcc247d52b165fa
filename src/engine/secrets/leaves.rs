//! The strings and numbers of a JSON text, decoded, each with its place and its name.
//!
//! The text itself stays as it is: what is not replaced keeps its order, its blanks, its duplicate keys and every digit of
//! its numbers, which a parse and a print would not keep.

use std::borrow::Cow;
use std::ops::Range;

/// A string or a number in a JSON text.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    /// Where it stands, quotes included.
    pub(super) span: Range<usize>,
    /// What it says, escapes decoded.
    pub(super) value: Cow<'a, str>,
    /// It is the name of an entry.
    pub(super) is_key: bool,
    /// The name of the entry that it is the value of; of a list's items, that of the list.
    pub(super) key: Option<String>,
}

/// True for a JSON object or array, and nothing else around it.
pub(super) fn is_document(text: &str) -> bool {
    text.trim_start().starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// All of them, in order. A text that is no JSON yields what looks like strings in it.
pub(super) fn leaves(text: &str) -> Vec<Leaf<'_>> {
    let bytes = text.as_bytes();
    let mut found = Vec::new();
    // The name that is in force in each object or list around.
    let mut around: Vec<Option<String>> = Vec::new();
    let mut name: Option<String> = None;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let start = at;
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                let value = text.get(start..at).map_or(Cow::Borrowed(""), decode);
                let is_key = bytes.get(at..).unwrap_or_default().iter().find(|b| !b.is_ascii_whitespace()) == Some(&b':');
                if is_key {
                    name = Some(value.clone().into_owned());
                }
                found.push(Leaf { span: start..at, value, is_key, key: name.clone().filter(|_| !is_key) });
            }
            b'-' | b'0'..=b'9' => {
                at += bytes.get(at..).unwrap_or_default().iter().take_while(|b| is_of_number(**b)).count();
                let value = Cow::Borrowed(text.get(start..at).unwrap_or_default());
                found.push(Leaf { span: start..at, value, is_key: false, key: name.clone() });
            }
            b'{' | b'[' => {
                around.push(name.clone());
                if *byte == b'{' {
                    name = None;
                }
                at += 1;
            }
            b'}' | b']' => {
                name = around.pop().flatten();
                at += 1;
            }
            _ => at += 1,
        }
    }
    found
}

const fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9')
}

/// Behind the closing quote, or the end of the text where there is none.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// What cannot be decoded (half a surrogate pair) is taken as it is written.
fn decode(literal: &str) -> Cow<'_, str> {
    let inner = literal.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(literal);
    if inner.contains('\\') { serde_json::from_str(literal).map_or(Cow::Borrowed(inner), Cow::Owned) } else { Cow::Borrowed(inner) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_have_their_place_and_the_name_of_their_entry() {
        let text = r#"{"a": "x\ny", "list": ["1", {"b": -2.5e3}, "z"], "a": true, "c": "\ud800"}"#;
        let shown: Vec<String> = leaves(text)
            .iter()
            .filter(|leaf| !leaf.is_key)
            .map(|leaf| format!("{}={} {}", leaf.key.as_deref().unwrap_or("-"), leaf.value, &text[leaf.span.clone()]))
            .collect();
        assert_eq!(shown, ["a=x\ny \"x\\ny\"", "list=1 \"1\"", "b=-2.5e3 -2.5e3", "list=z \"z\"", "c=\\ud800 \"\\ud800\""]);
    }

    #[test]
    fn no_text_is_too_broken_to_be_read() {
        for text in ["", "\"", "\"\\", "{]}", "[\"a", "}}}\"x\":", "{\"\u{e4}\\", "---"] {
            let found = leaves(text);
            assert!(found.iter().all(|leaf| text.get(leaf.span.clone()).is_some()), "{text}");
        }
    }
}
