//! JSON that is looked at once and thrown away: its strings stay where they are, and its objects are short lists. Which
//! rows are valid is asked of it; what is wrong with one, of the usual [`Value`].

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, Node, NodeIdentity, Object};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};
use std::borrow::Cow;
use std::fmt;

/// A value in a text.
#[derive(Debug)]
pub(super) enum Borrowed<'a> {
    Null,
    Bool(bool),
    Number(Number),
    String(Cow<'a, str>),
    Array(Vec<Self>),
    Object(Vec<(Cow<'a, str>, Self)>),
}

/// How the validator sees such values.
#[derive(Debug)]
pub(super) struct InText;

/// Entries of an object. Names are unique: the text is one of jsonb.
#[derive(Debug)]
pub(super) struct Entries<'a>(&'a [(Cow<'a, str>, Borrowed<'a>)]);

/// Items of a list.
#[derive(Debug)]
pub(super) struct Items<'a>(&'a [Borrowed<'a>]);

type EntriesIter<'a> =
    std::iter::Map<std::slice::Iter<'a, (Cow<'a, str>, Borrowed<'a>)>, fn(&'a (Cow<'a, str>, Borrowed<'a>)) -> (&'a str, &'a Borrowed<'a>)>;

impl Borrowed<'_> {
    fn owned(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Number(value) => Value::Number(value.clone()),
            Self::String(value) => Value::String(value.clone().into_owned()),
            Self::Array(items) => Value::Array(items.iter().map(Borrowed::owned).collect()),
            Self::Object(entries) => {
                Value::Object(entries.iter().map(|(name, value)| (name.clone().into_owned(), value.owned())).collect())
            }
        }
    }
}

impl Json for InText {
    type Node<'a> = &'a Borrowed<'a>;
    type PreparedKey = String;
    type StringBuffer = ();

    // Names are compared one by one, in a lookup as in a pass.
    const KEYS_PER_LOOKUP: usize = 2;
    const ACYCLIC: bool = true;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>((): &mut (), string: &str, f: impl for<'x> FnOnce(&'x Borrowed<'x>) -> T) -> T {
        f(&Borrowed::String(Cow::Borrowed(string)))
    }
}

impl<'a> Node<'a, InText> for &'a Borrowed<'a> {
    type Object = Entries<'a>;
    type Array = Items<'a>;
    type Number = &'a Number;

    fn as_object(&self) -> Option<Entries<'a>> {
        if let Borrowed::Object(entries) = self { Some(Entries(entries)) } else { None }
    }

    fn as_array(&self) -> Option<Items<'a>> {
        if let Borrowed::Array(items) = self { Some(Items(items)) } else { None }
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        if let Borrowed::String(value) = self { Some(Cow::Borrowed(value)) } else { None }
    }

    fn as_number(&self) -> Option<&'a Number> {
        if let Borrowed::Number(value) = self { Some(value) } else { None }
    }

    fn as_boolean(&self) -> Option<bool> {
        if let Borrowed::Bool(value) = self { Some(*value) } else { None }
    }

    fn is_null(&self) -> bool {
        matches!(self, Borrowed::Null)
    }

    fn json_type(&self) -> JsonType {
        match self {
            Borrowed::Null => JsonType::Null,
            Borrowed::Bool(_) => JsonType::Boolean,
            Borrowed::Number(_) => JsonType::Number,
            Borrowed::String(_) => JsonType::String,
            Borrowed::Array(_) => JsonType::Array,
            Borrowed::Object(_) => JsonType::Object,
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(self.owned())
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref::<Borrowed<'a>>(self).addr()))
    }
}

impl<'a> Object<'a, InText> for Entries<'a> {
    type Node = &'a Borrowed<'a>;
    type MemberName = &'a str;
    type MembersIter = EntriesIter<'a>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, key: &String) -> Option<&'a Borrowed<'a>> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    fn members(&self) -> EntriesIter<'a> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value))
    }
}

impl<'a> Array<'a, InText> for Items<'a> {
    type Node = &'a Borrowed<'a>;
    type ElementsIter = std::slice::Iter<'a, Borrowed<'a>>;

    fn len(&self) -> usize {
        self.0.len()
    }

    fn elements(&self) -> std::slice::Iter<'a, Borrowed<'a>> {
        self.0.iter()
    }
}

impl<'de> Deserialize<'de> for Borrowed<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Borrowed<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: Error>(self) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::Number(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Borrowed<'de>, E> {
        Ok(Number::from_f64(value).map_or(Borrowed::Null, Borrowed::Number))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::String(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Borrowed<'de>, E> {
        Ok(Borrowed::String(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Borrowed<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Borrowed::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Borrowed<'de>, A::Error> {
        let mut entries = Vec::new();
        while let Some((Name(name), value)) = map.next_entry()? {
            entries.push((name, value));
        }
        Ok(Borrowed::Object(entries))
    }
}

struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(AnyValue)? {
            Borrowed::String(name) => Ok(Self(name)),
            _ => Err(D::Error::custom("a name is no string")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Borrowed, InText};
    use jsonschema::Draft;
    use proptest::prelude::*;
    use serde_json::{Map, Value, json};

    fn value() -> impl Strategy<Value = Value> {
        let number = prop_oneof![any::<i64>().prop_map(Value::from), any::<f64>().prop_map(Value::from), (0..5).prop_map(Value::from)];
        let leaf =
            prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number, "[ab\"\\\\\n\u{e4}]{0,4}".prop_map(Value::from)];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let object = prop::collection::vec(("[abc]", inner.clone()), 0..4).prop_map(|entries| Value::Object(Map::from_iter(entries)));
            prop_oneof![prop::collection::vec(inner, 0..4).prop_map(Value::from), object]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn a_borrowed_value_is_the_value_and_as_valid(value in value()) {
            let text = value.to_string();
            let borrowed: Borrowed<'_> = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(&borrowed.owned(), &value);
            for schema in [
                json!({"type": "object", "required": ["a"], "properties": {"a": {"type": ["string", "integer"]}}, "additionalProperties": false}),
                json!({"type": "array", "items": {"type": "number", "multipleOf": 2}, "uniqueItems": true, "minItems": 1}),
                json!({"$defs": {"t": {"anyOf": [{"type": "null"}, {"enum": [1, "a", [], {"a": 1}]}, {"items": {"$ref": "#/$defs/t"}}]}}, "$ref": "#/$defs/t"}),
                json!({"propertyNames": {"pattern": "^[ab]$"}, "maxLength": 2, "exclusiveMaximum": 3, "unevaluatedProperties": {"type": "boolean"}}),
                json!({"oneOf": [{"type": "string"}, {"const": 2}, {"contains": {"type": "string"}}, {"minProperties": 2, "dependentRequired": {"a": ["b"]}}]}),
            ] {
                let usual = jsonschema::options().with_draft(Draft::Draft202012).build(&schema).unwrap();
                let ours = jsonschema::options_for::<InText>().with_draft(Draft::Draft202012).build(&schema).unwrap();
                prop_assert_eq!(ours.is_valid(&borrowed), usual.is_valid(&value), "{}", schema);
            }
        }
    }
}
