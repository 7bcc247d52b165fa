//! The condition `Throttled`: what holds a step at this moment, and for how long something has held the run in all.

use super::pass::Pass;
use crate::api::conditions::{self, ConditionType, Truth};
use crate::protocol::Progress;

/// Reason where nothing holds the step any more.
const RELEASED: &str = "Released";
/// Reason of a hold whose own would be none.
const UNNAMED: &str = "Throttled";
/// So much of a message is kept: it may hold names that a server's users chose.
const MESSAGE_MAX: usize = 1024;

/// Takes over what a step's progress says about it.
pub(super) fn note(pass: &mut Pass<'_>, progress: &Progress) {
    for message in &progress.unmeasured {
        let known = pass.status.progress.as_ref().is_some_and(|before| before.unmeasured.contains(&cut(message)));
        if !known {
            pass.event(true, "Unmeasured", &cut(message));
        }
    }
    match &progress.throttled_by {
        Some(reading) => hold(pass, reason(reading), &cut(&progress.throttle_message)),
        None => release(pass),
    }
}

/// Nothing holds a step that does not run.
pub(super) fn release(pass: &mut Pass<'_>) {
    if !conditions::is_true(&pass.status.conditions, ConditionType::Throttled) {
        return;
    }
    count(pass);
    pass.set(ConditionType::Throttled, Truth::False, RELEASED, "no reading is above its limit");
    if let Some(progress) = pass.status.progress.as_mut() {
        let by = std::mem::take(&mut progress.throttled_by);
        if let Some(rest) = progress.summary.strip_suffix(&format!(", held by {by}")) {
            progress.summary = rest.to_owned();
        }
    }
}

fn hold(pass: &mut Pass<'_>, reason: &str, message: &str) {
    let held = pass.status.conditions.iter().find(|c| c.type_ == ConditionType::Throttled.as_str() && c.status == "True");
    if held.is_none_or(|condition| condition.reason != reason) {
        pass.event(false, "Throttled", &format!("{reason}: {message}"));
    }
    pass.set(ConditionType::Throttled, Truth::True, reason, message);
}

/// Adds the time since the hold began, as precise as the run is looked at (every 2 s).
fn count(pass: &mut Pass<'_>) {
    let since = pass.status.conditions.iter().find(|c| c.type_ == ConditionType::Throttled.as_str()).map(|c| c.last_transition_time.0);
    let seconds = since.map_or(0, |since| pass.now.duration_since(since).as_secs().max(0));
    pass.status.throttled_seconds += seconds;
}

/// The API server takes no other reasons of conditions.
pub(super) fn reason(reading: &str) -> &str {
    let fits = reading.chars().all(|c| c.is_ascii_alphanumeric()) && reading.starts_with(|c: char| c.is_ascii_alphabetic());
    if fits && reading.len() <= 64 { reading } else { UNNAMED }
}

pub(super) fn cut(message: &str) -> String {
    message.chars().take(MESSAGE_MAX).collect()
}
