//! What would be written for a source row, as hashes: of each change, and eight bytes over all of them.

use super::model::{Model, Target};
use super::row::{Change, Judged, Key, Kind};

impl Change {
    /// Table, action, key, and (column, old, new) of each value known at plan, in the columns' order. Where values are
    /// those of the moment of apply, only which row it is.
    #[must_use]
    pub fn hash(&self, model: &Model) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let Some(write) = model.writes.get(self.write) else { return hasher.finalize() };
        frame(&mut hasher, Some(&write.table.quoted()));
        hasher.update(match self.kind {
            Kind::Update => b"U",
            Kind::Insert => b"I",
            Kind::Delete => b"D",
        });
        hasher.update(&(self.key.len() as u64).to_be_bytes());
        for part in &self.key {
            frame(&mut hasher, Some(part));
        }
        if !model.recompute {
            self.hash_values(write, &mut hasher);
        }
        hasher.finalize()
    }

    fn hash_values(&self, write: &Target, hasher: &mut blake3::Hasher) {
        if self.kind == Kind::Delete {
            for (column, old) in write.keeps.iter().zip(&self.old) {
                frame(hasher, Some(&column.name));
                frame(hasher, old.as_deref());
            }
            return;
        }
        for (n, set) in write.sets.iter().enumerate().filter(|(_, set)| !set.value.is_at_apply()) {
            frame(hasher, Some(&set.column.name));
            frame(hasher, self.old.get(n).and_then(Option::as_deref));
            frame(hasher, self.new.get(n).and_then(Option::as_deref));
        }
    }
}

impl Judged {
    /// Eight bytes over the source key and all that would be written: it differs where anything of that does. Beside it
    /// the hashes of the changes, for the digest.
    #[must_use]
    pub fn fingerprint(&self, model: &Model, key: &Key) -> (i64, Vec<blake3::Hash>) {
        let mut hasher = blake3::Hasher::new();
        for part in key {
            frame(&mut hasher, Some(part));
        }
        let changes: Vec<blake3::Hash> = self.changes.iter().map(|change| change.hash(model)).collect();
        for change in &changes {
            hasher.update(change.as_bytes());
        }
        let mut bytes = [0; 8];
        hasher.finalize_xof().fill(&mut bytes);
        (i64::from_be_bytes(bytes), changes)
    }
}

/// Length first, so that no two lists of texts hash alike; NULL is not the empty text.
fn frame(hasher: &mut blake3::Hasher, text: Option<&str>) {
    match text {
        None => {
            hasher.update(&[0]);
        }
        Some(text) => {
            hasher.update(&[1]).update(&(text.len() as u64).to_be_bytes()).update(text.as_bytes());
        }
    }
}
