//! The step `backup`: a dump of one snapshot, read back to its last block, with the sums of its tables beside it.
//!
//! Called by `steps::dispatch`. It writes to the backup's destination only; in the database it is read-only.

mod dump;
mod error;
mod existing;
mod progress;
mod proof;
mod retain;
mod snapshot;

use super::backup_store::{BackupStore, Manifest, ManifestDatabase, ManifestFile, manifest};
use super::session::{Role, Session};
use super::{StepContext, StepEnd};
use crate::api::spec::Scope;
use crate::api::status::BackupStatus;
use crate::postgres::clients::Dumper;
use crate::postgres::table_sums::TableSum;
use crate::postgres::tools::ToolLogin;
use crate::protocol::{BackupReport, Outcome, StepReport};
use dump::Dump;
use error::BackupError;
use jiff::Timestamp;
use snapshot::Snapshot;
use std::fmt::Write as _;
use tokio_util::sync::CancellationToken;

/// Takes and proves the backup.
pub async fn run(context: &StepContext) -> StepEnd {
    match take(context).await {
        Ok((backup, removed)) => {
            let mut message = format!("{} bytes, read back to the last block: {}", backup.size_bytes, backup.path);
            if !backup.unproved.is_empty() {
                let _ = write!(message, ". It was made elsewhere: {}", backup.unproved.join("; "));
            }
            if !backup.scope.is_empty() {
                let _ = write!(message, "; of the rows, only those of {}", backup.tables.join(", "));
            }
            if removed > 0 {
                let _ = write!(message, "; older backups removed: {removed}");
            }
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

async fn take(context: &StepContext) -> Result<(BackupStatus, usize), BackupError> {
    let store = BackupStore::open(context)?;
    let session = Session::of(context, Role::Main)?;
    if let Some(path) = context.input.spec.backup.existing.as_ref().and_then(|existing| existing.path.as_deref()) {
        let proved = existing::prove(context, &store, &session, path);
        return unless(&context.stop, proved).await.map(|backup| (backup, 0));
    }
    let login = ToolLogin::new(&session.credentials, &session.options, &context.paths.scratch)?;
    let (stop, backup) = (&context.stop, &context.input.spec.backup);
    let prepared = async {
        store.remove_unfinished().await?;
        let snapshot = Snapshot::open(context, &session).await?;
        let dumper = Dumper::choose(snapshot.server.major(), backup.compression).await?;
        tracing::info!(why = dumper.why, compression = dumper.compression.name(), "the dump begins");
        Ok((snapshot, dumper))
    };
    let (mut snapshot, dumper) = unless(stop, prepared).await?;
    let name = store.name(Timestamp::now());
    let files = written(context, &session, &login, &dumper, &mut snapshot, &store, &name).await?;
    // Proved under its unfinished name; the manifest last: what has one is a backup, whenever we die.
    let proved = async {
        let unfinished = store.destination().unfinished(&name);
        let wanted = snapshot.tables.clone();
        // After the dump, which would have to share the server with them, and in its snapshot; the proof is the client's work.
        let (tables, _) = tokio::try_join!(
            async {
                let sums = snapshot.sums().await?;
                snapshot.close().await;
                Ok(sums)
            },
            proof::prove(&store, (&name, &unfinished), backup.format, &files, &wanted)
        )?;
        store.destination().settle(&name)?;
        let manifest = described(context, &store, &snapshot, &dumper, tables, files);
        store.put_manifest(&name, &manifest).await?;
        let removed = prune(context, &store, &manifest).await;
        Ok((status(&store, &manifest, &dumper, name), removed))
    };
    unless(stop, proved).await
}

/// Old backups that stay are a matter of room: no reason to throw the new one away.
async fn prune(context: &StepContext, store: &BackupStore, newest: &Manifest) -> usize {
    let Some(retain) = &context.input.spec.backup.retain else { return 0 };
    match retain::prune(store, newest, retain.last, &context.input.backups_in_use).await {
        Ok(removed) => removed,
        Err(error) => {
            tracing::warn!(%error, "old backups could not be removed; the next backup tries again");
            0
        }
    }
}

/// The dump, while its progress is told.
async fn written(
    context: &StepContext,
    session: &Session,
    login: &ToolLogin,
    dumper: &Dumper,
    snapshot: &mut Snapshot,
    store: &BackupStore,
    name: &str,
) -> Result<Vec<ManifestFile>, BackupError> {
    let (id, tables, estimate) = (&snapshot.id, &snapshot.tables, snapshot.estimate_bytes);
    let others = std::mem::take(&mut snapshot.others.tables);
    let dump = Dump { context, login, dumper, snapshot: id, tables, others: &others, estimate_bytes: estimate, end: &context.stop };
    let written = tokio::select! {
        written = dump.write(store, name) => written,
        () = progress::watch(context, session, tables, estimate) => Err(BackupError::Stopped),
    };
    match written {
        Ok(files) => {
            context.reporter.finished(estimate, "bytes");
            Ok(files)
        }
        Err(error) => {
            snapshot.close().await;
            Err(error)
        }
    }
}

async fn unless<T>(stop: &CancellationToken, work: impl Future<Output = Result<T, BackupError>>) -> Result<T, BackupError> {
    tokio::select! {
        done = work => done,
        () = stop.cancelled() => Err(BackupError::Stopped),
    }
}

fn described(
    context: &StepContext,
    store: &BackupStore,
    snapshot: &Snapshot,
    dumper: &Dumper,
    tables: Vec<TableSum>,
    files: Vec<ManifestFile>,
) -> Manifest {
    Manifest {
        run_uid: context.input.run.uid.clone(),
        sha256: manifest::sha256_of(&files),
        format: context.input.spec.backup.format,
        scope: context.input.spec.backup.scope,
        leads_out: snapshot.others.keys.clone(),
        compression: dumper.compression,
        encrypted_for: store.encrypted_for(),
        restore_with: dumper.restore_with(),
        files,
        database: ManifestDatabase {
            id: snapshot.database_id.clone(),
            name: snapshot.server.database.clone(),
            server_version: snapshot.server.version.clone(),
            settings: snapshot.settings.clone(),
            roles: snapshot.roles.clone(),
        },
        lsn: snapshot.lsn.clone(),
        taken_at: snapshot.taken_at,
        tables,
        transactions: Some(snapshot.transactions.clone()),
        origin: Some(snapshot.origin.clone()),
        existing: false,
    }
}

fn status(store: &BackupStore, manifest: &Manifest, dumper: &Dumper, name: String) -> BackupStatus {
    BackupStatus {
        path: store.destination().shown(&name),
        file: name,
        scope: if manifest.scope == Scope::Tables { manifest.scope.name().into() } else { String::new() },
        tables: if manifest.scope == Scope::Tables { named(manifest) } else { Vec::new() },
        compression: manifest.compression.name().into(),
        client: dumper.why.clone(),
        ..read_back(manifest)
    }
}

/// What the status says of every dump that was read to its last block, whoever made it: the manifest's words.
fn read_back(manifest: &Manifest) -> BackupStatus {
    BackupStatus {
        size_bytes: manifest.files.iter().map(|file| file.size).sum(),
        sha256: manifest.sha256.clone(),
        format: manifest.format.name().into(),
        encrypted_for: manifest.encrypted_for.clone().unwrap_or_default(),
        server_version: manifest.database.server_version.clone(),
        database_id: manifest.database.id.clone(),
        lsn: manifest.lsn.clone(),
        taken_at: Some(manifest.taken_at),
        proof: "Read".into(),
        restore_with: manifest.restore_with.clone(),
        ..BackupStatus::default()
    }
}

/// At most so many tables are named in the status; the manifest has them all.
const NAMED: usize = 50;

fn named(manifest: &Manifest) -> Vec<String> {
    manifest.tables.iter().map(|sum| sum.table.clone()).take(NAMED).collect()
}
