//! The step `backup`: a dump of one snapshot, read back to its last block, with the sums of its tables beside it.
//!
//! Called by `steps::dispatch`. It writes to the backup's destination only; in the database it is read-only.

mod dump;
mod error;
mod proof;
mod snapshot;

use super::backup_store::{BackupStore, Manifest};
use super::session::{Role, Session};
use super::{StepContext, StepEnd};
use crate::api::status::BackupStatus;
use crate::postgres::table_sums::TableSum;
use crate::postgres::tools::{ToolLogin, major_version};
use crate::protocol::{BackupReport, Outcome, StepReport};
use dump::Dump;
use error::BackupError;
use jiff::Timestamp;
use snapshot::Snapshot;
use tokio_util::sync::CancellationToken;

/// Takes and proves the backup.
pub async fn run(context: &StepContext) -> StepEnd {
    match take(context).await {
        Ok(backup) => {
            let message = format!("{} bytes, read back to the last block: {}", backup.size_bytes, backup.path);
            StepEnd::reported(Outcome::Passed, "BackupProved", message, StepReport::Backup(BackupReport { backup }))
        }
        Err(error) => {
            // What was dropped on the way may have left a file; the next attempt would remove it, too.
            if let Ok(store) = BackupStore::open(context) {
                let removed = tokio::time::timeout(std::time::Duration::from_secs(15), store.remove_unfinished()).await;
                if !matches!(removed, Ok(Ok(()))) {
                    tracing::warn!("what this attempt left unfinished could not be removed; the next attempt tries again");
                }
            }
            StepEnd::bare(error.outcome(), error.reason(), error.to_string())
        }
    }
}

async fn take(context: &StepContext) -> Result<BackupStatus, BackupError> {
    let store = BackupStore::open(context)?;
    let session = Session::of(context, Role::Main)?;
    let login = ToolLogin::new(&session.credentials, &session.options, &context.paths.scratch)?;
    let stop = &context.stop;
    let prepared = async {
        store.remove_unfinished().await?;
        let snapshot = Snapshot::open(context, &session).await?;
        let client = major_version("pg_dump").await?;
        if client < snapshot.server.major() {
            return Err(BackupError::ClientTooOld { client, server: snapshot.server.major() });
        }
        Ok((snapshot, client))
    };
    let (mut snapshot, client) = unless(stop, prepared).await?;
    let name = store.name(Timestamp::now());
    let (tables, files) = both(context, &login, &mut snapshot, &store, &name).await?;
    // Proved under its unfinished name; the manifest last: what has one is a backup, whenever we die.
    let proved = async {
        proof::prove(&store, &name, &files, &snapshot.tables).await?;
        store.destination().settle(&name)?;
        let sha256 = files.first().map(|file| file.sha256.clone()).unwrap_or_default();
        let size = files.iter().map(|file| file.size).sum();
        let manifest = Manifest { run_uid: context.input.run.uid.clone(), sha256, files, taken_at: snapshot.taken_at, tables };
        store.put_manifest(&name, &manifest).await?;
        Ok(status(&store, &snapshot, client, name, size, manifest.sha256))
    };
    unless(stop, proved).await
}

/// Dump and sums, read from the same snapshot at the same time. Where one fails the other is ended, too.
async fn both(
    context: &StepContext,
    login: &ToolLogin,
    snapshot: &mut Snapshot,
    store: &BackupStore,
    name: &str,
) -> Result<(Vec<TableSum>, Vec<super::backup_store::ManifestFile>), BackupError> {
    let end = context.stop.child_token();
    let id = snapshot.id.clone();
    let dump = Dump { context, login, snapshot: &id, estimate_bytes: snapshot.estimate_bytes, end: &end };
    let (tables, files) = tokio::join!(
        async {
            let sums = unless(&end, snapshot.sums()).await;
            sums.inspect_err(|_| end.cancel())
        },
        async { dump.write(store, name).await.inspect_err(|_| end.cancel()) }
    );
    snapshot.close().await;
    match (tables, files) {
        // The other one was only ended.
        (Err(BackupError::Stopped), Err(error)) | (Err(error), Ok(_) | Err(_)) | (Ok(_), Err(error)) => Err(error),
        (Ok(tables), Ok(files)) => Ok((tables, files)),
    }
}

async fn unless<T>(stop: &CancellationToken, work: impl Future<Output = Result<T, BackupError>>) -> Result<T, BackupError> {
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(BackupError::Stopped),
    }
}

fn status(store: &BackupStore, snapshot: &Snapshot, client: i32, name: String, size_bytes: i64, sha256: String) -> BackupStatus {
    BackupStatus {
        path: store.destination().shown(&name),
        file: name,
        size_bytes,
        sha256,
        server_version: snapshot.server.version.clone(),
        lsn: snapshot.lsn.clone(),
        taken_at: Some(snapshot.taken_at),
        proof: "Read".into(),
        restore_with: format!("pg_restore >= {client}"),
    }
}
