//! What people approved is what runs: until the first write, what has changed meanwhile voids it.

use super::observed::{Observed, ReleaseFound};
use super::pass::Pass;
use super::phases::{flag_back, preflight, rolling_back, terminal};
use super::{approval, references, step};
use crate::api::Phase;
use crate::api::spec::OnChange;
use crate::api::status::{BackfillRunStatus, ConfigMapStatus, ReleaseStatus, Step, Subject};

/// True where the pass ends here because what the plan was made for has changed.
pub(super) fn voided(pass: &mut Pass<'_>) -> bool {
    if before_the_first_write(&pass.status) {
        return undecided(pass);
    }
    let planning = matches!(pass.status.phase, Phase::Preflight | Phase::BackingUp | Phase::Planning | Phase::AwaitingApproval);
    if pass.status.mutation_started || !planning {
        return false;
    }
    let (reason, message) = if pass.status.spec_hash != pass.run.spec_hash {
        ("SpecChanged", "the spec has changed: what was planned for the old one is void".to_owned())
    } else if let Some((reason, what)) = change(&pass.status, pass.observed) {
        (reason, format!("{what}: what was planned before is void"))
    } else if let Some(changed) = reference_changed(pass) {
        ("ReferenceChanged", format!("{changed} has another content: what was planned for the old one is void"))
    } else {
        return false;
    };
    if step::stop(pass, &message) {
        approval::void(pass, reason, &message);
        if reason != "SpecChanged" && pass.run.spec.approval.on_change == OnChange::Stop {
            let message = format!("{message}; approval.onChange is Stop: create a new run");
            terminal::end(pass, Phase::Failed, reason, &message);
        } else {
            preflight::begin(pass, reason, &message);
        }
    }
    true
}

/// The point of no return is written down, but no row is: the database is being waited for, rows are planned again, or
/// people are asked about a plan that came out otherwise.
#[must_use]
pub fn before_the_first_write(status: &BackfillRunStatus) -> bool {
    let asked = status.awaiting.as_ref().map(|awaiting| awaiting.subject);
    status.mutation_started
        && match status.phase {
            Phase::Migrating | Phase::Applying => match status.current_step {
                Some(Step::Claim) => !rolling_back::begun(status),
                Some(Step::Plan | Step::Replan) => true,
                _ => false,
            },
            // Of a backup that had become too old.
            Phase::BackingUp => true,
            Phase::AwaitingApproval => asked == Some(Subject::Plan),
            Phase::Pending
            | Phase::Preflight
            | Phase::Planning
            | Phase::Verifying
            | Phase::EnablingFlag
            | Phase::Monitoring
            | Phase::RollingBack
            | Phase::Succeeded
            | Phase::Failed
            | Phase::Denied
            | Phase::Expired
            | Phase::Aborted
            | Phase::RolledBack
            | Phase::RollbackFailed => false,
        }
}

/// What was approved is about to be done: whoever takes it back now is heard.
fn stands(status: &BackfillRunStatus) -> bool {
    status.phase == Phase::BackingUp || matches!(status.current_step, Some(Step::Claim | Step::Replan))
}

/// The spec is frozen by now; so a change from outside, and an approval that is taken back, end the run.
fn undecided(pass: &mut Pass<'_>) -> bool {
    let (reason, message) = if let Some((reason, what)) = change(&pass.status, pass.observed) {
        (reason, format!("{what}, before the first write: what was approved is void"))
    } else if stands(&pass.status) && approval::withdrawn(pass) {
        ("ApprovalWithdrawn", "an approval was taken back before the first write".to_owned())
    } else {
        return false;
    };
    if flag_back(pass) && step::stop(pass, &message) {
        approval::void(pass, reason, &message);
        rolling_back::begin(pass, reason, &message);
    }
    true
}

/// Which reference leads elsewhere than at preflight.
pub(super) fn reference_changed(pass: &Pass<'_>) -> Option<String> {
    let found = &pass.resolved.as_ref().ok()?.found;
    (found != &pass.status.references).then(|| references::changed(&pass.status.references, found))
}

/// What has changed outside of the run since preflight.
fn change(status: &BackfillRunStatus, observed: &Observed) -> Option<(&'static str, String)> {
    let release = match (&observed.release, &status.release) {
        (Some(Ok(ReleaseFound { status: now, .. })), Some(before)) => release_change(before, now),
        _ => None,
    };
    release.or_else(|| config_map_change(&status.config_maps, observed.config_maps.as_deref()?))
}

fn release_change(before: &ReleaseStatus, now: &ReleaseStatus) -> Option<(&'static str, String)> {
    let or_none = |commit: &Option<String>| commit.clone().unwrap_or_else(|| "none".into());
    if before.workload != now.workload {
        Some(("WorkloadChanged", format!("the workload is {} and no longer {}", now.workload, before.workload)))
    } else if before.image != now.image {
        Some(("ImageChanged", format!("{} runs the image {} and no longer {}", now.workload, now.image, before.image)))
    } else if before.commit != now.commit {
        let message = format!("{} is at commit {} and no longer at {}", now.workload, or_none(&now.commit), or_none(&before.commit));
        Some(("CommitChanged", message))
    } else if before.environment_hash != now.environment_hash {
        Some(("EnvironmentChanged", format!("the environment of {} is another one", now.workload)))
    } else {
        None
    }
}

fn config_map_change(before: &[ConfigMapStatus], now: &[ConfigMapStatus]) -> Option<(&'static str, String)> {
    let changed: Vec<&str> = before
        .iter()
        .filter(|map| !now.contains(map))
        .chain(now.iter().filter(|map| !before.iter().any(|b| b.name == map.name)))
        .map(|map| map.name.as_str())
        .collect();
    (!changed.is_empty()).then(|| ("ConfigMapChanged", format!("the content of ConfigMap {} is another one", changed.join(", "))))
}
