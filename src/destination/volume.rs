//! A mounted volume.

use super::{DestinationError, Reader, Stored};
use crate::api::spec::PvcDestination;
use jiff::Timestamp;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use tokio::io::AsyncWriteExt as _;

/// How a name ends that is still being written.
pub(super) const PARTIAL: &str = ".partial";

/// A mounted volume.
#[derive(Debug)]
pub struct Volume {
    root: PathBuf,
    claim: String,
    folder: String,
}

impl Volume {
    /// The volume of a claim, mounted at `root`.
    #[must_use]
    pub fn new(root: &Path, claim: &PvcDestination) -> Self {
        Self { root: root.to_path_buf(), claim: claim.claim_name.clone(), folder: claim.path.clone() }
    }

    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    pub(super) fn claim(&self) -> &str {
        &self.claim
    }

    /// Where a file lies.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn free(&self) -> std::io::Result<i64> {
        let volume = rustix::fs::statvfs(self.path(&self.folder))?;
        Ok(i64::try_from(volume.f_bavail.saturating_mul(volume.f_frsize)).unwrap_or(i64::MAX))
    }

    pub(super) async fn write(&self, name: &str) -> Result<FileUpload, DestinationError> {
        let path = self.path(name);
        make_folder(&path).map_err(DestinationError::unwritable)?;
        let file = tokio::fs::File::create(&path).await.map_err(DestinationError::unwritable)?;
        Ok(FileUpload { file, path, written: 0, done: false })
    }

    pub(super) fn put(&self, name: &str, bytes: &[u8]) -> Result<(), DestinationError> {
        let path = self.path(name);
        let partial = with_suffix(&path);
        let written = (|| {
            make_folder(&path)?;
            let mut file = File::create(&partial)?;
            file.write_all(bytes)?;
            file.flush()?;
            seal(&partial, &path)
        })();
        written.map_err(|error| {
            let _ = std::fs::remove_file(&partial);
            DestinationError::unwritable(error)
        })
    }

    pub(super) async fn read(&self, name: &str, shown: String) -> Result<Reader, DestinationError> {
        let file = match tokio::fs::File::open(self.path(name)).await {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(DestinationError::BackupMissing { path: shown }),
            Err(error) => return Err(DestinationError::BackupUnreadable(error)),
        };
        // What the page cache still holds of our own writing is dropped first. Best effort: not every file system takes
        // the advice, and then the cache is read.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        Ok(Box::pin(tokio::io::BufReader::with_capacity(1024 * 1024, file)))
    }

    pub(super) fn settle(&self, name: &str) -> Result<(), DestinationError> {
        let path = self.path(name);
        let partial = with_suffix(&path);
        seal_all(&partial).and_then(|()| seal(&partial, &path)).map_err(DestinationError::unwritable)
    }

    pub(super) fn size(&self, name: &str) -> Result<Option<u64>, DestinationError> {
        match std::fs::metadata(self.path(name)) {
            Ok(metadata) => Ok(Some(metadata.len())),
            // Below a file there is none either.
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(DestinationError::BackupUnreadable(error)),
        }
    }

    pub(super) fn modified(&self, name: &str, shown: String) -> Result<Timestamp, DestinationError> {
        match std::fs::metadata(self.path(name)).and_then(|metadata| metadata.modified()) {
            Ok(time) => Timestamp::try_from(time).map_err(|e| DestinationError::BackupUnreadable(std::io::Error::other(e))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(DestinationError::BackupMissing { path: shown }),
            Err(error) => Err(DestinationError::BackupUnreadable(error)),
        }
    }

    pub(super) fn list(&self, stem: &str) -> Result<Vec<Stored>, DestinationError> {
        let folder = self.path(&self.folder);
        let mut found = Vec::new();
        let listed = files(&folder, &mut |path| {
            let name = path.strip_prefix(&self.root).ok()?.to_str()?;
            let below = path.strip_prefix(&folder).ok()?.to_str()?;
            let size = path.metadata().ok()?.len();
            below.starts_with(stem).then(|| found.push(Stored { name: name.to_owned(), size }))
        });
        match listed {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DestinationError::BackupUnreadable(error)),
            Ok(()) | Err(_) => Ok(found),
        }
    }

    pub(super) fn remove(&self, name: &str) -> Result<(), DestinationError> {
        let path = self.path(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(DestinationError::unwritable(error)),
            Ok(()) | Err(_) => {
                // The folder of a dump goes with its last file; one that the spec names stays.
                if let Some(folder) = path.parent().filter(|folder| *folder != self.path(&self.folder)) {
                    let _ = std::fs::remove_dir(folder);
                }
                Ok(())
            }
        }
    }
}

/// All files of a folder and of the folders in it.
fn files(folder: &Path, seen: &mut impl FnMut(&Path) -> Option<()>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            match files(&entry.path(), seen) {
                // A volume's own `lost+found`, and what others closed: nothing of ours is in there.
                Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
                other => other?,
            }
        } else {
            let _ = seen(&entry.path());
        }
    }
    Ok(())
}

fn make_folder(file: &Path) -> std::io::Result<()> {
    file.parent().map_or(Ok(()), std::fs::create_dir_all)
}

fn with_suffix(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    PathBuf::from(name)
}

/// Waits until the volume has the content of a file, or of all files of a folder.
fn seal_all(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            File::open(entry?.path())?.sync_all()?;
        }
    }
    File::open(path)?.sync_all()
}

/// Makes a written file permanent under its final name: after this a crash of the node loses neither.
fn seal(partial: &Path, name: &Path) -> std::io::Result<()> {
    File::open(partial)?.sync_all()?;
    std::fs::rename(partial, name)?;
    name.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// A file of a volume that is being written.
#[derive(Debug)]
pub struct FileUpload {
    file: tokio::fs::File,
    path: PathBuf,
    written: u64,
    done: bool,
}

impl FileUpload {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), DestinationError> {
        self.file.write_all(bytes).await.map_err(DestinationError::unwritable)?;
        self.written += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<u64, DestinationError> {
        // The last write may fail here only: it was on its way.
        self.file.flush().await.map_err(DestinationError::unwritable)?;
        self.file.sync_all().await.map_err(DestinationError::unwritable)?;
        self.done = true;
        Ok(self.written)
    }

    pub(super) fn abort(self) {
        drop(self);
    }
}

impl Drop for FileUpload {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
