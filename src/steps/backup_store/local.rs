//! Files that programs of this pod can read and write.

use super::StoreError;
use crate::destination::{DestinationError, Reader};
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// A local file, or a folder of them. One in the workspace goes with this handle: the disk is for one at a time.
#[derive(Debug)]
pub struct LocalFile {
    path: PathBuf,
    in_place: bool,
}

impl LocalFile {
    pub(super) const fn in_place(path: PathBuf) -> Self {
        Self { path, in_place: true }
    }

    pub(super) fn in_workspace(workspace: &Path, name: &str) -> Result<Self, StoreError> {
        let path = workspace.join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(workspace)).map_err(StoreError::workspace)?;
        Ok(Self { path, in_place: false })
    }

    /// A copy in the workspace.
    pub(super) async fn filled(workspace: &Path, name: &str, reader: Reader) -> Result<Self, StoreError> {
        let local = Self::in_workspace(workspace, name)?;
        copy(reader, &local.path).await?;
        Ok(local)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True where it is the stored file itself.
    #[must_use]
    pub const fn is_in_place(&self) -> bool {
        self.in_place
    }
}

/// Copies what comes into a file of the workspace.
pub(super) async fn copy(mut reader: Reader, path: &Path) -> Result<(), StoreError> {
    let mut file = tokio::fs::File::create(path).await.map_err(StoreError::workspace)?;
    let mut chunk = vec![0; 1024 * 1024];
    loop {
        let read = reader.read(&mut chunk).await.map_err(DestinationError::of_reader)?;
        if read == 0 {
            return file.flush().await.map_err(StoreError::workspace);
        }
        file.write_all(chunk.get(..read).unwrap_or_default()).await.map_err(StoreError::workspace)?;
    }
}

impl Drop for LocalFile {
    fn drop(&mut self) {
        if !self.in_place {
            let _ = std::fs::remove_file(&self.path);
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
