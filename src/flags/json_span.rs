//! Where a value lies in a JSON text, so that it can be changed without touching another byte.
//!
//! Reading a document into values and writing it again would change numbers that do not fit (`1e400`, twenty digits),
//! escapes and spaces. Everything here is given text that a JSON parser has already accepted.

use std::ops::Range;

/// A member of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// Its key, without escapes.
    pub key: String,
    /// Where the key lies, quotes included.
    pub key_span: Range<usize>,
    /// Where the value lies.
    pub value_span: Range<usize>,
}

/// The members of the object that begins at `start`; `None` where no object does.
pub(super) fn members(text: &str, start: usize) -> Option<Vec<Member>> {
    let mut members = Vec::new();
    let mut at = skip_space(text, expect(text, start, b'{')?);
    if byte(text, at) == Some(b'}') {
        return Some(members);
    }
    loop {
        let key_end = value_end(text, at)?;
        let key_span = at..key_end;
        let value_start = skip_space(text, expect(text, skip_space(text, key_end), b':')?);
        let value_span = value_start..value_end(text, value_start)?;
        at = skip_space(text, value_span.end);
        let key = serde_json::from_str(text.get(key_span.clone())?).ok()?;
        members.push(Member { key, key_span, value_span });
        match byte(text, at)? {
            b',' => at = skip_space(text, at + 1),
            _ => return Some(members),
        }
    }
}

/// Where the items of the array that begins at `start` lie; `None` where no array does.
pub(super) fn items(text: &str, start: usize) -> Option<Vec<Range<usize>>> {
    let mut items = Vec::new();
    let mut at = skip_space(text, expect(text, start, b'[')?);
    if byte(text, at) == Some(b']') {
        return Some(items);
    }
    loop {
        let span = at..value_end(text, at)?;
        at = skip_space(text, span.end);
        items.push(span);
        match byte(text, at)? {
            b',' => at = skip_space(text, at + 1),
            _ => return Some(items),
        }
    }
}

/// The first byte from `at` on that is no space.
pub(super) fn skip_space(text: &str, at: usize) -> usize {
    let spaces = text.bytes().skip(at).take_while(|b| matches!(b, b' ' | b'\t' | b'\n' | b'\r')).count();
    at + spaces
}

fn expect(text: &str, at: usize, wanted: u8) -> Option<usize> {
    (byte(text, at) == Some(wanted)).then_some(at + 1)
}

fn byte(text: &str, at: usize) -> Option<u8> {
    text.as_bytes().get(at).copied()
}

/// Where the value that begins at `start` ends. Brackets are counted, not recursed into: the parser has seen that they pair.
fn value_end(text: &str, start: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut at = start;
    loop {
        match byte(text, at)? {
            b'"' => at = string_end(text, at)?,
            b'{' | b'[' => {
                depth += 1;
                at += 1;
            }
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                at += 1;
            }
            _ if depth > 0 => at += 1,
            // A number or a word ends where something else begins.
            _ => {
                let rest = text.get(at..)?;
                at += rest.find([',', '}', ']', ' ', '\t', '\n', '\r']).unwrap_or(rest.len());
            }
        }
        if depth == 0 {
            return Some(at);
        }
    }
}

fn string_end(text: &str, start: usize) -> Option<usize> {
    let mut escaped = false;
    for (offset, b) in text.bytes().enumerate().skip(start + 1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(offset + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_spans_of_a_document_are_its_members_whatever_its_format(document in json(), pretty: bool) {
            let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
            let found = members(&text, 0).map(|members| {
                members.into_iter().map(|m| (m.key, serde_json::from_str(&text[m.value_span]).unwrap())).collect::<Vec<(String, Value)>>()
            });
            prop_assert_eq!(found, document.as_object().map(|map| map.clone().into_iter().collect()));
            let found = items(&text, 0).map(|items| items.into_iter().map(|span| serde_json::from_str(&text[span]).unwrap()).collect::<Vec<Value>>());
            prop_assert_eq!(found, document.as_array().cloned());
        }
    }
}
