//! What must come after a run, and runs that come after all else.

use super::{example, flags};
use crate::application::Application;
use crate::chaos::stop_application;
use crate::run::Run;
use crate::scene::Scene;
use crate::wait::until;
use backfill_operator::api::Phase;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// For Argo CD to go on.
const WITHIN: Duration = Duration::from_mins(3);

#[tokio::test]
async fn a_deployment_of_a_later_wave_waits_until_the_run_has_succeeded() {
    let scene = Scene::new("gitwaves", 200).await;
    stop_application(&scene).await;
    let (run, deployment) = (example("waves/backfillrun"), example("waves/deployment"));
    // By server-side apply, too, what people write is theirs, and the definition's defaults are no difference.
    let application = Application::new(&scene, &[("run", &run), ("deployment", &deployment)], |application| {
        application["spec"]["syncPolicy"]["syncOptions"] = json!(["ServerSideApply=true"]);
        application["metadata"]["annotations"] = json!({"argocd.argoproj.io/compare-options": "ServerSideDiff=true"});
    });
    let run = Run::appears(&scene, "fill-prompts").await;
    run.asks().await;
    let deployed = || {
        scene.kubectl(&["get", "deployment", "scenarios-reader", "--ignore-not-found", "--output=jsonpath={.metadata.creationTimestamp}"])
    };
    until("the sync waits", WITHIN, async || {
        let operation = application.operation();
        if operation.starts_with("Running: waiting for healthy state of backfill.dev/BackfillRun") { Ok(()) } else { Err(operation) }
    })
    .await;
    assert_eq!(deployed(), "", "nothing of the next wave is there");

    run.approved().await;
    let finished = run.reaches(Phase::Succeeded).await.finished_at.expect("an end");
    application.is("Synced", "Healthy").await;
    let deployed: Timestamp = deployed().parse().expect("the Deployment is there");
    // The API server writes whole seconds.
    assert!(deployed.as_second() >= finished.as_second(), "deployed at {deployed}, finished at {finished}");
    assert_eq!(scene.database.count("SELECT count(*) FROM scenarios WHERE accepted_prompt IS NULL"), 0);
}

#[tokio::test]
async fn a_run_that_is_stalled_fails_the_sync_and_once_the_cause_is_gone_another_sync_goes_on() {
    let scene = Scene::new("gitstall", 200).await;
    stop_application(&scene).await;
    let (mut run, deployment) = (example("waves/backfillrun"), example("waves/deployment"));
    run["spec"]["database"]["secretRef"]["name"] = json!("late-db");
    let application = Application::new(&scene, &[("run", &run), ("deployment", &deployment)], |_| ());
    let run = Run::appears(&scene, "fill-prompts").await;
    let message = run.stalls("StepCannotStart").await;
    assert!(message.contains("late-db"), "{message}");
    until("the sync has failed", WITHIN, async || {
        let operation = application.operation();
        if operation.contains("completed unsuccessfully") { Ok(()) } else { Err(operation) }
    })
    .await;
    let deployed = || scene.kubectl(&["get", "deployment", "scenarios-reader", "--ignore-not-found", "--output=name"]);
    assert_eq!(deployed(), "", "nothing of the next wave is there");
    application.is("OutOfSync", "Degraded").await;
    application.give_up_sync();

    let secret = scene.kubectl(&["get", "secret", "scenarios-db", "--output=json"]);
    let mut secret: Value = serde_json::from_str(&secret).expect("kubectl prints JSON");
    secret["metadata"] = json!({"name": "late-db"});
    scene.apply(&secret);
    run.approved().await;
    application.sync(&[]).await.expect("a sync by hand");
    application.is("Synced", "Healthy").await;
    assert_eq!(run.status().await.phase, Phase::Succeeded);
    assert_ne!(deployed(), "", "the next wave is there");
}

#[tokio::test]
async fn a_run_that_is_a_hook_has_a_name_of_its_own_in_each_sync_and_is_waited_for() {
    let scene = Scene::new("githook", 200).await;
    stop_application(&scene).await;
    let hook = example("hook/backfillrun");
    assert_eq!(hook["metadata"]["generateName"], "fill-prompts-", "{hook:#}");
    let application = Application::new(&scene, &[("run", &hook), ("flags", &flags(false))], |_| ());
    let first = new_run(&scene, &[]).await;
    let run = Run::appears(&scene, &first).await;
    run.asks().await;
    assert!(application.operation().starts_with("Running"), "{}", application.operation());
    run.approved().await;
    run.reaches(Phase::Succeeded).await;
    let ended = async || {
        until("the sync has ended well", WITHIN, async || {
            let operation = application.operation();
            if operation.starts_with("Succeeded") { Ok(()) } else { Err(operation) }
        })
        .await;
    };
    ended().await;
    let before = scene.database.checksum("xmin, t.*", "scenarios");

    application.sync(&[]).await.expect("a sync by hand");
    let second = new_run(&scene, &[&first]).await;
    let status = Run::appears(&scene, &second).await.reaches(Phase::Succeeded).await;
    assert_eq!(status.history.last().map(|h| h.reason.as_str()), Some("NothingToDo"), "{:?}", status.history);
    ended().await;
    assert_eq!(scene.database.checksum("xmin, t.*", "scenarios"), before, "every row is the version that it was");
}

/// Waits for a run whose name is none of these.
async fn new_run(scene: &Scene, known: &[&str]) -> String {
    until("Argo CD makes a run", WITHIN, async || {
        let names = scene.kubectl(&["get", "backfillruns", "--output=jsonpath={.items[*].metadata.name}"]);
        names.split_whitespace().find(|name| !known.contains(name)).map(str::to_owned).ok_or(names.clone())
    })
    .await
}
