//! The step `backup`: a dump of one snapshot, read back to its last block, with the sums of its tables beside it.
//!
//! Called by `steps::dispatch`. It writes to the backup volume only; in the database it is read-only.

mod dump;
mod error;
mod proof;
mod snapshot;

use super::dump_file::{self, DumpFolder, Manifest};
use super::session::{Role, Session};
use super::{StepContext, StepEnd};
use crate::api::status::BackupStatus;
use crate::postgres::tools::{ToolLogin, major_version};
use crate::protocol::{BackupReport, Outcome, StepReport};
use error::BackupError;
use jiff::Timestamp;
use snapshot::Snapshot;
use std::path::Path;

pub use proof::prove;

/// Takes and proves the backup.
pub async fn run(context: &StepContext) -> StepEnd {
    let taken = tokio::select! {
        taken = take(context) => taken,
        () = context.stop.cancelled() => Err(BackupError::Stopped),
    };
    match taken {
        Ok(backup) => {
            let message = format!("{} bytes, read back to the last block: {}", backup.size_bytes, backup.path);
            StepEnd::reported(Outcome::Passed, "BackupProved", message, StepReport::Backup(BackupReport { backup }))
        }
        Err(error) => {
            // What was dropped on the way may have left a file; the next attempt would remove it, too.
            let _ = DumpFolder::of(context).remove_partials();
            StepEnd::bare(error.outcome(), error.reason(), error.to_string())
        }
    }
}

async fn take(context: &StepContext) -> Result<BackupStatus, BackupError> {
    let folder = DumpFolder::of(context);
    std::fs::create_dir_all(folder.path()).map_err(BackupError::unwritable)?;
    folder.remove_partials().map_err(BackupError::unwritable)?;
    let session = Session::of(context, Role::Main)?;
    let login = ToolLogin::new(&session.credentials, &session.options, &context.paths.scratch)?;
    let mut snapshot = Snapshot::open(context, &session).await?;
    let client = major_version("pg_dump").await?;
    if client < snapshot.server.major() {
        return Err(BackupError::ClientTooOld { client, server: snapshot.server.major() });
    }
    let file = folder.name(Timestamp::now());
    let path = context.paths.backup.join(&file);
    let partial = dump_file::partial(&path);
    // Both read the same snapshot, at the same time.
    let id = snapshot.id.clone();
    let estimate = snapshot.estimate_bytes;
    let (tables, ()) = tokio::try_join!(snapshot.sums(), dump::write(context, &login, &id, &partial, estimate))?;
    snapshot.close().await;
    // Proved under its unfinished name, and the manifest first: what has the name of a dump is one, whenever we die.
    dump_file::sync(&partial).map_err(BackupError::unwritable)?;
    let backup = read_back(context, &snapshot, client, &file, &partial).await?;
    let manifest = Manifest {
        run_uid: context.input.run.uid.clone(),
        sha256: backup.sha256.clone(),
        taken_at: snapshot.taken_at,
        tables,
        origin: Some(snapshot.origin.clone()),
    };
    dump_file::write_manifest(&path, &manifest).map_err(BackupError::unwritable)?;
    dump_file::seal(&partial, &path).map_err(BackupError::unwritable)?;
    Ok(backup)
}

async fn read_back(context: &StepContext, snapshot: &Snapshot, client: i32, file: &Path, path: &Path) -> Result<BackupStatus, BackupError> {
    let sha256 = dump_file::sha256(path.to_path_buf()).await.map_err(BackupError::unreadable)?;
    prove(path, &snapshot.tables).await?;
    let size = std::fs::metadata(path).map_err(BackupError::unreadable)?.len();
    let claim = &context.input.spec.backup.destination.persistent_volume_claim.claim_name;
    Ok(BackupStatus {
        path: format!("pvc/{claim}/{}", file.display()),
        file: file.display().to_string(),
        size_bytes: i64::try_from(size).unwrap_or(i64::MAX),
        sha256,
        server_version: snapshot.server.version.clone(),
        lsn: snapshot.lsn.clone(),
        taken_at: Some(snapshot.taken_at),
        proof: "Read".into(),
        restore_with: format!("pg_restore >= {client}"),
    })
}
