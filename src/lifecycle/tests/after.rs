//! Runs that come before others: waited for, and taken back after them.

use super::fixtures::small_spec;
use super::world::{Ending, World};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth, is_true, set};
use crate::api::spec::BackfillRun;
use crate::api::status::Step;
use crate::lifecycle::{AfterObservation, Invalid, Observed, OperatorPolicy, validate};
use crate::protocol::Outcome;
use serde_json::json;

fn world() -> World {
    let mut spec = small_spec();
    spec["after"] = json!([{"name": "first"}]);
    World::new(&spec)
}

fn pass(world: &mut World, found: AfterObservation) {
    let observed = Observed { after: vec![found], ..world.observed() };
    world.pass_with(&observed, false);
}

fn stalled_for(world: &World) -> Option<String> {
    let conditions = world.status().conditions;
    conditions.into_iter().find(|c| c.type_ == ConditionType::Stalled.as_str() && c.status == "True").map(|c| c.reason)
}

#[test]
fn nothing_begins_before_the_run_that_comes_first_is_as_far_as_it_must_be() {
    let mut world = world();
    for _ in 0..5 {
        pass(&mut world, AfterObservation::Ahead { phase: Phase::Applying });
    }
    assert_eq!((world.phase(), world.jobs_made.len()), (Phase::Pending, 0));
    assert_eq!(world.status().message, "waits until the run first is Verified; it is Applying");
    assert_eq!(stalled_for(&world), None);
    pass(&mut world, AfterObservation::Missing);
    assert_eq!(stalled_for(&world).as_deref(), Some("AfterRunMissing"));
    pass(&mut world, AfterObservation::Over { phase: Phase::RolledBack });
    assert_eq!(stalled_for(&world).as_deref(), Some("AfterRunEnded"));
    assert_eq!(world.jobs_made.len(), 0);
    for _ in 0..60 {
        pass(&mut world, AfterObservation::Reached);
    }
    assert_eq!((world.phase(), stalled_for(&world)), (Phase::Succeeded, None));
}

#[test]
fn what_was_planned_after_a_run_that_goes_back_is_not_written() {
    let mut world = world();
    world.approves = false;
    while world.phase() != Phase::AwaitingApproval {
        pass(&mut world, AfterObservation::Reached);
    }
    world.approves = true;
    for _ in 0..5 {
        pass(&mut world, AfterObservation::Ahead { phase: Phase::RollingBack });
    }
    assert_eq!(stalled_for(&world).as_deref(), Some("AfterRunNotReady"));
    assert_eq!((world.phase(), world.made(Step::Apply)), (Phase::AwaitingApproval, 0));
}

#[test]
fn an_abort_ends_the_waiting() {
    let mut world = world();
    pass(&mut world, AfterObservation::Ahead { phase: Phase::Monitoring });
    world.run.spec.abort = true;
    for _ in 0..5 {
        pass(&mut world, AfterObservation::Ahead { phase: Phase::Monitoring });
    }
    assert_eq!(world.phase(), Phase::Aborted);
}

#[test]
fn a_run_goes_back_after_those_that_were_planned_after_it() {
    let mut world = World::new(&small_spec()).ends(Step::Verify, &[Ending::Verdict(Outcome::Failed, "ChecksFailed")]);
    for _ in 0..60 {
        let observed = Observed { dependents: vec!["second".into()], ..world.observed() };
        world.pass_with(&observed, false);
    }
    assert_eq!((world.phase(), world.made(Step::Undo)), (Phase::RollingBack, 0));
    assert_eq!(stalled_for(&world).as_deref(), Some("DependentRun"));
    assert!(world.status().message.contains("the run second was planned after this one"), "{}", world.status().message);
    assert_eq!(world.settle(60), Phase::RolledBack);
    assert_eq!(world.made(Step::Undo), 1);
}

#[test]
fn a_run_is_as_far_as_its_condition_says_and_not_once_it_goes_back() {
    let mut first: BackfillRun = super::fixtures::run(&small_spec());
    let of = |run: &BackfillRun| AfterObservation::of(run, ConditionType::Verified);
    assert_eq!(of(&first), AfterObservation::Ahead { phase: Phase::Pending });
    let status = first.status.get_or_insert_default();
    status.phase = Phase::Monitoring;
    set(&mut status.conditions, ConditionType::Verified, Truth::True, "Verified", "", Some(1), super::fixtures::start());
    assert!(is_true(&status.conditions, ConditionType::Verified));
    assert_eq!(of(&first), AfterObservation::Reached);
    for (phase, wanted) in [
        (Phase::Succeeded, AfterObservation::Reached),
        (Phase::RollingBack, AfterObservation::Ahead { phase: Phase::RollingBack }),
        (Phase::RolledBack, AfterObservation::Over { phase: Phase::RolledBack }),
    ] {
        first.status.get_or_insert_default().phase = phase;
        assert_eq!(of(&first), wanted);
    }
}

#[test]
fn a_run_does_not_wait_for_itself() {
    let mut spec = small_spec();
    spec["after"] = json!([{"name": "run", "condition": "Applied"}]);
    let refused = validate(&super::fixtures::run(&spec), &OperatorPolicy::default()).unwrap_err();
    assert!(matches!(refused, Invalid::AfterItself { .. }), "{refused}");
}
