//! Why a destination does not take or give a file. No message has an access key, a signature or a store's own prose in it.

use thiserror::Error;

/// Why a destination does not take or give a file.
#[derive(Debug, Error)]
pub enum DestinationError {
    /// None or two are named; the definition refuses that.
    #[error("spec.backup.destination names no destination, or two: set exactly one of persistentVolumeClaim and s3")]
    DestinationUnclear,
    /// The folder takes no files.
    #[error(
        "the backup volume cannot be written: {0}. Check the claim in spec.backup.destination, and that the pod's user may write to it"
    )]
    BackupFolderUnwritable(#[source] std::io::Error),
    /// No space left.
    #[error(
        "the backup volume is full: enlarge the claim in spec.backup.destination or remove old dumps from it; the unfinished dump was removed"
    )]
    BackupVolumeFull,
    /// The file does not come back.
    #[error("the backup cannot be read: {0}")]
    BackupUnreadable(#[source] std::io::Error),
    /// The file is gone.
    #[error("{path} is not there: bring it back, or set spec.abandon: true to give the way back up")]
    BackupMissing {
        /// Which.
        path: String,
    },
    /// The Secret is no access key.
    #[error("the Secret of spec.backup.destination.s3.secretRef has no {what}: add it, or name its key in secretRef.keys")]
    AccessKeyMissing {
        /// Which part.
        what: String,
    },
    /// The CA is none, or the address cannot be used.
    #[error("spec.backup.destination.s3 cannot be used: {what}")]
    BucketMisconfigured {
        /// What is wrong with it.
        what: String,
    },
    /// There is no such bucket.
    #[error("there is no bucket {bucket} at {endpoint}: create it, or correct spec.backup.destination.s3")]
    BucketMissing {
        /// Which.
        bucket: String,
        /// Where.
        endpoint: String,
    },
    /// The store does not know the key, or its signature is wrong.
    #[error(
        "the store at {endpoint} refuses the access key ({code}): check the Secret of spec.backup.destination.s3.secretRef, and the clock of the node"
    )]
    AccessKeyRefused {
        /// Where.
        endpoint: String,
        /// The store's word.
        code: String,
    },
    /// The key may not do this.
    #[error(
        "the access key may not {action} in the bucket {bucket}: its policy must allow s3:PutObject, s3:GetObject, s3:DeleteObject, s3:AbortMultipartUpload and s3:ListBucket"
    )]
    BucketForbidden {
        /// What was tried.
        action: &'static str,
        /// Where.
        bucket: String,
    },
    /// The bucket is in another region.
    #[error("the bucket {bucket} is not in the region {region}{there}: set spec.backup.destination.s3.region")]
    RegionWrong {
        /// Which bucket.
        bucket: String,
        /// The region of the spec.
        region: String,
        /// `, but in REGION`, where the store says so.
        there: String,
    },
    /// The store has no room.
    #[error("the store at {endpoint} has no room ({code}): make room, or choose another bucket")]
    BucketFull {
        /// Where.
        endpoint: String,
        /// The store's word.
        code: String,
    },
    /// The store does not answer, or answers that it cannot now.
    #[error("the store at {endpoint} gave way while the step was to {action} ({detail}); it is tried again")]
    BucketUnavailable {
        /// Where.
        endpoint: String,
        /// What was tried.
        action: &'static str,
        /// Its status, or what was wrong with the connection.
        detail: String,
    },
    /// The store does not encrypt as it is asked to.
    #[error(
        "the store at {endpoint} does not encrypt as spec.backup.destination.s3.serverSideEncryption says ({code}): correct it, let the access key use that key (kms:GenerateDataKey and kms:Decrypt), or take the block out and encrypt with spec.backup.encryption"
    )]
    BucketEncryptionRefused {
        /// Where.
        endpoint: String,
        /// The store's word.
        code: String,
    },
    /// The store refuses for another reason.
    #[error("the store at {endpoint} refuses to {action}: {code}")]
    BucketRefused {
        /// Where.
        endpoint: String,
        /// What was tried.
        action: &'static str,
        /// The store's word.
        code: String,
    },
    /// What arrived has another size than what was sent.
    #[error("{sent} bytes were sent to {path}, and {stored} are there: the store or something on the way has cut it")]
    UploadTruncated {
        /// Which file.
        path: String,
        /// Bytes sent.
        sent: u64,
        /// Bytes there.
        stored: u64,
    },
}

impl DestinationError {
    /// An error of a volume while writing.
    #[must_use]
    pub fn unwritable(error: std::io::Error) -> Self {
        if matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded) {
            Self::BackupVolumeFull
        } else {
            Self::BackupFolderUnwritable(error)
        }
    }

    /// The error of a [`super::Reader`]: those of a store are carried inside.
    #[must_use]
    pub fn of_reader(error: std::io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(carried) => carried,
            Err(error) => Self::BackupUnreadable(error),
        }
    }

    /// True where the same again a little later may work.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::BucketUnavailable { .. })
    }

    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::DestinationUnclear => "DestinationUnclear",
            Self::BackupFolderUnwritable(_) => "BackupFolderUnwritable",
            Self::BackupVolumeFull => "BackupVolumeFull",
            Self::BackupUnreadable(_) => "BackupUnreadable",
            Self::BackupMissing { .. } => "BackupMissing",
            Self::AccessKeyMissing { .. } => "AccessKeyMissing",
            Self::BucketMisconfigured { .. } => "BucketMisconfigured",
            Self::BucketMissing { .. } => "BucketMissing",
            Self::AccessKeyRefused { .. } => "AccessKeyRefused",
            Self::BucketForbidden { .. } => "BucketForbidden",
            Self::RegionWrong { .. } => "RegionWrong",
            Self::BucketFull { .. } => "BucketFull",
            Self::BucketUnavailable { .. } => "BucketUnavailable",
            Self::BucketRefused { .. } => "BucketRefused",
            Self::BucketEncryptionRefused { .. } => "BucketEncryptionRefused",
            Self::UploadTruncated { .. } => "UploadTruncated",
        }
    }
}
