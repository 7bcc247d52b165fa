//! The conditions of a run: their types, and the one way to set them.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// The types of conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConditionType {
    /// All checks before anything passed.
    PreflightPassed,
    /// The dump is written.
    BackedUp,
    /// The dump is proved readable and complete.
    BackupVerified,
    /// The plan is made.
    Planned,
    /// The planned rows satisfy the schemas.
    Validated,
    /// Enough people approved this plan.
    Approved,
    /// Somebody said no.
    Denied,
    /// The API server holds the names in approvals against who sends them.
    IdentityVerified,
    /// The migrations ran.
    Migrated,
    /// The rows are written.
    Applied,
    /// What was written is what was planned, and the checks hold.
    Verified,
    /// The flag is on.
    FlagEnabled,
    /// The logs were watched to the end.
    Monitored,
    /// The data is as it was before.
    RolledBack,
    /// A reading of the throttle holds the worker.
    Throttled,
    /// The summary: Unknown while running.
    Succeeded,
    /// True in every terminal phase.
    Finished,
    /// kstatus: all is as asked.
    Ready,
    /// kstatus: at work.
    Reconciling,
    /// kstatus: cannot go on until something is changed.
    Stalled,
}

impl ConditionType {
    /// The name as the resource writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PreflightPassed => "PreflightPassed",
            Self::BackedUp => "BackedUp",
            Self::BackupVerified => "BackupVerified",
            Self::Planned => "Planned",
            Self::Validated => "Validated",
            Self::Approved => "Approved",
            Self::Denied => "Denied",
            Self::IdentityVerified => "IdentityVerified",
            Self::Migrated => "Migrated",
            Self::Applied => "Applied",
            Self::Verified => "Verified",
            Self::FlagEnabled => "FlagEnabled",
            Self::Monitored => "Monitored",
            Self::RolledBack => "RolledBack",
            Self::Throttled => "Throttled",
            Self::Succeeded => "Succeeded",
            Self::Finished => "Finished",
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

/// True, false or not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Not known yet.
    Unknown,
}

impl Truth {
    const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl From<bool> for Truth {
    fn from(value: bool) -> Self {
        if value { Self::True } else { Self::False }
    }
}

/// Sets a condition. `lastTransitionTime` moves only when the truth does, so that setting twice changes nothing.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: ConditionType,
    truth: Truth,
    reason: &str,
    message: &str,
    generation: Option<i64>,
    now: Timestamp,
) {
    let existing = conditions.iter_mut().find(|c| c.type_ == type_.as_str());
    if let Some(condition) = existing {
        if condition.status != truth.as_str() {
            condition.last_transition_time = Time(now);
            condition.status = truth.as_str().into();
        }
        condition.reason = reason.into();
        condition.message = message.into();
        condition.observed_generation = generation;
    } else {
        conditions.push(Condition {
            type_: type_.as_str().into(),
            status: truth.as_str().into(),
            reason: reason.into(),
            message: message.into(),
            observed_generation: generation,
            last_transition_time: Time(now),
        });
    }
}

/// Takes a condition away: what it said is void.
pub fn clear(conditions: &mut Vec<Condition>, type_: ConditionType) {
    conditions.retain(|c| c.type_ != type_.as_str());
}

/// True where the condition is there and True.
#[must_use]
pub fn is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    conditions.iter().any(|c| c.type_ == type_.as_str() && c.status == "True")
}

/// True where the condition is there and False.
#[must_use]
pub fn is_false(conditions: &[Condition], type_: ConditionType) -> bool {
    conditions.iter().any(|c| c.type_ == type_.as_str() && c.status == "False")
}
