//! What a throttled run shows, and how changed settings reach a worker that runs.

use super::fixtures::small_spec;
use super::world::World;
use crate::api::Phase;
use crate::api::status::Step;
use crate::lifecycle::{Decision, Effect, Observed, StepObservation};
use crate::protocol::Progress;
use crate::protocol::settings::annotations;
use jiff::SignedDuration;
use serde_json::json;

/// A run whose worker has just begun.
fn applying() -> World {
    let mut world = World::new(&small_spec());
    for _ in 0..200 {
        if world.status().current_step == Some(Step::Apply) {
            return world;
        }
        world.pass(false);
    }
    panic!("never applied: {:#?}", world.status());
}

fn progress(by: Option<&str>, message: &str) -> Progress {
    Progress {
        done: 5,
        total: 10,
        unit: "rows".into(),
        per_second: 5,
        throttled_by: by.map(Into::into),
        throttle_message: message.into(),
        ..Progress::default()
    }
}

fn sees(world: &mut World, progress: Progress) -> Decision {
    let told = annotations(world.run.spec.backfill.sql.as_ref().unwrap());
    let step = Some(StepObservation::Running { job_uid: "uid".into(), progress: Some(progress), told });
    world.pass_with(&Observed { step, ..Observed::default() }, false)
}

fn condition(world: &World) -> Option<(String, String, String)> {
    let conditions = world.status().conditions;
    conditions.into_iter().find(|c| c.type_ == "Throttled").map(|c| (c.status, c.reason, c.message))
}

fn reasons(decision: &Decision) -> Vec<&str> {
    decision.events.iter().map(|e| e.reason.as_str()).collect()
}

#[test]
fn a_reading_above_its_limit_is_the_condition_and_the_progress_until_it_is_below() {
    let mut world = applying();
    assert!(reasons(&sees(&mut world, progress(None, ""))).is_empty());
    assert_eq!(condition(&world), None, "a run that nothing held does not speak of it");
    let decision = sees(&mut world, progress(Some("ReplicationLag"), "14 s of 10s"));
    assert_eq!(reasons(&decision), ["Throttled"]);
    assert_eq!(condition(&world), Some(("True".into(), "ReplicationLag".into(), "14 s of 10s".into())));
    let shown = world.status().progress.unwrap();
    assert_eq!((shown.throttled_by.as_str(), shown.summary.as_str()), ("ReplicationLag", "5/10 (50%), held by ReplicationLag"));

    world.now = world.now.checked_add(SignedDuration::from_secs(30)).unwrap();
    assert!(reasons(&sees(&mut world, progress(Some("ReplicationLag"), "16 s of 10s"))).is_empty(), "told once");
    assert_eq!(condition(&world).unwrap().2, "16 s of 10s");
    assert_eq!(reasons(&sees(&mut world, progress(Some("Query"), "2 of 1"))), ["Throttled"], "another reading");
    assert_eq!(condition(&world).unwrap().1, "Query");

    sees(&mut world, progress(None, ""));
    assert_eq!(condition(&world).map(|c| (c.0, c.1)), Some(("False".into(), "Released".into())));
    let status = world.status();
    let shown = status.progress.unwrap();
    assert_eq!((shown.throttled_by.as_str(), shown.summary.as_str()), ("", "5/10 (50%), 1s left"));
    assert!((30..60).contains(&status.throttled_seconds), "{}", status.throttled_seconds);
    sees(&mut world, progress(None, ""));
    assert_eq!(world.status().throttled_seconds, status.throttled_seconds, "counted once");
}

#[test]
fn a_worker_that_ends_while_it_is_held_holds_no_run_any_more() {
    let mut world = applying();
    sees(&mut world, progress(Some("WalRate"), "60 MiB of 50 MiB"));
    let lost = StepObservation::Lost { job_uid: "uid".into(), why: "evicted".into(), progress: Some(progress(Some("WalRate"), "60")) };
    world.pass_with(&Observed { step: Some(lost), ..Observed::default() }, false);
    assert_eq!(condition(&world).unwrap().0, "False");
    let shown = world.status().progress.unwrap();
    assert_eq!((shown.throttled_by.as_str(), shown.summary.as_str()), ("", "5/10 (50%)"));
    assert_eq!(world.settle(200), Phase::Succeeded);
    assert_eq!(condition(&world).unwrap().0, "False");
}

#[test]
fn a_worker_that_is_gentle_says_so_beside_the_time_left_and_is_not_held() {
    let mut world = applying();
    assert!(reasons(&sees(&mut world, Progress { gentle: true, ..progress(None, "") })).is_empty());
    let shown = world.status().progress.unwrap();
    assert_eq!((shown.gentle, shown.summary.as_str()), (true, "5/10 (50%), 1s left, gentle beside others that write"));
    assert_eq!(condition(&world), None);
    sees(&mut world, progress(None, ""));
    assert_eq!(world.status().progress.unwrap().summary, "5/10 (50%), 1s left");
}

#[test]
fn a_reading_that_cannot_be_taken_is_told_once_and_stays_in_the_status() {
    let mut world = applying();
    let unmeasured = Progress { unmeasured: vec!["ReplicationLag: GRANT".into()], ..progress(None, "") };
    assert_eq!(reasons(&sees(&mut world, unmeasured.clone())), ["Unmeasured"]);
    assert!(reasons(&sees(&mut world, unmeasured)).is_empty());
    assert_eq!(world.status().progress.unwrap().unmeasured, ["ReplicationLag: GRANT"]);
    assert_eq!(condition(&world), None);
}

#[test]
fn what_a_step_says_cannot_make_a_status_that_the_api_server_refuses() {
    let mut world = applying();
    for reading in ["", "no reason", "1a", "a\u{e9}", &"a".repeat(65)] {
        sees(&mut world, progress(Some(reading), &"x".repeat(40_000)));
        let (_, reason, message) = condition(&world).unwrap();
        assert_eq!((reason.as_str(), message.len()), ("Throttled", 1024), "{reading}");
        assert_eq!(world.status().progress.unwrap().throttled_by, "Throttled");
    }
}

#[test]
fn changed_settings_are_told_to_the_worker_that_runs_and_void_nothing() {
    let mut world = applying();
    let hash = world.status().spec_hash;
    for change in [
        json!({"batch": {"size": 10}}),
        json!({"batch": {"target": "2s"}}),
        json!({"batch": {"max": 50}}),
        json!({"batch": {"pause": "1s"}}),
        json!({"throttle": {"maxReplicationLag": "1m"}}),
        json!({"throttle": {"query": {"sql": "SELECT 1", "max": 1}}}),
    ] {
        let told = annotations(world.run.spec.backfill.sql.as_ref().unwrap());
        let mut spec = serde_json::to_value(&world.run.spec).unwrap();
        for (block, fields) in change.as_object().unwrap() {
            spec["backfill"]["sql"][block].as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        }
        world.run.spec = serde_json::from_value(spec).unwrap();
        let step = Some(StepObservation::Running { job_uid: "uid".into(), progress: None, told });
        let decision = world.pass_with(&Observed { step, ..Observed::default() }, false);
        let wanted = annotations(world.run.spec.backfill.sql.as_ref().unwrap());
        let Some(Effect::TellPod { settings, .. }) = decision.effect else { panic!("{change}: {:?}", decision.effect) };
        assert_eq!(settings, wanted);
        assert_eq!((world.status().spec_hash, world.phase()), (hash.clone(), Phase::Applying), "{change}");
        assert_eq!(sees(&mut world, progress(None, "")).effect, None, "told once");
    }
}
