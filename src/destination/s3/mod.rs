//! A bucket of S3, or of a store that speaks its language.
//!
//! Every request has a timeout (10 s to connect, 60 s without a byte), is tried again at most six times within three
//! minutes, with jitter, and only where the store or the network gave way. `object_store` does that; what it gives up
//! on is told apart in `failure`.

mod access;
mod failure;
mod heard;

pub use access::S3Files;

use super::{DestinationError, Reader, Stored};
use crate::api::spec::S3Destination;
use failure::Place;
use futures::{StreamExt as _, TryStreamExt as _};
use heard::Heard;
use jiff::Timestamp;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as Key;
use object_store::{
    BackoffConfig, Certificate, ClientOptions, ObjectMeta, ObjectStore as _, ObjectStoreExt as _, RetryConfig, WriteMultipart,
};
use secrecy::ExposeSecret as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio_util::io::StreamReader;

const CONNECT: Duration = Duration::from_secs(10);
/// Without a byte of an answer for so long a request has failed. A part of an upload must be through in this time.
const SILENCE: Duration = Duration::from_mins(1);
const RETRIES: usize = 6;
const RETRY_FOR: Duration = Duration::from_mins(3);
/// The smallest part; S3 takes no smaller one than 5 MiB.
const PART_MIN: usize = 8 * 1024 * 1024;
/// S3 takes 10,000 parts; some are left for an estimate that was too low.
const PARTS: usize = 9_000;
/// So many parts are on their way at once; each lies in memory until it is there.
const AT_ONCE: usize = 3;

/// The folder of a bucket in which files lie.
#[derive(Debug)]
pub struct S3 {
    bucket: Arc<Bucket>,
    folder: String,
}

/// A bucket, for all that reads and writes it.
#[derive(Debug)]
struct Bucket {
    store: AmazonS3,
    place: Place,
    heard: Heard,
    /// Held by who looks at a file: what is heard belongs to the last look.
    looks: Mutex<()>,
}

impl Bucket {
    /// Size and age of a file, and how the store says that it is encrypted.
    async fn look(&self, name: &str) -> Result<(ObjectMeta, Option<String>), DestinationError> {
        let _alone = self.looks.lock().await;
        let meta = self.store.head(&Key::from(name)).await.map_err(|e| self.place.failure("look at", name, &e))?;
        Ok((meta, self.heard.take()))
    }

    /// A file that was just written goes again where it is not as it should be.
    async fn keep(&self, name: &str, size: u64) -> Result<(), DestinationError> {
        let found = self.is_as_sent(name, size).await;
        if found.is_err() && self.store.delete(&Key::from(name)).await.is_err() {
            tracing::warn!(name, "a file that is not as it should be could not be deleted");
        }
        found
    }

    /// It has all its bytes, and a store that was asked to encrypt says of it that it did. One that takes the file and leaves
    /// the wish aside is found out so.
    async fn is_as_sent(&self, name: &str, sent: u64) -> Result<(), DestinationError> {
        let (meta, said) = self.look(name).await?;
        if self.place.encrypts.is_some_and(|wanted| said.as_deref() != Some(wanted)) {
            let code =
                said.map_or_else(|| "it took a file, and does not say that it is encrypted".into(), |said| format!("it says {said}"));
            return Err(DestinationError::BucketEncryptionRefused { endpoint: self.place.endpoint.clone(), code });
        }
        if meta.size != sent {
            let path = format!("s3://{}/{name}", self.place.bucket);
            return Err(DestinationError::UploadTruncated { path, sent, stored: meta.size });
        }
        Ok(())
    }
}

impl S3 {
    /// The bucket of a spec. Nothing is asked of it yet.
    ///
    /// # Errors
    /// [`DestinationError::AccessKeyMissing`], [`DestinationError::BucketMisconfigured`].
    pub fn new(spec: &S3Destination, files: S3Files<'_>) -> Result<Self, DestinationError> {
        let misconfigured = |what: String| DestinationError::BucketMisconfigured { what };
        let key = access::AccessKey::from_secret_dir(files.secret, spec.secret_ref.keys.as_ref())?;
        // Its own timeout would be over a whole download.
        let mut client =
            ClientOptions::new().with_timeout_disabled().with_connect_timeout(CONNECT).with_read_timeout(SILENCE).with_http1_only();
        if files.ca.is_file() {
            let pem = std::fs::read(files.ca).map_err(|e| misconfigured(format!("its CA cannot be read: {e}")))?;
            let bundle = Certificate::from_pem_bundle(&pem)
                .ok()
                .filter(|bundle| !bundle.is_empty())
                .ok_or_else(|| misconfigured("caSecretRef holds no certificate in PEM".into()))?;
            client = bundle.into_iter().fold(client, ClientOptions::with_root_certificate);
        }
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&spec.bucket)
            .with_region(&spec.region)
            .with_access_key_id(key.id.expose_secret())
            .with_secret_access_key(key.secret.expose_secret())
            .with_retry(RetryConfig {
                backoff: BackoffConfig { init_backoff: Duration::from_millis(200), max_backoff: Duration::from_secs(20), base: 3.0 },
                max_retries: RETRIES,
                retry_timeout: RETRY_FOR,
            });
        if let Some(token) = &key.token {
            builder = builder.with_token(token.expose_secret());
        }
        if let Some(endpoint) = &spec.endpoint {
            client = client.with_allow_http(endpoint.starts_with("http://"));
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        let encryption = spec.server_side_encryption.as_ref();
        if let Some(encryption) = encryption {
            let set = |name: &str| name.parse::<AmazonS3ConfigKey>().map_err(|_| misconfigured(format!("{name} cannot be set")));
            builder = builder.with_config(set("aws_server_side_encryption")?, encryption.kind.header());
            if let Some(key) = &encryption.key_id {
                builder = builder.with_config(set("aws_sse_kms_key_id")?, key);
            }
        }
        let place = Place {
            encrypts: encryption.map(|encryption| encryption.kind.header()),
            bucket: spec.bucket.clone(),
            region: spec.region.clone(),
            endpoint: spec.endpoint.clone().unwrap_or_else(|| format!("https://s3.{}.amazonaws.com", spec.region)),
        };
        let heard = Heard::default();
        let builder = builder.with_client_options(client).with_http_connector(heard.clone());
        // The error may quote what it was built with.
        let store = builder.build().map_err(|_| misconfigured("endpoint, region and bucket make no address".into()))?;
        Ok(Self { bucket: Arc::new(Bucket { store, place, heard, looks: Mutex::new(()) }), folder: spec.prefix.clone() })
    }

    pub(super) fn folder(&self) -> &str {
        &self.folder
    }

    pub(super) fn bucket(&self) -> &str {
        &self.bucket.place.bucket
    }

    pub(super) async fn write(&self, name: &str, expected: i64) -> Result<PartsUpload, DestinationError> {
        let upload =
            self.bucket.store.put_multipart(&Key::from(name)).await.map_err(|e| self.bucket.place.failure("begin an upload", name, &e))?;
        let part = PART_MIN.max(usize::try_from(expected).unwrap_or(0) / PARTS);
        Ok(PartsUpload {
            upload: Some(WriteMultipart::new_with_chunk_size(upload, part)),
            bucket: Arc::clone(&self.bucket),
            name: name.to_owned(),
            written: 0,
        })
    }

    pub(super) async fn put(&self, name: &str, bytes: Vec<u8>) -> Result<(), DestinationError> {
        let size = u64::try_from(bytes.len()).unwrap_or(0);
        self.bucket.store.put(&Key::from(name), bytes.into()).await.map_err(|e| self.bucket.place.failure("write", name, &e))?;
        self.bucket.keep(name, size).await
    }

    pub(super) async fn read(&self, name: &str) -> Result<Reader, DestinationError> {
        let got = self.bucket.store.get(&Key::from(name)).await.map_err(|e| self.bucket.place.failure("read", name, &e))?;
        let (bucket, name) = (Arc::clone(&self.bucket), name.to_owned());
        // A download that breaks off goes on where it was: `object_store` asks for the rest.
        let bytes = got.into_stream().map_err(move |e| std::io::Error::other(bucket.place.failure("read", &name, &e)));
        Ok(Box::pin(StreamReader::new(bytes)))
    }

    pub(super) async fn size(&self, name: &str) -> Result<Option<u64>, DestinationError> {
        match self.bucket.look(name).await {
            Ok((meta, _)) => Ok(Some(meta.size)),
            Err(DestinationError::BackupMissing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn modified(&self, name: &str) -> Result<Timestamp, DestinationError> {
        let (meta, _) = self.bucket.look(name).await?;
        let modified = Timestamp::from_second(meta.last_modified.timestamp());
        modified.map_err(|e| DestinationError::BackupUnreadable(std::io::Error::other(e)))
    }

    pub(super) async fn list(&self, stem: &str) -> Result<Vec<Stored>, DestinationError> {
        let folder = Key::from(self.folder.as_str());
        let within = (!self.folder.is_empty()).then_some(&folder);
        let below = if self.folder.is_empty() { stem.to_owned() } else { format!("{}/{stem}", self.folder) };
        let mut found = Vec::new();
        let mut listed = self.bucket.store.list(within);
        while let Some(object) = listed.next().await {
            let object = object.map_err(|e| self.bucket.place.failure("list", &self.folder, &e))?;
            let name: String = object.location.into();
            if name.starts_with(&below) {
                found.push(Stored { name, size: object.size });
            }
        }
        Ok(found)
    }

    pub(super) async fn remove(&self, name: &str) -> Result<(), DestinationError> {
        match self.bucket.store.delete(&Key::from(name)).await.map_err(|e| self.bucket.place.failure("delete", name, &e)) {
            Ok(()) | Err(DestinationError::BackupMissing { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A file of a bucket that is being uploaded in parts. It is not there before it is finished.
#[derive(Debug)]
pub struct PartsUpload {
    upload: Option<WriteMultipart>,
    bucket: Arc<Bucket>,
    name: String,
    written: u64,
}

impl PartsUpload {
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), DestinationError> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        upload.wait_for_capacity(AT_ONCE).await.map_err(|e| self.bucket.place.failure("upload", &self.name, &e))?;
        upload.write(bytes);
        self.written += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<u64, DestinationError> {
        let Some(upload) = self.upload.take() else { return Ok(0) };
        // It takes its parts back where it fails.
        upload.finish().await.map_err(|e| self.bucket.place.failure("finish an upload", &self.name, &e))?;
        self.bucket.keep(&self.name, self.written).await?;
        Ok(self.written)
    }

    pub(super) async fn abort(mut self) {
        let Some(upload) = self.upload.take() else { return };
        // Parts that stay are no file, but cost room until a rule of the bucket removes them.
        if upload.abort().await.is_err() {
            tracing::warn!(name = self.name, "an unfinished upload could not be taken back; a lifecycle rule of the bucket should");
        }
    }
}
