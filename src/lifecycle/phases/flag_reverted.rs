//! The flag, switched off again by somebody else while the logs are watched.
//!
//! A tool that holds the flag's ConfigMap (Argo CD, Flux) does that within seconds. What the logs say then says nothing
//! about the new path, and "the flag is on" would be a lie at the end. The run does not fight over the flag: the watch
//! stands still until the flag is on again, or a person aborts.

use super::enabling_flag::ON;
use crate::api::Phase;
use crate::api::conditions::Truth;
use crate::api::conditions::{ConditionType, is_false};
use crate::api::status::FlagIntent;
use crate::lifecycle::observed::FlagObservation;
use crate::lifecycle::pass::Pass;
use crate::lifecycle::step;
use jiff::Timestamp;
use std::time::Duration;

/// Of conditions, events and messages.
const REASON: &str = "FlagReverted";
/// Between two looks at a flag that is off.
const LOOK: Duration = Duration::from_secs(5);
/// Reasons for which nobody knows whether the flag is on: the next look tells.
const UNSEEN: [&str; 4] = ["FlagForbidden", "FlagTimedOut", "FlagApi", "FlagConflict"];

/// True where the pass ends here because the flag that the run switched on is off.
pub(in crate::lifecycle) fn flag_reverted(pass: &mut Pass<'_>) -> bool {
    let ours = pass.status.flag.as_ref().is_some_and(|f| f.enabled_at.is_some() && f.intent == FlagIntent::Enable);
    // After a hit in the logs the run puts the flag back itself.
    if pass.status.phase != Phase::Monitoring || !ours || is_false(&pass.status.conditions, ConditionType::Monitored) {
        return false;
    }
    let found = match pass.observed.flag.clone() {
        Some(FlagObservation::Value(value)) if value == ON => {
            on_again(pass);
            return false;
        }
        Some(FlagObservation::Value(value)) => format!("is {value} now"),
        Some(FlagObservation::Problem(problem)) if !UNSEEN.contains(&problem.reason.as_str()) => {
            format!("cannot be read: {}", problem.message)
        }
        Some(FlagObservation::Problem(_)) | None => return is_false(&pass.status.conditions, ConditionType::FlagEnabled),
    };
    let name = pass.run.spec.feature_flag.as_ref().map(|f| f.name.clone()).unwrap_or_default();
    let message = format!(
        "the run switched the flag {name} on, and it {found}: something else holds it. Switch it on there (in Git, where a GitOps tool holds the ConfigMap), or set spec.abort: true; the watch stands still meanwhile"
    );
    // Before the stall: a run that stops a step is at work, one that is stalled is not.
    step::stop(pass, "the flag was switched off");
    pass.set(ConditionType::FlagEnabled, Truth::False, REASON, &message);
    pass.stall(REASON, &message);
    pass.look_again(LOOK);
    true
}

fn on_again(pass: &mut Pass<'_>) {
    let off = pass.status.conditions.iter().find(|c| c.type_ == ConditionType::FlagEnabled.as_str() && c.status == "False");
    let Some(pause) = off.map(|c| pass.now.duration_since(c.last_transition_time.0)) else { return };
    // Nothing was watched for so long: it is watched longer.
    if let Some(monitor) = pass.status.monitor.as_mut() {
        monitor.until = monitor.until.map(|until| until.checked_add(pause).unwrap_or(Timestamp::MAX));
    }
    let message = "the flag is on again: the watch goes on";
    pass.go_on_from(REASON);
    pass.set(ConditionType::FlagEnabled, Truth::True, "Enabled", message);
    pass.event(false, "FlagEnabled", message);
    pass.status.message = message.into();
}
