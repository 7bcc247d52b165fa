//! Where backups lie: exactly one kind of destination, a block each.

use super::database::SecretKeyRef;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where backups lie: exactly one of `persistentVolumeClaim` and `s3`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.persistentVolumeClaim) != has(self.s3)").message("backup.destination: set exactly one of persistentVolumeClaim and s3"))]
pub struct Destination {
    /// A PersistentVolumeClaim in the run's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<PvcDestination>,
    /// A bucket of S3, or of a store that speaks its language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Destination>,
}

/// A destination, as one of its kinds.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// A PersistentVolumeClaim.
    Claim(&'a PvcDestination),
    /// A bucket.
    Bucket(&'a S3Destination),
}

impl Destination {
    /// The one kind that is set; `None` where that is not exactly one, which the definition refuses.
    #[must_use]
    pub const fn place(&self) -> Option<Place<'_>> {
        match (&self.persistent_volume_claim, &self.s3) {
            (Some(claim), None) => Some(Place::Claim(claim)),
            (None, Some(bucket)) => Some(Place::Bucket(bucket)),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }
}

/// A PersistentVolumeClaim in the run's namespace.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PvcDestination {
    /// Name of the claim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,
    /// Folder in the volume, relative. Default: the volume's root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253), regex(pattern = "^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)?$"))]
    pub path: String,
}

/// A bucket of S3, or of a store that speaks its language (Ceph, Cloudflare R2, …).
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3Destination {
    /// Name of the bucket. It must exist.
    #[schemars(length(min = 3, max = 63), regex(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$"))]
    pub bucket: String,
    /// Folder in the bucket; nothing outside of it is listed, written or deleted. Default: the bucket's root.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253), regex(pattern = "^([A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*)?$"))]
    pub prefix: String,
    /// Address of the store, with its scheme; `http://` is plain text. Default: Amazon's, of the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = "^https?://[^/?#@]+/?$"))]
    pub endpoint: Option<String>,
    /// Region of the bucket. Default: `us-east-1`.
    #[serde(default = "region")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[A-Za-z0-9-]+$"))]
    pub region: String,
    /// The Secret with the access key. The pods of the run's steps read it as files; the operator never does.
    pub secret_ref: S3SecretRef,
    /// The Secret key that holds the CA of the store's certificate, in PEM. Default: the public CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
    /// Asks the store to encrypt what it stores, with a key of its own. Default: as the bucket's settings say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_side_encryption: Option<ServerSideEncryption>,
}

/// Encryption by the store: whoever may read the bucket reads what is in it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.keyId) || self.type == 'KMS'").message("serverSideEncryption.keyId names a key of the store's key service: set type: KMS, or take it out"))]
pub struct ServerSideEncryption {
    /// `AES256`: a key of the store itself (SSE-S3). `KMS`: a key of its key service (SSE-KMS), which the access key must be allowed to use.
    #[serde(rename = "type")]
    pub kind: ServerSideEncryptionType,
    /// Id, ARN or alias of that key. Default: the store's own for the bucket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 2048), regex(pattern = "^[A-Za-z0-9:/_.-]+$"))]
    pub key_id: Option<String>,
}

/// With whose key the store encrypts.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServerSideEncryptionType {
    /// The store's.
    #[serde(rename = "AES256")]
    Aes256,
    /// The key service's.
    #[serde(rename = "KMS")]
    Kms,
}

impl ServerSideEncryptionType {
    /// As the header of a request has it.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::Aes256 => "AES256",
            Self::Kms => "aws:kms",
        }
    }
}

fn region() -> String {
    "us-east-1".into()
}

/// A Secret in the run's namespace that holds an access key. The usual keys are recognised: `AWS_ACCESS_KEY_ID` and
/// `AWS_SECRET_ACCESS_KEY`, `ACCESS_KEY_ID` and `ACCESS_SECRET_KEY`, `accessKeyId` and `secretAccessKey`,
/// `accesskey` and `secretkey`, `access-key` and `secret-key`.
#[derive(JsonSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The Secret's keys, where they are not the usual ones. Default: recognised by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<S3SecretKeys>,
}

/// Under which keys of the Secret the parts of the access key lie.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct S3SecretKeys {
    /// Key of the access key's id. Default: a usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub access_key_id: Option<String>,
    /// Key of the secret part. Default: a usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_access_key: Option<String>,
    /// Key of a session token. Default: `AWS_SESSION_TOKEN` or `sessionToken`, where present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub session_token: Option<String>,
}
