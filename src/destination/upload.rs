//! A file that is being written: there whole once it is finished, and not at all before.

use super::DestinationError;
use super::s3::PartsUpload;
use super::volume::FileUpload;

/// A file that is being written.
#[derive(Debug)]
pub enum Upload {
    /// On a volume.
    File(FileUpload),
    /// In a bucket.
    Parts(PartsUpload),
}

impl Upload {
    /// Adds bytes; waits where the destination is slower than their source.
    ///
    /// # Errors
    /// [`DestinationError`]; then only [`Upload::abort`] is left.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), DestinationError> {
        match self {
            Self::File(file) => file.write(bytes).await,
            Self::Parts(parts) => parts.write(bytes).await,
        }
    }

    /// Waits until the destination has all of it, and says how many bytes that are. Where this fails nothing is left.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub async fn finish(self) -> Result<u64, DestinationError> {
        match self {
            Self::File(file) => file.finish().await,
            Self::Parts(parts) => parts.finish().await,
        }
    }

    /// Takes back what was written.
    pub async fn abort(self) {
        match self {
            Self::File(file) => file.abort(),
            Self::Parts(parts) => parts.abort().await,
        }
    }
}
