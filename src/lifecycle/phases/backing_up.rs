//! The backup, and its proof.

use super::{cnpg_backup, rehearsal, rolling_back};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::status::Step;
use crate::lifecycle::pass::Pass;
use crate::lifecycle::step::StepEnded;
use crate::protocol::{Outcome, StepReport};

pub(super) fn on_enter(pass: &mut Pass<'_>) {
    match pass.run.spec.backup.existing.as_ref().and_then(|existing| existing.cnpg_backup.as_ref()) {
        Some(_) => cnpg_backup::take(pass),
        None => pass.begin(Step::Backup, 0),
    }
}

pub(super) fn ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report } = ended else { return super::unexpected(pass, Step::Backup, 0) };
    if verdict.outcome != Outcome::Passed {
        pass.set(ConditionType::BackedUp, Truth::False, &verdict.reason, &verdict.message);
        return rolling_back::fail(pass, &verdict.reason, &format!("backup: {}", verdict.message));
    }
    let Some(StepReport::Backup(report)) = report.map(|r| *r) else { return super::unexpected(pass, Step::Backup, 0) };
    let proof = report.backup.proof.clone();
    pass.status.backup = Some(report.backup);
    pass.status.rehearsal = None;
    pass.set(ConditionType::BackedUp, Truth::True, "BackedUp", &verdict.message);
    if rehearsal::is_due(pass) {
        let message =
            "every block was read back, and every table of the run is in it; that it can be restored is not known before the rehearsal";
        pass.set(ConditionType::BackupVerified, Truth::Unknown, "NotRehearsed", message);
    } else {
        pass.set(ConditionType::BackupVerified, Truth::True, &proof, "every block was read back, and every table of the run is in it");
    }
    go_on(pass);
}

/// A backup that was only renewed leaves the approved plan as it is.
pub(super) fn go_on(pass: &mut Pass<'_>) {
    if pass.status.plan.is_some() {
        rehearsal::begin(pass);
    } else {
        let script = pass.run.spec.backfill.job.is_some();
        pass.enter(Phase::Planning, "BackedUp", if script { "runs the script dry" } else { "computes the exact changes, read-only" });
    }
}
