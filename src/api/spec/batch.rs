//! How many rows a transaction writes.

use crate::api::duration;
use kube::KubeSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The most rows that a transaction may write. More make its locks long and its undo statement large, and win nothing:
/// from a few hundred rows on the cost of a transaction is the cost of its rows.
pub const BATCH_MAX: i32 = 5000;
const AUTO: &str = "Auto";

/// How many rows a transaction writes. All of it may change while the run applies.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Batch {
    /// Rows a transaction: a number from 1 to 5000, or `Auto`: starts with 100 and finds the number that takes `target`. Default: `Auto`.
    #[serde(default)]
    #[schemars(schema_with = "int_or_auto")]
    pub size: BatchRows,
    /// How long a transaction shall take where `size` is `Auto`, as a duration: so long may the application wait for its rows. Default: `500ms`.
    #[serde(default = "target")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub target: String,
    /// `Auto` takes no more rows than this. Default: 5000.
    #[serde(default = "most")]
    #[schemars(range(min = 1, max = 5000))]
    pub max: i32,
    /// Pause after each batch, as a duration. Default: `0s`.
    #[serde(default = "no_pause")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub pause: String,
}

impl Default for Batch {
    fn default() -> Self {
        Self { size: BatchRows::default(), target: target(), max: most(), pause: no_pause() }
    }
}

fn target() -> String {
    "500ms".into()
}

fn most() -> i32 {
    BATCH_MAX
}

fn no_pause() -> String {
    "0s".into()
}

/// Rows a transaction: the word `Auto`, or a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchRows {
    /// Found by itself.
    #[default]
    Auto,
    /// Always so many, 1 to [`BATCH_MAX`].
    Fixed(i32),
}

impl std::fmt::Display for BatchRows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Fixed(rows) => rows.fmt(f),
        }
    }
}

impl std::str::FromStr for BatchRows {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == AUTO {
            return Ok(Self::Auto);
        }
        let rows = text.parse().ok().filter(|rows| (1..=BATCH_MAX).contains(rows));
        rows.map(Self::Fixed).ok_or("expected Auto, or a number from 1 to 5000")
    }
}

impl Serialize for BatchRows {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str(AUTO),
            Self::Fixed(rows) => serializer.serialize_i32(*rows),
        }
    }
}

impl<'de> Deserialize<'de> for BatchRows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(i64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(rows) => rows.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(de::Error::custom)
    }
}

/// Bounds of a number and the pattern of a string stand side by side: each is asked of its own kind only.
fn int_or_auto(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"x-kubernetes-int-or-string": true, "minimum": 1, "maximum": BATCH_MAX, "maxLength": 4, "pattern": "^Auto$"})
}

#[cfg(test)]
mod tests {
    use super::{Batch, BatchRows};
    use serde_json::json;

    #[test]
    fn a_size_is_auto_or_a_number_in_its_bounds_and_is_written_as_it_was_read() {
        for (written, rows) in [(json!("Auto"), BatchRows::Auto), (json!(1), BatchRows::Fixed(1)), (json!(5000), BatchRows::Fixed(5000))] {
            let read: BatchRows = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(read, rows);
            assert_eq!(serde_json::to_value(read).unwrap(), written);
            assert_eq!(read.to_string().parse(), Ok(read));
        }
        for refused in [json!(0), json!(5001), json!(-1), json!("auto"), json!(""), json!(null), json!(1.5)] {
            assert!(serde_json::from_value::<BatchRows>(refused.clone()).is_err(), "{refused}");
        }
    }

    #[test]
    fn an_empty_block_is_the_default_one() {
        assert_eq!(serde_json::from_value::<Batch>(json!({})).unwrap(), Batch::default());
    }
}
