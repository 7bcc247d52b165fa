//! Which of the image's clients does what: `pg_dump` by the server's major, `pg_restore` and `psql` the newest.
//!
//! Debian and PGDG install each major's programs in a folder of its own, so that one image can hold several; a client on
//! the `PATH` counts, too. An archive is read by a `pg_restore` of its `pg_dump`'s major or a newer one.

use super::tools::{ToolError, command, major_version};
use crate::api::spec::Compression;
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;
use tokio::process::Command;
use tokio::sync::OnceCell;

/// Where Debian and PGDG put the programs of a major: `MAJOR/bin`.
const FOLDERS: &str = "/usr/lib/postgresql";
/// Names another folder, for an image that keeps them elsewhere.
const FOLDERS_VARIABLE: &str = "BACKFILL_CLIENTS";
/// From this major on, `pg_dump` compresses with lz4 and zstd, where it is built with them.
const MODERN: i32 = 16;
const LZ4: &str = "lz4";
const ZSTD: &str = "zstd";
/// It answers in milliseconds.
const PROBE: Duration = Duration::from_secs(5);

/// The programs of one major.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Client {
    /// The major.
    pub major: i32,
    folder: Option<PathBuf>,
    /// What it compresses with beside gzip: not every build has the libraries.
    built_with: Vec<&'static str>,
}

/// No client can do it.
#[derive(Debug, Error)]
pub enum ClientError {
    /// None is new enough for the server.
    #[error(
        "the step's image has {have}, and none that dumps a server of version {server}: use an image with postgresql-client-{server} or newer"
    )]
    NoClientFits {
        /// Major version of the server.
        server: i32,
        /// What there is.
        have: String,
    },
    /// None offers the compression.
    #[error(
        "the step's image has {have}, and none of them compresses with {compression}, which needs 16 or newer, built with it: use an image with postgresql-client-16 or newer, or spec.backup.compression: Gzip"
    )]
    CompressionUnsupported {
        /// Which.
        compression: &'static str,
        /// What there is.
        have: String,
    },
    /// There are none.
    #[error("{0}")]
    Tool(#[from] ToolError),
}

impl ClientError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoClientFits { .. } => "NoClientFits",
            Self::CompressionUnsupported { .. } => "CompressionUnsupported",
            Self::Tool(error) => error.reason(),
        }
    }
}

/// A `pg_dump`, how it compresses, and why it is this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dumper {
    /// Which.
    pub client: Client,
    /// How. Never `Default`.
    pub compression: Compression,
    /// A sentence for people.
    pub why: String,
}

impl Client {
    /// The program to run.
    #[must_use]
    pub fn program(&self, tool: &str) -> PathBuf {
        self.folder.as_ref().map_or_else(|| PathBuf::from(tool), |folder| folder.join(tool))
    }

    fn compresses_with(&self, compression: Compression) -> bool {
        match compression {
            Compression::Lz4 => self.built_with.contains(&LZ4),
            Compression::Zstd => self.built_with.contains(&ZSTD),
            Compression::Default | Compression::None | Compression::Gzip => true,
        }
    }

    /// Finds out what it is built with: it says so before it would connect, to nowhere.
    async fn probe(&mut self) {
        for library in [LZ4, ZSTD] {
            let mut probe = command(self.program("pg_dump"));
            probe.args(["--no-password", "--host=/nonexistent", "--dbname=none", "--compress", library]);
            let Ok(Ok(output)) = tokio::time::timeout(PROBE, probe.output()).await else { continue };
            if !String::from_utf8_lossy(&output.stderr).contains("invalid compression specification") {
                self.built_with.push(library);
            }
        }
    }
}

impl Dumper {
    /// Chooses among the clients of this image.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn choose(server: i32, asked: Compression) -> Result<Self, ClientError> {
        choose(all().await?, server, asked)
    }

    /// What `pg_dump --compress` takes.
    #[must_use]
    pub fn argument(&self) -> &'static str {
        match self.compression {
            Compression::None => "0",
            // Of the levels that pay, the fastest: docs/backups.md has the numbers.
            Compression::Default | Compression::Gzip => "1",
            Compression::Lz4 => LZ4,
            Compression::Zstd => "zstd:1",
        }
    }

    /// What a person needs to read the dump.
    #[must_use]
    pub fn restore_with(&self) -> String {
        let major = self.client.major;
        match self.compression {
            Compression::None | Compression::Default | Compression::Gzip => format!("pg_restore >= {major}"),
            Compression::Lz4 => format!("pg_restore >= {major}, built with lz4"),
            Compression::Zstd => format!("pg_restore >= {major}, built with zstd"),
        }
    }
}

/// The same major, else the next higher one. A compression is chosen only so that nobody needs a newer `pg_restore` for
/// it than for the dump as such, unless it is asked for.
fn choose(clients: &[Client], server: i32, asked: Compression) -> Result<Dumper, ClientError> {
    let have = || match clients {
        [] => "no PostgreSQL client".to_owned(),
        some => format!("clients of {}", some.iter().map(|c| c.major.to_string()).collect::<Vec<_>>().join(", ")),
    };
    let modern = matches!(asked, Compression::Lz4 | Compression::Zstd);
    let fits = |client: &&Client| client.major >= server && client.compresses_with(asked);
    let Some(client) = clients.iter().find(fits).cloned() else {
        return Err(if modern && clients.iter().any(|c| c.major >= server) {
            ClientError::CompressionUnsupported { compression: asked.name(), have: have() }
        } else {
            ClientError::NoClientFits { server, have: have() }
        });
    };
    let compression = match asked {
        Compression::Default if client.compresses_with(Compression::Zstd) => Compression::Zstd,
        Compression::Default => Compression::Gzip,
        asked => asked,
    };
    let why = if client.major == server {
        format!("pg_dump {} of the server's own major", client.major)
    } else if clients.iter().any(|c| c.major == server) {
        format!("pg_dump {}, because that of the server's major {server} does not compress with {}", client.major, compression.name())
    } else {
        format!("pg_dump {}, because the image has none of the server's major {server}", client.major)
    };
    Ok(Dumper { client, compression, why })
}

/// The newest `pg_restore`, which reads what all others wrote.
///
/// # Errors
/// [`ToolError`] where there is none.
pub async fn pg_restore() -> Result<Command, ToolError> {
    Ok(command(newest().await?.program("pg_restore")))
}

/// The newest client of this image.
///
/// # Errors
/// [`ToolError`] where there is none.
pub async fn newest() -> Result<&'static Client, ToolError> {
    all().await?.last().ok_or(ToolError::ToolMissing { tool: "pg_restore" })
}

/// All clients of this image, the oldest first; looked for once.
async fn all() -> Result<&'static [Client], ToolError> {
    static ALL: OnceCell<Vec<Client>> = OnceCell::const_new();
    let found = ALL.get_or_try_init(|| async {
        let root = std::env::var_os(FOLDERS_VARIABLE).map_or_else(|| PathBuf::from(FOLDERS), PathBuf::from);
        let mut found = in_folders(&root);
        match major_version("pg_dump").await {
            // One that is on the PATH and in a folder is the same.
            Ok(major) if found.iter().all(|c| c.major != major) => found.push(Client { major, folder: None, built_with: Vec::new() }),
            Ok(_) => {}
            Err(ToolError::ToolMissing { .. }) if !found.is_empty() => {}
            Err(error) => return Err(error),
        }
        for client in found.iter_mut().filter(|client| client.major >= MODERN) {
            client.probe().await;
        }
        found.sort();
        Ok(found)
    });
    Ok(found.await?.as_slice())
}

fn in_folders(root: &Path) -> Vec<Client> {
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            let folder = entry.path().join("bin");
            ["pg_dump", "pg_restore"].iter().all(|tool| folder.join(tool).is_file()).then_some(Client {
                major,
                folder: Some(folder),
                built_with: Vec::new(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(major: i32, modern: bool) -> Client {
        Client { major, folder: None, built_with: if modern { vec![LZ4, ZSTD] } else { Vec::new() } }
    }

    fn chosen(majors: &[i32], server: i32, asked: Compression) -> Result<(i32, Compression, String), &'static str> {
        let clients: Vec<Client> = majors.iter().map(|major| client(*major, *major >= MODERN)).collect();
        choose(&clients, server, asked).map(|d| (d.client.major, d.compression, d.restore_with())).map_err(|e| e.reason())
    }

    #[test]
    fn the_server_s_own_major_comes_first_then_the_next_higher_one() {
        for server in 14..=18 {
            let (major, ..) = chosen(&[14, 15, 16, 17, 18], server, Compression::Default).unwrap();
            assert_eq!(major, server);
        }
        assert_eq!(chosen(&[14, 16, 18], 15, Compression::Default).unwrap().0, 16);
        assert_eq!(chosen(&[14, 15], 16, Compression::Default), Err("NoClientFits"));
        assert_eq!(chosen(&[], 16, Compression::Default), Err("NoClientFits"));
    }

    #[test]
    fn a_compression_that_needs_a_newer_pg_restore_is_on_request_only() {
        assert_eq!(chosen(&[15, 17], 15, Compression::Default).unwrap(), (15, Compression::Gzip, "pg_restore >= 15".into()));
        let zstd = "pg_restore >= 17, built with zstd".to_owned();
        assert_eq!(chosen(&[15, 17], 15, Compression::Zstd).unwrap(), (17, Compression::Zstd, zstd.clone()));
        // Where 17 must be used, its archive needs a newer pg_restore anyway.
        assert_eq!(chosen(&[17], 15, Compression::Default).unwrap(), (17, Compression::Zstd, zstd));
        assert_eq!(chosen(&[15], 15, Compression::Lz4), Err("CompressionUnsupported"));
        assert_eq!(chosen(&[17], 17, Compression::None).unwrap().2, "pg_restore >= 17");
    }

    #[test]
    fn a_client_that_is_built_without_a_library_is_not_asked_for_it() {
        let clients = [client(17, true), client(18, false)];
        assert_eq!(choose(&clients, 18, Compression::Default).unwrap().compression, Compression::Gzip);
        assert_eq!(choose(&clients, 18, Compression::Zstd).unwrap_err().reason(), "CompressionUnsupported");
        assert_eq!(choose(&clients, 17, Compression::Default).unwrap().compression, Compression::Zstd);
    }

    #[test]
    fn only_whole_clients_count() {
        let root = tempfile::tempdir().unwrap();
        for (major, tools) in [("15", vec!["pg_dump", "pg_restore"]), ("16", vec!["pg_restore"]), ("old", vec!["pg_dump", "pg_restore"])] {
            let bin = root.path().join(major).join("bin");
            std::fs::create_dir_all(&bin).unwrap();
            for tool in tools {
                std::fs::write(bin.join(tool), "").unwrap();
            }
        }
        assert_eq!(in_folders(root.path()).iter().map(|c| c.major).collect::<Vec<_>>(), [15]);
    }
}
