//! The order of things in one pass. Each line may end it; the order is the precedence.

use super::after;
use super::approval;
use super::decision::{Decision, Effect, EventNote};
use super::invalid::Invalid;
use super::observed::{Observed, Problem};
use super::pass::Pass;
use super::phases;
use super::references;
use super::step;
use super::valid::{RunMeta, ValidRun};
use super::voided::{reference_changed, voided};
use crate::api::Phase;
use crate::api::conditions::{self, ConditionType, Truth};
use crate::api::spec::NotificationEvent;
use crate::api::status::{AbortStatus, BackfillRunStatus, Step};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// What happens next. Total: every status and observation has an answer, and the same arguments have the same.
#[must_use]
pub fn decide(run: &ValidRun, status: &BackfillRunStatus, observed: &Observed, now: Timestamp) -> Decision {
    let mut pass = Pass::new(run, status, observed, now);
    if pass.status.phase.is_terminal() {
        phases::terminal::settle(&mut pass);
    } else {
        advance(&mut pass);
    }
    summarize(&mut pass);
    pass.finish()
}

fn advance(pass: &mut Pass<'_>) {
    if phases::finished::is_asked(&pass.status) {
        if pass.run.meta.deleting || !suspended(pass) {
            phases::finished::wait(pass);
        }
        return;
    }
    latch_abort(pass);
    approval::note_entries(pass);
    if abandoned(pass)
        || namespace_gone(pass)
        || let_go(pass)
        || suspended(pass)
        || aborted(pass)
        || after::comes_too_early(pass)
        || voided(pass)
        || unresolved(pass)
        || phases::flag_reverted(pass)
    {
        return;
    }
    if pass.status.current_step.is_some() {
        if let Some((step, index, ended)) = step::drive(pass) {
            // What could not be measured may be what the run is stalled for already.
            if !ended.is_inconclusive() {
                pass.go_on();
            }
            phases::step_ended(pass, step, index, ended);
        }
    } else {
        phases::idle(pass);
    }
}

/// The answer to a spec that cannot work: Stalled, until it is changed. Nothing is started, nothing is stopped.
#[must_use]
pub fn refuse(meta: &RunMeta, spec_abandon: bool, invalid: &Invalid, status: &BackfillRunStatus, now: Timestamp) -> Decision {
    let mut status = status.clone();
    let message = invalid.to_string();
    let mut events = Vec::new();
    let mut effect = None;
    if !status.phase.is_terminal() {
        if status.message != message {
            events.push(EventNote { warning: true, reason: invalid.reason().into(), message: message.clone() });
        }
        status.message.clone_from(&message);
        for (type_, truth) in
            [(ConditionType::Stalled, Truth::True), (ConditionType::Reconciling, Truth::False), (ConditionType::Ready, Truth::False)]
        {
            conditions::set(&mut status.conditions, type_, truth, invalid.reason(), &message, meta.generation, now);
        }
    }
    if meta.finalizer && (spec_abandon || (meta.deleting && !status.mutation_started)) {
        effect = Some(Effect::RemoveFinalizer);
    }
    status.observed_generation = meta.generation;
    Decision { status, effect, events, requeue: None }
}

/// The API server refuses what the decision wanted done (a template that it does not take, a quota, a missing right): a
/// person has to see it. The effect is tried again all the same, as what is missing may come.
#[must_use]
pub fn effect_refused(meta: &RunMeta, status: &BackfillRunStatus, refusal: &str, now: Timestamp) -> BackfillRunStatus {
    let mut status = status.clone();
    status.message = format!("the API server refuses: {refusal}");
    let message = status.message.clone();
    for (type_, truth) in [(ConditionType::Stalled, Truth::True), (ConditionType::Reconciling, Truth::False)] {
        conditions::set(&mut status.conditions, type_, truth, EFFECT_REFUSED, &message, meta.generation, now);
    }
    status
}

/// Reason of the Stalled condition that [`effect_refused`] sets.
pub(super) const EFFECT_REFUSED: &str = "ApiRefused";

/// Abort is remembered, so that a self-healing `GitOps` tool cannot take it back.
fn latch_abort(pass: &mut Pass<'_>) {
    if pass.status.abort.is_some() {
        return;
    }
    let reason = if pass.run.meta.deleting {
        "the run was deleted"
    } else if pass.run.spec.abort {
        "spec.abort was set"
    } else {
        return;
    };
    pass.status.abort = Some(AbortStatus { at: pass.now, reason: reason.into() });
    pass.event(true, "Aborting", reason);
}

fn abandoned(pass: &mut Pass<'_>) -> bool {
    if !pass.run.spec.abandon {
        return false;
    }
    let (phase, message) = if pass.status.mutation_started {
        (Phase::Failed, "abandoned: the data stays as it is; undo rows, if any, stay in the ledger")
    } else {
        (Phase::Aborted, "abandoned before anything changed")
    };
    if step::stop(pass, "the run was abandoned") {
        phases::terminal::end(pass, phase, "Abandoned", message);
    }
    true
}

/// In a namespace that is being deleted no Job can be made: nothing more can be done, and that is said.
fn namespace_gone(pass: &mut Pass<'_>) -> bool {
    if !(pass.observed.namespace_terminating && pass.run.meta.deleting) {
        return false;
    }
    if pass.run.meta.finalizer {
        let message = "the namespace is being deleted, so no way back can be taken: undo rows stay in the ledger of the database";
        pass.status.message = message.into();
        pass.event(true, "NamespaceTerminating", message);
        pass.tell(NotificationEvent::Failed, message);
        pass.act(Effect::RemoveFinalizer);
    }
    true
}

/// Who replaces the whole object (`kubectl replace`, a `GitOps` tool's replace) takes the finalizer away, and the next
/// deletion would leave half of the rows: it is put on again before anything else goes on.
fn let_go(pass: &mut Pass<'_>) -> bool {
    let meta = &pass.run.meta;
    if !pass.status.mutation_started || meta.finalizer || meta.deleting {
        return false;
    }
    pass.act(Effect::AddFinalizer);
    true
}

/// True where the pass ends here because the run is suspended.
fn suspended(pass: &mut Pass<'_>) -> bool {
    let suspend = pass.run.spec.suspend && pass.status.abort.is_none();
    match (suspend, pass.status.suspended_since) {
        (false, None) => false,
        (false, Some(since)) => {
            resume(pass, pass.now.duration_since(since));
            false
        }
        (true, since) => {
            if since.is_none() {
                pass.status.suspended_since = Some(pass.now);
                pass.event(false, "Suspended", "spec.suspend is set: nothing new is started");
            }
            pass.status.message = "suspended: set spec.suspend to false to go on".into();
            // Plans and checks change nothing and end by themselves; a Job of the team is never killed half-way.
            if matches!(pass.status.current_step, Some(Step::Backup | Step::Rehearse | Step::Apply | Step::Undo | Step::Monitor)) {
                step::stop(pass, "the run was suspended");
            }
            true
        }
    }
}

/// The clocks of waiting stood still.
fn resume(pass: &mut Pass<'_>, pause: SignedDuration) {
    pass.status.suspended_since = None;
    let shift = |moment: Timestamp| moment.checked_add(pause).unwrap_or(Timestamp::MAX);
    if let Some(awaiting) = pass.status.awaiting.as_mut() {
        awaiting.deadline = shift(awaiting.deadline);
        awaiting.remind_at = awaiting.remind_at.map(shift);
    }
    if let Some(monitor) = pass.status.monitor.as_mut() {
        monitor.until = monitor.until.map(shift);
    }
    pass.event(false, "Resumed", "spec.suspend is off: the run goes on");
    pass.status.message = "resumed".into();
    pass.look_again(Duration::from_millis(300));
}

/// True where the pass ends here because the run is on its way out.
fn aborted(pass: &mut Pass<'_>) -> bool {
    let Some(abort) = pass.status.abort.clone() else { return false };
    if !pass.status.mutation_started {
        if step::stop(pass, &abort.reason) {
            phases::terminal::end(pass, Phase::Aborted, "Aborted", &format!("{}: nothing was changed", abort.reason));
        }
        return true;
    }
    let migrates = pass.status.current_step == Some(Step::Migrate) && pass.current().is_some_and(|s| s.result.is_none());
    match pass.status.phase {
        // On its way back already.
        Phase::RollingBack => false,
        Phase::AwaitingApproval if phases::rolling_back::is_awaiting_restore(pass) => false,
        // A migration is not killed half-way: its end or its deadline is waited for.
        Phase::Migrating if migrates => false,
        _ => {
            // The flag first: whatever else happens, the new code path is off.
            if phases::flag_back(pass) && step::stop(pass, &abort.reason) {
                phases::rolling_back::begin(pass, "Aborted", &abort.reason);
            }
            true
        }
    }
}

/// True where the pass ends here because a step could not be told what the spec refers to. A step in hand goes on; its end is
/// read when the reference leads somewhere again. Not on the way back, which needs no reference and must not wait for one.
fn unresolved(pass: &mut Pass<'_>) -> bool {
    let needed = match pass.status.phase {
        Phase::AwaitingApproval => !phases::rolling_back::is_awaiting_restore(pass),
        phase => references::are_needed(phase),
    };
    if !needed {
        return false;
    }
    let problem = match (&pass.resolved, reference_changed(pass)) {
        (Err(problem), _) => problem.clone(),
        (Ok(_), Some(changed)) if pass.status.mutation_started => Problem {
            reason: "ReferenceChanged".into(),
            message: format!(
                "{changed} has another content than was approved, and the approved one is kept nowhere else: put it back, or set spec.abort: true"
            ),
        },
        _ => {
            for reason in references::REASONS {
                pass.go_on_from(reason);
            }
            return false;
        }
    };
    pass.stall(&problem.reason, &problem.message);
    pass.look_again(Duration::from_secs(10));
    true
}

/// The conditions that follow from the phase.
fn summarize(pass: &mut Pass<'_>) {
    let phase = pass.status.phase;
    let (reason, message) = (phase.as_str(), pass.status.message.clone());
    let stalled = conditions::is_true(&pass.status.conditions, ConditionType::Stalled);
    if phase.is_terminal() {
        let good = phase == Phase::Succeeded;
        let summary = Truth::from(good);
        pass.set(ConditionType::Succeeded, summary, reason, &message);
        pass.set(ConditionType::Finished, Truth::True, reason, &message);
        pass.set(ConditionType::Ready, summary, reason, &message);
        pass.set(ConditionType::Reconciling, Truth::False, reason, &message);
        pass.set(ConditionType::Stalled, Truth::from(!good), reason, &message);
    } else {
        pass.set(ConditionType::Succeeded, Truth::Unknown, reason, &message);
        pass.set(ConditionType::Finished, Truth::False, reason, &message);
        pass.set(ConditionType::Ready, Truth::False, reason, &message);
        if !stalled {
            pass.set(ConditionType::Reconciling, Truth::True, reason, &message);
        }
    }
}
