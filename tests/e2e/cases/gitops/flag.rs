//! A flag that Argo CD holds, too.

use super::{flags, in_git};
use crate::application::Application;
use crate::argocd::kstatus;
use crate::chaos;
use crate::manifest::example;
use crate::prediction;
use crate::run::Run;
use crate::scene::Scene;
use crate::wait::until;
use backfill_operator::api::Phase;
use backfill_operator::api::conditions::{self, ConditionType};
use serde_json::json;
use std::time::Duration;

/// For Argo CD to put a flag back.
const PUT_BACK: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_flag_that_argo_cd_switches_off_again_is_seen_and_once_it_is_on_in_git_the_run_goes_on() {
    let scene = Scene::new("gitflag", 1000).await;
    let expected = prediction::of_example(&scene.database);
    let mut manifest = in_git(example());
    manifest["spec"]["monitor"]["duration"] = json!("20s");
    // Whoever leaves out what the example says of differences to ignore.
    let application = Application::new(&scene, &[("run", &manifest), ("flags", &flags(false))], |application| {
        let spec = application["spec"].as_object_mut().expect("a spec");
        spec.remove("ignoreDifferences");
        spec["syncPolicy"]["syncOptions"] = json!([]);
    });
    let run = Run::appears(&scene, "import-generation").await;
    run.approved().await;
    run.reaches(Phase::Monitoring).await;
    let message = run.stalls("FlagReverted").await;
    assert!(message.contains("import_generation") && message.contains("is false now"), "{message}");
    until("Argo CD has put it back", PUT_BACK, async || {
        let now = chaos::flags(&scene);
        if now.contains(r#""import_generation": {"enabled": false}"#) { Ok(()) } else { Err(now) }
    })
    .await;
    let version = || scene.kubectl(&["get", "configmap", "app-flags", "--output=jsonpath={.metadata.resourceVersion}"]);
    let put_back = version();
    application.is("Synced", "Degraded").await;
    assert_eq!(application.health_of(&run.name), ("Degraded".into(), message.clone()));
    let object = serde_json::to_value(run.get().await).expect("a run is JSON");
    assert_eq!(kstatus(&object), ("Failed".into(), message));
    // The watch would be over by now: nobody can wait for what must not happen but by waiting.
    tokio::time::sleep(Duration::from_secs(25)).await;
    assert_eq!(version(), put_back, "the run does not fight over the flag");
    let status = run.status().await;
    assert_eq!(status.phase, Phase::Monitoring, "{}", status.message);
    prediction::holds(&scene.database, &expected);

    application.commit("the flag is on", &[("flags", Some(&flags(true)))]);
    let status = run.reaches(Phase::Succeeded).await;
    assert!(conditions::is_true(&status.conditions, ConditionType::FlagEnabled), "{:?}", status.conditions);
    application.is("Synced", "Healthy").await;
    assert!(chaos::flags(&scene).contains(r#""import_generation": {"enabled": true}"#));
    prediction::holds(&scene.database, &expected);
}
