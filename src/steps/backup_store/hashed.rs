//! Size and SHA-256 of bytes on their way.

use super::ManifestFile;
use crate::destination::Reader;
use sha2::{Digest as _, Sha256};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

/// A reader that counts and hashes what it gives.
pub struct Hashed {
    inner: Reader,
    sum: Arc<Mutex<(u64, Sha256)>>,
}

/// What a [`Hashed`] has given so far.
#[derive(Clone, Debug, Default)]
pub struct Sum(Arc<Mutex<(u64, Sha256)>>);

impl Hashed {
    /// Counts and hashes all that is read of `inner` from now on.
    #[must_use]
    pub fn over(inner: Reader) -> (Reader, Sum) {
        let sum = Sum::default();
        (Box::pin(Self { inner, sum: Arc::clone(&sum.0) }), sum)
    }
}

impl Sum {
    /// Adds bytes that went another way.
    pub fn add(&self, bytes: &[u8]) {
        let mut sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sum.0 += u64::try_from(bytes.len()).unwrap_or(0);
        sum.1.update(bytes);
    }

    /// As the entry of a manifest.
    #[must_use]
    pub fn of(&self, name: &str) -> ManifestFile {
        let sum = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ManifestFile {
            name: name.to_owned(),
            size: i64::try_from(sum.0).unwrap_or(i64::MAX),
            sha256: hex::encode(sum.1.clone().finalize()),
        }
    }
}

impl AsyncRead for Hashed {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.inner.as_mut().poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = &polled {
            Sum(Arc::clone(&self.sum)).add(buffer.filled().get(before..).unwrap_or_default());
        }
        polled
    }
}
