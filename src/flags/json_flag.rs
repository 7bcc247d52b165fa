//! A boolean in a JSON document, found by a JSON pointer. Pure: text in, text out.
//!
//! All else in the document stays as it is, to the byte. Taking away what was added gives the text from before.

use super::FlagError;
use super::json_span::{Member, items, members, skip_space};
use serde_json::Value;
use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// How the status writes that there was no value.
pub const ABSENT: &str = "absent";

/// What a flag is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagValue {
    /// On.
    On,
    /// Off.
    Off,
    /// The document does not have it.
    Absent,
}

impl fmt::Display for FlagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "true",
            Self::Off => "false",
            Self::Absent => ABSENT,
        })
    }
}

impl FromStr for FlagValue {
    type Err = FlagError;

    /// Reads what `status.flag.previous` keeps.
    fn from_str(text: &str) -> Result<Self, FlagError> {
        match text {
            "true" => Ok(Self::On),
            "false" => Ok(Self::Off),
            ABSENT => Ok(Self::Absent),
            other => Err(FlagError::FlagValueUnknown(other.into())),
        }
    }
}

/// Reads the flag.
///
/// # Errors
/// [`FlagError::FlagNotJson`], [`FlagError::FlagPathMissing`], [`FlagError::FlagNotBoolean`].
pub(super) fn get(document: &str, pointer: &str) -> Result<FlagValue, FlagError> {
    find(document, pointer).map(|place| place.value)
}

/// The document with the flag set, or without it.
///
/// # Errors
/// As [`get`].
pub(super) fn set(document: &str, pointer: &str, value: FlagValue) -> Result<String, FlagError> {
    let place = find(document, pointer)?;
    let splice = |span: Range<usize>, with: &str| {
        let (before, after) = (document.get(..span.start), document.get(span.end..));
        [before.unwrap_or_default(), with, after.unwrap_or_default()].concat()
    };
    Ok(match (place.span, value) {
        (None, FlagValue::Absent) => document.to_owned(),
        (Some(span), FlagValue::On | FlagValue::Off) => splice(span, &value.to_string()),
        (Some(_), FlagValue::Absent) => splice(removal(&place.siblings, &place.key), ""),
        (None, FlagValue::On | FlagValue::Off) => {
            let key = Value::from(place.key).to_string();
            let (at, text) = insertion(document, place.parent, &place.siblings, &key, value);
            splice(at..at, &text)
        }
    })
}

/// Where a flag is, or would be.
struct Place {
    value: FlagValue,
    /// Where the value lies, if there is one.
    span: Option<Range<usize>>,
    /// Where the object begins that holds it.
    parent: usize,
    /// The members of that object; empty where the flag is an item of an array.
    siblings: Vec<Member>,
    key: String,
}

fn find(document: &str, pointer: &str) -> Result<Place, FlagError> {
    serde_json::from_str::<serde::de::IgnoredAny>(document).map_err(FlagError::FlagNotJson)?;
    let (parents, last) = pointer.rsplit_once('/').unwrap_or(("", pointer));
    let mut parent = skip_space(document, 0);
    let mut walked = String::new();
    for token in parents.split('/').skip(1) {
        walked = format!("{walked}/{token}");
        parent = child(document, parent, &unescape(token)).ok_or_else(|| missing(pointer, &walked))?.start;
    }
    let key = unescape(last);
    // An item of an array can be switched, but not added or taken away: others would change their places.
    let (span, siblings) = match members(document, parent) {
        Some(siblings) => (last_named(&siblings, &key), siblings),
        None => (Some(child(document, parent, &key).ok_or_else(|| missing(pointer, parents))?), Vec::new()),
    };
    let value = span.clone().map_or(Ok(FlagValue::Absent), |span| boolean(document.get(span).unwrap_or_default(), pointer))?;
    if value == FlagValue::Absent && members(document, parent).is_none() {
        return Err(missing(pointer, parents));
    }
    Ok(Place { value, span, parent, siblings, key })
}

fn missing(path: &str, missing: &str) -> FlagError {
    FlagError::FlagPathMissing { path: path.into(), missing: if missing.is_empty() { "its root".into() } else { missing.into() } }
}

fn child(document: &str, start: usize, token: &str) -> Option<Range<usize>> {
    match members(document, start) {
        Some(members) => last_named(&members, token),
        None => items(document, start)?.into_iter().nth(token.parse().ok()?),
    }
}

/// Of members with the same key parsers keep the last.
fn last_named(members: &[Member], key: &str) -> Option<Range<usize>> {
    members.iter().rev().find(|member| member.key == key).map(|member| member.value_span.clone())
}

fn unescape(token: &str) -> String {
    token.replace("~1", "/").replace("~0", "~")
}

fn boolean(text: &str, path: &str) -> Result<FlagValue, FlagError> {
    let found = match text.bytes().next() {
        Some(b't') => return Ok(FlagValue::On),
        Some(b'f') => return Ok(FlagValue::Off),
        Some(b'n') => "null",
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        _ => "a number",
    };
    Err(FlagError::FlagNotBoolean { path: path.into(), found })
}

/// Where a new member goes and what is written there: after the last one, in its layout.
fn insertion(document: &str, parent: usize, siblings: &[Member], key: &str, value: FlagValue) -> (usize, String) {
    let Some(last) = siblings.last() else {
        return (parent + 1, format!("{key}: {value}"));
    };
    let before = siblings.iter().rev().nth(1).map_or(parent + 1, |previous| previous.value_span.end);
    // What stands before the last key: only spaces, after a comma where it is not the first.
    let layout = document.get(before..last.key_span.start).unwrap_or_default();
    let layout = layout.rsplit(',').next().unwrap_or_default();
    let colon = document.get(last.key_span.end..last.value_span.start).unwrap_or(": ");
    (last.value_span.end, format!(",{layout}{key}{colon}{value}"))
}

/// What goes when the flag goes: the member with the comma before it, or, for the first, the one behind it.
fn removal(siblings: &[Member], key: &str) -> Range<usize> {
    let Some(index) = siblings.iter().rposition(|member| member.key == key) else { return 0..0 };
    let Some(member) = siblings.get(index) else { return 0..0 };
    let previous = index.checked_sub(1).and_then(|previous| siblings.get(previous));
    match (previous, siblings.get(index + 1)) {
        (Some(previous), _) => previous.value_span.end..member.value_span.end,
        (None, Some(next)) => member.key_span.start..next.key_span.start,
        (None, None) => member.key_span.start..member.value_span.end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRETTY: &str = "{\n  \"import_generation\": {\n    \"enabled\": false,\n    \"weight\": 1.0e2,\n    \"id\": 123456789012345678901234567890\n  },\n  \"a/b\": {\"on\" : true},\n  \"list\": [ {\"on\": false}, 1 ]\n}\n";

    fn switched(pointer: &str) -> String {
        set(PRETTY, pointer, FlagValue::On).unwrap()
    }

    #[test]
    fn switching_changes_the_boolean_and_no_other_byte() {
        assert_eq!(switched("/import_generation/enabled"), PRETTY.replacen("false", "true", 1));
        assert_eq!(switched("/list/0/on"), PRETTY.replace("{\"on\": false}", "{\"on\": true}"));
        assert_eq!(switched("/a~1b/on"), PRETTY);
    }

    #[test]
    fn a_new_flag_takes_the_layout_of_its_neighbours() {
        assert!(switched("/import_generation/new").contains("567890,\n    \"new\": true\n  },"));
        assert!(switched("/a~1b/new").contains("{\"on\" : true,\"new\" : true}"));
        assert_eq!(set("{\"a\":1,\"b\":2}", "/c", FlagValue::On).unwrap(), "{\"a\":1,\"b\":2,\"c\":true}");
        assert_eq!(set("{}", "/c", FlagValue::Off).unwrap(), "{\"c\": false}");
    }

    #[test]
    fn a_path_that_leads_nowhere_says_where_it_ends() {
        let message = |pointer: &str| get(PRETTY, pointer).unwrap_err().to_string();
        assert!(message("/other/enabled").contains("the document has no object at /other;"), "{}", message("/other/enabled"));
        assert!(message("/import_generation/weight/x").contains("no object at /import_generation/weight;"));
        assert!(message("/list/7").contains("no object at /list;"));
        assert!(get("5", "/a").unwrap_err().to_string().contains("no object at its root"));
    }

    #[test]
    fn what_is_not_a_boolean_is_named_and_left() {
        for (pointer, found) in [("/import_generation", "an object"), ("/import_generation/weight", "a number"), ("/list", "an array")] {
            assert_eq!(get(PRETTY, pointer).unwrap_err().to_string(), format!("{pointer} is {found}, not a boolean"));
            assert!(set(PRETTY, pointer, FlagValue::On).is_err());
        }
        assert_eq!(get("{\"a\": \"true\"}", "/a").unwrap_err().reason(), "FlagNotBoolean");
        assert_eq!(get("{\"a\": tru}", "/a").unwrap_err().reason(), "FlagNotJson");
    }

    #[test]
    fn the_status_keeps_true_false_or_absent() {
        for value in [FlagValue::On, FlagValue::Off, FlagValue::Absent] {
            assert_eq!(value.to_string().parse::<FlagValue>().unwrap(), value);
        }
        assert_eq!("maybe".parse::<FlagValue>().unwrap_err().reason(), "FlagValueUnknown");
    }

    fn document() -> impl Strategy<Value = String> {
        let value =
            prop_oneof![Just("true"), Just("false"), Just("1.50"), Just("\"x,}\\\"\""), Just("[1, {\"flag\": 2}]"), Just("{\"k\":\n 1}")];
        let member = ("[a-c]{1,2}", value);
        let layout = prop_oneof![Just(("", "", "")), Just(("\n    ", " ", "\n")), Just((" ", " ", " "))];
        (prop::collection::vec(member, 0..5), layout).prop_map(|(members, (indent, space, end))| {
            let members: Vec<String> = members.iter().map(|(key, value)| format!("{indent}\"{key}\":{space}{value}")).collect();
            format!("{{{}{end}}}", members.join(if end == " " { " ," } else { "," }))
        })
    }

    proptest! {
        #[test]
        fn enabling_and_restoring_gives_the_text_from_before(document in document()) {
            let enabled = set(&document, "/flag", FlagValue::On).unwrap();
            prop_assert_eq!(get(&enabled, "/flag").unwrap(), FlagValue::On);
            prop_assert_eq!(set(&enabled, "/flag", FlagValue::Absent).unwrap(), document);
        }

        #[test]
        fn all_other_members_stay(document in document(), value in prop_oneof![Just(FlagValue::On), Just(FlagValue::Off), Just(FlagValue::Absent)]) {
            let before: serde_json::Map<String, Value> = serde_json::from_str(&document).unwrap();
            for key in before.iter().filter(|(_, v)| v.is_boolean()).map(|(k, _)| k) {
                let changed = set(&document, &format!("/{key}"), value).unwrap();
                let mut after: serde_json::Map<String, Value> = serde_json::from_str(&changed).unwrap();
                let mut before = before.clone();
                before.shift_remove(key);
                after.shift_remove(key);
                prop_assert_eq!(before, after);
            }
        }
    }
}
