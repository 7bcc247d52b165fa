//! The plan file: which source rows will be written, in key order, with a fingerprint each.
//!
//! Lines of JSON: a header, a line a range, a trailer (counts and rows digest), and last the SHA-256 of all lines before
//! it. It is written under another name, synced and renamed, so that a file of its own name is a whole one.

use super::digest::RowsDigest;
use super::range::PlannedRange;
use super::witness::Witness;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

const FORMAT: &str = "backfill.dev/plan";
const VERSION: i32 = 2;
const HASH: &str = "sha256 ";
/// How the trailer begins: no range does.
const TRAILER: &str = "{\"ranges\"";
/// A trailer and the hash after it are shorter than this, in bytes.
const END_MAX: u64 = 1 << 20;

/// Why a plan file cannot be written or read.
#[derive(Debug, Error)]
pub enum PlanFileError {
    /// The file system.
    #[error("the plan file {path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what was written.
    #[error("the plan file {path} is damaged or not the approved one ({what}): let the run plan again")]
    Damaged {
        /// Which file.
        path: String,
        /// What is wrong.
        what: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    format: String,
    version: i32,
    run_uid: String,
}

/// The trailer: what the whole file must add up to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trailer {
    /// Ranges in the file.
    pub ranges: i64,
    /// Rows in them.
    pub rows: i64,
    /// Digest over every planned write.
    pub rows_digest: String,
    /// By what apply sees cheaply that little has changed, where there is such a thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
}

/// Writes a plan file, range by range.
#[derive(Debug)]
pub struct PlanFile {
    path: PathBuf,
    partial: PathBuf,
    out: BufWriter<File>,
    body: Sha256,
    whole: Sha256,
    ranges: i64,
    rows: i64,
}

impl PlanFile {
    /// Begins a file.
    ///
    /// # Errors
    /// [`PlanFileError::Io`].
    pub fn create(path: &Path, run_uid: &str) -> Result<Self, PlanFileError> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let out = File::create(&partial).map_err(|source| io(&partial, source))?;
        let (out, body, whole) = (BufWriter::new(out), Sha256::new(), Sha256::new());
        let mut file = Self { path: path.to_owned(), partial, out, body, whole, ranges: 0, rows: 0 };
        file.json(&Header { format: FORMAT.into(), version: VERSION, run_uid: run_uid.into() })?;
        Ok(file)
    }

    /// Adds a range.
    ///
    /// # Errors
    /// [`PlanFileError::Io`].
    pub fn add(&mut self, range: &PlannedRange) -> Result<(), PlanFileError> {
        self.ranges += 1;
        self.rows += i64::try_from(range.len()).unwrap_or(0);
        self.json(range)
    }

    /// Ends the file; answers its SHA-256.
    ///
    /// # Errors
    /// [`PlanFileError::Io`].
    pub fn finish(mut self, rows_digest: &str, witness: Option<Witness>) -> Result<String, PlanFileError> {
        self.json(&Trailer { ranges: self.ranges, rows: self.rows, rows_digest: rows_digest.into(), witness })?;
        let body = hex::encode(self.body.clone().finalize());
        self.line(&format!("{HASH}{body}"))?;
        let wrap = |source| io(&self.partial, source);
        self.out.flush().map_err(wrap)?;
        self.out.get_ref().sync_all().map_err(wrap)?;
        std::fs::rename(&self.partial, &self.path).map_err(wrap)?;
        // The rename itself is safe only when the folder is.
        let folder = self.path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(|source| io(folder, source))?;
        Ok(hex::encode(self.whole.finalize()))
    }

    fn json(&mut self, value: &impl Serialize) -> Result<(), PlanFileError> {
        let text = serde_json::to_string(value).map_err(|error| io(&self.partial, error.into()))?;
        self.line(&text)
    }

    fn line(&mut self, text: &str) -> Result<(), PlanFileError> {
        for sha in [&mut self.body, &mut self.whole] {
            sha.update(text.as_bytes());
            sha.update(b"\n");
        }
        writeln!(self.out, "{text}").map_err(|source| io(&self.partial, source))
    }
}

/// Reads a plan file from its beginning to its end; answers the trailer and the file's SHA-256 when all of it was seen.
#[derive(Debug)]
pub struct PlanReader {
    path: PathBuf,
    lines: BufReader<File>,
    body: Sha256,
    whole: Sha256,
    ranges: i64,
    rows: i64,
    digest: RowsDigest,
    end: Option<(Trailer, String)>,
}

impl PlanReader {
    /// Opens a file of this run.
    ///
    /// # Errors
    /// [`PlanFileError`].
    pub fn open(path: &Path, run_uid: &str) -> Result<Self, PlanFileError> {
        let file = File::open(path).map_err(|source| io(path, source))?;
        let (lines, body, whole) = (BufReader::new(file), Sha256::new(), Sha256::new());
        let mut reader = Self { path: path.to_owned(), lines, body, whole, ranges: 0, rows: 0, digest: RowsDigest::default(), end: None };
        let header: Header = serde_json::from_str(&reader.line()?).map_err(|_| reader.damaged("no header"))?;
        if header.format != FORMAT || header.version != VERSION {
            return Err(reader.damaged("another format"));
        }
        if header.run_uid != run_uid {
            return Err(reader.damaged("of another run"));
        }
        Ok(reader)
    }

    /// The witness at the end of a file that nobody has read yet: unproved, until the reader has come to the same one. `None`
    /// where there is none, or no file that has one.
    #[must_use]
    pub fn witness_ahead(path: &Path) -> Option<Witness> {
        let mut file = File::open(path).ok()?;
        let from = file.metadata().ok()?.len().saturating_sub(END_MAX);
        file.seek(SeekFrom::Start(from)).ok()?;
        let mut end = Vec::new();
        file.take(END_MAX).read_to_end(&mut end).ok()?;
        let line = end.rsplit(|byte| *byte == b'\n').find(|line| line.starts_with(TRAILER.as_bytes()))?;
        serde_json::from_slice::<Trailer>(line).ok()?.witness
    }

    /// The next range; none at the end.
    ///
    /// # Errors
    /// [`PlanFileError`].
    pub fn next_range(&mut self) -> Result<Option<PlannedRange>, PlanFileError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let line = self.line()?;
        if line.starts_with(TRAILER) {
            self.ends(&line)?;
            return Ok(None);
        }
        let range: PlannedRange = serde_json::from_str(&line).map_err(|_| self.damaged("a line is no range"))?;
        if range.keys.iter().any(|column| column.len() != range.len()) {
            return Err(self.damaged("a range has other keys than fingerprints"));
        }
        self.ranges += 1;
        self.rows += i64::try_from(range.len()).unwrap_or(0);
        self.digest.merge(&range.digest);
        Ok(Some(range))
    }

    /// The trailer and the SHA-256 of the whole file, once all rows were read.
    #[must_use]
    pub const fn end(&self) -> Option<&(Trailer, String)> {
        self.end.as_ref()
    }

    fn ends(&mut self, line: &str) -> Result<(), PlanFileError> {
        let trailer: Trailer = serde_json::from_str(line).map_err(|_| self.damaged("no trailer"))?;
        if (trailer.ranges, trailer.rows) != (self.ranges, self.rows) {
            return Err(self.damaged("rows are missing"));
        }
        if trailer.rows_digest != self.digest.finish() {
            return Err(self.damaged("its ranges do not add up to its digest"));
        }
        let body = hex::encode(self.body.clone().finalize());
        if self.line()?.strip_prefix(HASH) != Some(body.as_str()) {
            return Err(self.damaged("its hash differs"));
        }
        let mut rest = String::new();
        if self.lines.read_line(&mut rest).map_err(|source| io(&self.path, source))? != 0 {
            return Err(self.damaged("something follows its end"));
        }
        self.end = Some((trailer, hex::encode(self.whole.clone().finalize())));
        Ok(())
    }

    fn line(&mut self) -> Result<String, PlanFileError> {
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(|source| io(&self.path, source))?;
        for sha in [&mut self.body, &mut self.whole] {
            sha.update(line.as_bytes());
        }
        match line.strip_suffix('\n') {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.damaged("it is cut off")),
        }
    }

    fn damaged(&self, what: &'static str) -> PlanFileError {
        PlanFileError::Damaged { path: self.path.display().to_string(), what }
    }
}

fn io(path: &Path, source: std::io::Error) -> PlanFileError {
    PlanFileError::Io { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(folder: &Path) -> (PathBuf, String, Vec<PlannedRange>, RowsDigest) {
        let path = folder.join("a.plan");
        let mut whole = RowsDigest::default();
        let ranges = (0..3).map(|r: i64| {
            let mut range = PlannedRange::default();
            for n in 0..4 {
                range.add([format!("\u{e4}\n\"{r}{n}"), String::new()], -n, 1, 1);
                range.digest.add(&blake3::hash(&(r * 10 + n).to_be_bytes()));
            }
            whole.merge(&range.digest);
            range
        });
        let ranges: Vec<PlannedRange> = ranges.collect();
        let mut file = PlanFile::create(&path, "uid").unwrap();
        for range in &ranges {
            file.add(range).unwrap();
        }
        let sha = file.finish(&whole.finish(), None).unwrap();
        (path, sha, ranges, whole)
    }

    type All = (Vec<PlannedRange>, Option<(Trailer, String)>);

    fn all(path: &Path) -> Result<All, PlanFileError> {
        let mut reader = PlanReader::open(path, "uid")?;
        let mut ranges = Vec::new();
        while let Some(range) = reader.next_range()? {
            ranges.push(range);
        }
        Ok((ranges, reader.end().cloned()))
    }

    #[test]
    fn what_was_written_reads_back_and_its_hash_is_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let (path, sha, ranges, whole) = written(folder.path());
        let (back, end) = all(&path).unwrap();
        assert_eq!(back.len(), 3);
        for (back, range) in back.iter().zip(&ranges) {
            assert_eq!((&back.keys, &back.fingerprints, &back.digest), (&range.keys, &range.fingerprints, &range.digest));
        }
        assert_eq!(end.unwrap(), (Trailer { ranges: 3, rows: 12, rows_digest: whole.finish(), witness: None }, sha.clone()));
        assert_eq!(hex::encode(Sha256::digest(std::fs::read(&path).unwrap())), sha);
        assert!(!folder.path().join("a.plan.partial").exists());
    }

    #[test]
    fn the_witness_at_the_end_is_there_before_the_rest_is_read_and_a_damaged_end_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness { oldest_open: "7".into(), origin: "here".into(), tables: Vec::new() };
        let path = folder.path().join("b.plan");
        PlanFile::create(&path, "uid").unwrap().finish("", Some(witness.clone())).unwrap();
        assert_eq!(PlanReader::witness_ahead(&path), Some(witness));
        let whole = std::fs::read(&path).unwrap();
        // Less than the hash and its line.
        std::fs::write(&path, &whole[..whole.len() - 100]).unwrap();
        assert_eq!(PlanReader::witness_ahead(&path), None);
        let (without, ..) = written(folder.path());
        assert_eq!(PlanReader::witness_ahead(&without), None);
        assert_eq!(PlanReader::witness_ahead(&folder.path().join("none")), None);
    }

    #[test]
    fn a_file_cut_anywhere_or_changed_in_any_line_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, ..) = written(folder.path());
        let whole = std::fs::read(&path).unwrap();
        for cut in (0..whole.len()).step_by(13) {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(all(&path).is_err(), "cut at {cut}");
        }
        for at in (0..whole.len()).step_by(37) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(all(&path).is_err(), "changed at {at}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(matches!(PlanReader::open(&path, "other"), Err(PlanFileError::Damaged { what: "of another run", .. })));
    }
}
