//! Commit: the status is the run's write-ahead log; each pass writes it at most once, and only over what it has read.

use super::error::{ControllerError, call, code};
use crate::api::{BackfillRun, BackfillRunStatus};
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};

/// Writes the status where it differs, with the resource version that was read.
pub(super) async fn status(
    runs: &Api<BackfillRun>,
    mut run: BackfillRun,
    before: &BackfillRunStatus,
    next: BackfillRunStatus,
) -> Result<BackfillRun, ControllerError> {
    if &next == before && run.status.is_some() {
        return Ok(run);
    }
    run.status = Some(next);
    run.metadata.managed_fields = None;
    let name = run.name_any();
    match call("writing the status", runs.replace_status(&name, &PostParams::default(), &run)).await {
        Ok(run) => Ok(run),
        // 409: changed meanwhile. 404: gone meanwhile. Both are seen by the next pass.
        Err(error) if matches!(code(&error), Some(404 | 409)) => Err(ControllerError::Conflict),
        Err(error) => Err(error),
    }
}
