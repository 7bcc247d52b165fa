//! The files of this run's backups at their destination: their names, their manifest, and how they come back.
//!
//! Steps call it and need not know which kind of destination it is. What other programs must read is at hand as a local
//! file: in its place on a volume, else fetched into the workspace, a disk of the pod that goes with it.

mod cipher;
mod error;
mod hashed;
mod local;
pub mod manifest;
mod proved;
mod writer;

pub use error::StoreError;
pub use hashed::{Hashed, Sum};
pub use local::LocalFile;
pub use manifest::{Manifest, ManifestDatabase, ManifestFile};
pub use proved::ProvedDump;
pub use writer::Writer;

use super::StepContext;
use crate::api::status::BackupStatus;
use crate::destination::{Destination, DestinationError, Mounts, Reader, S3Files};
use cipher::Cipher;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt as _;

/// A manifest names every table with its sums: a few hundred bytes each.
const MANIFEST_MOST: u64 = 64 * 1024 * 1024;

/// The files of this run's backups.
#[derive(Debug)]
pub struct BackupStore {
    destination: Destination,
    cipher: Option<Cipher>,
    workspace: PathBuf,
    stem: String,
}

impl BackupStore {
    /// The store that the spec names. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`StoreError`] where the spec or its Secrets cannot be used.
    pub fn open(context: &StepContext) -> Result<Self, StoreError> {
        let (run, paths) = (&context.input.run, &context.paths);
        let mounts = Mounts { volume: &paths.backup, s3: S3Files { secret: &paths.s3, ca: &paths.s3_ca } };
        let uid: String = run.uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        Ok(Self {
            destination: Destination::open(&context.input.spec.backup.destination, mounts)?,
            cipher: context.input.spec.backup.encryption.as_ref().map(|_| Cipher::from_file(&paths.encryption)).transpose()?,
            workspace: paths.workspace.clone(),
            stem: format!("{}-{}-{uid}-", run.namespace, run.name),
        })
    }

    /// The destination.
    #[must_use]
    pub const fn destination(&self) -> &Destination {
        &self.destination
    }

    /// A name for a dump taken now.
    #[must_use]
    pub fn name(&self, now: Timestamp) -> String {
        let folder = self.destination.folder();
        let slash = if folder.is_empty() { "" } else { "/" };
        format!("{folder}{slash}{}{}.dump", self.stem, now.strftime("%Y%m%dT%H%M%SZ"))
    }

    /// Removes what attempts of this run left unfinished: files under an unfinished name, and dumps without a manifest.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub async fn remove_unfinished(&self) -> Result<(), DestinationError> {
        let found = self.destination.list(&self.stem).await?;
        let has_manifest = |dump: &str| found.iter().any(|f| f.name == manifest::name(dump));
        for file in &found {
            // A dump of many files is a folder of its name.
            let dump = manifest::dump_of(&file.name);
            let unfinished = file.name.contains(".partial") || dump.is_some_and(|dump| !has_manifest(dump));
            if unfinished {
                self.destination.remove(&file.name).await?;
            }
        }
        Ok(())
    }

    /// Begins a file of at most `expected` bytes, as far as that is known.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn write(&self, name: &str, expected: i64) -> Result<Writer, StoreError> {
        let sealer = self.cipher.as_ref().map(Cipher::seal).transpose()?;
        Ok(Writer::new(self.destination.write(name, expected).await?, sealer))
    }

    /// Reads a file as it was given to the store, and counts and hashes what the destination has.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn read(&self, name: &str) -> Result<(Reader, Sum), StoreError> {
        let (stored, sum) = Hashed::over(self.destination.read(name).await?);
        let reader = match &self.cipher {
            Some(cipher) => cipher.open(stored, || self.destination.shown(name)).await?,
            None => stored,
        };
        Ok((reader, sum))
    }

    /// The public half of the key that files are encrypted for, where they are.
    #[must_use]
    pub fn encrypted_for(&self) -> Option<String> {
        self.cipher.as_ref().map(Cipher::recipient)
    }

    /// Where a file lies for other programs, if they can read it in its place.
    #[must_use]
    pub fn local(&self, name: &str) -> Option<PathBuf> {
        self.destination.local(name).filter(|_| self.cipher.is_none())
    }

    /// Size and SHA-256 of a file as the destination has it.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub async fn sum(&self, name: &str) -> Result<ManifestFile, DestinationError> {
        let (mut reader, sum) = Hashed::over(self.destination.read(name).await?);
        let mut chunk = vec![0; 1024 * 1024];
        while reader.read(&mut chunk).await.map_err(DestinationError::of_reader)? > 0 {}
        Ok(sum.of(name))
    }

    /// Where a program of this pod shall write a file that is then kept with [`BackupStore::keep`]: in its place, if the
    /// destination has such places.
    ///
    /// # Errors
    /// [`StoreError::WorkspaceUnwritable`].
    pub fn draft(&self, name: &str) -> Result<LocalFile, StoreError> {
        match self.local(name) {
            Some(path) => {
                std::fs::create_dir_all(path.parent().unwrap_or(&path)).map_err(DestinationError::unwritable)?;
                Ok(LocalFile::in_place(path))
            }
            None => LocalFile::in_workspace(&self.workspace, name),
        }
    }

    /// Keeps what was written to [`BackupStore::draft`]. A file in its place is there already.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn keep(&self, draft: &LocalFile, name: &str) -> Result<(), StoreError> {
        if !draft.is_in_place() {
            self.send(draft.path(), name).await?;
        }
        Ok(())
    }

    /// Stores a file of this pod; answers what was stored.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn send(&self, path: &Path, name: &str) -> Result<ManifestFile, StoreError> {
        let mut file = tokio::fs::File::open(path).await.map_err(StoreError::workspace)?;
        let size = file.metadata().await.map_err(StoreError::workspace)?.len();
        let mut writer = self.write(name, i64::try_from(size).unwrap_or(i64::MAX)).await?;
        let mut chunk = vec![0; 1024 * 1024];
        let sent = loop {
            match file.read(&mut chunk).await {
                Ok(0) => break Ok(()),
                Ok(read) => {
                    if let Err(error) = writer.write(chunk.get(..read).unwrap_or_default()).await {
                        break Err(error);
                    }
                }
                Err(error) => break Err(StoreError::workspace(error)),
            }
        };
        match sent {
            Ok(()) => writer.finish(name).await,
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    /// A file as one that programs of this pod can read; `expected` is its SHA-256, where it is known.
    ///
    /// # Errors
    /// [`StoreError::BackupChanged`] where it is another file; the others.
    pub async fn fetch(&self, name: &str, expected: Option<&str>) -> Result<LocalFile, StoreError> {
        let (reader, sum) = self.read(name).await?;
        let local = match self.local(name) {
            Some(path) => {
                drain(reader).await?;
                LocalFile::in_place(path)
            }
            None => LocalFile::filled(&self.workspace, name, reader).await?,
        };
        match expected {
            Some(sha256) if sum.of(name).sha256 != sha256 => Err(StoreError::BackupChanged { path: self.destination.shown(name) }),
            _ => Ok(local),
        }
    }

    /// The folder of a dump of many files, as [`BackupStore::fetch`]; every file must be as `files` say, and no other be there.
    /// `stored` is the name under which it lies until it is proved, else `name`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn fetch_folder(&self, name: &str, stored: &str, files: &[ManifestFile]) -> Result<LocalFile, StoreError> {
        let changed = || StoreError::BackupChanged { path: self.destination.shown(name) };
        let folder = self.draft(name)?;
        if folder.is_in_place() {
            let there = std::fs::read_dir(folder.path()).map_err(DestinationError::BackupUnreadable)?.count();
            if there != files.len() {
                return Err(changed());
            }
        } else {
            std::fs::create_dir_all(folder.path()).map_err(StoreError::workspace)?;
        }
        for file in files {
            let inner = file.name.strip_prefix(name).and_then(|rest| rest.strip_prefix('/'));
            let inner = inner.filter(|inner| !inner.contains('/') && *inner != "..").ok_or_else(changed)?;
            let (reader, sum) = self.read(&format!("{stored}/{inner}")).await?;
            if folder.is_in_place() {
                drain(reader).await?;
            } else {
                local::copy(reader, &folder.path().join(inner)).await?;
            }
            if sum.of(&file.name) != *file {
                return Err(changed());
            }
        }
        Ok(folder)
    }

    /// Writes the manifest of a dump: from now on it is a backup.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub async fn put_manifest(&self, dump: &str, manifest: &Manifest) -> Result<(), DestinationError> {
        let bytes = serde_json::to_vec(manifest).map_err(|e| DestinationError::unwritable(e.into()))?;
        self.destination.put(&manifest::name(dump), bytes).await
    }

    /// Reads the manifest of a dump.
    ///
    /// # Errors
    /// [`DestinationError`]; one that is malformed is `BackupUnreadable`.
    pub async fn manifest(&self, dump: &str) -> Result<Manifest, DestinationError> {
        self.manifest_in(&manifest::name(dump)).await
    }

    /// Reads the manifest of a proved backup: beside the dump, or where the run has written it for a dump of others.
    ///
    /// # Errors
    /// As [`BackupStore::manifest`].
    pub async fn manifest_of(&self, backup: &BackupStatus) -> Result<Manifest, DestinationError> {
        if backup.manifest.is_empty() { self.manifest(&backup.file).await } else { self.manifest_in(&backup.manifest).await }
    }

    async fn manifest_in(&self, file: &str) -> Result<Manifest, DestinationError> {
        let bytes = self.destination.get(file, MANIFEST_MOST).await?;
        serde_json::from_slice(&bytes).map_err(|e| DestinationError::BackupUnreadable(e.into()))
    }

    /// The disk of the pod.
    #[must_use]
    pub fn workspace(&self) -> &Path {
        &self.workspace
    }
}

async fn drain(mut reader: Reader) -> Result<(), DestinationError> {
    let mut chunk = vec![0; 1024 * 1024];
    while reader.read(&mut chunk).await.map_err(DestinationError::of_reader)? > 0 {}
    Ok(())
}
