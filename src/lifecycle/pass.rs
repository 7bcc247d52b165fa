//! One pass: the status on its way from what it was to what it will be, and the words to change it with.

use super::decision::{Decision, Effect, EventNote};
use super::input::start_step;
use super::observed::{HolderObservation, Observed, Problem};
use super::references::{self, Contents, Resolved};
use super::valid::ValidRun;
use super::{estimate, phases};
use crate::api::Phase;
use crate::api::conditions::{self, ConditionType, Truth};
use crate::api::spec::{BackfillRunSpec, NotificationEvent};
use crate::api::status::{BackfillRunStatus, HistoryStatus, NotificationStatus, Step, StepResult, StepStatus};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// At most so many changes of phase are kept.
const HISTORY: usize = 40;
/// At most so many messages are kept; the oldest delivered ones go first.
const NOTIFICATIONS: usize = 32;

/// The state of one pass. Phases change the status through it and leave at most one effect.
pub(super) struct Pass<'a> {
    pub(super) run: &'a ValidRun,
    pub(super) observed: &'a Observed,
    pub(super) now: Timestamp,
    pub(super) status: BackfillRunStatus,
    /// The spec with its references resolved; `Err`: what to change.
    pub(super) resolved: Result<Resolved, Problem>,
    effect: Option<Effect>,
    events: Vec<EventNote>,
    requeue: Option<Duration>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(run: &'a ValidRun, status: &BackfillRunStatus, observed: &'a Observed, now: Timestamp) -> Self {
        let resolved = match &observed.references {
            None => references::resolve(&run.spec, &Contents::new()),
            Some(Ok(contents)) => references::resolve(&run.spec, contents),
            Some(Err(problem)) => Err(problem.clone()),
        };
        Self { run, observed, now, status: status.clone(), resolved, effect: None, events: Vec::new(), requeue: None }
    }

    /// The spec as steps are told it. On the way back, which needs none of them, references may still be unresolved.
    pub(super) fn spec(&self) -> &BackfillRunSpec {
        self.resolved.as_ref().map_or(&self.run.spec, |resolved| &resolved.spec)
    }

    pub(super) fn finish(mut self) -> Decision {
        self.status.observed_generation = self.run.meta.generation;
        Decision { status: self.status, effect: self.effect, events: self.events, requeue: self.requeue }
    }

    /// Leaves the pass's effect. The first one stays: two would mean that a phase decided twice.
    pub(super) fn act(&mut self, effect: Effect) {
        debug_assert!(self.effect.is_none(), "two effects in one pass: {:?} and {effect:?}", self.effect);
        self.effect.get_or_insert(effect);
        self.look_again(Duration::from_millis(300));
    }

    /// Looks again after this long at the latest.
    pub(super) fn look_again(&mut self, after: Duration) {
        self.requeue = Some(self.requeue.map_or(after, |r| r.min(after)));
    }

    /// Looks again at this moment at the latest.
    pub(super) fn look_again_at(&mut self, moment: Timestamp) {
        let left = Duration::try_from(moment.duration_since(self.now)).unwrap_or(Duration::ZERO);
        self.look_again(left.max(Duration::from_millis(300)));
    }

    /// Sets a condition.
    pub(super) fn set(&mut self, type_: ConditionType, truth: Truth, reason: &str, message: &str) {
        let generation = self.run.meta.generation;
        conditions::set(&mut self.status.conditions, type_, truth, reason, message, generation, self.now);
    }

    /// A Kubernetes event.
    pub(super) fn event(&mut self, warning: bool, reason: &str, message: &str) {
        self.events.push(EventNote { warning, reason: reason.into(), message: message.into() });
    }

    /// Enters a phase, and does what it does at its entry (most begin a step).
    pub(super) fn enter(&mut self, to: Phase, reason: &str, message: &str) {
        let from = self.status.phase;
        self.status.history.push(HistoryStatus { at: self.now, from, to, reason: reason.into() });
        let too_many = self.status.history.len().saturating_sub(HISTORY);
        self.status.history.drain(..too_many);
        self.status.phase = to;
        self.status.message = message.into();
        self.status.progress = None;
        self.status.current_step = None;
        self.go_on();
        let warning =
            matches!(to, Phase::Failed | Phase::Denied | Phase::Expired | Phase::Aborted | Phase::RollingBack | Phase::RollbackFailed);
        self.event(warning, reason, message);
        self.look_again(Duration::from_millis(100));
        phases::on_enter(self, to, reason);
    }

    /// Begins a new attempt of a step: the intent is in the status before the Job exists.
    pub(super) fn begin(&mut self, step: Step, index: i32) {
        let previous = self.status.steps.iter().find(|s| s.step == step);
        let attempt = previous.map_or(0, |s| s.attempt) + 1;
        let again = previous.filter(|s| s.index == index && s.result.is_some_and(super::step::is_retried));
        let lost_in_a_row = again.map_or(0, |s| s.lost_in_a_row);
        let start = start_step(self, step, index, attempt);
        let entry = StepStatus {
            step,
            attempt,
            index,
            job_name: start.job_name.clone(),
            job_uid: None,
            input_hash: start.input_hash.clone(),
            started_at: self.now,
            deadline: later(self.now, start.deadline),
            result: None,
            ended_at: None,
            message: String::new(),
            lost_in_a_row,
            retry_at: None,
        };
        self.status.steps.retain(|s| s.step != step);
        self.status.steps.push(entry);
        self.status.current_step = Some(step);
        let estimated = estimate::estimate(&self.status, step);
        estimate::record(&mut self.status, step, estimated, None);
        self.act(Effect::StartStep(Box::new(start)));
    }

    /// The step that just ended with a verdict is to be tried again after a while.
    pub(super) fn wait_and_retry(&mut self, step: Step, wait: Duration) {
        let moment = later(self.now, wait);
        self.status.current_step = Some(step);
        if let Some(entry) = self.current() {
            entry.result = Some(StepResult::Stopped);
            entry.retry_at = Some(moment);
        }
        self.look_again_at(moment);
    }

    /// The step in hand.
    pub(super) fn current(&mut self) -> Option<&mut StepStatus> {
        let step = self.status.current_step?;
        self.status.steps.iter_mut().find(|s| s.step == step)
    }

    /// The run cannot go on until something is changed; the message says what.
    pub(super) fn stall(&mut self, reason: &str, message: &str) {
        let stalled = self.status.conditions.iter().find(|c| c.type_ == ConditionType::Stalled.as_str() && c.status == "True");
        let new = stalled.is_none_or(|c| c.reason != reason || c.message != message);
        self.status.message = message.into();
        self.set(ConditionType::Stalled, Truth::True, reason, message);
        self.set(ConditionType::Reconciling, Truth::False, reason, message);
        if new {
            self.event(true, reason, message);
            self.tell(NotificationEvent::Stalled, message);
        }
    }

    /// What stalled the run is gone.
    pub(super) fn go_on(&mut self) {
        if conditions::is_true(&self.status.conditions, ConditionType::Stalled) {
            self.set(ConditionType::Stalled, Truth::False, "Progressing", "");
        }
    }

    /// What stalled the run is gone, if it was this.
    pub(super) fn go_on_from(&mut self, reason: &str) {
        if self.status.conditions.iter().any(|c| c.type_ == ConditionType::Stalled.as_str() && c.reason == reason) {
            self.go_on();
        }
    }

    /// Puts a message for the run's channels into the outbox.
    pub(super) fn tell(&mut self, event: NotificationEvent, text: &str) {
        let channels = self.run.spec.notifications.iter().filter(|n| n.events.contains(&event)).map(|n| n.channel.clone());
        for channel in channels {
            let same = |n: &&NotificationStatus| n.event == event && n.channel == channel && n.at.as_second() == self.now.as_second();
            if self.status.notifications.iter().filter(same).any(|n| n.text == text) {
                continue;
            }
            // Two people may decide within a second: both are told.
            let id = match self.status.notifications.iter().filter(same).count() {
                0 => format!("{event:?}-{}", self.now.as_second()),
                before => format!("{event:?}-{}-{before}", self.now.as_second()),
            };
            self.status.notifications.push(NotificationStatus {
                event,
                channel,
                id,
                at: self.now,
                text: text.into(),
                delivered_at: None,
                attempts: 0,
                retry_at: None,
                error: String::new(),
            });
        }
        while self.status.notifications.len() > NOTIFICATIONS {
            let oldest = self.status.notifications.iter().position(|n| n.delivered_at.is_some()).unwrap_or(0);
            self.status.notifications.remove(oldest);
        }
    }

    /// The holder's uid, where its claim may be taken over.
    pub(super) fn take_over_from(&self) -> Option<String> {
        let over = self.observed.holder == Some(HolderObservation::Over);
        self.status.waiting_for.as_ref().filter(|_| over).map(|h| h.uid.clone())
    }
}

/// A moment later; the end of time where that is too late.
pub(super) fn later(moment: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| moment.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}
