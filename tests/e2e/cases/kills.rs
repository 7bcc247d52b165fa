//! Killed, evicted, restarted: whatever dies, each planned row is written once.

use crate::chaos::{Moments, evict, flags, is_under_way, kill, nothing_is_written_twice, running, runs};
use crate::lab::lab;
use crate::manifest::example;
use crate::prediction::{self, Prediction};
use crate::private_operator::PrivateOperator;
use crate::run::Run;
use crate::scene::Scene;
use crate::wait::until;
use backfill_operator::api::status::Step;
use backfill_operator::api::{BackfillRunStatus, Phase};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A run whose attempts are lost again and again waits between them, up to two minutes.
const LONG: Duration = Duration::from_mins(8);
/// Kills of workers, and of operators.
const KILLS: usize = 20;
/// Of the operator's, at most so many in one phase.
const KILLS_A_PHASE: usize = 3;

/// The example up to its last check, with so many small batches that it can be caught at it.
fn slow(name: &str) -> Value {
    let mut run = example();
    run["metadata"]["name"] = json!(name);
    run["spec"]["backfill"]["sql"]["batch"] = json!({"size": 5, "pause": "100ms"});
    for part in ["featureFlag", "monitor"] {
        run["spec"].as_object_mut().expect("a spec").remove(part);
    }
    run
}

#[tokio::test]
async fn the_operator_killed_at_20_moments_of_a_run_does_all_that_it_should_once() {
    let scene = Scene::new("operator", 2000).await;
    let expected = prediction::of_example(&scene.database);
    let mut operator = PrivateOperator::start(&scene);
    let mut manifest = slow("outlived");
    manifest["spec"]["featureFlag"] = example()["spec"]["featureFlag"].clone();
    manifest["spec"]["monitor"] = example()["spec"]["monitor"].clone();
    manifest["spec"]["monitor"]["duration"] = json!("30s");
    let run = Run::apply(&scene, &manifest);
    let killed_in = kill_in_all_phases(&run, &mut operator).await;
    let status = comes_to_its_end(&run).await;

    assert!(killed_in.values().sum::<usize>() == KILLS && killed_in.len() >= 7, "killed in {killed_in:?}");
    is_as_undisturbed(&scene, &run, &status, &expected);
    assert_eq!(flags(&scene), "{\"import_generation\": {\"enabled\": true}, \"dark_mode\": {\"enabled\": true}}\n");
    for step in &status.steps {
        assert_eq!(step.attempt, 1, "no step is begun anew because the operator died: {step:?}");
        let jobs = scene.kubectl(&["get", "jobs", &format!("--selector=backfill.dev/step={}", step.step.slug()), "--output=name"]);
        assert_eq!(jobs.lines().count(), 1, "one Job for each step: {jobs}");
    }
}

/// Kills the operator up to three times in each phase, and in the last one until it was killed often enough.
async fn kill_in_all_phases(run: &Run<'_>, operator: &mut PrivateOperator<'_>) -> BTreeMap<Phase, usize> {
    let (mut moments, mut killed_in) = (Moments::of(20), BTreeMap::<Phase, usize>::new());
    let mut approved = false;
    loop {
        let (status, killed) = (run.status().await, killed_in.values().sum::<usize>());
        if killed == KILLS || status.phase.is_terminal() {
            return killed_in;
        }
        let here = killed_in.get(&status.phase).copied().unwrap_or_default();
        if status.phase == Phase::AwaitingApproval && here + 1 == KILLS_A_PHASE && !approved {
            run.approved_by(&lab().maria).await;
            approved = true;
        }
        if here < KILLS_A_PHASE || status.phase == Phase::Monitoring {
            tokio::time::sleep(moments.within(0..1500)).await;
            // Once it is waited for that the dead one's Lease runs out.
            operator.is_killed_and_replaced(killed > 0);
            *killed_in.entry(status.phase).or_default() += 1;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_worker_killed_at_20_moments_of_apply_writes_each_row_once() {
    // Two halves side by side: between two attempts is a pause.
    tokio::join!(workers_are_killed("worker", 1, KILLS / 2), workers_are_killed("worker2", 2, KILLS / 2));
}

async fn workers_are_killed(case: &str, seed: u64, kills: usize) {
    let scene = Scene::new(case, 4000).await;
    let expected = prediction::of_example(&scene.database);
    let run = Run::apply(&scene, &slow("unbroken"));
    run.approved_by(&lab().maria).await;
    let (mut moments, mut killed) = (Moments::of(seed), 0);
    while killed < kills {
        let (pod, uid) = runs(&scene, "apply").await;
        tokio::time::sleep(moments.within(0..3000)).await;
        if kill(&scene, &pod, &uid, "apply") {
            killed += 1;
        }
        until("the killed one is noticed", LONG, async || {
            let status = run.status().await;
            assert!(!status.phase.is_terminal(), "it ended after {killed} kills: {} {}", status.phase, status.message);
            running(&scene, "apply").filter(|now| now.1 == uid).map_or(Ok(()), |now| Err(now.0))
        })
        .await;
    }
    let status = comes_to_its_end(&run).await;
    is_as_undisturbed(&scene, &run, &status, &expected);
    let attempts = apply(&status).attempt;
    assert!(usize::try_from(attempts).is_ok_and(|attempts| attempts > kills), "{attempts} attempts, {kills} kills");
}

#[tokio::test]
async fn a_worker_whose_pod_is_evicted_is_tried_again() {
    let scene = Scene::new("evicted", 2000).await;
    let expected = prediction::of_example(&scene.database);
    let run = Run::apply(&scene, &slow("moved"));
    run.approved_by(&lab().maria).await;
    is_under_way(&run, &scene, 50).await;
    let (pod, _) = runs(&scene, "apply").await;
    evict(&scene, &pod);
    let status = comes_to_its_end(&run).await;
    is_as_undisturbed(&scene, &run, &status, &expected);
    assert_eq!(apply(&status).attempt, 2, "{:?}", apply(&status));
}

#[tokio::test]
async fn a_database_that_is_restarted_in_the_middle_of_apply_is_waited_for() {
    let scene = Scene::with_own_server("dbrestart", 2000).await;
    let expected = prediction::of_example(&scene.database);
    let run = Run::apply(&scene, &slow("patient"));
    run.approved_by(&lab().maria).await;
    is_under_way(&run, &scene, 50).await;
    let server = &scene.database.server;
    lab().cluster.kubectl(&["--namespace", server, "delete", "pod", "--selector=app=postgres", "--grace-period=1", "--timeout=60s"], "");
    lab().cluster.kubectl(&["--namespace", server, "wait", "--for=condition=Available", "deployment/postgres", "--timeout=120s"], "");
    let status = comes_to_its_end(&run).await;
    is_as_undisturbed(&scene, &run, &status, &expected);
}

async fn comes_to_its_end(run: &Run<'_>) -> BackfillRunStatus {
    let status = until(&format!("{} ends", run.name), LONG, async || {
        let status = run.status().await;
        if status.phase.is_terminal() { Ok(status) } else { Err(format!("{}: {}", status.phase, status.message)) }
    })
    .await;
    assert_eq!(status.phase, Phase::Succeeded, "{}", status.message);
    status
}

/// Nobody who looks at the data can tell that something died.
fn is_as_undisturbed(scene: &Scene, run: &Run<'_>, status: &BackfillRunStatus, expected: &Prediction) {
    let result = status.result.as_ref().expect("a result");
    assert_eq!((result.written, result.drifted), (expected.written, 0), "{result:?}");
    prediction::holds(&scene.database, expected);
    nothing_is_written_twice(&scene.database, &run.name, expected.written);
}

fn apply(status: &BackfillRunStatus) -> &backfill_operator::api::status::StepStatus {
    status.steps.iter().find(|step| step.step == Step::Apply).expect("an apply")
}
