//! The dump to rehearse, and what its snapshot held.

use super::error::RehearsalError;
use crate::postgres::origin::Origin;
use crate::steps::StepContext;
use crate::steps::dump_file::{self, Manifest};
use std::path::{Path, PathBuf};

/// The dump, if it still is the one that was read back.
pub(super) struct Dump {
    path: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
    /// Its SHA-256.
    pub sha256: String,
}

impl Dump {
    /// Finds it, and compares it with what was proved.
    pub(super) async fn open(context: &StepContext) -> Result<Self, RehearsalError> {
        let backup = context.input.backup.as_ref().filter(|b| !b.file.is_empty()).ok_or(RehearsalError::BackupUnknown)?;
        let path = context.paths.backup.join(&backup.file);
        if !path.is_file() {
            return Err(RehearsalError::BackupMissing { path: backup.path.clone() });
        }
        let sha256 = dump_file::sha256(path.clone()).await.map_err(RehearsalError::BackupUnreadable)?;
        if sha256 != backup.sha256 {
            return Err(RehearsalError::BackupChanged { path: backup.path.clone() });
        }
        let manifest = dump_file::read_manifest(&path).ok().filter(|m| m.sha256 == sha256);
        let manifest = manifest.ok_or_else(|| RehearsalError::ManifestMissing { path: backup.path.clone() })?;
        Ok(Self { path, manifest, sha256 })
    }

    /// What `pg_restore` reads.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Where it comes from; a manifest of an earlier release does not say it.
    pub(super) fn origin(&self) -> Result<&Origin, RehearsalError> {
        let path = || self.path.display().to_string();
        self.manifest.origin.as_ref().ok_or_else(|| RehearsalError::ManifestMissing { path: path() })
    }
}
