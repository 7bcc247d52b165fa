//! Encryption at rest, in the format of age (age-encryption.org/v1): anybody with the key reads it with `age --decrypt`.

use super::StoreError;
use crate::destination::{DestinationError, Reader};
use age::x25519::Identity;
use age::{DecryptError, Decryptor, Encryptor};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::BufReader;
use tokio_util::compat::{FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};

/// What encrypts and decrypts with one key.
pub struct Cipher(Identity);

impl std::fmt::Debug for Cipher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Cipher").field(&self.recipient()).finish()
    }
}

impl Cipher {
    /// Reads a key as `age-keygen` writes it.
    ///
    /// # Errors
    /// [`StoreError::EncryptionKeyUnusable`], which shows nothing of it.
    pub fn from_file(path: &Path) -> Result<Self, StoreError> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let key = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#')).unwrap_or_default();
        key.parse().map(Self).map_err(|_: &str| StoreError::EncryptionKeyUnusable)
    }

    /// The public half of the key: it tells which key is needed, and gives nothing away.
    #[must_use]
    pub fn recipient(&self) -> String {
        self.0.to_public().to_string()
    }

    /// Begins to encrypt.
    ///
    /// # Errors
    /// [`StoreError::EncryptionFailed`].
    pub(super) fn seal(&self) -> Result<Sealer, StoreError> {
        let out = Sealed::default();
        let recipient = self.0.to_public();
        let encryptor = Encryptor::with_recipients(std::iter::once(&recipient as _)).map_err(|_| StoreError::EncryptionFailed)?;
        let stream = encryptor.wrap_output(out.clone()).map_err(|_| StoreError::EncryptionFailed)?;
        Ok(Sealer { stream, out })
    }

    /// Decrypts what comes. A block that was changed or cut is an error of the reader.
    ///
    /// # Errors
    /// [`StoreError::EncryptionKeyWrong`], and those of the reader.
    pub(super) async fn open(&self, reader: Reader, shown: impl Fn() -> String) -> Result<Reader, StoreError> {
        let unreadable = |what: &str| DestinationError::BackupUnreadable(std::io::Error::other(what.to_owned()));
        let decryptor = Decryptor::new_async_buffered(BufReader::with_capacity(1024 * 1024, reader).compat()).await;
        let opened = decryptor.and_then(|decryptor| decryptor.decrypt_async(std::iter::once(&self.0 as _)));
        match opened {
            Ok(stream) => Ok(Box::pin(stream.compat())),
            Err(DecryptError::NoMatchingKeys) => Err(StoreError::EncryptionKeyWrong { path: shown(), recipient: self.recipient() }),
            Err(DecryptError::Io(error)) => Err(DestinationError::of_reader(error).into()),
            Err(_) => Err(unreadable("it is not encrypted as the manifest says, or was changed").into()),
        }
    }
}

/// What is being encrypted.
pub(super) struct Sealer {
    stream: age::stream::StreamWriter<Sealed>,
    out: Sealed,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer")
    }
}

impl Sealer {
    /// Encrypts; answers what is ready to be stored.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, StoreError> {
        self.stream.write_all(bytes).map_err(|_| StoreError::EncryptionFailed)?;
        Ok(self.out.take())
    }

    /// The end: without it the file does not decrypt.
    pub fn finish(self) -> Result<Vec<u8>, StoreError> {
        let out = self.stream.finish().map_err(|_| StoreError::EncryptionFailed)?;
        Ok(out.take())
    }
}

/// Where the encrypted bytes are until they are stored.
#[derive(Clone, Debug, Default)]
struct Sealed(Arc<Mutex<Vec<u8>>>);

impl Sealed {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::io::Write for Sealed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
