//! The rehearsal of the backup, between the plan (or a backup that was renewed) and the question to people.
//!
//! Not a phase: it is the last thing of `Planning`, or of `BackingUp` where only the backup is taken again.

use super::{awaiting_approval, rolling_back};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::spec::Proof;
use crate::api::status::Step;
use crate::lifecycle::decision::Effect;
use crate::lifecycle::pass::Pass;
use crate::lifecycle::step::StepEnded;
use crate::protocol::{Outcome, StepReport};
use std::time::Duration;

/// What could not be rehearsed is tried again after this: a rehearsal reads the whole dump.
const AGAIN: Duration = Duration::from_mins(5);

/// True where the run asks for a rehearsal, and its backup has none.
pub(super) fn is_due(pass: &Pass<'_>) -> bool {
    let proved = pass.status.backup.as_ref().is_some_and(|backup| backup.proof == Proof::Restore.as_str());
    pass.run.spec.backup.proof == Proof::Restore && !proved
}

/// Rehearses where it is asked for; then people are asked.
pub(super) fn begin(pass: &mut Pass<'_>) {
    if !is_due(pass) {
        return ask(pass);
    }
    let message = "restores the backup into a scratch server, and compares every table";
    pass.status.message = message.into();
    pass.status.progress = None;
    pass.event(false, "Rehearsing", message);
    pass.begin(Step::Rehearse, 0);
}

fn ask(pass: &mut Pass<'_>) {
    if pass.status.phase == Phase::BackingUp {
        return awaiting_approval::go_on_with_another_backup(pass);
    }
    let reason = if pass.run.spec.backfill.job.is_some() { "DryRunPassed" } else { "PlanReady" };
    awaiting_approval::ask_for_plan(pass, reason);
}

pub(super) fn ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report } = ended else { return super::unexpected(pass, Step::Rehearse, 0) };
    let job_name = pass.status.steps.iter().find(|s| s.step == Step::Rehearse).map(|s| s.job_name.clone());
    let report = match report.map(|r| *r) {
        Some(StepReport::Rehearsal(report)) => Some(report),
        None if verdict.outcome != Outcome::Passed => None,
        _ => return super::unexpected(pass, Step::Rehearse, 0),
    };
    if let Some(report) = report {
        let of_rehearsal = |check: &crate::api::status::CheckStatus| check.phase == Phase::Planning;
        pass.status.checks.retain(|check| !of_rehearsal(check));
        pass.status.checks.extend(report.checks);
        pass.status.rehearsal = Some(report.rehearsal);
    }
    match verdict.outcome {
        Outcome::Passed => passed(pass, &verdict.message),
        Outcome::Failed => {
            pass.set(ConditionType::BackupVerified, Truth::False, &verdict.reason, &verdict.message);
            rolling_back::fail(pass, &verdict.reason, &format!("rehearsal: {}", verdict.message));
        }
        Outcome::Inconclusive => {
            // Nothing is known about the dump; so the run neither fails nor goes on as if it were restorable.
            let message = format!("{}. It is tried again; without a rehearsal the run goes on with backup.proof: Read", verdict.message);
            pass.set(ConditionType::BackupVerified, Truth::Unknown, &verdict.reason, &verdict.message);
            pass.stall(&verdict.reason, &message);
            pass.wait_and_retry(Step::Rehearse, AGAIN);
        }
        // The step in hand deals with these.
        Outcome::Stalled | Outcome::Lost | Outcome::Stopped => return super::unexpected(pass, Step::Rehearse, 0),
    }
    // A volume that was made for the copy is there as long as its pod is, and may be a large one.
    if let Some(job_name) = job_name.filter(|_| has_own_volume(pass)) {
        pass.act(Effect::StopStep { job_name });
    }
}

fn has_own_volume(pass: &Pass<'_>) -> bool {
    pass.run.spec.backup.rehearsal.as_ref().is_some_and(|rehearsal| rehearsal.storage_class_name.is_some())
}

fn passed(pass: &mut Pass<'_>, message: &str) {
    if let Some(backup) = pass.status.backup.as_mut() {
        backup.proof = Proof::Restore.as_str().into();
    }
    pass.set(ConditionType::BackupVerified, Truth::True, Proof::Restore.as_str(), message);
    // A backup that is too old before anybody was asked would be taken again, and rehearsed again, for ever.
    if awaiting_approval::backup_too_old(pass) {
        let message = "the rehearsal took so long that the backup is older than backup.maxAge by now: set a longer maxAge, or backup.proof: Read, in a new run";
        return rolling_back::fail(pass, "RehearsalOutlastsMaxAge", message);
    }
    ask(pass);
}
