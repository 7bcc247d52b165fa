//! What people who approve are told about the backup: how far it is proved, and how far a restore of it reaches.

use super::rehearsal;
use crate::api::Phase;
use crate::api::duration;
use crate::api::spec::{Proof, Scope};
use crate::api::status::{CheckResult, WRITTEN};
use crate::lifecycle::pass::Pass;
use std::time::Duration;

/// What people who approve are told about the backup; "restorable" is said of a rehearsed one only.
pub(super) fn remark(pass: &Pass<'_>) -> String {
    proved(pass) + &reaches(pass)
}

/// How far it is proved.
fn proved(pass: &Pass<'_>) -> String {
    let Some(rehearsal) =
        pass.status.rehearsal.as_ref().filter(|_| !rehearsal::is_due(pass) && pass.run.spec.backup.proof == Proof::Restore)
    else {
        return " The backup was read back, but never restored (backup.proof: Read).".into();
    };
    let shown = |seconds: i64| duration::display(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)));
    let mut remark = format!(
        " The backup is restorable: restored into a scratch PostgreSQL {} in {}, its {} tables are as they were dumped.",
        rehearsal.server_version,
        shown(rehearsal.restore_seconds),
        rehearsal.tables
    );
    if let (Some(seconds), Some(written)) = (rehearsal.apply_seconds, rehearsal.count(WRITTEN)) {
        let failing = pass.status.checks.iter().filter(|c| c.phase == Phase::Planning && c.result != CheckResult::Passed).count();
        remark = format!("{remark} On that copy the plan wrote {} of {} rows in {}", written.rehearsed, written.predicted, shown(seconds));
        remark.push_str(if failing == 0 { ", and every SQL check held." } else { "; not every SQL check held there, see status.checks." });
    }
    remark
}

/// What a restore can bring back, and what not.
fn reaches(pass: &Pass<'_>) -> String {
    let Some(backup) = pass.status.backup.as_ref().filter(|backup| backup.scope == Scope::Tables.name()) else { return String::new() };
    format!(
        " It holds the rows of the written tables only ({}; backup.scope: Tables): a restore puts their rows back as they were then, all or none of them, and nothing else: no other table, no definition, no sequence, nothing that a trigger wrote elsewhere. It is never a swap of the database.",
        backup.tables.join(", ")
    )
}
