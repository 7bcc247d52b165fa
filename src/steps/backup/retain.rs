//! Old backups go, once a new one is proved: all but the last few of the same database.

use crate::api::spec::Scope;
use crate::destination::Stored;
use crate::protocol::BackupsInUse;
use crate::steps::backup_store::{BackupStore, Manifest, StoreError, manifest};
use std::collections::BTreeMap;

/// Removes what is more than the last `last` good backups of this database, within the folder of the spec. What is not
/// whole does not count as one of them, and is left to its own run. What a run needs stays, as does all that this run took
/// itself: people have approved the plan that lies beside it. What is newer than the new one was taken by a run that began
/// after the list of those in need was made. Answers how many were removed.
///
/// # Errors
/// [`StoreError`]; the new backup is none the worse for it.
pub(super) async fn prune(store: &BackupStore, newest: &Manifest, last: i32, in_use: &BackupsInUse) -> Result<usize, StoreError> {
    let listed = store.destination().list("").await?;
    let sizes: BTreeMap<&str, i64> = listed.iter().map(|f| (f.name.as_str(), i64::try_from(f.size).unwrap_or(i64::MAX))).collect();
    let mut good = Vec::new();
    for dump in listed.iter().filter_map(|file| manifest::dump_of_manifest(&file.name)) {
        // One that cannot be read tells nothing about its dump, so that is left alone.
        let Ok(manifest) = store.manifest(&dump).await else { continue };
        let counts = manifest.taken_at <= newest.taken_at && manifest.database.id == newest.database.id && holds_as_much(newest, &manifest);
        if counts && is_whole(&dump, &manifest, &sizes) {
            good.push((manifest.taken_at, dump, manifest.run_uid));
        }
    }
    good.sort();
    good.reverse();
    let mut removed = 0;
    for (_, dump, run_uid) in good.iter().skip(usize::try_from(last.max(1)).unwrap_or(1)) {
        let needed = *run_uid == newest.run_uid || in_use.runs.contains(run_uid) || in_use.paths.contains(&store.destination().shown(dump));
        if !needed {
            remove(store, dump, &listed).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// A backup of some tables is none of the database: neither makes the other one go.
fn holds_as_much(newest: &Manifest, other: &Manifest) -> bool {
    let names = |manifest: &Manifest| -> Vec<String> { manifest.tables.iter().map(|sum| sum.table.clone()).collect() };
    newest.scope == other.scope && (newest.scope == Scope::Database || names(newest) == names(other))
}

fn is_whole(dump: &str, manifest: &Manifest, sizes: &BTreeMap<&str, i64>) -> bool {
    let belongs = |name: &str| name == dump || name.strip_prefix(dump).is_some_and(|rest| rest.starts_with('/'));
    !manifest.files.is_empty() && manifest.files.iter().all(|f| belongs(&f.name) && sizes.get(f.name.as_str()) == Some(&f.size))
}

/// The manifest first: from then on it is no backup, wherever this ends.
async fn remove(store: &BackupStore, dump: &str, listed: &[Stored]) -> Result<(), StoreError> {
    store.destination().remove(&manifest::name(dump)).await?;
    let stem = dump.strip_suffix(manifest::DUMP).unwrap_or(dump);
    let beside = [".plan", ".replan.plan"].map(|end| format!("{stem}{end}"));
    for file in listed {
        if manifest::dump_of(&file.name) == Some(dump) || beside.contains(&file.name) {
            store.destination().remove(&file.name).await?;
        }
    }
    tracing::info!(dump, "an old backup was removed");
    Ok(())
}
