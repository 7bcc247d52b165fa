//! Who may say yes, how many must, what voids it, and what is told.

use super::fixtures::{full_spec, small_spec};
use super::world::{Ending, World};
use crate::api::conditions::{ConditionType, is_false, is_true};
use crate::api::spec::{Approval, ApprovalEntry, NotificationEvent};
use crate::api::status::{ConfigMapStatus, DefinitionStatus, Identity, PlanStatus, ReleaseStatus, Step};
use crate::api::{EDITED_BY, Phase, REQUESTED_BY};
use crate::lifecycle::requirement::requirement;
use crate::lifecycle::{AdmissionObservation, Floor, OperatorPolicy, Risk, validate};
use crate::protocol::{Outcome, PlanReport, StepReport};
use jiff::SignedDuration;
use serde_json::{Value, json};

const ROBOT: &str = "system:serviceaccount:ci:gate";

/// A run that waits for people, who say nothing by themselves.
fn asked(spec: &Value) -> World {
    let mut world = World::new(spec);
    world.approves = false;
    wait(&mut world);
    world
}

fn wait(world: &mut World) {
    for _ in 0..200 {
        if world.status().awaiting.is_some() {
            return;
        }
        world.pass(false);
    }
    panic!("nobody is asked: {:?}", world.status());
}

fn says(world: &mut World, user: &str, decision: Approval) {
    let digest = world.status().awaiting.unwrap().digest;
    world.run.spec.approvals.insert(user.into(), ApprovalEntry { decision, digest, message: None });
}

fn missing() -> AdmissionObservation {
    AdmissionObservation::Missing { why: "the policy p is not in force".into() }
}

fn release(image: &str, commit: &str, environment: &str) -> ReleaseStatus {
    ReleaseStatus {
        workload: "Deployment/app".into(),
        image: image.into(),
        commit: Some(commit.into()),
        environment_hash: environment.into(),
    }
}

fn map(sha256: &str) -> Vec<ConfigMapStatus> {
    vec![ConfigMapStatus { name: "script".into(), sha256: sha256.into() }]
}

#[test]
fn two_of_three_are_enough_where_two_are_asked_for() {
    let mut spec = small_spec();
    spec["approval"] = json!({"required": 2});
    let mut world = asked(&spec);
    says(&mut world, "maria", Approval::Approve);
    world.pass(false);
    assert_eq!(world.phase(), Phase::AwaitingApproval);
    assert!(world.status().message.contains("1 more approval"), "{}", world.status().message);
    says(&mut world, "paul", Approval::Approve);
    assert_eq!(world.settle(100), Phase::Succeeded);
    let status = world.status();
    assert!(status.approvals.iter().all(|a| a.identity == Identity::Verified), "{:?}", status.approvals);
    assert!(is_true(&status.conditions, ConditionType::IdentityVerified));
}

#[test]
fn one_denial_wins_over_any_number_of_approvals() {
    let mut world = asked(&small_spec());
    for user in ["maria", "paul", "rita"] {
        says(&mut world, user, Approval::Approve);
    }
    says(&mut world, "olga", Approval::Deny);
    assert_eq!(world.settle(20), Phase::Denied);
}

#[test]
fn without_the_policies_nothing_counts_and_the_run_says_what_is_missing() {
    let mut world = asked(&small_spec());
    world.admission = Some(missing());
    says(&mut world, "maria", Approval::Approve);
    world.pass(false);
    let status = world.status();
    assert_eq!(status.phase, Phase::AwaitingApproval);
    assert_eq!(status.approvals.iter().map(|a| a.identity).collect::<Vec<_>>(), [Identity::Unverified]);
    let stalled = status.conditions.iter().find(|c| c.type_ == "Stalled").unwrap();
    assert_eq!((stalled.status.as_str(), stalled.reason.as_str()), ("True", "AdmissionMissing"), "{stalled:?}");
    assert!(is_false(&status.conditions, ConditionType::IdentityVerified));
    // A denial counts all the same: nothing is changed by it.
    says(&mut world, "paul", Approval::Deny);
    assert_eq!(world.settle(20), Phase::Denied);
}

#[test]
fn where_the_operator_allows_it_an_approval_counts_as_unverified_and_stays_that() {
    let mut spec = small_spec();
    spec["approval"] = json!({"required": 2});
    let mut world = asked(&spec);
    world.policy.require_admission = false;
    world.admission = Some(missing());
    says(&mut world, "maria", Approval::Approve);
    world.pass(false);
    assert!(!is_true(&world.status().conditions, ConditionType::Stalled));
    // Policies that come later do not prove what was written before.
    world.admission = Some(AdmissionObservation::InForce);
    says(&mut world, "paul", Approval::Approve);
    assert_eq!(world.settle(100), Phase::Succeeded);
    let identities: Vec<_> = world.status().approvals.iter().map(|a| (a.user.clone(), a.identity)).collect();
    assert_eq!(identities, [("maria".into(), Identity::Unverified), ("paul".into(), Identity::Verified)]);
}

#[test]
fn an_entry_of_before_the_policies_counts_when_it_is_given_again() {
    let mut world = asked(&small_spec());
    world.policy.require_admission = false;
    world.admission = Some(missing());
    let mut spec = world.run.spec.clone();
    spec.approval.required = 2;
    world.run.spec = spec;
    world.pass(false);
    wait(&mut world);
    says(&mut world, "maria", Approval::Approve);
    world.pass(false);
    world.policy.require_admission = true;
    world.admission = Some(AdmissionObservation::InForce);
    says(&mut world, "paul", Approval::Approve);
    world.pass(false);
    assert_eq!(world.phase(), Phase::AwaitingApproval);
    assert!(world.status().message.contains("the name maria is not proved"), "{}", world.status().message);
    world.run.spec.approvals.remove("maria");
    world.pass(false);
    says(&mut world, "maria", Approval::Approve);
    assert_eq!(world.settle(100), Phase::Succeeded);
}

#[test]
fn neither_the_last_editor_nor_a_service_account_counts_unless_it_is_allowed() {
    let mut world = asked(&small_spec());
    world.run.metadata.annotations.as_mut().unwrap().insert(EDITED_BY.into(), "olga".into());
    says(&mut world, "olga", Approval::Approve);
    says(&mut world, ROBOT, Approval::Approve);
    world.pass(false);
    let message = world.status().message;
    assert!(
        message.contains("olga was the last to edit the run") && message.contains(&format!("{ROBOT} is a service account")),
        "{message}"
    );
    assert!(world.status().approvals.is_empty());
    world.policy.service_accounts = vec![ROBOT.into()];
    assert_eq!(world.settle(100), Phase::Succeeded);
}

#[test]
fn where_the_platform_allows_it_the_requester_approves_and_nobody_more_is_asked() {
    let sandbox = Floor { name: "sandbox".into(), namespaces: vec!["ns".into()], requester_may_approve: Some(true), ..Floor::default() };
    let mut world = World::new(&small_spec());
    world.policy.floors = vec![sandbox.clone()];
    world.approves = false;
    world.run.metadata.annotations = None;
    wait(&mut world);
    assert_eq!(world.status().approvals_required, 1);
    world.run.metadata.annotations = Some([(REQUESTED_BY.to_owned(), "dana".to_owned())].into());
    // One policy that forbids it is stronger than one that allows it.
    world.policy.floors.push(Floor { name: "never".into(), requester_may_approve: Some(false), ..Floor::default() });
    says(&mut world, "dana", Approval::Approve);
    world.pass(false);
    assert_eq!(world.phase(), Phase::AwaitingApproval);
    world.policy.floors.pop();
    assert_eq!(world.settle(100), Phase::Succeeded);
}

#[test]
fn the_strictest_floor_that_matches_holds_and_the_status_says_which_and_why() {
    let risk =
        |risk: Risk, minimum| Floor { name: format!("risk-{minimum}"), when: Some(risk), minimum: Some(minimum), ..Floor::default() };
    let elsewhere = Floor { name: "elsewhere".into(), namespaces: vec!["other".into()], minimum: Some(9), ..Floor::default() };
    let policy = |floor: Floor| OperatorPolicy { floors: vec![elsewhere.clone(), floor], ..OperatorPolicy::default() };
    let plan = PlanStatus {
        file: "x.plan".into(),
        scanned: 1000,
        matching: 500,
        will_write: 300,
        sensitive: 2,
        invalid: 50,
        ..PlanStatus::default()
    };
    let run = super::fixtures::run(&small_spec());
    let required = |floor: Floor, plan: &PlanStatus| requirement(&validate(&run, &policy(floor)).unwrap(), Some(plan));
    let cases = [
        (Risk { rows_above: Some(299), ..Risk::default() }, Risk { rows_above: Some(300), ..Risk::default() }, "it writes 300 rows"),
        (
            Risk { table_percent_above: Some(29), ..Risk::default() },
            Risk { table_percent_above: Some(30), ..Risk::default() },
            "it writes 300 of 1000 rows, more than 29 %",
        ),
        (Risk { sensitive_above: Some(1), ..Risk::default() }, Risk { sensitive_above: Some(2), ..Risk::default() }, "2 sampled rows"),
        (
            Risk { invalid_percent_above: Some(9), ..Risk::default() },
            Risk { invalid_percent_above: Some(10), ..Risk::default() },
            "50 of 500 rows are invalid",
        ),
    ];
    for (exceeded, kept, why) in cases {
        let strict = required(risk(exceeded, 4), &plan);
        assert_eq!((strict.required, strict.floors.len()), (4, 1), "{exceeded:?}");
        assert!(strict.floors[0].name == "risk-4" && strict.floors[0].why.contains(why), "{:?}", strict.floors);
        assert_eq!(required(risk(kept, 4), &plan).required, 1, "{kept:?}");
        // A script's rows are not counted: it is taken for the worst.
        assert_eq!(required(risk(kept, 4), &PlanStatus::default()).required, 4, "{kept:?}");
    }
    // Both limits of one floor must be exceeded.
    let both = Risk { rows_above: Some(10), sensitive_above: Some(10), ..Risk::default() };
    assert_eq!(required(risk(both, 4), &plan).required, 1);
    // A run that asks for more than any floor gets it.
    let mut spec = small_spec();
    spec["approval"] = json!({"required": 6});
    let strict = requirement(
        &validate(&super::fixtures::run(&spec), &policy(risk(Risk { rows_above: Some(0), ..Risk::default() }, 4))).unwrap(),
        Some(&plan),
    );
    assert_eq!((strict.required, strict.floors[0].name.as_str()), (6, "spec.approval.required"));
}

#[test]
fn a_service_account_that_applied_a_run_is_not_the_person_who_asked_for_it() {
    let mut run = super::fixtures::run(&small_spec());
    let argo = "system:serviceaccount:argocd:argocd-application-controller";
    run.metadata.annotations.as_mut().unwrap().insert(REQUESTED_BY.into(), argo.into());
    assert_eq!(requirement(&validate(&run, &OperatorPolicy::default()).unwrap(), None).required, 2);
}

#[test]
fn a_floor_that_the_platform_raises_holds_for_who_is_being_asked_already() {
    let mut world = asked(&small_spec());
    world.policy.floors = vec![Floor { name: "all".into(), minimum: Some(2), ..Floor::default() }];
    says(&mut world, "maria", Approval::Approve);
    world.pass(false);
    let status = world.status();
    assert_eq!((status.phase, status.awaiting.unwrap().required, status.approvals_required), (Phase::AwaitingApproval, 2, 2));
    assert!(status.message.contains("all asks for 2: it always holds here"), "{}", status.message);
}

#[test]
fn an_approval_is_taken_back_before_the_first_write() {
    let mut spec = small_spec();
    spec["approval"] = json!({"required": 2});
    spec["notifications"] = json!([{"channel": "team", "events": ["Decided"]}]);
    let mut world = asked(&spec);
    says(&mut world, "maria", Approval::Approve);
    world.pass(false);
    world.run.spec.approvals.clear();
    world.pass(false);
    assert!(world.status().approvals.is_empty());
    let told: Vec<String> = world.status().notifications.iter().map(|n| n.text.clone()).collect();
    assert_eq!(told, ["maria approves (1 of 2), identity Verified", "maria has taken back: Approve"]);

    // Also while the run waits for the database: nothing has been written.
    let mut world = World::new(&small_spec());
    while world.status().current_step != Some(Step::Claim) {
        world.pass(false);
    }
    world.approves = false;
    world.run.spec.approvals.clear();
    assert_eq!(world.settle(50), Phase::RolledBack);
    assert_eq!((world.made(Step::Apply), world.made(Step::Undo)), (0, 0));
    let status = world.status();
    assert_eq!(status.approval_voided.map(|v| (v.reason, v.users)), Some(("ApprovalWithdrawn".into(), vec!["maria".into()])));
}

#[test]
fn what_was_approved_stays_approved_once_rows_are_written() {
    let mut world = World::new(&small_spec());
    while world.made(Step::Apply) == 0 {
        world.pass(false);
    }
    world.approves = false;
    world.run.spec.approvals.clear();
    assert_eq!(world.settle(100), Phase::Succeeded);
}

#[test]
fn people_are_reminded_once_after_half_of_the_time_or_when_the_run_says() {
    let reminded = |world: &World| world.status().notifications.iter().filter(|n| n.event == NotificationEvent::ApprovalReminder).count();
    for (remind_after, hours) in [(None, 36), (Some("2h"), 2)] {
        let mut spec = small_spec();
        spec["notifications"] = json!([{"channel": "team", "events": ["ApprovalReminder"]}]);
        if let Some(after) = remind_after {
            spec["approval"] = json!({"remindAfter": after});
        }
        let mut world = asked(&spec);
        let begun = world.status().awaiting.unwrap().since;
        world.now = begun.checked_add(SignedDuration::from_hours(hours) - SignedDuration::from_mins(1)).unwrap();
        world.pass(false);
        assert_eq!(reminded(&world), 0);
        for _ in 0..5 {
            world.now = world.now.checked_add(SignedDuration::from_hours(1)).unwrap();
            world.pass(false);
        }
        assert_eq!(reminded(&world), 1);
        assert_eq!(world.status().awaiting.unwrap().remind_at, None);
    }
}

#[test]
fn each_change_of_what_was_approved_voids_it_by_its_name() {
    let same = || release("app@sha256:1", "4f2c", "env");
    let changes = [
        ("ImageChanged", release("app@sha256:2", "4f2c", "env"), map("1")),
        ("CommitChanged", release("app@sha256:1", "aaaa", "env"), map("1")),
        ("EnvironmentChanged", release("app@sha256:1", "4f2c", "other"), map("1")),
        ("ConfigMapChanged", same(), map("2")),
        ("ConfigMapChanged", same(), map("absent")),
    ];
    for (reason, found, maps) in changes {
        let mut spec = small_spec();
        spec["approval"] = json!({"required": 2});
        let mut world = World::new(&spec);
        world.approves = false;
        (world.release, world.config_maps) = (Some(same()), Some(map("1")));
        wait(&mut world);
        says(&mut world, "maria", Approval::Approve);
        world.pass(false);
        let old = world.status();
        assert_eq!((old.phase, old.approvals.len()), (Phase::AwaitingApproval, 1), "{reason}");
        (world.release, world.config_maps) = (Some(found), Some(maps));
        world.pass(false);
        let status = world.status();
        assert_eq!((status.phase, status.approvals.len(), status.plan), (Phase::Preflight, 0, None), "{reason}");
        assert_eq!(status.history.last().unwrap().reason, reason);
        let voided = status.approval_voided.unwrap();
        assert_eq!((voided.reason.as_str(), voided.users, voided.digest), (reason, vec!["maria".into()], old.approvals[0].digest.clone()));
        // Asked again about another digest, Maria's word of before does not count.
        wait(&mut world);
        world.pass(false);
        assert_ne!(world.status().awaiting.unwrap().digest, old.awaiting.unwrap().digest, "{reason}");
        assert!(world.status().approvals.is_empty(), "{reason}");
    }
}

#[test]
fn a_run_that_is_told_to_stop_on_a_change_fails_by_its_name() {
    let mut spec = small_spec();
    spec["approval"] = json!({"onChange": "Stop"});
    let mut world = World::new(&spec);
    world.approves = false;
    world.config_maps = Some(map("1"));
    wait(&mut world);
    world.config_maps = Some(map("2"));
    world.pass(false);
    let status = world.status();
    assert_eq!((status.phase, status.history.last().unwrap().reason.as_str()), (Phase::Failed, "ConfigMapChanged"));
}

#[test]
fn a_release_that_changes_while_the_database_is_waited_for_ends_the_run_before_it_writes() {
    let mut world = World::new(&full_spec());
    world.release = Some(release("app@sha256:1", "4f2c", "env"));
    while world.status().current_step != Some(Step::Claim) {
        world.pass(false);
    }
    assert!(world.status().mutation_started);
    world.release = Some(release("app@sha256:2", "4f2c", "env"));
    assert_eq!(world.settle(50), Phase::RolledBack);
    assert_eq!((world.made(Step::Migrate), world.made(Step::Apply)), (0, 0));
    assert_eq!(world.status().approval_voided.map(|v| v.reason), Some("ImageChanged".into()));
}

#[test]
fn a_plan_that_comes_out_otherwise_voids_the_approval_of_the_one_before() {
    let mut plan = PlanReport::default();
    plan.plan.rows_digest = "sha256:other".into();
    plan.plan.will_write = 3;
    plan.plan.file = "y".into();
    let other = Ending::Reports(Box::new(StepReport::Plan(plan)), Outcome::Passed, "Planned");
    let mut world = World::new(&full_spec()).ends(Step::Replan, &[other]);
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert_eq!(world.status().approval_voided.map(|v| v.reason), Some("PlanChanged".into()));
}

fn plan_of(definition: &str) -> Ending {
    let mut plan = PlanReport::default();
    plan.plan.rows_digest = "sha256:rows".into();
    plan.plan.will_write = 10;
    plan.plan.file = "x.plan".into();
    plan.plan.definitions = vec![DefinitionStatus { name: "public.g".into(), table: "g".into(), sha256: definition.into() }];
    Ending::Reports(Box::new(StepReport::Plan(plan)), Outcome::Passed, "Planned")
}

#[test]
fn a_written_table_that_is_changed_after_the_approval_voids_it_and_people_are_asked_about_the_new_one() {
    let noticed = Ending::Verdict(Outcome::Failed, "SchemaChanged");
    for (spec, step) in [(full_spec(), Step::Claim), (small_spec(), Step::Claim), (small_spec(), Step::Apply)] {
        let mut world = World::new(&spec).ends(step, &[noticed.clone(), Ending::Good]).ends(Step::Plan, &[plan_of("1"), plan_of("2")]);
        if step == Step::Apply {
            // Nothing is written.
            let nothing = Box::new(StepReport::Apply(crate::protocol::ApplyReport::default()));
            world.script.insert(step, vec![Ending::Reports(nothing, Outcome::Failed, "SchemaChanged"), Ending::Good]);
        }
        while world.made(step) == 0 {
            world.pass(false);
        }
        world.approves = false;
        let approved = world.status().approvals[0].digest.clone();
        while world.status().awaiting.is_none() {
            world.pass(false);
        }
        let status = world.status();
        assert_eq!((status.phase, status.approvals.len()), (Phase::AwaitingApproval, 0));
        assert_ne!(status.awaiting.unwrap().digest, approved, "the definition is part of what is approved, though the rows are the same");
        assert_eq!(status.approval_voided.map(|v| (v.reason, v.users)), Some(("SchemaChanged".into(), vec!["maria".into()])));
        // Maria's word of before is still in the spec, and does not count.
        for _ in 0..5 {
            world.pass(false);
        }
        assert_eq!((world.phase(), world.made(Step::Migrate)), (Phase::AwaitingApproval, 0), "the team's migrations wait, too");
        world.approves = true;
        assert_eq!(world.settle(200), Phase::Succeeded, "{:?}", world.status());
        assert!(world.made(Step::Claim) >= 1);
    }
}

#[test]
fn a_run_that_is_told_to_stop_on_a_change_goes_back_when_a_written_table_has_changed() {
    let mut spec = small_spec();
    spec["approval"] = json!({"onChange": "Stop"});
    let mut world = World::new(&spec).ends(Step::Claim, &[Ending::Verdict(Outcome::Failed, "SchemaChanged"), Ending::Good]);
    assert_eq!(world.settle(100), Phase::RolledBack);
    assert_eq!((world.made(Step::Apply), world.made(Step::Undo)), (0, 0));
    assert!(world.status().message.contains("SchemaChanged"), "{}", world.status().message);
}

#[test]
fn what_the_runs_own_migrations_do_to_a_table_voids_nothing() {
    let mut world = World::new(&full_spec()).ends(Step::Plan, &[plan_of("1")]).ends(Step::Replan, &[plan_of("2")]);
    while world.made(Step::Claim) == 0 {
        world.pass(false);
    }
    let approved = world.status().approvals[0].digest.clone();
    assert_eq!(world.settle(300), Phase::Succeeded);
    let status = world.status();
    assert_eq!((status.approval_voided, status.approvals[0].digest.as_str()), (None, approved.as_str()));
    let plan = status.plan.unwrap();
    assert_eq!(
        (plan.digest, plan.definitions[0].sha256.as_str()),
        (approved, "2"),
        "apply compares with the table that the migrations left"
    );
}

#[test]
fn a_release_that_changes_while_people_are_asked_again_ends_the_run_before_it_writes() {
    let drift = Ending::Reports(Box::new(StepReport::Apply(crate::protocol::ApplyReport::default())), Outcome::Failed, "DriftAboveLimit");
    let mut plan = PlanReport::default();
    plan.plan.rows_digest = "sha256:other".into();
    plan.plan.will_write = 3;
    plan.plan.file = "y".into();
    let other = Ending::Reports(Box::new(StepReport::Plan(plan)), Outcome::Passed, "Planned");
    let mut world = World::new(&small_spec()).ends(Step::Apply, &[drift, Ending::Good]).ends(Step::Replan, &[other]);
    world.release = Some(release("app@sha256:1", "4f2c", "env"));
    while world.made(Step::Replan) == 0 {
        world.pass(false);
    }
    world.approves = false;
    wait(&mut world);
    world.release = Some(release("app@sha256:2", "4f2c", "env"));
    world.approves = true;
    assert_eq!(world.settle(100), Phase::RolledBack);
    assert_eq!(world.made(Step::Apply), 1, "nothing is written of what was made for another release");
    assert!(world.status().message.contains("ImageChanged"), "{}", world.status().message);
}

#[test]
fn a_backup_that_has_become_too_old_is_taken_again_and_the_approval_stands() {
    let mut spec = small_spec();
    spec["backup"]["maxAge"] = json!("1h");
    spec["notifications"] = json!([{"channel": "team", "events": ["ApprovalNeeded"]}]);
    let mut world = asked(&spec);
    world.now = world.now.checked_add(SignedDuration::from_hours(2)).unwrap();
    let (asked, deadline) = (world.now, world.status().awaiting.unwrap().deadline);
    says(&mut world, "maria", Approval::Approve);
    while world.phase() != Phase::BackingUp {
        world.pass(false);
    }
    assert_eq!(world.status().history.last().unwrap().reason, "BackupTooOld");
    while world.phase() == Phase::BackingUp {
        world.pass(false);
    }
    assert_eq!((world.phase(), world.status().awaiting.unwrap().deadline), (Phase::AwaitingApproval, deadline));
    assert_eq!(world.settle(100), Phase::Succeeded);
    let status = world.status();
    assert_eq!((world.made(Step::Backup), world.made(Step::Plan)), (2, 1));
    assert!(status.backup.unwrap().taken_at.unwrap() >= asked);
    assert_eq!(status.notifications.len(), 1, "nobody is asked twice: {:?}", status.notifications);

    // Whoever takes it back meanwhile is heard.
    let mut world = self::asked(&spec);
    world.now = world.now.checked_add(SignedDuration::from_hours(2)).unwrap();
    says(&mut world, "maria", Approval::Approve);
    while world.phase() != Phase::BackingUp {
        world.pass(false);
    }
    world.run.spec.approvals.clear();
    for _ in 0..30 {
        world.pass(false);
    }
    assert_eq!((world.phase(), world.status().mutation_started), (Phase::AwaitingApproval, false));
}

#[test]
fn a_backup_that_became_too_old_while_the_database_was_waited_for_is_taken_again_before_the_first_write() {
    let holder = crate::protocol::Holder { namespace: "ns".into(), name: "other".into(), uid: "other".into(), since: None };
    let busy = Ending::Reports(
        Box::new(StepReport::Claim(crate::protocol::ClaimReport { held_by: Some(holder) })),
        Outcome::Inconclusive,
        "DatabaseBusy",
    );
    for spec in [small_spec(), full_spec()] {
        let mut spec = spec;
        spec["backup"]["maxAge"] = json!("1h");
        let mut world = World::new(&spec).ends(Step::Claim, &[busy.clone(), Ending::Good]);
        while world.status().waiting_for.is_none() {
            world.pass(false);
        }
        world.now = world.now.checked_add(SignedDuration::from_hours(2)).unwrap();
        let free = world.now;
        while world.made(Step::Backup) < 2 {
            world.pass(false);
            assert_eq!((world.made(Step::Migrate), world.made(Step::Apply)), (0, 0), "not before the backup");
        }
        assert_eq!(world.settle(300), Phase::Succeeded, "{:?}", world.status());
        assert!(world.status().backup.unwrap().taken_at.unwrap() >= free);
        assert_eq!(world.status().history.iter().filter(|h| h.reason == "BackupTooOld").count(), 1);
    }
}

#[test]
fn two_people_who_decide_within_a_second_are_both_told() {
    let mut spec = small_spec();
    spec["approval"] = json!({"required": 3});
    spec["notifications"] = json!([{"channel": "team", "events": ["Decided"]}]);
    let mut world = asked(&spec);
    let now = world.now;
    for user in ["maria", "paul"] {
        says(&mut world, user, Approval::Approve);
        world.now = now;
        world.pass(false);
    }
    let told = world.status().notifications;
    assert_eq!(
        told.iter().map(|n| n.text.as_str()).collect::<Vec<_>>(),
        ["maria approves (1 of 3), identity Verified", "paul approves (2 of 3), identity Verified"]
    );
    assert_ne!(told[0].id, told[1].id, "a receiver tells them apart");
}

#[test]
fn a_spec_that_is_changed_between_the_look_and_the_approval_is_not_what_was_approved() {
    let mut world = asked(&small_spec());
    // Dana edits while Maria reads; Maria's patch arrives before the operator has looked again.
    world.run.spec.backup.max_age = "5h".into();
    says(&mut world, "maria", Approval::Approve);
    world.pass(false);
    let status = world.status();
    assert_eq!((status.phase, status.mutation_started), (Phase::Preflight, false));
    assert_eq!(status.history.last().unwrap().reason, "SpecChanged");
    wait(&mut world);
    world.pass(false);
    assert!(world.status().message.contains("the entry of maria is about another digest"), "{}", world.status().message);
}

#[test]
fn where_the_platform_wants_digests_an_image_with_a_tag_is_refused_before_anything_begins() {
    let digests = Floor { name: "pinned".into(), images_by_digest: true, ..Floor::default() };
    let policy = OperatorPolicy { floors: vec![digests], ..OperatorPolicy::default() };
    let mut run = super::fixtures::run(&super::fixtures::script_spec());
    let refused = validate(&run, &policy).unwrap_err();
    assert_eq!(refused.reason(), "ImageByTag");
    assert!(refused.to_string().contains("team:1") && refused.to_string().contains("the policy pinned"), "{refused}");
    // What writes already is not held up.
    run.status = Some(crate::api::BackfillRunStatus { mutation_started: true, ..Default::default() });
    assert!(validate(&run, &policy).is_ok());
    let pinned = json!({"spec": {"containers": [{"name": "c", "image": "team@sha256:1"}]}});
    let mut spec = small_spec();
    spec["backfill"] = json!({"job": {"dryRun": {"template": pinned}, "apply": {"template": pinned}}});
    assert!(validate(&super::fixtures::run(&spec), &policy).is_ok());
}

#[test]
fn a_forged_entry_does_not_pass_for_proved_when_the_same_digest_is_asked_about_again() {
    let mut spec = small_spec();
    spec["approval"] = json!({"required": 2});
    let mut world = World::new(&spec);
    world.approves = false;
    world.config_maps = Some(map("1"));
    wait(&mut world);
    world.admission = Some(missing());
    says(&mut world, "maria", Approval::Approve);
    world.pass(false);
    let digest = world.status().awaiting.unwrap().digest;
    // The policies are back; a ConfigMap is changed and changed back, so that the very same plan is asked about anew.
    world.admission = Some(AdmissionObservation::InForce);
    world.config_maps = Some(map("2"));
    world.pass(false);
    wait(&mut world);
    world.config_maps = Some(map("1"));
    world.pass(false);
    wait(&mut world);
    assert_eq!(world.status().awaiting.unwrap().digest, digest);
    says(&mut world, "paul", Approval::Approve);
    world.pass(false);
    assert_eq!(world.phase(), Phase::AwaitingApproval);
    assert!(world.status().message.contains("the name maria is not proved"), "{}", world.status().message);

    // Nor one that was written while nobody was asked at all.
    let mut world = World::new(&small_spec());
    world.approves = false;
    wait(&mut world);
    says(&mut world, "maria", Approval::Approve);
    world.run.spec.backup.max_age = "5h".into();
    world.admission = Some(missing());
    world.pass(false);
    assert_eq!(world.phase(), Phase::Preflight);
    world.admission = Some(AdmissionObservation::InForce);
    world.run.spec.backup.max_age = "4h".into();
    world.pass(false);
    wait(&mut world);
    world.pass(false);
    assert_eq!(world.phase(), Phase::AwaitingApproval, "{:?}", world.status());
    assert!(world.status().message.contains("the name maria is not proved"), "{}", world.status().message);
}
