//! The feature flag: on after verification, and first of all back on any way back.

use super::monitoring;
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::status::{FlagIntent, FlagStatus};
use crate::lifecycle::decision::Effect;
use crate::lifecycle::observed::FlagObservation;
use crate::lifecycle::pass::Pass;
use std::time::Duration;

/// How a flag reads that is on.
pub(super) const ON: &str = "true";

pub(super) fn begin(pass: &mut Pass<'_>) {
    match &pass.run.spec.feature_flag {
        Some(flag) => {
            let message = format!("switches the flag {} on", flag.name);
            pass.enter(Phase::EnablingFlag, "Verified", &message);
        }
        None => monitoring::begin(pass, "Verified"),
    }
}

pub(super) fn idle(pass: &mut Pass<'_>) {
    let value = match pass.observed.flag.clone() {
        Some(FlagObservation::Value(value)) => value,
        Some(FlagObservation::Problem(problem)) => {
            pass.stall(&problem.reason, &problem.message);
            return pass.look_again(Duration::from_secs(10));
        }
        None => return pass.look_again(Duration::from_secs(1)),
    };
    let Some(flag) = pass.status.flag.as_mut() else {
        // The intent, with the value to go back to, is in the status before the flag is touched.
        pass.status.flag = Some(FlagStatus { previous: value, intent: FlagIntent::Enable, ..FlagStatus::default() });
        return pass.look_again(Duration::from_millis(100));
    };
    if value != ON && value != flag.previous {
        let message =
            format!("the flag was {} when the run looked, and is {value} now: put it back, or set spec.abort: true", flag.previous);
        pass.stall("FlagChangedByOther", &message);
        return pass.look_again(Duration::from_secs(10));
    }
    if value != ON {
        let previous = flag.previous.clone();
        return pass.act(Effect::EnableFlag { previous });
    }
    flag.enabled_at = Some(pass.now);
    let previous = flag.previous.clone();
    pass.go_on();
    pass.set(ConditionType::FlagEnabled, Truth::True, "Enabled", &format!("the flag is on; it was {previous}"));
    monitoring::begin(pass, "FlagEnabled");
}

/// Puts the flag back where the run has touched it; `true` once it is back (or never was touched).
pub(in crate::lifecycle) fn flag_back(pass: &mut Pass<'_>) -> bool {
    let Some(flag) = pass.status.flag.clone() else { return true };
    if flag.restored_at.is_some() || flag.intent == FlagIntent::None {
        return true;
    }
    if flag.intent != FlagIntent::Restore {
        if let Some(flag) = pass.status.flag.as_mut() {
            flag.intent = FlagIntent::Restore;
        }
        pass.look_again(Duration::from_millis(100));
        return false;
    }
    match pass.observed.flag.clone() {
        Some(FlagObservation::Value(value)) if value == flag.previous => back(pass, "Restored", &format!("the flag is back at {value}")),
        Some(FlagObservation::Value(value)) if value == ON => {
            pass.act(Effect::RestoreFlag { previous: flag.previous });
            false
        }
        // Somebody else set it to a third value, or took it away: it is theirs, and it is not on.
        Some(FlagObservation::Value(_)) => back(pass, "ChangedByOther", "somebody else changed the flag since: it is left as it is"),
        Some(FlagObservation::Problem(problem)) if problem.reason == "FlagConfigMapMissing" => {
            back(pass, "ChangedByOther", "the flag's ConfigMap is gone: there is nothing to put back")
        }
        Some(FlagObservation::Problem(problem)) => {
            pass.stall(&problem.reason, &format!("the flag cannot be put back: {}", problem.message));
            pass.look_again(Duration::from_secs(5));
            false
        }
        None => {
            pass.look_again(Duration::from_secs(1));
            false
        }
    }
}

fn back(pass: &mut Pass<'_>, reason: &str, message: &str) -> bool {
    if let Some(flag) = pass.status.flag.as_mut() {
        flag.restored_at = Some(pass.now);
    }
    pass.go_on();
    pass.set(ConditionType::FlagEnabled, Truth::False, reason, message);
    pass.event(true, "FlagBack", message);
    true
}
