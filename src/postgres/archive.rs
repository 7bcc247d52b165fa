//! What `pg_dump` writes: reading them through, and what is in them.

use super::clients;
use super::tools::{ToolError, complaint, not_run};
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::ChildStdin;

/// Why a dump cannot be used.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Its table of contents or one of its blocks cannot be read.
    #[error("pg_restore cannot read the dump through: {detail}")]
    DumpUnreadable {
        /// What `pg_restore` said.
        detail: String,
    },
    /// Its bytes could not be had.
    #[error("the dump cannot be read: {0}")]
    SourceFailed(#[source] std::io::Error),
    /// `pg_restore` cannot be used.
    #[error("{0}")]
    Tool(#[from] ToolError),
}

impl ArchiveError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::DumpUnreadable { .. } => "DumpUnreadable",
            Self::SourceFailed(_) => "BackupUnreadable",
            Self::Tool(error) => error.reason(),
        }
    }
}

/// An entry of a dump's table of contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The line as `pg_restore --list` wrote it and `--use-list` takes it.
    pub line: String,
    /// What follows the numbers: `TABLE DATA public scenarios owner`.
    pub what: String,
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        // `3367; 0 16387 TABLE DATA public a app`
        let (id, rest) = line.split_once("; ")?;
        id.parse::<i64>().ok()?;
        let (_, rest) = rest.split_once(' ')?;
        let (_, what) = rest.split_once(' ')?;
        Some(Self { line: line.to_owned(), what: what.to_owned() })
    }

    /// True where what it makes lies in this schema, or is the schema, or says something of it.
    #[must_use]
    pub fn is_of_schema(&self, schema: &str) -> bool {
        let word = |text: &str| text.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
        // `CONSTRAINT backfill runs runs_pkey app`; `SCHEMA - backfill app`; `ACL - SCHEMA backfill app`.
        let within = self.what.split_once(&format!(" {schema} ")).is_some_and(|(kind, _)| word(kind));
        within || self.what.starts_with(&format!("SCHEMA - {schema} ")) || self.what.contains(&format!(" - SCHEMA {schema} "))
    }

    /// True where the entry has the rows of this table. The owner is asked for, too: names may hold blanks, and only
    /// the whole line says where one ends.
    #[must_use]
    pub fn is_data_of(&self, schema: &str, table: &str, owner: &str) -> bool {
        // `pg_restore --list` writes a line break in a name as a blank.
        self.what == format!("TABLE DATA {schema} {table} {owner}").replace(['\n', '\r'], " ")
    }
}

/// What an archive says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The database that was dumped.
    pub database: String,
    /// When the dump began, by the clock on the wall where it was made: an archive does not say in which time zone that was.
    pub began: Option<jiff::civil::DateTime>,
    /// `CUSTOM`, `DIRECTORY` or `TAR`.
    pub format: String,
    /// Version of the server, as in `17.2`.
    pub server_version: String,
    /// Version of `pg_dump`.
    pub client_version: String,
}

impl Header {
    /// Reads the lines that `pg_restore --list` begins with.
    fn parse(listed: &str) -> Self {
        let of = |name: &str| {
            let line = listed.lines().find_map(|line| line.strip_prefix(';')?.trim().strip_prefix(name)?.strip_prefix(": "));
            line.map(str::trim).unwrap_or_default()
        };
        let version = |name: &str| of(name).split(' ').next().unwrap_or_default().to_owned();
        let created = listed.lines().find_map(|line| line.strip_prefix("; Archive created at "));
        Self {
            database: of("dbname").to_owned(),
            // `2026-11-27 14:00:00 UTC`
            began: created.and_then(|text| text.get(..19)?.parse().ok()),
            format: of("Format").to_owned(),
            server_version: version("Dumped from database version"),
            client_version: version("Dumped by pg_dump version"),
        }
    }
}

/// An archive to read.
pub enum Archive<'a> {
    /// A file, or the folder of a dump of many.
    File(&'a Path),
    /// Its bytes as they come, from the beginning.
    Stream(Pin<Box<dyn AsyncRead + Send>>),
}

/// The table of contents.
///
/// # Errors
/// [`ArchiveError`].
pub async fn list(archive: Archive<'_>) -> Result<Vec<Entry>, ArchiveError> {
    describe(archive).await.map(|(_, entries)| entries)
}

/// What the archive says of itself, and its table of contents.
///
/// # Errors
/// [`ArchiveError`].
pub async fn describe(archive: Archive<'_>) -> Result<(Header, Vec<Entry>), ArchiveError> {
    let listed = pg_restore(&["--list"], archive, Stdio::piped()).await?;
    let listed = String::from_utf8_lossy(&listed);
    Ok((Header::parse(&listed), listed.lines().filter_map(Entry::parse).collect()))
}

/// Reads and unpacks every block. The table of contents alone proves nothing: it is whole in a dump cut in half.
///
/// # Errors
/// [`ArchiveError::DumpUnreadable`] where any block is missing or broken, [`ArchiveError::SourceFailed`].
pub async fn read_through(archive: Archive<'_>) -> Result<(), ArchiveError> {
    pg_restore(&["--file", "/dev/null"], archive, Stdio::null()).await.map(|_| ())
}

async fn pg_restore(arguments: &[&str], archive: Archive<'_>, stdout: Stdio) -> Result<Vec<u8>, ArchiveError> {
    let broken = |e| not_run("pg_restore", e);
    let mut command = clients::pg_restore().await?;
    command.args(arguments).stdout(stdout).stderr(Stdio::piped());
    match archive {
        Archive::File(file) => {
            let child = command.arg(file).spawn().map_err(broken)?;
            judged(&child.wait_with_output().await.map_err(broken)?, Ok(()))
        }
        Archive::Stream(mut bytes) => {
            let mut child = command.stdin(Stdio::piped()).spawn().map_err(broken)?;
            let Some(stdin) = child.stdin.take() else { return Err(broken(std::io::Error::other("it has no stdin")).into()) };
            // What it prints is read meanwhile: a table of contents may be longer than a pipe.
            let reading = tokio::spawn(child.wait_with_output());
            let fed = feed(&mut bytes, stdin).await;
            let output = reading.await.map_err(std::io::Error::other).and_then(|output| output).map_err(broken)?;
            judged(&output, fed)
        }
    }
}

/// What `pg_restore` says counts only where it has seen what was there.
fn judged(output: &std::process::Output, fed: std::io::Result<()>) -> Result<Vec<u8>, ArchiveError> {
    fed.map_err(ArchiveError::SourceFailed)?;
    if output.status.success() {
        return Ok(output.stdout.clone());
    }
    Err(ArchiveError::DumpUnreadable { detail: complaint(&String::from_utf8_lossy(&output.stderr)) })
}

/// Passes everything on, to the last byte of the source: `pg_restore` may have seen enough before.
async fn feed(bytes: &mut Pin<Box<dyn AsyncRead + Send>>, stdin: ChildStdin) -> std::io::Result<()> {
    let mut stdin = Some(stdin);
    let mut chunk = vec![0; 256 * 1024];
    loop {
        let read = bytes.read(&mut chunk).await?;
        if read == 0 {
            return Ok(());
        }
        if let Some(pipe) = &mut stdin
            && pipe.write_all(chunk.get(..read).unwrap_or_default()).await.is_err()
        {
            stdin = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, Header};

    #[test]
    fn an_archive_says_of_which_database_it_is_and_when_it_was_begun() {
        let listed = ";\n; Archive created at 2026-11-27 14:00:05 UTC\n;     dbname: my shop\n;     TOC Entries: 20\n;     Compression: gzip\n;     Dump Version: 1.15-0\n;     Format: CUSTOM\n;     Integer: 4 bytes\n;     Dumped from database version: 15.14 (Debian 15.14-0+deb12u1)\n;     Dumped by pg_dump version: 17.2\n;\n; Selected TOC Entries:\n;\n";
        let header = Header::parse(listed);
        assert_eq!((header.database.as_str(), header.format.as_str()), ("my shop", "CUSTOM"));
        assert_eq!((header.server_version.as_str(), header.client_version.as_str()), ("15.14", "17.2"));
        assert_eq!(header.began.map(|at| at.to_string()).as_deref(), Some("2026-11-27T14:00:05"));
        assert_eq!(Header::parse(";\n"), Header::default());
    }

    #[test]
    fn entries_of_the_ledger_are_known_by_their_schema() {
        let of = |what: &str| Entry { line: what.into(), what: what.into() }.is_of_schema("backfill");
        for what in [
            "TABLE backfill runs app",
            "FK CONSTRAINT backfill undo undo_fkey app",
            "SCHEMA - backfill app",
            "ACL - SCHEMA backfill app",
            "ACL backfill TABLE runs app",
        ] {
            assert!(of(what), "{what}");
        }
        for what in [
            "TABLE public backfill app",
            "TABLE DATA public scenarios backfill ",
            "SCHEMA - backfill2 app",
            "COMMENT public COLUMN a.backfill app",
        ] {
            assert!(!of(what), "{what}");
        }
    }

    #[test]
    fn an_entry_knows_whose_rows_it_has() {
        let entry = Entry::parse("3367; 0 16387 TABLE DATA public my table app").unwrap();
        assert!(entry.is_data_of("public", "my table", "app"));
        assert!(!entry.is_data_of("public", "my", "app"), "a name that only begins alike is another table");
        assert!(!Entry::parse("215; 1259 16387 TABLE public a app").unwrap().is_data_of("public", "a", "app"));
        assert_eq!(Entry::parse(";     Format: CUSTOM"), None);
    }
}
