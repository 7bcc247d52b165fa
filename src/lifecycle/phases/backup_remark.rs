//! What people who approve are told about the backup: how far it is proved, and how far a restore of it reaches.

use super::{cnpg_backup, rehearsal};
use crate::api::Phase;
use crate::api::duration;
use crate::api::spec::{Proof, Scope};
use crate::api::status::{CheckResult, WRITTEN};
use crate::lifecycle::pass::Pass;
use std::time::Duration;

/// What people who approve are told about the backup; "restorable" is said of a rehearsed one only.
pub(super) fn remark(pass: &Pass<'_>) -> String {
    proved(pass) + &unproved(pass) + &reaches(pass)
}

/// How far it is proved.
fn proved(pass: &Pass<'_>) -> String {
    let made_elsewhere = pass.status.backup.as_ref().filter(|backup| backup.existing == cnpg_backup::CNPG_BACKUP);
    if let Some(backup) = made_elsewhere {
        return format!(
            " The backup is CloudNativePG's ({}); the operator can neither read nor restore it, so that undo is the only way back that it has.",
            backup.path
        );
    }
    let Some(rehearsal) =
        pass.status.rehearsal.as_ref().filter(|_| !rehearsal::is_due(pass) && pass.run.spec.backup.proof == Proof::Restore)
    else {
        return " The backup was read back, but never restored (backup.proof: Read).".into();
    };
    let shown = |seconds: i64| duration::display(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let measured = pass.status.backup.as_ref().is_none_or(|backup| backup.unproved.is_empty());
    let mut remark = format!(
        " The backup is restorable: restored into a scratch PostgreSQL {} in {}, its {} tables {}.",
        rehearsal.server_version,
        shown(rehearsal.restore_seconds),
        rehearsal.tables,
        if measured { "are as they were dumped" } else { "could not be compared with anything" }
    );
    if let (Some(seconds), Some(written)) = (rehearsal.apply_seconds, rehearsal.count(WRITTEN)) {
        let failing = pass.status.checks.iter().filter(|c| c.phase == Phase::Planning && c.result != CheckResult::Passed).count();
        remark = format!("{remark} On that copy the plan wrote {} of {} rows in {}", written.rehearsed, written.predicted, shown(seconds));
        remark.push_str(if failing == 0 { ", and every SQL check held." } else { "; not every SQL check held there, see status.checks." });
    }
    remark
}

/// Of one that was made elsewhere: what nobody knows of it.
fn unproved(pass: &Pass<'_>) -> String {
    match pass.status.backup.as_ref().map(|backup| backup.unproved.as_slice()) {
        None | Some([]) => String::new(),
        Some(unproved) => format!(" It was made elsewhere, and is not proved: {}.", unproved.join("; ")),
    }
}

/// What a restore can bring back, and what not.
fn reaches(pass: &Pass<'_>) -> String {
    let Some(backup) = pass.status.backup.as_ref().filter(|backup| backup.scope == Scope::Tables.name()) else { return String::new() };
    format!(
        " It holds the rows of the written tables only ({}; backup.scope: Tables): a restore puts their rows back as they were then, all or none of them, and nothing else: no other table, no definition, no sequence, nothing that a trigger wrote elsewhere. It is never a swap of the database.",
        backup.tables.join(", ")
    )
}
