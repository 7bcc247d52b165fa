//! The dump on the backup volume and the manifest beside it: names, sums, and how they come to be there whole.

use super::StepContext;
use crate::postgres::origin::Origin;
use crate::postgres::table_sums::TableSum;
use jiff::Timestamp;
use rustix::fs::{Advice, fadvise};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

/// What the dump's snapshot held. It lies beside the dump, so that it lives as long as the dump does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Uid of the run that took it.
    pub run_uid: String,
    /// SHA-256 of the dump.
    pub sha256: String,
    /// When the snapshot was taken.
    pub taken_at: Timestamp,
    /// Every table with its sum.
    pub tables: Vec<TableSum>,
    /// The database that was dumped: what a server must be like for the dump to fit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// Where the files of this run's backups lie.
#[derive(Clone, Debug)]
pub struct DumpFolder {
    root: PathBuf,
    relative: PathBuf,
    prefix: String,
}

impl DumpFolder {
    /// The folder that the spec names, and the names that belong to this run.
    #[must_use]
    pub fn of(context: &StepContext) -> Self {
        let run = &context.input.run;
        let uid: String = run.uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        Self {
            root: context.paths.backup.clone(),
            relative: PathBuf::from(&context.input.spec.backup.destination.persistent_volume_claim.path),
            prefix: format!("{}-{}-{uid}-", run.namespace, run.name),
        }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.root.join(&self.relative)
    }

    /// A name for a dump taken now, relative to the volume's root.
    #[must_use]
    pub fn name(&self, now: Timestamp) -> PathBuf {
        self.relative.join(format!("{}{}.dump", self.prefix, now.strftime("%Y%m%dT%H%M%SZ")))
    }

    /// Removes what attempts of this run left unfinished.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn remove_partials(&self) -> std::io::Result<()> {
        for entry in std::fs::read_dir(self.path())? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(&self.prefix) && name.ends_with(".partial") {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// The name of a dump that is still being written.
#[must_use]
pub fn partial(dump: &Path) -> PathBuf {
    let mut name = dump.as_os_str().to_owned();
    name.push(".partial");
    PathBuf::from(name)
}

/// The manifest beside a dump.
#[must_use]
pub fn manifest_path(dump: &Path) -> PathBuf {
    dump.with_extension("manifest.json")
}

/// Waits until the volume has the file's content.
///
/// # Errors
/// Those of the file system.
pub fn sync(file: &Path) -> std::io::Result<()> {
    File::open(file)?.sync_all()
}

/// Makes a written file permanent under its final name: after this a crash of the node loses neither.
///
/// # Errors
/// Those of the file system.
pub fn seal(partial: &Path, name: &Path) -> std::io::Result<()> {
    sync(partial)?;
    std::fs::rename(partial, name)?;
    name.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Writes the manifest, whole or not at all.
///
/// # Errors
/// Those of the file system.
pub fn write_manifest(dump: &Path, manifest: &Manifest) -> std::io::Result<()> {
    let name = manifest_path(dump);
    let partial = partial(&name);
    let written = (|| {
        let mut file = File::create(&partial)?;
        serde_json::to_writer(&mut file, manifest)?;
        file.flush()?;
        seal(&partial, &name)
    })();
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    written
}

/// Reads the manifest of a dump.
///
/// # Errors
/// Those of the file system; malformed JSON is `InvalidData`.
pub fn read_manifest(dump: &Path) -> std::io::Result<Manifest> {
    Ok(serde_json::from_slice(&std::fs::read(manifest_path(dump))?)?)
}

/// SHA-256 of a file as the volume has it: what the page cache still holds of our own writing is dropped first.
///
/// # Errors
/// Those of the file system.
pub async fn sha256(file: PathBuf) -> std::io::Result<String> {
    let hashed = tokio::task::spawn_blocking(move || {
        let mut file = File::open(file)?;
        // Best effort: not every file system takes the advice, and then the cache is read.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        let mut hasher = Sha256::new();
        let mut chunk = vec![0; 1024 * 1024];
        loop {
            let length = file.read(&mut chunk)?;
            if length == 0 {
                return Ok(hex::encode(hasher.finalize()));
            }
            hasher.update(chunk.get(..length).unwrap_or_default());
        }
    });
    hashed.await.map_err(std::io::Error::other)?
}
