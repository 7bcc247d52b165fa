//! Where the files of backups lie, a file a kind: a mounted volume, or a bucket of S3.
//!
//! `steps` call it. It knows names, bytes and nothing of what is in them; it may know `api`. A name is relative to the
//! root of the volume or bucket; nothing outside of the folder that the spec names is listed or deleted.

mod error;
mod s3;
mod upload;
mod volume;

pub use error::DestinationError;
pub use s3::{S3, S3Files};
pub use upload::Upload;
pub use volume::Volume;

use crate::api::spec::{self, Place};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Bytes as they come.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;

/// A file that is there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// Where backups lie.
#[derive(Debug)]
pub enum Destination {
    /// A mounted volume.
    Volume(Volume),
    /// A bucket.
    S3(S3),
}

/// Where a step finds what its destination needs.
#[derive(Clone, Copy, Debug)]
pub struct Mounts<'a> {
    /// The root of the volume.
    pub volume: &'a Path,
    /// What a bucket needs.
    pub s3: S3Files<'a>,
}

impl Destination {
    /// The destination that a spec names.
    ///
    /// # Errors
    /// [`DestinationError`] where it is not exactly one, or its Secret holds no access key. Nothing is asked of it yet.
    pub fn open(spec: &spec::Destination, mounts: Mounts<'_>) -> Result<Self, DestinationError> {
        match spec.place() {
            Some(Place::Claim(claim)) => Ok(Self::Volume(Volume::new(mounts.volume, claim))),
            Some(Place::Bucket(bucket)) => Ok(Self::S3(S3::new(bucket, mounts.s3)?)),
            None => Err(DestinationError::DestinationUnclear),
        }
    }

    /// The folder that the spec names; empty for the root.
    #[must_use]
    pub fn folder(&self) -> &str {
        match self {
            Self::Volume(volume) => volume.folder(),
            Self::S3(bucket) => bucket.folder(),
        }
    }

    /// How people and the status call a file: `pvc/CLAIM/NAME`, `s3://BUCKET/NAME`.
    #[must_use]
    pub fn shown(&self, name: &str) -> String {
        match self {
            Self::Volume(volume) => format!("pvc/{}/{name}", volume.claim()),
            Self::S3(bucket) => format!("s3://{}/{name}", bucket.bucket()),
        }
    }

    /// Where a file lies for other programs, if they can read it in its place.
    #[must_use]
    pub fn local(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Volume(volume) => Some(volume.path(name)),
            Self::S3(_) => None,
        }
    }

    /// The name under which a file is written until it is proved. In a bucket a file is there whole or not at all, so
    /// that it is its own name; there the manifest, which is written last, tells what is a backup.
    #[must_use]
    pub fn unfinished(&self, name: &str) -> String {
        match self {
            Self::Volume(_) => format!("{name}{}", volume::PARTIAL),
            Self::S3(_) => name.to_owned(),
        }
    }

    /// Gives what was written as unfinished its name, to stay.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub fn settle(&self, name: &str) -> Result<(), DestinationError> {
        match self {
            Self::Volume(volume) => volume.settle(name),
            Self::S3(_) => Ok(()),
        }
    }

    /// Begins a file. `expected` is the most bytes that it may have, as far as that is known: parts of an upload are cut
    /// by it. What is not finished is not there.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub async fn write(&self, name: &str, expected: i64) -> Result<Upload, DestinationError> {
        match self {
            Self::Volume(volume) => volume.write(name).await.map(Upload::File),
            Self::S3(bucket) => bucket.write(name, expected).await.map(Upload::Parts),
        }
    }

    /// Writes a small file, whole or not at all.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), DestinationError> {
        match self {
            Self::Volume(volume) => volume.put(name, &bytes),
            Self::S3(bucket) => bucket.put(name, bytes).await,
        }
    }

    /// Reads a file as the destination has it, from its beginning: no cache of ours answers.
    ///
    /// # Errors
    /// [`DestinationError::BackupMissing`] where there is none; a fault on the way is one of the reader, see
    /// [`DestinationError::of_reader`].
    pub async fn read(&self, name: &str) -> Result<Reader, DestinationError> {
        match self {
            Self::Volume(volume) => volume.read(name, self.shown(name)).await,
            Self::S3(bucket) => bucket.read(name).await,
        }
    }

    /// Reads a small file; more than `most` bytes are refused.
    ///
    /// # Errors
    /// As [`Destination::read`].
    pub async fn get(&self, name: &str, most: u64) -> Result<Vec<u8>, DestinationError> {
        let mut bytes = Vec::new();
        let mut reader = self.read(name).await?.take(most.saturating_add(1));
        reader.read_to_end(&mut bytes).await.map_err(DestinationError::of_reader)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
            return Err(DestinationError::of_reader(std::io::Error::other("it is larger than anything that is kept there")));
        }
        Ok(bytes)
    }

    /// Size of a file; `None` where there is none.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub async fn size(&self, name: &str) -> Result<Option<u64>, DestinationError> {
        match self {
            Self::Volume(volume) => volume.size(name),
            Self::S3(bucket) => bucket.size(name).await,
        }
    }

    /// When a file was last written, as the destination says.
    ///
    /// # Errors
    /// [`DestinationError::BackupMissing`] where there is none.
    pub async fn modified(&self, name: &str) -> Result<Timestamp, DestinationError> {
        match self {
            Self::Volume(volume) => volume.modified(name, self.shown(name)),
            Self::S3(bucket) => bucket.modified(name).await,
        }
    }

    /// All files of the folder that begin with `stem`, and those in folders that do, by name.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub async fn list(&self, stem: &str) -> Result<Vec<Stored>, DestinationError> {
        let mut found = match self {
            Self::Volume(volume) => volume.list(stem)?,
            Self::S3(bucket) => bucket.list(stem).await?,
        };
        found.sort();
        Ok(found)
    }

    /// Removes a file; that there is none is no error.
    ///
    /// # Errors
    /// [`DestinationError`].
    pub async fn remove(&self, name: &str) -> Result<(), DestinationError> {
        match self {
            Self::Volume(volume) => volume.remove(name),
            Self::S3(bucket) => bucket.remove(name).await,
        }
    }
}
