//! The dump of the run, if it still is the one that was proved.

use super::{BackupStore, LocalFile, Manifest, StoreError};
use crate::api::status::BackupStatus;
use crate::steps::StepContext;
use std::path::Path;

/// The dump that was proved, at hand for `pg_restore`. What was fetched for it goes with this handle.
#[derive(Debug)]
pub struct ProvedDump {
    /// Its manifest; a way back is not refused because the account of it is gone.
    pub manifest: Option<Manifest>,
    local: LocalFile,
}

impl ProvedDump {
    /// Brings the dump to hand and compares every file with what was proved.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn open(context: &StepContext) -> Result<Self, StoreError> {
        let store = BackupStore::open(context)?;
        let backup = named(context)?;
        let local = store.fetch(&backup.file, Some(&backup.sha256)).await?;
        let manifest = store.manifest(&backup.file).await.ok().filter(|m| m.sha256 == backup.sha256);
        Ok(Self { manifest, local })
    }

    /// What `pg_restore` reads.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.local.path()
    }
}

/// The backup that the controller names.
pub(super) fn named(context: &StepContext) -> Result<&BackupStatus, StoreError> {
    context.input.backup.as_ref().filter(|backup| !backup.file.is_empty()).ok_or(StoreError::BackupUnknown)
}

impl BackupStore {
    /// The manifest of the backup that the controller names.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn proved_manifest(context: &StepContext) -> Result<Manifest, StoreError> {
        Ok(Self::open(context)?.manifest(&named(context)?.file).await?)
    }
}
