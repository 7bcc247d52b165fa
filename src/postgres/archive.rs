//! The files that `pg_dump -Fc` writes: reading them through, and what is in them.

use super::tools::{ToolError, command, complaint, not_run};
use std::path::Path;
use std::process::Stdio;
use thiserror::Error;

/// Why a dump cannot be used.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// Its table of contents or one of its blocks cannot be read.
    #[error("pg_restore cannot read the dump through: {detail}")]
    DumpUnreadable {
        /// What `pg_restore` said.
        detail: String,
    },
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

    /// True where the entry has the rows of this table. The owner is asked for, too: names may hold blanks, and only
    /// the whole line says where one ends.
    #[must_use]
    pub fn is_data_of(&self, schema: &str, table: &str, owner: &str) -> bool {
        // `pg_restore --list` writes a line break in a name as a blank.
        self.what == format!("TABLE DATA {schema} {table} {owner}").replace(['\n', '\r'], " ")
    }
}

/// The table of contents.
///
/// # Errors
/// [`ArchiveError`].
pub async fn list(file: &Path) -> Result<Vec<Entry>, ArchiveError> {
    let output = command("pg_restore").arg("--list").arg(file).output().await.map_err(|e| not_run("pg_restore", e))?;
    if !output.status.success() {
        return Err(ArchiveError::DumpUnreadable { detail: complaint(&String::from_utf8_lossy(&output.stderr)) });
    }
    Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(Entry::parse).collect())
}

/// Reads and unpacks every block. The table of contents alone proves nothing: it is whole in a dump cut in half.
///
/// # Errors
/// [`ArchiveError::DumpUnreadable`] where any block is missing or broken.
pub async fn read_through(file: &Path) -> Result<(), ArchiveError> {
    let output = command("pg_restore")
        .args(["--file", "/dev/null"])
        .arg(file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .await
        .map_err(|e| not_run("pg_restore", e))?;
    if output.status.success() {
        return Ok(());
    }
    Err(ArchiveError::DumpUnreadable { detail: complaint(&String::from_utf8_lossy(&output.stderr)) })
}

#[cfg(test)]
mod tests {
    use super::Entry;

    #[test]
    fn an_entry_knows_whose_rows_it_has() {
        let entry = Entry::parse("3367; 0 16387 TABLE DATA public my table app").unwrap();
        assert!(entry.is_data_of("public", "my table", "app"));
        assert!(!entry.is_data_of("public", "my", "app"), "a name that only begins alike is another table");
        assert!(!Entry::parse("215; 1259 16387 TABLE public a app").unwrap().is_data_of("public", "a", "app"));
        assert_eq!(Entry::parse(";     Format: CUSTOM"), None);
    }
}
