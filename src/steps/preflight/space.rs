//! The backup: can its destination be written, is there room, and who writes it.

use super::findings::Findings;
use crate::api::quantity::{display, parse};
use crate::destination::{Destination, DestinationError};
use crate::postgres::clients::Dumper;
use crate::steps::StepContext;
use crate::steps::backup_store::{BackupStore, StoreError};

/// Writes a file, waits for the destination to have it, reads it back and removes it.
pub(super) async fn destination(context: &StepContext, findings: &mut Findings) -> Option<BackupStore> {
    let tried = async {
        let store = BackupStore::open(context)?;
        probe(&store, &context.input.run.uid).await?;
        Ok::<_, StoreError>(store)
    };
    match tried.await {
        Ok(store) => {
            findings.passed("backup-destination", "can be written, read and cleaned up");
            Some(store)
        }
        Err(error) => {
            findings.stalled("backup-destination", error.reason(), error.to_string());
            None
        }
    }
}

async fn probe(store: &BackupStore, uid: &str) -> Result<(), DestinationError> {
    let destination = store.destination();
    let folder = destination.folder();
    let name = if folder.is_empty() { format!("{uid}.probe") } else { format!("{folder}/{uid}.probe") };
    let written = destination.put(&name, b"backfill".to_vec()).await;
    let read = match written {
        Ok(()) => destination.get(&name, 8).await.map(|_| ()),
        Err(error) => Err(error),
    };
    let listed = destination.list(uid).await.map(|_| ());
    read.and(listed).and(destination.remove(&name).await)
}

/// A client that can dump this server, as the spec wants it compressed.
pub(super) async fn client(context: &StepContext, server_major: i32, findings: &mut Findings) {
    match Dumper::choose(server_major, context.input.spec.backup.compression).await {
        Ok(dumper) => findings.passed("dump-client", format!("{}; compression {}", dumper.why, dumper.compression.name())),
        Err(error) => findings.stalled("dump-client", error.reason(), error.to_string()),
    }
}

/// Compares the free space with what the spec asks; `Auto` is 1.5 times the estimate.
pub(super) fn free(context: &StepContext, store: &BackupStore, estimate: i64, findings: &mut Findings) {
    let wanted = context.input.spec.preflight.as_ref().map_or("Auto", |p| p.min_free_space.as_str());
    let needed = if wanted == "Auto" { Some(estimate.saturating_add(estimate / 2)) } else { parse(wanted) };
    let Some(needed) = needed else {
        findings.stalled("free-space", "QuantityMalformed", "spec.preflight.minFreeSpace is no quantity: write Auto, or one as in 20Gi");
        return;
    };
    let volume = match store.destination() {
        Destination::Volume(volume) => volume,
        Destination::S3(_) => return scratch(context, estimate, findings),
    };
    if context.input.spec.backup.existing.is_some() && wanted == "Auto" {
        return findings.passed("free-space", "the backup is there already (backup.existing): only the plan file is written");
    }
    let Ok(free) = volume.free() else {
        findings.inconclusive("free-space", "the volume does not say how much space is free");
        return;
    };
    let numbers =
        format!("{} free, {} needed, the dump is estimated at no more than {}", display(free), display(needed), display(estimate));
    if free >= needed {
        findings.passed("free-space", numbers);
    } else {
        let message = format!(
            "too little space on the backup volume: {numbers}. Enlarge the claim in spec.backup.destination, remove old dumps, or set spec.preflight.minFreeSpace"
        );
        findings.stalled("free-space", "NotEnoughSpace", message);
    }
}

/// A bucket does not say how much room it has; but what comes back from it for a restore must fit on the pod's disk.
fn scratch(context: &StepContext, estimate: i64, findings: &mut Findings) {
    let Some(scratch) = &context.input.spec.backup.scratch else {
        findings.passed("scratch-space", "a restore uses the node's disk: set spec.backup.scratch.size to be sure of its size");
        return;
    };
    let size = parse(&scratch.size).unwrap_or(0);
    let numbers = format!("{} of scratch, the dump is estimated at no more than {}", display(size), display(estimate));
    if size >= estimate {
        findings.passed("scratch-space", numbers);
    } else {
        // The estimate knows of no compression, so that this may be enough all the same.
        findings.inconclusive("scratch-space", format!("{numbers}: a restore may not fit; enlarge spec.backup.scratch.size"));
    }
}
