//! The plan file: which source rows will be written, in key order, with a fingerprint each.
//!
//! Lines of text: a header (JSON), a line a row (`FINGERPRINT KEY`, 16 hex digits and a JSON array of texts), a trailer
//! (JSON: count and rows digest), and last the SHA-256 of all lines before it. It is written under another name,
//! synced and renamed, so that a file of its own name is a whole one.

use crate::engine::row::Key;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use thiserror::Error;

const FORMAT: &str = "backfill.dev/plan";
const VERSION: i32 = 1;
const HASH: &str = "sha256 ";

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
    /// Rows in the file.
    pub rows: i64,
    /// Digest over every planned write.
    pub rows_digest: String,
}

/// One planned row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedRow {
    /// Key of the source row.
    pub key: Key,
    /// Fingerprint of what would be written for it.
    pub fingerprint: i64,
}

/// Writes a plan file, row by row.
#[derive(Debug)]
pub struct PlanFile {
    path: PathBuf,
    partial: PathBuf,
    out: BufWriter<File>,
    body: Sha256,
    whole: Sha256,
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
        let mut file =
            Self { path: path.to_owned(), partial, out: BufWriter::new(out), body: Sha256::new(), whole: Sha256::new(), rows: 0 };
        file.json(&Header { format: FORMAT.into(), version: VERSION, run_uid: run_uid.into() })?;
        Ok(file)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`PlanFileError::Io`].
    pub fn add(&mut self, row: &PlannedRow) -> Result<(), PlanFileError> {
        self.rows += 1;
        let key = serde_json::to_string(&row.key).map_err(|error| io(&self.partial, error.into()))?;
        self.line(&format!("{:016x} {key}", row.fingerprint))
    }

    /// Rows so far.
    #[must_use]
    pub const fn rows(&self) -> i64 {
        self.rows
    }

    /// Ends the file; answers its SHA-256.
    ///
    /// # Errors
    /// [`PlanFileError::Io`].
    pub fn finish(mut self, rows_digest: &str) -> Result<String, PlanFileError> {
        self.json(&Trailer { rows: self.rows, rows_digest: rows_digest.into() })?;
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
    rows: i64,
    end: Option<(Trailer, String)>,
}

impl PlanReader {
    /// Opens a file of this run.
    ///
    /// # Errors
    /// [`PlanFileError`].
    pub fn open(path: &Path, run_uid: &str) -> Result<Self, PlanFileError> {
        let file = File::open(path).map_err(|source| io(path, source))?;
        let mut reader =
            Self { path: path.to_owned(), lines: BufReader::new(file), body: Sha256::new(), whole: Sha256::new(), rows: 0, end: None };
        let header: Header = serde_json::from_str(&reader.line()?).map_err(|_| reader.damaged("no header"))?;
        if header.format != FORMAT || header.version != VERSION {
            return Err(reader.damaged("another format"));
        }
        if header.run_uid != run_uid {
            return Err(reader.damaged("of another run"));
        }
        Ok(reader)
    }

    /// At most `limit` further rows; none at the end.
    ///
    /// # Errors
    /// [`PlanFileError`].
    pub fn rows(&mut self, limit: usize) -> Result<Vec<PlannedRow>, PlanFileError> {
        let mut rows = Vec::new();
        while self.end.is_none() && rows.len() < limit {
            let line = self.line()?;
            if line.starts_with('{') {
                self.ends(&line)?;
                break;
            }
            let row = line.split_once(' ').and_then(|(fingerprint, key)| {
                let fingerprint = u64::from_str_radix(fingerprint, 16).ok()?.cast_signed();
                Some(PlannedRow { key: serde_json::from_str(key).ok()?, fingerprint })
            });
            rows.push(row.ok_or_else(|| self.damaged("a line is no row"))?);
            self.rows += 1;
        }
        Ok(rows)
    }

    /// The trailer and the SHA-256 of the whole file, once all rows were read.
    #[must_use]
    pub const fn end(&self) -> Option<&(Trailer, String)> {
        self.end.as_ref()
    }

    fn ends(&mut self, line: &str) -> Result<(), PlanFileError> {
        let trailer: Trailer = serde_json::from_str(line).map_err(|_| self.damaged("no trailer"))?;
        if trailer.rows != self.rows {
            return Err(self.damaged("rows are missing"));
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

    fn written(folder: &Path) -> (PathBuf, String, Vec<PlannedRow>) {
        let path = folder.join("a.plan");
        let rows: Vec<PlannedRow> =
            (0..10).map(|n| PlannedRow { key: vec![format!("\u{e4}\n\"{n}"), String::new()], fingerprint: -n }).collect();
        let mut file = PlanFile::create(&path, "uid").unwrap();
        for row in &rows {
            file.add(row).unwrap();
        }
        let sha = file.finish("sha256:00").unwrap();
        (path, sha, rows)
    }

    #[test]
    fn what_was_written_reads_back_and_its_hash_is_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let (path, sha, rows) = written(folder.path());
        let mut reader = PlanReader::open(&path, "uid").unwrap();
        let mut back = reader.rows(3).unwrap();
        assert_eq!((back.len(), reader.end()), (3, None));
        back.extend(reader.rows(100).unwrap());
        assert_eq!(back, rows);
        assert_eq!(reader.end().unwrap(), &(Trailer { rows: 10, rows_digest: "sha256:00".into() }, sha.clone()));
        assert_eq!(hex::encode(Sha256::digest(std::fs::read(&path).unwrap())), sha);
        assert!(!folder.path().join("a.plan.partial").exists());
    }

    #[test]
    fn a_file_cut_anywhere_or_changed_in_any_line_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, _, _) = written(folder.path());
        let whole = std::fs::read(&path).unwrap();
        let read = || PlanReader::open(&path, "uid").and_then(|mut r| r.rows(1000).map(|_| r.end().cloned()));
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(read().is_err(), "cut at {cut}");
        }
        for at in (0..whole.len()).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, &changed).unwrap();
            assert!(read().is_err(), "changed at {at}");
        }
        std::fs::write(&path, &whole).unwrap();
        assert!(matches!(PlanReader::open(&path, "other"), Err(PlanFileError::Damaged { what: "of another run", .. })));
    }
}
