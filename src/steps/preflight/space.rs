//! The backup volume: can it be written, and is there room.

use super::findings::Findings;
use crate::api::quantity::{display, parse};
use crate::steps::StepContext;
use crate::steps::dump_file::DumpFolder;
use std::io::Write as _;

/// Writes a file, waits for the volume to have it, and removes it.
pub(super) fn folder(context: &StepContext, findings: &mut Findings) {
    let folder = DumpFolder::of(context).path();
    let probe = folder.join(format!(".{}.probe", context.input.run.uid));
    let written = (|| {
        std::fs::create_dir_all(&folder)?;
        let mut file = std::fs::File::create(&probe)?;
        file.write_all(b"backfill")?;
        file.sync_all()?;
        std::fs::remove_file(&probe)
    })();
    match written {
        Ok(()) => findings.passed("backup-folder", "can be written"),
        Err(error) => {
            let _ = std::fs::remove_file(&probe);
            let message = format!(
                "the backup volume cannot be written ({}): check the claim in spec.backup.destination, and that the pods' user may write to it (spec.podTemplate's fsGroup)",
                error.kind()
            );
            findings.stalled("backup-folder", "BackupFolderUnwritable", message);
        }
    }
}

/// Compares the free space with what the spec asks; `Auto` is 1.5 times the estimate.
pub(super) fn free(context: &StepContext, estimate: i64, findings: &mut Findings) {
    let wanted = context.input.spec.preflight.as_ref().map_or("Auto", |p| p.min_free_space.as_str());
    let needed = if wanted == "Auto" { Some(estimate.saturating_add(estimate / 2)) } else { parse(wanted) };
    let Some(needed) = needed else {
        findings.stalled("free-space", "QuantityMalformed", "spec.preflight.minFreeSpace is no quantity: write Auto, or one as in 20Gi");
        return;
    };
    let folder = DumpFolder::of(context).path();
    let Ok(volume) = rustix::fs::statvfs(&folder) else {
        findings.inconclusive("free-space", "the volume does not say how much space is free");
        return;
    };
    let free = i64::try_from(volume.f_bavail.saturating_mul(volume.f_frsize)).unwrap_or(i64::MAX);
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
