//! The rehearsal of a backup, told as sentences.

use super::fixtures::{full_spec, rehearsed_spec, report, script_spec, small_spec, start};
use super::world::{Ending, World};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, is_false, is_true};
use crate::api::status::{BackfillRunStatus, CheckResult, CheckStatus, Step};
use crate::lifecycle::{Effect, Invalid, OperatorPolicy, estimate, validate};
use crate::protocol::{Outcome, RehearsalInput, StepReport};
use jiff::SignedDuration;
use serde_json::json;

fn verified(status: &BackfillRunStatus) -> (String, String) {
    let condition = status.conditions.iter().find(|c| c.type_ == "BackupVerified").expect("a condition");
    (condition.status.clone(), condition.reason.clone())
}

/// Passes until the run asks people, who do not answer.
fn asked(mut world: World) -> World {
    world.approves = false;
    for _ in 0..100 {
        world.pass(false);
        if world.status().awaiting.is_some() || world.phase().is_terminal() {
            break;
        }
    }
    world
}

#[test]
fn a_backup_is_rehearsed_after_the_plan_and_before_people_are_asked() {
    let world = asked(World::new(&rehearsed_spec()));
    let made: Vec<Step> = world.jobs_made.iter().map(|(step, _)| *step).collect();
    assert_eq!(made, [Step::Preflight, Step::Backup, Step::Plan, Step::Rehearse]);
    let status = world.status();
    assert_eq!(status.phase, Phase::AwaitingApproval);
    assert_eq!(status.backup.as_ref().map(|b| b.proof.as_str()), Some("Restore"));
    assert_eq!(verified(&status), ("True".to_owned(), "Restore".to_owned()));
    let question = status.awaiting.expect("a question").question;
    assert!(question.contains("The backup is restorable: restored into a scratch PostgreSQL 17.6 in 42s"), "{question}");
    assert!(question.contains("On that copy the plan wrote 9 of 10 rows in 5s, and every SQL check held."), "{question}");
}

#[test]
fn a_backup_that_was_only_read_is_never_called_restorable() {
    let world = asked(World::new(&full_spec()));
    assert_eq!(world.made(Step::Rehearse), 0);
    let status = world.status();
    assert_eq!(verified(&status), ("True".to_owned(), "Read".to_owned()));
    let question = status.awaiting.expect("a question").question;
    assert!(question.contains("never restored") && !question.contains("restorable"), "{question}");
}

#[test]
fn before_its_rehearsal_a_backup_counts_as_not_verified() {
    let mut world = World::new(&rehearsed_spec());
    while world.made(Step::Rehearse) == 0 {
        world.pass(false);
    }
    let status = world.status();
    assert_eq!((status.phase, verified(&status)), (Phase::Planning, ("Unknown".to_owned(), "NotRehearsed".to_owned())));
    assert!(is_true(&status.conditions, ConditionType::BackedUp));
}

#[test]
fn predicted_rehearsed_and_real_counts_stand_side_by_side() {
    let mut world = World::new(&rehearsed_spec());
    assert_eq!(world.settle(300), Phase::Succeeded, "{:#?}", world.status());
    let rehearsal = world.status().rehearsal.expect("a rehearsal");
    let written = rehearsal.count("Written").expect("a count");
    assert_eq!((written.predicted, written.rehearsed, written.real), (10, 9, Some(10)));
}

#[test]
fn a_rehearsal_that_fails_ends_the_run_before_anything_changed() {
    let mut world = World::new(&rehearsed_spec()).ends(Step::Rehearse, &[Ending::Verdict(Outcome::Failed, "RehearsalDiffers")]);
    assert_eq!(world.settle(200), Phase::Failed);
    let status = world.status();
    assert!(!status.mutation_started && is_false(&status.conditions, ConditionType::BackupVerified));
    assert_eq!(status.history.last().map(|h| h.reason.as_str()), Some("RehearsalDiffers"));
    assert_eq!(status.backup.map(|b| b.proof), Some("Read".to_owned()), "it is still only read");
    assert_eq!(world.made(Step::Claim), 0);
}

#[test]
fn what_cannot_be_rehearsed_stalls_the_run_and_is_tried_again_until_it_can() {
    let unable = Ending::Verdict(Outcome::Inconclusive, "ExtensionMissing");
    let mut world = asked(World::new(&rehearsed_spec()).ends(Step::Rehearse, &[unable.clone(), unable, Ending::Good]));
    assert_eq!(world.made(Step::Rehearse), 3);
    assert_eq!(world.phase(), Phase::AwaitingApproval);
    assert!(!is_true(&world.status().conditions, ConditionType::Stalled));

    world = World::new(&rehearsed_spec()).ends(Step::Rehearse, &[Ending::Verdict(Outcome::Inconclusive, "ExtensionMissing")]);
    while !is_true(&world.status().conditions, ConditionType::Stalled) {
        world.pass(false);
    }
    let status = world.status();
    assert_eq!(verified(&status), ("Unknown".to_owned(), "ExtensionMissing".to_owned()));
    assert!(status.message.contains("backup.proof: Read"), "{}", status.message);
    let entry = status.steps.iter().find(|s| s.step == Step::Rehearse).expect("a step");
    let waits = entry.retry_at.unwrap().duration_since(entry.ended_at.unwrap());
    assert_eq!(waits, SignedDuration::from_mins(5), "the whole dump is read each time");
    // The way out that the message names.
    world.run.spec.backup.proof = crate::api::spec::Proof::Read;
    assert_eq!(world.settle(300), Phase::Succeeded);
}

#[test]
fn a_volume_that_was_made_for_the_copy_goes_when_the_rehearsal_has_ended_however_it_did() {
    for outcome in [Outcome::Passed, Outcome::Failed, Outcome::Inconclusive] {
        let mut spec = rehearsed_spec();
        spec["backup"]["rehearsal"] = json!({"storageClassName": "fast"});
        let mut world = World::new(&spec).ends(Step::Rehearse, &[Ending::Verdict(outcome, "AsTold")]);
        let stopped =
            (0..100).any(|_| matches!(world.pass(false).effect, Some(Effect::StopStep { job_name }) if job_name.ends_with("-rehearse-1")));
        assert!(stopped, "{outcome:?}");
        let ended = world.status().steps.iter().any(|s| s.step == Step::Rehearse && s.ended_at.is_some());
        assert!(ended, "its result is in the status before");
    }
}

#[test]
fn a_lost_rehearsal_is_no_verdict() {
    let mut world = World::new(&rehearsed_spec()).ends(Step::Rehearse, &[Ending::Lost, Ending::Disappears, Ending::Good]);
    assert_eq!(world.settle(300), Phase::Succeeded);
    assert_eq!(world.made(Step::Rehearse), 3);
}

#[test]
fn a_renewed_backup_is_rehearsed_again_and_the_approval_still_counts() {
    let mut world = asked(World::new(&rehearsed_spec()));
    let digest = world.status().awaiting.expect("a question").digest;
    world.now = world.now.checked_add(SignedDuration::from_hours(6)).unwrap();
    world.approves = true;
    assert_eq!(world.settle(300), Phase::Succeeded, "{:#?}", world.status());
    assert_eq!((world.made(Step::Backup), world.made(Step::Rehearse), world.made(Step::Plan)), (2, 2, 1));
    let status = world.status();
    let reasons: Vec<&str> = status.history.iter().map(|h| h.reason.as_str()).collect();
    assert!(reasons.windows(2).any(|pair| pair == ["BackupTooOld", "BackupRenewed"]), "{reasons:?}");
    assert!(status.approvals.iter().all(|a| a.digest == digest), "people were asked for one digest");
    assert_eq!(status.backup.map(|b| b.proof), Some("Restore".to_owned()));
}

#[test]
fn a_rehearsal_that_takes_longer_than_a_backup_may_be_old_ends_the_run_instead_of_going_round_for_ever() {
    let mut spec = rehearsed_spec();
    spec["backup"]["maxAge"] = json!("2s");
    let mut world = World::new(&spec);
    assert_eq!(world.settle(200), Phase::Failed);
    assert_eq!(world.status().history.last().map(|h| h.reason.clone()), Some("RehearsalOutlastsMaxAge".to_owned()));
}

#[test]
fn a_plan_without_rows_needs_no_rehearsal() {
    let report = StepReport::Plan(crate::protocol::PlanReport::default());
    let mut world = World::new(&rehearsed_spec()).ends(Step::Plan, &[Ending::Reports(Box::new(report), Outcome::Passed, "Planned")]);
    assert_eq!((world.settle(200), world.made(Step::Rehearse)), (Phase::Succeeded, 0));
}

#[test]
fn the_backup_of_a_script_is_rehearsed_after_its_dry_run() {
    let mut spec = script_spec();
    spec["backup"]["proof"] = json!("Restore");
    let mut world = World::new(&spec);
    assert_eq!(world.settle(300), Phase::Succeeded);
    let made: Vec<Step> = world.jobs_made.iter().map(|(step, _)| *step).take(4).collect();
    assert_eq!(made, [Step::Preflight, Step::Backup, Step::DryRun, Step::Rehearse]);
}

#[test]
fn a_suspended_rehearsal_is_stopped_and_begun_again() {
    let mut world = World::new(&rehearsed_spec());
    while world.made(Step::Rehearse) == 0 {
        world.pass(false);
    }
    world.pass(false);
    world.run.spec.suspend = true;
    let stopped = (0..10).any(|_| matches!(world.pass(false).effect, Some(Effect::StopStep { job_name }) if job_name.contains("rehearse")));
    assert!(stopped, "{:#?}", world.status());
    world.run.spec.suspend = false;
    assert_eq!(world.settle(300), Phase::Succeeded);
    assert_eq!(world.made(Step::Rehearse), 2);
}

#[test]
fn checks_on_the_copy_that_did_not_hold_are_told_to_who_approves_and_replaced_by_the_next_rehearsal() {
    let Some(StepReport::Rehearsal(mut found)) = report(Step::Rehearse, start()) else { panic!() };
    let check =
        CheckStatus { name: "filled".into(), phase: Phase::Planning, result: CheckResult::Inconclusive, message: "3 drifted".into() };
    found.checks.push(check);
    let unclear = Ending::Reports(Box::new(StepReport::Rehearsal(found)), Outcome::Passed, "BackupRestored");
    let mut world = asked(World::new(&rehearsed_spec()).ends(Step::Rehearse, &[unclear, Ending::Good]));
    let question = world.status().awaiting.expect("a question").question;
    assert!(question.contains("not every SQL check held there"), "{question}");
    world.now = world.now.checked_add(SignedDuration::from_hours(6)).unwrap();
    world.approves = true;
    world.settle(300);
    assert!(world.status().checks.iter().all(|check| check.phase != Phase::Planning));
}

#[test]
fn without_an_image_for_it_a_rehearsal_is_refused_at_once_with_the_value_to_set() {
    let run = super::fixtures::run(&rehearsed_spec());
    let refused = validate(&run, &OperatorPolicy::default()).unwrap_err();
    assert_eq!((refused.reason(), &refused), ("RehearsalImageMissing", &Invalid::RehearsalImageMissing));
    assert!(refused.to_string().contains("rehearsal.image.repository"));
    let able = OperatorPolicy { can_rehearse: true, ..OperatorPolicy::default() };
    assert!(validate(&run, &able).is_ok());
    // What has begun is not held up by an image that was taken out of the values.
    let mut begun = run;
    begun.status = Some(BackfillRunStatus { mutation_started: true, ..BackfillRunStatus::default() });
    assert!(validate(&begun, &OperatorPolicy::default()).is_ok());
}

#[test]
fn the_space_of_a_rehearsal_follows_the_database_unless_it_is_said() {
    let able = OperatorPolicy { can_rehearse: true, ..OperatorPolicy::default() };
    let space = |storage: Option<&str>| {
        let mut spec = rehearsed_spec();
        if let Some(storage) = storage {
            spec["backup"]["rehearsal"] = json!({"storage": storage});
        }
        let mut world = World::new(&spec);
        world.policy = able.clone();
        for _ in 0..100 {
            if let Some(Effect::StartStep(start)) = world.pass(false).effect
                && start.step == Step::Rehearse
            {
                return start.input.rehearsal;
            }
        }
        None
    };
    assert_eq!(space(None), Some(RehearsalInput { storage_bytes: 1_500_000 + (2 << 30), database_bytes: 1_000_000 }));
    assert_eq!(space(Some("50Gi")), Some(RehearsalInput { storage_bytes: 50 << 30, database_bytes: 1_000_000 }));
    let refused = |block: serde_json::Value| {
        let mut spec = rehearsed_spec();
        spec["backup"]["rehearsal"] = block;
        validate(&super::fixtures::run(&spec), &able).unwrap_err().to_string()
    };
    assert!(refused(json!({"storage": "0"})).contains("backup.rehearsal.storage"));
    assert!(refused(json!({"timeout": "0s"})).contains("backup.rehearsal.timeout"));
}

#[test]
fn what_the_rehearsal_took_is_the_estimate_for_apply_and_for_a_restore() {
    let mut status = World::new(&small_spec()).status();
    let Some(StepReport::Rehearsal(found)) = report(Step::Rehearse, start()) else { panic!() };
    status.rehearsal = Some(found.rehearsal);
    assert_eq!(estimate(&status, Step::Restore), Some(42));
    // 5 s for 9 rows on the copy, 10 rows in the database.
    assert_eq!(estimate(&status, Step::Apply), Some(5));
    if let Some(rehearsal) = status.rehearsal.as_mut() {
        rehearsal.counts[0].rehearsed = 5;
    }
    assert_eq!(estimate(&status, Step::Apply), Some(10));
}

#[test]
fn who_approves_is_told_what_a_backup_of_some_tables_brings_back_and_what_not() {
    let mut spec = small_spec();
    spec["backup"]["scope"] = json!("Tables");
    let Some(StepReport::Backup(mut backup)) = report(Step::Backup, start()) else { panic!() };
    backup.backup.scope = "Tables".into();
    backup.backup.tables = vec!["public.g".into()];
    let reported = Ending::Reports(Box::new(StepReport::Backup(backup)), Outcome::Passed, "BackupProved");
    let question = asked(World::new(&spec).ends(Step::Backup, &[reported])).status().awaiting.expect("a question").question;
    for words in ["rows of the written tables only (public.g; backup.scope: Tables)", "and nothing else", "never a swap", "never restored"]
    {
        assert!(question.contains(words), "{words}: {question}");
    }
    let of_all = asked(World::new(&small_spec())).status().awaiting.expect("a question").question;
    assert!(!of_all.contains("backup.scope"), "{of_all}");
}
