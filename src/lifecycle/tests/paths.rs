//! The paths of a run, told as sentences.

use super::fixtures::{full_spec, run, script_spec, small_spec};
use super::world::{Ending, World};
use crate::api::conditions::{ConditionType, is_true};
use crate::api::spec::{Approval, ApprovalEntry, BackfillRun};
use crate::api::status::{LossStatus, Step};
use crate::api::{FINALIZER, Phase};
use crate::lifecycle::requirement::requirement;
use crate::lifecycle::{Effect, HolderObservation, Observed, OperatorPolicy, Problem, validate};
use crate::protocol::{ClaimReport, Holder, LossReport, Outcome, PlanReport, StepReport};
use jiff::SignedDuration;

const BAD: [Ending; 1] = [Ending::Verdict(Outcome::Failed, "Bad")];

fn phases(world: &World) -> Vec<Phase> {
    world.status().history.iter().map(|h| h.to).collect()
}

#[test]
fn a_full_run_goes_through_every_phase_and_leaves_no_finalizer() {
    let mut world = World::new(&full_spec());
    assert_eq!(world.settle(200), Phase::Succeeded, "{:#?}", world.status());
    assert_eq!(
        phases(&world).iter().map(|p| p.as_str()).collect::<Vec<_>>(),
        [
            "Preflight",
            "BackingUp",
            "Planning",
            "AwaitingApproval",
            "Migrating",
            "Applying",
            "Verifying",
            "EnablingFlag",
            "Monitoring",
            "Succeeded"
        ]
    );
    assert_eq!(world.flag, "true");
    assert!(world.run.metadata.finalizers.unwrap().is_empty());
    let status = world.run.status.unwrap();
    assert!(is_true(&status.conditions, ConditionType::Finished) && is_true(&status.conditions, ConditionType::Ready));
    assert_eq!(status.report.as_deref(), Some("run-report"));
    assert_eq!(status.notifications.iter().map(|n| format!("{:?}", n.event)).collect::<Vec<_>>(), ["ApprovalNeeded", "Succeeded"]);
}

#[test]
fn the_point_of_no_return_is_written_after_the_finalizer_and_in_a_pass_of_its_own() {
    let mut world = World::new(&small_spec());
    for _ in 0..100 {
        let before = world.status().mutation_started;
        let decision = world.pass(false);
        if decision.status.mutation_started && !before {
            assert_eq!(decision.effect, None);
            assert_eq!(world.run.metadata.finalizers, Some(vec![FINALIZER.to_owned()]));
            return;
        }
        assert!(!matches!(&decision.effect, Some(Effect::StartStep(s)) if s.step == Step::Claim || s.step == Step::Apply));
    }
    panic!("never started: {:#?}", world.status());
}

#[test]
fn a_script_is_run_dry_then_approved_then_run() {
    let mut world = World::new(&script_spec());
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert_eq!((world.made(Step::DryRun), world.made(Step::Script), world.made(Step::Plan)), (1, 1, 0));
    assert_eq!(world.status().plan.unwrap().remarks.len(), 1);
}

#[test]
fn a_script_that_fails_is_restored_from_the_backup() {
    let mut world = World::new(&script_spec()).ends(Step::Script, &BAD);
    assert_eq!(world.settle(200), Phase::RolledBack);
    assert_eq!((world.made(Step::Undo), world.made(Step::LossAccount), world.made(Step::Restore)), (0, 1, 1));
}

#[test]
fn a_plan_without_rows_is_nothing_to_do() {
    let report = StepReport::Plan(PlanReport::default());
    let mut world = World::new(&small_spec()).ends(Step::Plan, &[Ending::Reports(Box::new(report), Outcome::Passed, "Planned")]);
    assert_eq!(world.settle(100), Phase::Succeeded);
    assert_eq!(world.status().history.last().unwrap().reason, "NothingToDo");
    assert!(!world.status().mutation_started);
}

#[test]
fn a_failed_verification_puts_the_rows_back() {
    let mut world = World::new(&full_spec()).ends(Step::Verify, &BAD);
    assert_eq!(world.settle(200), Phase::RolledBack);
    assert_eq!(world.flag, "false");
    assert_eq!(world.made(Step::Undo), 1);
    assert_eq!(world.status().rollback.unwrap().undone, 10);
}

#[test]
fn what_the_server_has_lost_of_what_it_had_committed_is_written_again_and_nothing_goes_back() {
    let lost = Ending::Verdict(Outcome::Failed, crate::protocol::TAKEN_BACK);
    let mut world = World::new(&full_spec()).ends(Step::Verify, &[lost, Ending::Good]);
    assert_eq!(world.settle(300), Phase::Succeeded, "{:#?}", world.status());
    assert_eq!((world.made(Step::Claim), world.made(Step::Apply), world.made(Step::Verify), world.made(Step::Undo)), (1, 2, 2, 0));
    assert_eq!(world.status().result.unwrap().written, 10);
    assert!(world.status().history.iter().any(|h| h.from == Phase::Verifying && h.to == Phase::Applying && h.reason == "CommitsLost"));
}

#[test]
fn what_the_server_has_lost_is_not_counted_against_undo() {
    let mut world = World::new(&full_spec()).ends(Step::Verify, &[Ending::Verdict(Outcome::Failed, crate::protocol::TAKEN_BACK)]);
    for _ in 0..300 {
        world.pass(false);
        let status = world.status();
        if status.history.last().is_some_and(|h| h.reason == "CommitsLost") {
            // An undo that puts back fewer rows than were counted here is taken for one that does not know them all.
            return assert_eq!((status.phase, status.result), (Phase::Applying, None));
        }
    }
    panic!("verification lost nothing: {:#?}", world.status());
}

#[test]
fn a_restore_that_would_lose_something_is_asked_for() {
    let loss = LossReport {
        losses: vec![LossStatus { table: "t".into(), message: "2 rows more".into(), ..LossStatus::default() }],
        digest: format!("sha256:{:064}", 1),
    };
    let mut spec = full_spec();
    spec["rollback"] = serde_json::json!({"method": "Restore"});
    let reports = [Ending::Reports(Box::new(StepReport::Loss(loss)), Outcome::Passed, "Counted")];
    let mut world = World::new(&spec).ends(Step::Verify, &BAD).ends(Step::LossAccount, &reports);
    assert_eq!(world.settle(200), Phase::RolledBack);
    assert!(phases(&world).ends_with(&[Phase::RollingBack, Phase::AwaitingApproval, Phase::RollingBack, Phase::RolledBack]));
    assert_eq!(world.made(Step::Restore), 1);
}

#[test]
fn a_restore_that_is_denied_leaves_the_data_and_says_what_to_do() {
    let loss = LossReport {
        losses: vec![LossStatus { table: "t".into(), message: "2 rows more".into(), ..LossStatus::default() }],
        digest: format!("sha256:{:064}", 1),
    };
    let mut spec = small_spec();
    spec["rollback"] = serde_json::json!({"method": "Restore"});
    let reports = [Ending::Reports(Box::new(StepReport::Loss(loss.clone())), Outcome::Passed, "Counted")];
    let mut world = World::new(&spec).ends(Step::Apply, &BAD).ends(Step::LossAccount, &reports);
    let deny = ApprovalEntry { decision: Approval::Deny, digest: loss.digest, message: None };
    world.run.spec.approvals.insert("paul".into(), deny);
    assert_eq!(world.settle(200), Phase::RollbackFailed);
    assert!(world.status().message.contains("spec.abandon"));
    assert_eq!(world.run.metadata.finalizers.clone().unwrap().len(), 1, "held until somebody abandons it");
    world.run.spec.abandon = true;
    world.settle(20);
    assert!(world.run.metadata.finalizers.unwrap().is_empty());
}

#[test]
fn a_denial_ends_the_run_before_anything_changed() {
    let mut world = World::new(&small_spec());
    world.approves = false;
    while world.status().awaiting.is_none() {
        world.pass(false);
    }
    let digest = world.status().awaiting.unwrap().digest;
    world.run.spec.approvals.insert("paul".into(), ApprovalEntry { decision: Approval::Deny, digest, message: None });
    assert_eq!(world.settle(20), Phase::Denied);
    assert!(!world.status().mutation_started);
}

#[test]
fn an_approval_of_another_digest_or_by_the_requester_does_not_count_and_the_wait_expires() {
    let mut world = World::new(&small_spec());
    world.approves = false;
    while world.status().awaiting.is_none() {
        world.pass(false);
    }
    let digest = world.status().awaiting.unwrap().digest;
    let entry = |digest: &str| ApprovalEntry { decision: Approval::Approve, digest: digest.into(), message: None };
    world.run.spec.approvals.insert("maria".into(), entry(&format!("sha256:{:064}", 0)));
    world.run.spec.approvals.insert("dana".into(), entry(&digest));
    world.pass(false);
    let message = world.status().message;
    assert!(message.contains("maria is about another digest") && message.contains("dana asked for the run"), "{message}");
    world.now = world.now.checked_add(SignedDuration::from_hours(73)).unwrap();
    assert_eq!(world.settle(20), Phase::Expired);
}

#[test]
fn without_a_known_requester_one_more_must_approve() {
    let mut run = run(&small_spec());
    let policy = OperatorPolicy { minimum_approvals: 2, ..OperatorPolicy::default() };
    let required = |run: &BackfillRun| requirement(&validate(run, &policy).unwrap(), None).required;
    assert_eq!(required(&run), 2);
    run.metadata.annotations = None;
    assert_eq!(required(&run), 3);
}

#[test]
fn a_changed_spec_voids_the_plan_and_its_approval() {
    let mut world = World::new(&small_spec());
    world.approves = false;
    while world.status().awaiting.is_none() {
        world.pass(false);
    }
    let old = world.status().awaiting.unwrap().digest;
    world.run.spec.backup.max_age = "5h".into();
    world.pass(false);
    assert_eq!(world.phase(), Phase::Preflight);
    assert_eq!(world.status().plan, None);
    while world.status().awaiting.is_none() {
        world.pass(false);
    }
    assert_ne!(world.status().awaiting.unwrap().digest, old);
}

#[test]
fn a_plan_that_differs_after_the_migrations_is_asked_for_again() {
    let mut plan = PlanReport::default();
    plan.plan.rows_digest = "sha256:other".into();
    plan.plan.will_write = 3;
    plan.plan.file = "y".into();
    let other = Ending::Reports(Box::new(StepReport::Plan(plan)), Outcome::Passed, "Planned");
    let mut world = World::new(&full_spec()).ends(Step::Replan, &[other]);
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert_eq!(phases(&world).iter().filter(|p| **p == Phase::AwaitingApproval).count(), 2);
    assert_eq!(world.made(Step::Migrate), 1);
}

#[test]
fn a_backup_that_is_too_old_is_taken_again_without_a_new_approval() {
    let mut world = World::new(&small_spec());
    world.approves = false;
    while world.status().awaiting.is_none() {
        world.pass(false);
    }
    world.now = world.now.checked_add(SignedDuration::from_hours(5)).unwrap();
    world.approves = true;
    assert_eq!(world.settle(100), Phase::Succeeded);
    assert_eq!((world.made(Step::Backup), world.made(Step::Plan)), (2, 1));
}

#[test]
fn lost_steps_are_tried_again_and_ten_in_a_row_stall_the_run() {
    let mut world = World::new(&small_spec()).ends(Step::Plan, &[Ending::Lost, Ending::Disappears, Ending::Good]);
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert_eq!(world.made(Step::Plan), 3);
    let mut world = World::new(&small_spec()).ends(Step::Plan, &[Ending::Lost]);
    world.settle(200);
    assert!(is_true(&world.status().conditions, ConditionType::Stalled));
    assert!(world.status().message.contains("in a row"), "{}", world.status().message);
    assert_eq!(world.phase(), Phase::Planning);
}

#[test]
fn attempts_that_committed_before_they_were_lost_are_not_lost_in_a_row() {
    let mut endings: Vec<Ending> = (11..=40).map(Ending::LostAt).collect();
    endings.push(Ending::Good);
    let mut world = World::new(&small_spec()).ends(Step::Apply, &endings);
    for _ in 0..600 {
        world.pass(false);
        assert!(!is_true(&world.status().conditions, ConditionType::Stalled), "{}", world.status().message);
    }
    assert_eq!((world.phase(), world.made(Step::Apply)), (Phase::Succeeded, 31));

    let mut world = World::new(&small_spec()).ends(Step::Apply, &[Ending::LostAt(5)]);
    world.settle(300);
    assert!(is_true(&world.status().conditions, ConditionType::Stalled), "five rows, and never a sixth");
}

#[test]
fn what_cannot_work_stalls_and_goes_on_when_it_is_changed() {
    let stalled = Ending::Verdict(Outcome::Stalled, "TableMissing");
    let mut world = World::new(&small_spec()).ends(Step::Preflight, &[stalled, Ending::Good]);
    while !is_true(&world.status().conditions, ConditionType::Stalled) {
        world.pass(false);
    }
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert!(!is_true(&world.status().conditions, ConditionType::Stalled));
}

#[test]
fn a_pod_that_cannot_start_stalls_with_the_reason_of_kubernetes() {
    let mut world = World::new(&small_spec());
    world.pass(false);
    let problem = Some("secret \"db\" not found".to_owned());
    let step = crate::lifecycle::StepObservation::Waiting { job_uid: "u".into(), problem };
    let observed = Observed { step: Some(step), ..Observed::default() };
    for _ in 0..10 {
        world.pass_with(&observed, false);
    }
    assert!(is_true(&world.status().conditions, ConditionType::Stalled));
    assert!(world.status().message.contains("secret \"db\" not found"));
    assert_eq!(world.settle(200), Phase::Succeeded);
}

#[test]
fn a_missing_workload_stalls_before_anything_begins() {
    let mut world = World::new(&small_spec());
    let problem = Problem { reason: "WorkloadMissing".into(), message: "no Deployment x".into() };
    world.pass_with(&Observed { release: Some(Err(problem)), ..Observed::default() }, false);
    assert_eq!(world.phase(), Phase::Pending);
    assert!(is_true(&world.status().conditions, ConditionType::Stalled));
}

#[test]
fn another_runs_claim_is_waited_for_and_taken_over_once_that_run_is_over() {
    let holder = Holder { namespace: "other".into(), name: "first".into(), uid: "u1".into(), since: None };
    let held = StepReport::Claim(ClaimReport { held_by: Some(holder) });
    let endings = [Ending::Reports(Box::new(held), Outcome::Inconclusive, "DatabaseBusy"), Ending::Good];
    let mut world = World::new(&small_spec()).ends(Step::Claim, &endings);
    while world.status().waiting_for.is_none() {
        world.pass(false);
    }
    assert!(world.status().message.contains("other/first"));
    let mut taken_over = None;
    for _ in 0..20 {
        let observed = Observed { holder: Some(HolderObservation::Over), ..world.observed() };
        if let Some(Effect::StartStep(start)) = world.pass_with(&observed, false).effect {
            taken_over = start.input.take_over_from;
            break;
        }
    }
    assert_eq!(taken_over.as_deref(), Some("u1"));
    assert_eq!(world.settle(200), Phase::Succeeded);
}

#[test]
fn an_abort_before_anything_changed_only_stops() {
    let mut world = World::new(&full_spec());
    world.approves = false;
    while world.status().awaiting.is_none() {
        world.pass(false);
    }
    world.run.spec.abort = true;
    assert_eq!(world.settle(20), Phase::Aborted);
    assert_eq!(world.made(Step::Undo), 0);
}

#[test]
fn an_abort_while_the_logs_are_watched_puts_the_flag_back_before_the_rows() {
    let mut world = World::new(&full_spec());
    while world.phase() != Phase::Monitoring {
        world.pass(false);
    }
    assert_eq!(world.flag, "true");
    world.run.spec.abort = true;
    while world.made(Step::Undo) == 0 {
        world.pass(false);
    }
    assert_eq!(world.flag, "false", "the flag goes back before the undo begins");
    assert_eq!(world.settle(100), Phase::RolledBack);
}

#[test]
fn an_abort_waits_for_a_migration() {
    let mut world = World::new(&full_spec());
    while world.status().current_step != Some(Step::Migrate) {
        world.pass(false);
    }
    world.run.spec.abort = true;
    for _ in 0..2 {
        assert!(!matches!(world.pass(false).effect, Some(Effect::StopStep { .. })));
    }
    assert_eq!(world.settle(100), Phase::RolledBack);
}

#[test]
fn deleting_a_run_in_mid_apply_rolls_back_with_jobs_that_nobody_owns() {
    let mut world = World::new(&small_spec());
    while world.status().current_step != Some(Step::Apply) {
        world.pass(false);
    }
    world.run.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now));
    let mut owned = None;
    for _ in 0..50 {
        if let Some(Effect::StartStep(start)) = world.pass(false).effect
            && start.step == Step::Undo
        {
            owned = Some(start.owned);
        }
    }
    assert_eq!(owned, Some(false));
    assert_eq!(world.phase(), Phase::RolledBack);
    assert!(world.run.metadata.finalizers.unwrap().is_empty());
}

#[test]
fn in_a_terminating_namespace_the_run_is_let_go_with_a_word() {
    let mut world = World::new(&small_spec());
    while world.status().current_step != Some(Step::Apply) {
        world.pass(false);
    }
    world.run.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(world.now));
    let observed = Observed { namespace_terminating: true, ..world.observed() };
    let decision = world.pass_with(&observed, false);
    assert_eq!(decision.effect, Some(Effect::RemoveFinalizer));
    assert!(decision.events.iter().any(|e| e.reason == "NamespaceTerminating"));
}

#[test]
fn a_hit_in_the_logs_puts_the_flag_back_and_leaves_the_rows() {
    let mut world = World::new(&full_spec()).ends(Step::Monitor, &[Ending::Verdict(Outcome::Failed, "LogPatternExceeded")]);
    assert_eq!(world.settle(200), Phase::Failed);
    assert_eq!(world.flag, "false");
    assert_eq!(world.made(Step::Undo), 0);
}

#[test]
fn a_hit_in_the_logs_takes_the_rows_back_where_the_run_asks_for_it() {
    let mut spec = full_spec();
    spec["monitor"]["onFailure"] = "Rollback".into();
    let mut world = World::new(&spec).ends(Step::Monitor, &[Ending::Verdict(Outcome::Failed, "LogPatternExceeded")]);
    assert_eq!(world.settle(200), Phase::RolledBack);
    assert_eq!(world.flag, "false");
}

#[test]
fn a_manual_rollback_waits_for_a_person() {
    let mut spec = small_spec();
    spec["rollback"] = serde_json::json!({"trigger": "Manual"});
    let mut world = World::new(&spec).ends(Step::Verify, &BAD);
    world.settle(200);
    assert!(world.status().message.contains("spec.abort: true"));
    assert_eq!(world.made(Step::Undo), 0);
    world.run.spec.abort = true;
    assert_eq!(world.settle(50), Phase::RolledBack);
}

#[test]
fn a_suspended_run_starts_nothing_and_its_clocks_stand_still() {
    let mut world = World::new(&small_spec());
    world.approves = false;
    while world.status().awaiting.is_none() {
        world.pass(false);
    }
    let deadline = world.status().awaiting.unwrap().deadline;
    world.run.spec.suspend = true;
    world.pass(false);
    world.now = world.now.checked_add(SignedDuration::from_hours(100)).unwrap();
    world.pass(false);
    world.run.spec.suspend = false;
    world.approves = true;
    world.pass(false);
    assert!(world.status().awaiting.is_none_or(|a| a.deadline > deadline));
    assert_eq!(world.settle(100), Phase::Succeeded);
}

#[test]
fn too_much_drift_asks_again_with_a_new_plan() {
    let drift = Ending::Reports(Box::new(StepReport::Apply(crate::protocol::ApplyReport::default())), Outcome::Failed, "DriftAboveLimit");
    let mut plan = PlanReport::default();
    plan.plan.rows_digest = "sha256:other".into();
    plan.plan.will_write = 3;
    plan.plan.file = "y".into();
    let other = Ending::Reports(Box::new(StepReport::Plan(plan)), Outcome::Passed, "Planned");
    let mut world = World::new(&small_spec()).ends(Step::Apply, &[drift, Ending::Good]).ends(Step::Replan, &[other]);
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert_eq!(phases(&world).iter().filter(|p| **p == Phase::AwaitingApproval).count(), 2);
}

#[test]
fn what_verification_cannot_measure_is_measured_again_and_rolls_nothing_back() {
    let unclear = Ending::Verdict(Outcome::Inconclusive, "ChecksInconclusive");
    let mut world = World::new(&small_spec()).ends(Step::Verify, &[unclear, Ending::Good]);
    while !is_true(&world.status().conditions, ConditionType::Stalled) {
        world.pass(false);
    }
    assert!(world.status().message.contains("measured again"), "{}", world.status().message);
    assert_eq!(world.settle(100), Phase::Succeeded);
    assert_eq!((world.made(Step::Verify), world.made(Step::Undo)), (2, 0));
}

#[test]
fn a_run_that_has_not_begun_to_write_is_rolled_back_without_a_restore() {
    let mut spec = small_spec();
    spec["rollback"] = serde_json::json!({"method": "Restore"});
    let mut world = World::new(&spec);
    while world.status().current_step != Some(Step::Claim) {
        world.pass(false);
    }
    world.run.spec.abort = true;
    assert_eq!(world.settle(50), Phase::RolledBack);
    assert_eq!((world.made(Step::LossAccount), world.made(Step::Restore)), (0, 0));
}

#[test]
fn the_way_back_claims_the_database_again() {
    let mut world = World::new(&full_spec()).ends(Step::Verify, &BAD);
    world.settle(200);
    let steps: Vec<Step> = world.jobs_made.iter().map(|(step, _)| *step).collect();
    assert!(steps.ends_with(&[Step::Verify, Step::Claim, Step::Undo]), "{steps:?}");
}

#[test]
fn an_undo_that_knows_fewer_rows_than_were_written_is_not_believed() {
    let undo = StepReport::Undo(crate::protocol::UndoReport { undone: 3, ..crate::protocol::UndoReport::default() });
    let endings = [Ending::Reports(Box::new(undo), Outcome::Passed, "Undone")];
    let mut world = World::new(&small_spec()).ends(Step::Verify, &BAD).ends(Step::Undo, &endings);
    assert_eq!(world.settle(200), Phase::RolledBack);
    assert_eq!((world.made(Step::LossAccount), world.made(Step::Restore)), (1, 1));
}

/// A full run whose logs are watched.
fn watching() -> World {
    let mut world = World::new(&full_spec());
    for _ in 0..200 {
        world.pass(false);
        if world.phase() == Phase::Monitoring && world.made(Step::Monitor) == 1 {
            return world;
        }
    }
    panic!("never watched: {:#?}", world.status());
}

fn reason_of(world: &World, type_: &str) -> (String, String) {
    world.status().conditions.iter().find(|c| c.type_ == type_).map(|c| (c.status.clone(), c.reason.clone())).unwrap_or_default()
}

#[test]
fn a_flag_that_something_else_switches_off_stops_the_watch_and_one_that_is_on_again_lets_it_go_on() {
    let mut world = watching();
    let until = world.status().monitor.unwrap().until.unwrap();
    world.flag = "false".into();
    let before = world.now;
    for _ in 0..50 {
        world.pass(false);
    }
    assert_eq!(world.phase(), Phase::Monitoring, "{}", world.status().message);
    assert_eq!(reason_of(&world, "Stalled"), ("True".to_owned(), "FlagReverted".to_owned()));
    assert_eq!(reason_of(&world, "FlagEnabled"), ("False".to_owned(), "FlagReverted".to_owned()));
    assert_eq!(reason_of(&world, "Reconciling").0, "False");
    assert_eq!(world.flag, "false", "the run does not fight over it");
    assert_eq!(world.made(Step::Monitor), 1, "nothing is watched");

    world.flag = "true".into();
    let off = world.now.duration_since(before);
    world.pass(false);
    assert_eq!(reason_of(&world, "FlagEnabled").0, "True");
    assert_eq!(world.status().monitor.unwrap().until.unwrap().duration_since(until), off, "the clock stood still");
    assert_eq!(world.settle(100), Phase::Succeeded, "{}", world.status().message);
    assert_eq!(world.made(Step::Monitor), 2);
}

#[test]
fn a_run_whose_flag_something_else_switched_off_can_be_aborted() {
    let mut world = watching();
    world.flag = "false".into();
    world.pass(false);
    world.run.spec.abort = true;
    assert_eq!(world.settle(100), Phase::RolledBack, "{}", world.status().message);
    assert_eq!(world.flag, "false");
}

#[test]
fn a_finalizer_that_is_taken_away_after_the_point_of_no_return_is_put_on_again_before_anything_else() {
    let mut world = watching();
    world.run.metadata.finalizers = None;
    assert_eq!(world.pass(false).effect, Some(Effect::AddFinalizer));
    assert_eq!(world.run.metadata.finalizers, Some(vec![FINALIZER.to_owned()]));
    assert_eq!(world.settle(100), Phase::Succeeded);
}

#[test]
fn a_flag_that_cannot_be_read_stalls_before_anything_begins() {
    let mut world = World::new(&full_spec());
    let problem = Problem { reason: "FlagConfigMapMissing".into(), message: "create it".into() };
    let observed = Observed { flag: Some(crate::lifecycle::FlagObservation::Problem(problem)), ..Observed::default() };
    world.pass_with(&observed, false);
    assert_eq!(world.phase(), Phase::Pending);
    assert!(is_true(&world.status().conditions, ConditionType::Stalled));
    assert_eq!(world.settle(200), Phase::Succeeded);
}

#[test]
fn what_the_api_server_refuses_stalls_until_it_is_taken() {
    let mut world = World::new(&small_spec());
    world.pass(true);
    let valid = validate(&world.run, &OperatorPolicy::default()).unwrap();
    let status = crate::lifecycle::effect_refused(&valid.meta, &world.status(), "making a step's Job: no such volume", world.now);
    world.run.status = Some(status);
    assert!(is_true(&world.status().conditions, ConditionType::Stalled));
    assert!(world.status().message.contains("no such volume"));
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert!(!is_true(&world.status().conditions, ConditionType::Stalled));
}

#[test]
fn a_selector_that_selects_every_pod_is_refused() {
    let mut spec = full_spec();
    spec["monitor"]["logs"]["selector"] = serde_json::json!({});
    let refused = validate(&run(&spec), &OperatorPolicy::default()).unwrap_err();
    assert_eq!(refused.reason(), "BadSelector");
}

#[test]
fn a_claim_that_was_lost_in_mid_apply_is_asked_for_again() {
    let lost = Ending::Verdict(Outcome::Stalled, "ClaimLost");
    let mut world = World::new(&small_spec()).ends(Step::Apply, &[lost, Ending::Good]);
    assert_eq!(world.settle(200), Phase::Succeeded);
    let steps: Vec<Step> = world.jobs_made.iter().map(|(step, _)| *step).collect();
    assert!(steps.windows(3).any(|w| w == [Step::Apply, Step::Claim, Step::Apply]), "{steps:?}");
}

#[test]
fn people_are_told_once_of_what_keeps_being_unmeasurable() {
    let unclear = Ending::Verdict(Outcome::Inconclusive, "ChecksInconclusive");
    let mut spec = small_spec();
    spec["notifications"] = serde_json::json!([{"channel": "team", "events": ["Stalled"]}]);
    let mut world = World::new(&spec).ends(Step::Verify, &[unclear.clone(), unclear.clone(), unclear, Ending::Good]);
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert_eq!(world.status().notifications.len(), 1);
}
