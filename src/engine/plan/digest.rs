//! A digest over a multiset: the same whatever the order, the page size or the number of workers.
//!
//! `LtHash` (Bellare and Micciancio 1997; Lewi, Kim, Maykov and Weis, "Securing Update Propagation with Homomorphic
//! Hashing", 2019): each element is hashed to 1,024 numbers of 16 bits, and those are added up, lane by lane.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};

const LANES: usize = 1024;

/// The sum so far.
#[derive(Clone, PartialEq, Eq)]
pub struct RowsDigest {
    lanes: Box<[u16; LANES]>,
}

impl Default for RowsDigest {
    fn default() -> Self {
        Self { lanes: Box::new([0; LANES]) }
    }
}

impl std::fmt::Debug for RowsDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.finish())
    }
}

impl RowsDigest {
    /// Adds one write of one target row, as it was hashed.
    pub fn add(&mut self, hash: &blake3::Hash) {
        let mut hasher = blake3::Hasher::new();
        hasher.update(hash.as_bytes());
        let mut bytes = [0; LANES * 2];
        hasher.finalize_xof().fill(&mut bytes);
        for (lane, pair) in self.lanes.iter_mut().zip(bytes.chunks_exact(2)) {
            if let [low, high] = pair {
                *lane = lane.wrapping_add(u16::from_le_bytes([*low, *high]));
            }
        }
    }

    /// Adds what another digest is over.
    pub fn merge(&mut self, other: &Self) {
        for (lane, more) in self.lanes.iter_mut().zip(other.lanes.iter()) {
            *lane = lane.wrapping_add(*more);
        }
    }

    /// The lanes, 2 KiB.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect()
    }

    /// The digest whose lanes these are; `None` where they are not 2 KiB.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let lanes: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        rest.is_empty().then_some(())?;
        Some(Self { lanes: lanes.into_boxed_slice().try_into().ok()? })
    }

    /// The digest, `sha256:…`.
    #[must_use]
    pub fn finish(&self) -> String {
        let mut sha = Sha256::new();
        for lane in self.lanes.iter() {
            sha.update(lane.to_le_bytes());
        }
        format!("sha256:{}", hex::encode(sha.finalize()))
    }
}

impl Serialize for RowsDigest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(self.to_bytes()))
    }
}

impl<'de> Deserialize<'de> for RowsDigest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = hex::decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        Self::from_bytes(&bytes).ok_or_else(|| D::Error::custom("not 2 KiB"))
    }
}

#[cfg(test)]
mod tests {
    use super::RowsDigest;
    use proptest::prelude::*;

    fn digest(elements: &[Vec<u8>]) -> String {
        let mut digest = RowsDigest::default();
        for element in elements {
            digest.add(&blake3::hash(element));
        }
        digest.finish()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_digest_is_the_same_in_any_order(
            elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..30).prop_shuffle(),
        ) {
            let mut sorted = elements.clone();
            sorted.sort();
            prop_assert_eq!(digest(&elements), digest(&sorted));
        }

        #[test]
        fn the_digest_changes_with_any_single_changed_value(
            elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..30), which in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut changed = elements.clone();
            let index = which.index(changed.len());
            changed[index][0] ^= 1 << bit;
            prop_assert_ne!(digest(&elements), digest(&changed));
        }
    }

    #[test]
    fn digests_of_parts_add_up_to_the_digest_of_the_whole_and_read_back() {
        let (mut a, mut b, mut whole) = (RowsDigest::default(), RowsDigest::default(), RowsDigest::default());
        for n in 0..20u8 {
            let part = if n % 3 == 0 { &mut a } else { &mut b };
            part.add(&blake3::hash(&[n]));
            whole.add(&blake3::hash(&[n]));
        }
        a.merge(&RowsDigest::from_bytes(&b.to_bytes()).unwrap());
        assert_eq!(a, whole);
        assert_eq!(RowsDigest::from_bytes(&[0; 3]), None);
    }

    #[test]
    fn an_element_counts_as_often_as_it_is_there() {
        assert_ne!(digest(&[vec![1], vec![1]]), digest(&[vec![1]]));
        assert_ne!(digest(&[]), digest(&[vec![]]));
    }
}
