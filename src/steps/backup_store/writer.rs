//! A file of a backup that is being written: counted and hashed as it is stored.

use super::{ManifestFile, StoreError, Sum};
use crate::destination::Upload;

/// A file that is being written.
#[derive(Debug)]
pub struct Writer {
    upload: Upload,
    sum: Sum,
}

impl Writer {
    pub(super) fn new(upload: Upload) -> Self {
        Self { upload, sum: Sum::default() }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError`]; then only [`Writer::abort`] is left.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.sum.add(bytes);
        Ok(self.upload.write(bytes).await?)
    }

    /// Waits until the destination has all of it; answers what was stored, as the manifest will call it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is left.
    pub async fn finish(self, name: &str) -> Result<ManifestFile, StoreError> {
        self.upload.finish().await?;
        Ok(self.sum.of(name))
    }

    /// Takes back what was written.
    pub async fn abort(self) {
        self.upload.abort().await;
    }
}
