//! Preflight: the release is recorded, then everything that can be known beforehand is checked.

use super::terminal;
use crate::api::Phase;
use crate::api::conditions::{self, ConditionType, Truth};
use crate::api::status::{CheckResult, CheckStatus, Step};
use crate::lifecycle::observed::FlagObservation;
use crate::lifecycle::pass::Pass;
use crate::lifecycle::step::StepEnded;
use crate::protocol::{Outcome, StepReport};
use std::time::Duration;

/// Starts the run over: what was found for an older spec or release is void.
pub(in crate::lifecycle) fn begin(pass: &mut Pass<'_>, reason: &str, message: &str) {
    if let Err(problem) = pass.resolved.clone() {
        pass.stall(&problem.reason, &problem.message);
        pass.look_again(Duration::from_secs(10));
        return;
    }
    if let Some(Err(problem)) = &pass.observed.release {
        pass.stall(&problem.reason, &problem.message);
        pass.look_again(Duration::from_secs(10));
        return;
    }
    // A flag that cannot be switched is found out now, and not after the rows are written.
    if let Some(FlagObservation::Problem(problem)) = &pass.observed.flag {
        pass.stall(&problem.reason, &problem.message);
        pass.look_again(Duration::from_secs(10));
        return;
    }
    pass.enter(Phase::Preflight, reason, message);
}

pub(super) fn on_enter(pass: &mut Pass<'_>) {
    let references = pass.resolved.as_ref().map(|resolved| resolved.found.clone()).unwrap_or_default();
    let status = &mut pass.status;
    status.references = references;
    status.spec_hash.clone_from(&pass.run.spec_hash);
    status.release = pass.observed.release.as_ref().and_then(|r| r.as_ref().ok()).map(|found| found.status.clone());
    status.config_maps = pass.observed.config_maps.clone().unwrap_or_default();
    status.checks.clear();
    status.backup = None;
    status.rehearsal = None;
    status.plan = None;
    status.awaiting = None;
    for type_ in [
        ConditionType::PreflightPassed,
        ConditionType::BackedUp,
        ConditionType::BackupVerified,
        ConditionType::Planned,
        ConditionType::Validated,
        ConditionType::Approved,
        ConditionType::IdentityVerified,
    ] {
        conditions::clear(&mut status.conditions, type_);
    }
    if let Some(release) = status.release.clone() {
        status.checks.push(CheckStatus {
            name: "release".into(),
            phase: Phase::Preflight,
            result: CheckResult::Passed,
            message: format!("{} runs {}, commit {}", release.workload, release.image, release.commit.as_deref().unwrap_or("not known")),
        });
    }
    pass.begin(Step::Preflight, 0);
}

pub(super) fn ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report: Some(report) } = ended else { return super::unexpected(pass, Step::Preflight, 0) };
    let StepReport::Preflight(report) = *report else { return super::unexpected(pass, Step::Preflight, 0) };
    pass.status.checks.extend(report.checks);
    pass.status.database = Some(report.database);
    pass.status.way_back = report.way_back;
    let already_applied = report.already_applied;
    match verdict.outcome {
        Outcome::Failed => {
            pass.set(ConditionType::PreflightPassed, Truth::False, &verdict.reason, &verdict.message);
            terminal::end(pass, Phase::Failed, &verdict.reason, &format!("preflight: {}", verdict.message));
        }
        _ if already_applied => {
            pass.set(ConditionType::PreflightPassed, Truth::True, "Passed", &verdict.message);
            let message = "the ledger knows this very run as applied: no row is changed again";
            terminal::end(pass, Phase::Succeeded, "AlreadyApplied", message);
        }
        _ => {
            pass.set(ConditionType::PreflightPassed, Truth::True, "Passed", &verdict.message);
            pass.enter(Phase::BackingUp, "PreflightPassed", "takes a backup and reads it back");
        }
    }
}
