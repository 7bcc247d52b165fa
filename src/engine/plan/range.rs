//! A range: planned rows next to one another in key order, small enough that one transaction could write all of it.

use super::digest::RowsDigest;
use serde::{Deserialize, Serialize};

/// Most writes of a range, whatever the spec says: a batch is never larger.
pub const WRITES_MAX: usize = 5000;
/// A range ends when its old and new values weigh this much: a worker holds two or three ranges in memory.
pub const BYTES_MAX: usize = 8 << 20;

/// Planned rows, column by column.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedRange {
    /// A list a column of the source key; then, where losers are written, those of the winner's.
    pub keys: Vec<Vec<String>>,
    /// Fingerprint of what would be written for each row.
    #[serde(with = "packed")]
    pub fingerprints: Vec<i64>,
    /// How many target rows each row writes; empty where it is one each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub weights: Vec<i32>,
    /// Places of rows in which secrets are redacted before they are written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub redact: Vec<i32>,
    /// Digest over the planned writes.
    pub digest: RowsDigest,
    /// Weight of old and new values, in bytes.
    #[serde(skip)]
    bytes: usize,
}

impl PlannedRange {
    /// Rows.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.fingerprints.len()
    }

    /// True where there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.fingerprints.is_empty()
    }

    /// Target rows.
    #[must_use]
    pub fn writes(&self) -> usize {
        if self.weights.is_empty() { self.len() } else { self.weights.iter().map(|w| usize::try_from(*w).unwrap_or(0)).sum() }
    }

    /// The source key of a row.
    #[must_use]
    pub fn key(&self, place: usize, columns: usize) -> Vec<String> {
        self.keys.iter().take(columns).map(|column| column.get(place).cloned().unwrap_or_default()).collect()
    }

    /// True where no further row should be added.
    #[must_use]
    pub fn is_full(&self, rows: usize) -> bool {
        self.len() >= rows || self.writes() >= WRITES_MAX || self.bytes >= BYTES_MAX
    }

    /// Adds a row: its key (and winner's key), fingerprint, number of target rows, and the weight of its values.
    pub fn add(&mut self, key: impl IntoIterator<Item = String>, fingerprint: i64, writes: usize, bytes: usize) {
        for (n, part) in key.into_iter().enumerate() {
            match self.keys.get_mut(n) {
                Some(column) => column.push(part),
                None => self.keys.push(vec![part]),
            }
        }
        if writes != 1 && self.weights.is_empty() {
            self.weights = vec![1; self.len()];
        }
        if writes != 1 || !self.weights.is_empty() {
            self.weights.push(i32::try_from(writes).unwrap_or(i32::MAX));
        }
        self.fingerprints.push(fingerprint);
        self.bytes += bytes;
    }
}

/// Fingerprints as hexadecimal digits, 16 each.
mod packed {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(values: &[i64], serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<i64>, D::Error> {
        let bytes = hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        let (chunks, rest) = bytes.as_chunks::<8>();
        if rest.is_empty() { Ok(chunks.iter().map(|chunk| i64::from_be_bytes(*chunk)).collect()) } else { Err(D::Error::custom("cut off")) }
    }
}

#[cfg(test)]
mod tests {
    use super::PlannedRange;

    #[test]
    fn a_range_reads_back_as_it_was_written() {
        let mut range = PlannedRange::default();
        range.add(["a".into(), "1".into()], -1, 1, 10);
        range.add(["b".into(), "2".into()], i64::MAX, 3, 10);
        range.add(["c".into(), "3".into()], 7, 1, 10);
        assert_eq!((range.len(), range.writes(), range.weights.clone()), (3, 5, vec![1, 3, 1]));
        assert_eq!(range.key(1, 2), ["b", "2"]);
        let back: PlannedRange = serde_json::from_str(&serde_json::to_string(&range).unwrap()).unwrap();
        assert_eq!(
            (back.keys, back.fingerprints, back.weights, back.digest),
            (range.keys, range.fingerprints, range.weights, range.digest)
        );
    }

    #[test]
    fn a_range_is_full_by_rows_by_writes_or_by_weight() {
        let mut range = PlannedRange::default();
        range.add(["a".into()], 1, 1, 0);
        assert!(range.is_full(1) && !range.is_full(2));
        range.add(["b".into()], 1, super::WRITES_MAX, 0);
        assert!(range.is_full(1000));
        let mut range = PlannedRange::default();
        range.add(["a".into()], 1, 1, super::BYTES_MAX);
        assert!(range.is_full(1000));
    }
}
