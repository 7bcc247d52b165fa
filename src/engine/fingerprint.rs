//! What would be written for a source row, as hashes: of each change, and eight bytes over all of them.

use super::model::{Model, Target};
use super::row::{Change, Judged, Key, Kind};

impl Change {
    /// Table, action, key, and (column, old, new) of each value known at plan, in the columns' order. Where values are
    /// those of the moment of apply, only which row it is.
    #[must_use]
    pub fn hash(&self, model: &Model) -> blake3::Hash {
        let mut bytes = Vec::new();
        let Some(write) = model.writes.get(self.write) else { return blake3::hash(&bytes) };
        let values = self.old.iter().chain(&self.new).flatten().map(String::len).sum::<usize>();
        bytes.reserve(values + ROOM);
        frame(&mut bytes, Some(&write.table.quoted()));
        bytes.push(match self.kind {
            Kind::Update => b'U',
            Kind::Insert => b'I',
            Kind::Delete => b'D',
        });
        bytes.extend((self.key.len() as u64).to_be_bytes());
        for part in &self.key {
            frame(&mut bytes, Some(part));
        }
        if !model.recompute {
            self.frame_values(write, &mut bytes);
        }
        blake3::hash(&bytes)
    }

    fn frame_values(&self, write: &Target, bytes: &mut Vec<u8>) {
        if self.kind == Kind::Delete {
            for (column, old) in write.keeps.iter().zip(&self.old) {
                frame(bytes, Some(&column.name));
                frame(bytes, old.as_deref());
            }
            return;
        }
        for (n, set) in write.sets.iter().enumerate().filter(|(_, set)| !set.value.is_at_apply()) {
            frame(bytes, Some(&set.column.name));
            frame(bytes, self.old.get(n).and_then(Option::as_deref));
            frame(bytes, self.new.get(n).and_then(Option::as_deref));
        }
    }
}

impl Judged {
    /// Eight bytes over the source key and all that would be written: it differs where anything of that does. Beside it
    /// the hashes of the changes, for the digest.
    #[must_use]
    pub fn fingerprint(&self, model: &Model, key: &Key) -> (i64, Vec<blake3::Hash>) {
        let changes: Vec<blake3::Hash> = self.changes.iter().map(|change| change.hash(model)).collect();
        let mut bytes = Vec::with_capacity(ROOM);
        for part in key {
            frame(&mut bytes, Some(part));
        }
        for change in &changes {
            bytes.extend(change.as_bytes());
        }
        let first = blake3::hash(&bytes).as_bytes().first_chunk::<8>().copied().unwrap_or_default();
        (i64::from_be_bytes(first), changes)
    }
}

/// For names, lengths and keys; more grows.
const ROOM: usize = 256;

/// Length first, so that no two lists of texts hash alike; NULL is not the empty text.
fn frame(bytes: &mut Vec<u8>, text: Option<&str>) {
    match text {
        None => bytes.push(0),
        Some(text) => {
            bytes.push(1);
            bytes.extend((text.len() as u64).to_be_bytes());
            bytes.extend(text.as_bytes());
        }
    }
}
