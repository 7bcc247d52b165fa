//! Scripts whose rows are captured.

use super::fixtures::script_spec;
use super::world::{Ending, World};
use crate::api::Phase;
use crate::api::status::{CapturedStatus, Step};
use crate::lifecycle::{OperatorPolicy, validate};
use crate::protocol::{Outcome, PreflightReport, StepReport, UNDO, VerifyReport};
use serde_json::{Value, json};

const BAD: [Ending; 1] = [Ending::Verdict(Outcome::Failed, "Bad")];

fn captured() -> Value {
    let mut spec = script_spec();
    spec["backfill"]["job"]["capture"] = json!({"tables": ["scenarios", "app.log"]});
    spec
}

fn verified(fault: &str) -> Ending {
    let table =
        |table: &str, fault: &str| CapturedStatus { table: table.into(), updated: 5, fault: fault.into(), ..CapturedStatus::default() };
    let report = VerifyReport { checks: Vec::new(), captured: vec![table("public.scenarios", ""), table("app.log", fault)] };
    Ending::Reports(Box::new(StepReport::Verify(report)), Outcome::Passed, "Verified")
}

#[test]
fn the_triggers_are_on_before_the_script_and_after_the_claim_and_who_approves_reads_which_tables() {
    let mut world = World::new(&captured()).ends(Step::Verify, &[verified("")]);
    world.approves = false;
    world.settle(60);
    let status = world.status();
    assert!(status.awaiting.unwrap().question.contains("Its rows of scenarios, app.log are captured"));
    let remark = &status.plan.as_ref().unwrap().remarks[0];
    assert!(remark.contains("in scenarios, app.log are captured, and undone row by row"), "{remark}");
    assert!(remark.contains("lost the setting") && remark.contains("not undone"), "{remark}");
    world.approves = true;
    assert_eq!(world.settle(200), Phase::Succeeded, "{:#?}", world.status());
    let steps: Vec<Step> = world.jobs_made.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [Step::Preflight, Step::Backup, Step::DryRun, Step::Claim, Step::Capture, Step::Script, Step::Verify],);
    let status = world.status();
    assert_eq!(status.result.unwrap().written, 10);
    assert!(status.message.contains("10 rows of it can be put back"), "{}", status.message);
}

#[test]
fn a_captured_script_that_fails_is_undone_and_nothing_is_restored() {
    let mut world = World::new(&captured()).ends(Step::Script, &BAD);
    assert_eq!(world.settle(200), Phase::RolledBack);
    assert_eq!((world.made(Step::Undo), world.made(Step::LossAccount), world.made(Step::Restore)), (1, 0, 0));
}

#[test]
fn what_undo_cannot_bring_back_leads_to_a_restore() {
    let mut world =
        World::new(&captured()).ends(Step::Script, &BAD).ends(Step::Undo, &[Ending::Verdict(Outcome::Failed, "CaptureIncomplete")]);
    assert_eq!(world.settle(200), Phase::RolledBack);
    assert_eq!((world.made(Step::Undo), world.made(Step::LossAccount), world.made(Step::Restore)), (1, 1, 1));
}

#[test]
fn a_table_that_was_truncated_takes_undo_off_the_ways_back() {
    let report = PreflightReport { way_back: vec![UNDO.into(), "RestoreSwap".into()], ..PreflightReport::default() };
    let preflight = Ending::Reports(Box::new(StepReport::Preflight(report)), Outcome::Passed, "ChecksPassed");
    let verified = verified("the script emptied it by TRUNCATE");
    let mut world = World::new(&captured()).ends(Step::Preflight, &[preflight]).ends(Step::Verify, &[verified]);
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert_eq!(world.status().way_back, ["RestoreSwap"]);

    world.run.spec.rollback.requested = true;
    assert_eq!(world.settle(300), Phase::RolledBack, "{:#?}", world.status());
    assert_eq!((world.made(Step::Undo), world.made(Step::Restore)), (0, 1), "no undo is tried");
}

#[test]
fn an_abort_between_triggers_and_script_takes_the_triggers_off() {
    let mut world = World::new(&captured());
    for _ in 0..200 {
        world.pass(false);
        if world.status().current_step == Some(Step::Capture) {
            break;
        }
    }
    world.run.spec.abort = true;
    assert_eq!(world.settle(200), Phase::RolledBack);
    assert_eq!((world.made(Step::Script), world.made(Step::Undo)), (0, 1));
}

#[test]
fn a_claim_that_was_lost_is_asked_for_again_before_the_script() {
    let mut world = World::new(&captured()).ends(Step::Capture, &[Ending::Verdict(Outcome::Stalled, "ClaimLost"), Ending::Good]);
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert_eq!((world.made(Step::Claim), world.made(Step::Capture), world.made(Step::Script)), (2, 2, 1));
}

#[test]
fn options_of_the_script_that_come_from_elsewhere_are_refused() {
    let mut spec = captured();
    let env = json!([{"name": "PGOPTIONS", "valueFrom": {"secretKeyRef": {"name": "db", "key": "options"}}}]);
    spec["backfill"]["job"]["apply"]["template"]["spec"]["containers"][0]["env"] = env;
    let reason = |spec: &Value| validate(&World::new(spec).run, &OperatorPolicy::default()).map(|_| ()).map_err(|invalid| invalid.reason());
    assert_eq!(reason(&spec), Err("OptionsHidden"));
    spec["backfill"]["job"]["capture"]["role"] = json!("scenarios_script");
    assert_eq!(reason(&spec), Ok(()));
}
