//! A run that has succeeded: taken back while its undo is kept, and closed afterwards.

use super::fixtures::{full_spec, run, script_spec, small_spec};
use super::world::{Ending, World};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, is_true};
use crate::api::spec::{Approval, ApprovalEntry, RestoreMode};
use crate::api::status::{LossStatus, Step, Subject};
use crate::lifecycle::{Effect, Invalid, OperatorPolicy, validate};
use crate::protocol::{LossReport, Outcome, PlanReport, PreflightReport, RestoreReport, StepReport};
use jiff::SignedDuration;

fn succeeded(spec: &serde_json::Value) -> World {
    let mut world = World::new(spec);
    assert_eq!(world.settle(300), Phase::Succeeded, "{:#?}", world.status());
    world
}

/// Passes until people are asked.
fn asked(world: &mut World) {
    world.run.spec.rollback.requested = true;
    world.approves = false;
    for _ in 0..10 {
        world.pass(false);
        if world.status().awaiting.is_some() {
            return;
        }
    }
    panic!("nobody was asked: {:#?}", world.status());
}

fn later(world: &mut World, hours: i64) {
    world.now = world.now.checked_add(SignedDuration::from_hours(hours)).unwrap();
}

#[test]
fn a_run_that_has_succeeded_is_taken_back_once_people_have_approved_that() {
    let mut world = succeeded(&full_spec());
    let ended = world.status().finished_at;
    let plan = world.status().approvals.first().cloned().unwrap();
    asked(&mut world);
    let awaiting = world.status().awaiting.unwrap();
    assert_eq!((world.phase(), awaiting.subject), (Phase::AwaitingApproval, Subject::Rollback));
    assert_ne!(awaiting.digest, plan.digest, "the approval of the plan is none of the rollback");
    assert!(
        awaiting.question.contains("take back the 10 rows") && awaiting.question.contains("The flag goes back first"),
        "{}",
        awaiting.question
    );
    assert_eq!(awaiting.required, 1);
    for _ in 0..5 {
        world.pass(false);
    }
    assert_eq!((world.flag.as_str(), world.made(Step::Undo)), ("true", 0), "nothing is changed while people are asked");
    world.approves = true;
    assert_eq!(world.settle(300), Phase::RolledBack, "{:#?}", world.status());
    assert_eq!((world.flag.as_str(), world.made(Step::Undo)), ("false", 1));
    let status = world.status();
    let rollback = status.rollback.unwrap();
    assert!(rollback.requested && rollback.undone == 10, "{rollback:?}");
    let subjects: Vec<Subject> = status.approvals.iter().map(|a| a.subject).collect();
    assert_eq!(subjects, [Subject::Plan, Subject::Rollback], "what was decided before stays in the record");
    assert!(status.finished_at > ended);
    assert!(world.run.metadata.finalizers.unwrap().is_empty());
}

#[test]
fn the_finalizer_is_on_again_before_anything_is_undone() {
    let mut world = succeeded(&small_spec());
    world.run.spec.rollback.requested = true;
    for _ in 0..200 {
        let decision = world.pass(false);
        if matches!(&decision.effect, Some(Effect::StartStep(start)) if matches!(start.step, Step::Claim | Step::Undo)) {
            assert_eq!(world.run.metadata.finalizers.as_ref().map(Vec::len), Some(1));
        }
    }
    assert_eq!(world.phase(), Phase::RolledBack);
}

#[test]
fn a_rollback_that_is_denied_leaves_the_run_succeeded_and_can_be_asked_for_again() {
    let mut world = succeeded(&full_spec());
    let ended = world.status().finished_at;
    asked(&mut world);
    let digest = world.status().awaiting.unwrap().digest;
    world.run.spec.approvals.insert("paul".into(), ApprovalEntry { decision: Approval::Deny, digest, message: None });
    assert_eq!(world.settle(100), Phase::Succeeded);
    let status = world.status();
    assert_eq!(status.rollback_refused.as_ref().map(|r| r.reason.as_str()), Some("Denied"));
    assert_eq!((status.finished_at, world.flag.as_str(), world.made(Step::Undo)), (ended, "true", 0));
    assert!(is_true(&status.conditions, ConditionType::Succeeded) && is_true(&status.conditions, ConditionType::Finished));
    let told = status.notifications.iter().filter(|n| format!("{:?}", n.event) == "Succeeded").count();
    assert_eq!(told, 1, "nobody is told twice that it has succeeded");
    assert_eq!(world.settle(20), Phase::Succeeded, "the same request is not asked about again");

    world.run.spec.rollback.requested = false;
    world.run.spec.approvals.remove("paul");
    world.settle(20);
    assert_eq!(world.status().rollback_refused, None);
    world.run.spec.rollback.requested = true;
    world.approves = true;
    assert_eq!(world.settle(300), Phase::RolledBack);
}

#[test]
fn a_rollback_that_nobody_approves_in_time_is_not_made() {
    let mut world = succeeded(&small_spec());
    asked(&mut world);
    later(&mut world, 73);
    assert_eq!(world.settle(100), Phase::Succeeded);
    assert_eq!(world.status().rollback_refused.map(|r| r.reason), Some("Expired".into()));
}

#[test]
fn a_request_that_is_taken_back_or_whose_run_is_deleted_changes_nothing() {
    let mut world = succeeded(&small_spec());
    asked(&mut world);
    world.run.spec.rollback.requested = false;
    assert_eq!(world.settle(100), Phase::Succeeded);
    assert_eq!(world.status().rollback_refused, None);
    asked(&mut world);
    world.run.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now));
    assert_eq!(world.settle(100), Phase::Succeeded);
    assert_eq!((world.made(Step::Undo), world.made(Step::Claim)), (0, 1));
}

#[test]
fn an_abort_of_a_finished_run_is_no_rollback_of_it() {
    let mut world = succeeded(&small_spec());
    world.run.spec.abort = true;
    asked(&mut world);
    for _ in 0..20 {
        world.pass(false);
    }
    assert_eq!((world.phase(), world.made(Step::Undo)), (Phase::AwaitingApproval, 0));
}

#[test]
fn the_trigger_manual_holds_no_rollback_that_people_approved() {
    let mut spec = small_spec();
    spec["rollback"] = serde_json::json!({"trigger": "Manual"});
    let mut world = succeeded(&spec);
    world.run.spec.rollback.requested = true;
    assert_eq!(world.settle(300), Phase::RolledBack);
}

#[test]
fn a_script_is_taken_back_by_a_restore_and_both_are_asked_for() {
    let mut world = succeeded(&script_spec());
    world.run.spec.rollback.requested = true;
    assert_eq!(world.settle(300), Phase::RolledBack);
    assert_eq!((world.made(Step::LossAccount), world.made(Step::Restore), world.made(Step::Undo)), (1, 1, 0));
}

#[test]
fn after_the_time_that_is_set_the_undo_is_released_and_a_request_is_refused_with_the_reason() {
    let mut spec = small_spec();
    spec["rollback"] = serde_json::json!({"keepUndo": "48h"});
    let mut world = succeeded(&spec);
    let status = world.status();
    assert_eq!(status.undo_kept_until, Some(status.finished_at.unwrap().checked_add(SignedDuration::from_hours(48)).unwrap()));
    let ended = status.finished_at.unwrap();
    world.now = ended.checked_add(SignedDuration::from_hours(47)).unwrap();
    world.pass(false);
    assert_eq!((world.made(Step::Close), world.status().closed_at), (0, None));
    world.now = ended.checked_add(SignedDuration::from_hours(48)).unwrap();
    let message = world.status().message;
    assert_eq!(world.settle(50), Phase::Succeeded);
    let status = world.status();
    assert_eq!(world.made(Step::Close), 1);
    assert!(status.closed_at.is_some() && status.message == message && status.current_step.is_none());
    world.run.spec.rollback.requested = true;
    assert_eq!(world.settle(50), Phase::Succeeded);
    assert_eq!(world.status().rollback_refused.map(|r| r.reason), Some("UndoReleased".into()));
    assert_eq!(world.made(Step::Undo), 0);
}

#[test]
fn a_release_that_does_not_work_is_tried_again_and_the_run_has_succeeded_all_the_same() {
    let endings = [Ending::Verdict(Outcome::Stalled, "Cannot"), Ending::Lost, Ending::Verdict(Outcome::Failed, "Bad"), Ending::Good];
    let mut world = World::new(&small_spec()).ends(Step::Close, &endings);
    world.settle(300);
    later(&mut world, 169);
    let message = world.status().message;
    for _ in 0..200 {
        world.pass(false);
        assert_eq!((world.phase(), &world.status().message), (Phase::Succeeded, &message));
        assert!(is_true(&world.status().conditions, ConditionType::Ready));
    }
    assert_eq!(world.made(Step::Close), 4);
    assert!(world.status().closed_at.is_some());
}

#[test]
fn a_run_that_wrote_nothing_is_closed_at_once() {
    let report = StepReport::Plan(PlanReport::default());
    let mut world = World::new(&small_spec()).ends(Step::Plan, &[Ending::Reports(Box::new(report), Outcome::Passed, "Planned")]);
    assert_eq!(world.settle(100), Phase::Succeeded);
    assert_eq!(world.status().closed_at, world.status().finished_at);
    later(&mut world, 500);
    world.settle(20);
    assert_eq!(world.made(Step::Close), 0);
}

#[test]
fn what_has_not_begun_cannot_be_asked_back() {
    let mut spec = small_spec();
    spec["rollback"] = serde_json::json!({"requested": true});
    assert_eq!(validate(&run(&spec), &OperatorPolicy::default()), Err(Invalid::RollbackTooEarly));
    spec["rollback"] = serde_json::json!({"keepUndo": "0s"});
    assert!(matches!(validate(&run(&spec), &OperatorPolicy::default()), Err(Invalid::BadDuration { .. })));
}

fn restores(way_back: &[&str]) -> World {
    let mut spec = small_spec();
    spec["rollback"] = serde_json::json!({"method": "Restore"});
    let preflight = PreflightReport { way_back: way_back.iter().map(|way| (*way).to_owned()).collect(), ..PreflightReport::default() };
    World::new(&spec)
        .ends(Step::Verify, &[Ending::Verdict(Outcome::Failed, "Bad")])
        .ends(Step::Preflight, &[Ending::Reports(Box::new(StepReport::Preflight(preflight)), Outcome::Passed, "Passed")])
}

fn told(world: &mut World, wanted: Step) -> crate::protocol::StepInput {
    for _ in 0..200 {
        if let Some(Effect::StartStep(start)) = world.pass(false).effect
            && start.step == wanted
        {
            return start.input;
        }
    }
    panic!("{wanted:?} was never begun: {:#?}", world.status());
}

#[test]
fn a_restore_is_made_beside_the_database_where_that_is_possible_and_its_old_database_is_dropped_in_the_end() {
    assert_eq!(told(&mut restores(&["RestoreInPlace"]), Step::Restore).restore, Some(RestoreMode::InPlace));
    let report = RestoreReport { old_database: Some("shop_before_1".into()), ..RestoreReport::default() };
    let mut world = restores(&["Undo", "RestoreSwap", "RestoreInPlace"])
        .ends(Step::Restore, &[Ending::Reports(Box::new(StepReport::Restore(report)), Outcome::Passed, "Restored")]);
    assert_eq!(told(&mut world, Step::Restore).restore, Some(RestoreMode::Swap));
    assert_eq!(world.settle(30), Phase::RolledBack);
    assert_eq!((world.made(Step::Close), world.status().closed_at), (0, None));
    later(&mut world, 169);
    assert_eq!(told(&mut world, Step::Close).old_database.as_deref(), Some("shop_before_1"));
    assert_eq!(world.settle(50), Phase::RolledBack);
    assert!(world.status().closed_at.is_some());
}

#[test]
fn a_restore_that_would_lose_something_else_by_now_is_asked_about_again() {
    let loss = |n: i32| {
        let losses = vec![LossStatus { table: "t".into(), message: format!("{n} rows more"), ..LossStatus::default() }];
        Ending::Reports(Box::new(StepReport::Loss(LossReport { losses, digest: format!("sha256:{n:064}") })), Outcome::Passed, "Counted")
    };
    let mut world = restores(&["RestoreInPlace"])
        .ends(Step::LossAccount, &[loss(1), loss(2)])
        .ends(Step::Restore, &[Ending::Verdict(Outcome::Failed, "LossChanged"), Ending::Good]);
    assert_eq!(told(&mut world, Step::Restore).loss_digest, Some(format!("sha256:{:064}", 1)));
    assert_eq!(told(&mut world, Step::Restore).loss_digest, Some(format!("sha256:{:064}", 2)));
    assert_eq!(world.settle(100), Phase::RolledBack);
    assert_eq!((world.made(Step::LossAccount), world.made(Step::Restore)), (2, 2));
    assert!(world.status().approvals.iter().any(|a| a.digest == format!("sha256:{:064}", 2)), "people approved the second account");
}
