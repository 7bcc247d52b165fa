//! Runs that come before this one, and runs that come after it.

use super::observed::AfterObservation;
use super::pass::Pass;
use super::phases::rolling_back;
use crate::api::Phase;
use std::time::Duration;

const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// What a run is stalled for that comes after others.
const REASONS: [&str; 3] = ["AfterRunMissing", "AfterRunEnded", "AfterRunNotReady"];
const DEPENDENT: &str = "DependentRun";

/// True where the pass ends here because a run that comes before this one is not as far as it must be. Only until the first
/// write: from then on this run holds what it was planned for. A step in hand goes on; its end is read later.
pub(super) fn comes_too_early(pass: &mut Pass<'_>) -> bool {
    if pass.status.mutation_started || pass.status.phase.is_terminal() {
        return false;
    }
    let begun = pass.status.phase != Phase::Pending;
    let mut waits = None;
    for (after, found) in pass.run.spec.after.iter().zip(&pass.observed.after) {
        let (name, wanted) = (&after.name, after.condition.condition().as_str());
        match found {
            AfterObservation::Reached => {}
            // The plan is made of what that run had written.
            AfterObservation::Ahead { phase } if begun => {
                let message = format!(
                    "spec.after: the run {name} is not {wanted} any more ({phase}): what was planned after it does not hold; set spec.abort: true, or wait until it is"
                );
                return stalled(pass, "AfterRunNotReady", &message);
            }
            AfterObservation::Ahead { phase } => {
                waits.get_or_insert(format!("waits until the run {name} is {wanted}; it is {phase}"));
            }
            AfterObservation::Missing => {
                let message = format!("spec.after: there is no run {name} in this namespace: create it, or take it out of spec.after");
                return stalled(pass, "AfterRunMissing", &message);
            }
            AfterObservation::Over { phase } => {
                let message = format!(
                    "spec.after: the run {name} has ended as {phase} and will not be {wanted}: delete it and create it again under its name, or take it out of spec.after"
                );
                return stalled(pass, "AfterRunEnded", &message);
            }
        }
    }
    for reason in REASONS {
        pass.go_on_from(reason);
    }
    let Some(message) = waits else { return false };
    if pass.status.message != message {
        pass.event(false, "WaitingForRun", &message);
        pass.status.message = message;
    }
    pass.look_again(LOOK_AGAIN);
    true
}

/// True where the way back waits for a run that was planned after this one and has changed data.
pub(super) fn is_built_upon(pass: &mut Pass<'_>) -> bool {
    if !rolling_back::begun(&pass.status) || pass.observed.dependents.is_empty() {
        pass.go_on_from(DEPENDENT);
        return false;
    }
    let names = pass.observed.dependents.join(", ");
    let message = format!(
        "the run {names} was planned after this one and has changed data: it goes back first; set its spec.abort: true, or its spec.abandon: true to leave its data as it is"
    );
    stalled(pass, DEPENDENT, &message)
}

fn stalled(pass: &mut Pass<'_>, reason: &str, message: &str) -> bool {
    pass.stall(reason, message);
    pass.look_again(LOOK_AGAIN);
    true
}
