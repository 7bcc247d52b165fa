//! The dump to rehearse, and what its snapshot held.

use super::error::RehearsalError;
use crate::postgres::origin::Origin;
use crate::steps::StepContext;
use crate::steps::backup_store::{Manifest, ProvedDump};
use std::path::Path;

/// The dump, if it still is the one that was read back, with all that is needed to judge its copy.
pub(super) struct Dump {
    local: ProvedDump,
    /// Its manifest.
    pub manifest: Manifest,
    /// What a server must be like for it.
    pub origin: Origin,
}

impl Dump {
    /// Brings it to hand, and compares it with what was proved.
    pub(super) async fn open(context: &StepContext) -> Result<Self, RehearsalError> {
        let mut local = ProvedDump::open(context).await?;
        let manifest = local.manifest.take();
        let path = || context.input.backup.as_ref().map(|backup| backup.path.clone()).unwrap_or_default();
        let manifest = manifest.ok_or_else(|| RehearsalError::ManifestMissing { path: path() })?;
        // One of an earlier release does not say it.
        let origin = manifest.origin.clone().ok_or_else(|| RehearsalError::ManifestMissing { path: path() })?;
        Ok(Self { local, manifest, origin })
    }

    /// What `pg_restore` reads.
    pub(super) fn path(&self) -> &Path {
        self.local.path()
    }
}
