//! The dump of the run, if it still is the one that was proved.

use super::{BackupStore, LocalFile, Manifest, StoreError, manifest};
use crate::api::spec::DumpFormat;
use crate::api::status::BackupStatus;
use crate::destination::DestinationError;
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
        let path = || store.destination().shown(&backup.file);
        let beside = store.manifest_of(backup).await;
        if let Ok(other) = beside.as_ref()
            && !backup.database_id.is_empty()
            && !other.database.id.is_empty()
            && other.database.id != backup.database_id
        {
            return Err(StoreError::BackupOfAnotherDatabase { path: path(), database: other.database.name.clone() });
        }
        let is_proved = |m: &Manifest| m.sha256 == backup.sha256 && (m.files.is_empty() || manifest::sha256_of(&m.files) == m.sha256);
        if backup.format != DumpFormat::Directory.name() {
            let local = store.fetch(&backup.file, Some(&backup.sha256)).await?;
            return Ok(Self { manifest: beside.ok().filter(is_proved), local });
        }
        // Which files a folder must have, only its manifest says.
        let manifest = beside.map_err(|error| match error {
            DestinationError::BackupMissing { .. } => StoreError::ManifestMissing { path: path() },
            other => other.into(),
        })?;
        if !is_proved(&manifest) {
            return Err(StoreError::BackupChanged { path: path() });
        }
        let local = store.fetch_folder(&backup.file, &backup.file, &manifest.files).await?;
        Ok(Self { manifest: Some(manifest), local })
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
        Ok(Self::open(context)?.manifest_of(named(context)?).await?)
    }
}
