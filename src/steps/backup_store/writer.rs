//! A file of a backup that is being written: encrypted where that is asked for, counted and hashed as it is stored.

use super::cipher::Sealer;
use super::{ManifestFile, StoreError, Sum};
use crate::destination::Upload;

/// A file that is being written.
#[derive(Debug)]
pub struct Writer {
    upload: Upload,
    sealer: Option<Sealer>,
    sum: Sum,
}

impl Writer {
    pub(super) fn new(upload: Upload, sealer: Option<Sealer>) -> Self {
        Self { upload, sealer, sum: Sum::default() }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// [`StoreError`]; then only [`Writer::abort`] is left.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        match &mut self.sealer {
            Some(sealer) => {
                let ready = sealer.push(bytes)?;
                self.store(&ready).await
            }
            None => self.store(bytes).await,
        }
    }

    /// Waits until the destination has all of it; answers what was stored, as the manifest will call it.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is left.
    pub async fn finish(mut self, name: &str) -> Result<ManifestFile, StoreError> {
        if let Some(sealer) = self.sealer.take() {
            let stored = match sealer.finish() {
                Ok(last) => self.store(&last).await,
                Err(error) => Err(error),
            };
            if let Err(error) = stored {
                self.abort().await;
                return Err(error);
            }
        }
        self.upload.finish().await?;
        Ok(self.sum.of(name))
    }

    /// Takes back what was written.
    pub async fn abort(self) {
        self.upload.abort().await;
    }

    async fn store(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.sum.add(bytes);
        Ok(self.upload.write(bytes).await?)
    }
}
