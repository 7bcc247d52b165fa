//! What must come after a run, and runs that come after all else.

use super::example;
use crate::application::Application;
use crate::chaos::stop_application;
use crate::run::Run;
use crate::scene::Scene;
use crate::wait::until;
use backfill_operator::api::Phase;
use jiff::Timestamp;
use std::time::Duration;

/// For Argo CD to go on.
const WITHIN: Duration = Duration::from_mins(3);

#[tokio::test]
async fn a_deployment_of_a_later_wave_waits_until_the_run_has_succeeded() {
    let scene = Scene::new("gitwaves", 200).await;
    stop_application(&scene).await;
    let (run, deployment) = (example("waves/backfillrun"), example("waves/deployment"));
    let application = Application::new(&scene, &[("run", &run), ("deployment", &deployment)], |_| ());
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
async fn a_run_that_is_a_hook_has_a_name_of_its_own_in_each_sync_and_is_waited_for() {
    let scene = Scene::new("githook", 200).await;
    stop_application(&scene).await;
    let hook = in_hook();
    let application = Application::new(&scene, &[("run", &hook), ("flags", &super::flags(false))], |_| ());
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

/// `kubectl create --dry-run=client` prints no name where one is to be made up, and that is how it stands in the example.
fn in_hook() -> serde_json::Value {
    let hook = example("hook/backfillrun");
    assert_eq!(hook["metadata"]["generateName"], "fill-prompts-", "{hook:#}");
    hook
}

/// Waits for a run whose name is none of these.
async fn new_run(scene: &Scene, known: &[&str]) -> String {
    until("Argo CD makes a run", WITHIN, async || {
        let names = scene.kubectl(&["get", "backfillruns", "--output=jsonpath={.items[*].metadata.name}"]);
        names.split_whitespace().find(|name| !known.contains(name)).map(str::to_owned).ok_or(names.clone())
    })
    .await
}
