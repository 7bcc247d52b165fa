//! Is any target row written twice? Of each write 16 bytes are remembered, in memory while there are few, in files beside
//! the plan when there are many: memory does not grow with the table.

use super::file::PlanFileError;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// So many are kept in memory: 6 MiB.
const IN_MEMORY: usize = 1 << 18;
/// Into so many files the rest goes, by the first bits: each is small enough to be sorted in memory.
const BUCKETS: usize = 256;

/// Hash of a target row's table and key, and of what is taken of it.
pub(super) type Mark = u128;
/// A write: its mark, and the number of the planned source row.
type Entry = (Mark, u64);
const ENTRY_BYTES: usize = 24;

/// The writes so far.
#[derive(Debug)]
pub(super) struct Once {
    folder: PathBuf,
    recent: Vec<Entry>,
    buckets: Vec<BufWriter<File>>,
    limit: usize,
}

impl Once {
    /// Nothing so far; `folder` is made when it is needed, and removed with this value.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), recent: Vec::new(), buckets: Vec::new(), limit: IN_MEMORY }
    }

    /// Remembers that a source row takes what has this mark.
    pub(super) fn add(&mut self, mark: Mark, source: u64) -> Result<(), PlanFileError> {
        self.recent.push((mark, source));
        if self.recent.len() < self.limit { Ok(()) } else { self.spill() }
    }

    /// Two source rows that write the same row, if there are any.
    pub(super) fn twice(mut self) -> Result<Option<(u64, u64)>, PlanFileError> {
        if self.buckets.is_empty() {
            return Ok(repeated(std::mem::take(&mut self.recent)));
        }
        self.spill()?;
        for bucket in &mut self.buckets {
            bucket.flush().map_err(|source| io(&self.folder, source))?;
        }
        for n in 0..BUCKETS {
            if let Some(pair) = repeated(self.read(n)?) {
                return Ok(Some(pair));
            }
        }
        Ok(None)
    }

    fn spill(&mut self) -> Result<(), PlanFileError> {
        let wrap = |source| io(&self.folder, source);
        if self.buckets.is_empty() {
            fs::create_dir_all(&self.folder).map_err(wrap)?;
            let open = |n: usize| File::create(self.folder.join(n.to_string())).map(|file| BufWriter::with_capacity(4096, file));
            self.buckets = (0..BUCKETS).map(open).collect::<Result<_, _>>().map_err(wrap)?;
        }
        for (hash, source) in self.recent.drain(..) {
            let bucket = usize::from(hash.to_be_bytes().first().copied().unwrap_or(0));
            let Some(out) = self.buckets.get_mut(bucket) else { continue };
            out.write_all(&hash.to_be_bytes()).and_then(|()| out.write_all(&source.to_be_bytes())).map_err(|e| io(&self.folder, e))?;
        }
        Ok(())
    }

    fn read(&self, bucket: usize) -> Result<Vec<Entry>, PlanFileError> {
        let path = self.folder.join(bucket.to_string());
        let mut bytes = Vec::new();
        File::open(&path).and_then(|file| BufReader::new(file).read_to_end(&mut bytes)).map_err(|source| io(&path, source))?;
        let (chunks, _) = bytes.as_chunks::<ENTRY_BYTES>();
        let entry = |chunk: &[u8; ENTRY_BYTES]| {
            let (hash, source) = chunk.split_first_chunk::<16>()?;
            Some((u128::from_be_bytes(*hash), u64::from_be_bytes(source.try_into().ok()?)))
        };
        Ok(chunks.iter().filter_map(entry).collect())
    }
}

impl Drop for Once {
    fn drop(&mut self) {
        if !self.buckets.is_empty() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// The mark of this part of the row with this table and key.
pub(super) fn mark(table: i64, key: &[String], part: &str) -> Mark {
    let mut bytes = table.to_be_bytes().to_vec();
    for part in key {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    bytes.extend(part.as_bytes());
    u128::from_be_bytes(blake3::hash(&bytes).as_bytes().first_chunk().copied().unwrap_or_default())
}

fn repeated(mut entries: Vec<Entry>) -> Option<(u64, u64)> {
    entries.sort_unstable();
    entries.windows(2).find_map(|pair| match pair {
        [(a, first), (b, second)] if a == b => Some((*first, *second)),
        _ => None,
    })
}

fn io(path: &Path, source: std::io::Error) -> PlanFileError {
    PlanFileError::Io { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::{Once, mark};

    fn once(folder: &std::path::Path, limit: usize, keys: impl Iterator<Item = u64>) -> (Option<(u64, u64)>, bool) {
        let mut once = Once::new(&folder.join("once"));
        once.limit = limit;
        for (n, key) in keys.enumerate() {
            once.add(mark(7, &[key.to_string()], ""), n as u64).unwrap();
        }
        let spilled = folder.join("once").exists();
        (once.twice().unwrap(), spilled)
    }

    #[test]
    fn a_row_that_is_written_twice_is_found_in_memory_and_in_files_and_nothing_stays_behind() {
        let folder = tempfile::tempdir().unwrap();
        for (limit, spills) in [(1_000_000, false), (100, true)] {
            assert_eq!(once(folder.path(), limit, 0..5000), (None, spills));
            assert_eq!(once(folder.path(), limit, (0..5000).chain([17])), (Some((17, 5000)), spills));
            assert!(!folder.path().join("once").exists());
        }
    }
}
