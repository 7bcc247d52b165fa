//! Runs that do not go well, and the buttons that steer them.

use super::{flags, in_git};
use crate::application::Application;
use crate::argocd::{health, kstatus};
use crate::lab::lab;
use crate::manifest::small;
use crate::run::Run;
use crate::scene::Scene;
use crate::users;
use crate::wait::until;
use backfill_operator::api::Phase;
use serde_json::{Value, json};
use std::time::Duration;

#[tokio::test]
async fn a_run_can_be_suspended_resumed_and_aborted_by_argo_cds_buttons_and_what_went_wrong_is_shown() {
    let scene = Scene::new("githealth", 200).await;
    let before = scene.database.checksum("id, accepted_prompt", "scenarios");
    let manifest = in_git(small("steered"));
    let application = Application::new(&scene, &[("run", &manifest), ("flags", &flags(false))], |_| ());
    let run = Run::appears(&scene, "steered").await;
    run.asks().await;
    application.is("Synced", "Suspended").await;
    an_approval_in_git_is_refused(&application, &run, &manifest).await;
    assert_eq!(application.actions(&run.name), ["abort", "suspend"]);
    application.action(&run.name, "suspend");
    run.until("it says so", |status| status.message.starts_with("suspended").then_some(())).await;
    judged(&run, "Suspended", "InProgress").await;
    assert_eq!(application.actions(&run.name), ["abort", "resume"]);
    application.action(&run.name, "resume");
    run.until("it goes on", |status| status.suspended_since.is_none().then_some(())).await;
    application.action(&run.name, "abort");
    let status = run.reaches(Phase::Aborted).await;
    application.is("Synced", "Degraded").await;
    assert_eq!(application.health_of(&run.name), ("Degraded".into(), format!("Aborted: {}", status.message)));
    judged(&run, "Degraded", "Failed").await;
    assert_eq!(application.actions(&run.name), Vec::<String>::new());
    assert_eq!(scene.database.checksum("id, accepted_prompt", "scenarios"), before, "no row has changed");
    is_told_to_pipelines(&scene, &run);

    // What cannot go on, and what nobody approved in time.
    let mut manifest = small("stalled");
    manifest["spec"]["database"]["secretRef"]["name"] = json!("not-there");
    let stalled = Run::apply(&scene, &manifest);
    stalled.until("it stalls", |status| status.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True").then_some(())).await;
    judged(&stalled, "Degraded", "Failed").await;
    let mut manifest = small("expired");
    manifest["spec"]["approval"] = json!({"timeout": "1s"});
    let expired = Run::apply(&scene, &manifest);
    expired.reaches(Phase::Expired).await;
    judged(&expired, "Degraded", "Failed").await;
}

/// Whoever may write to the repository does not approve by it: Argo CD's account may do everything in the namespace but that.
async fn an_approval_in_git_is_refused(application: &Application<'_>, run: &Run<'_>, manifest: &Value) {
    let digest = run.asks().await.digest;
    let mut approved = manifest.clone();
    approved["spec"]["approvals"] = json!({users::MARIA: {"decision": "Approve", "digest": digest}});
    application.commit("approved by a commit", &[("run", Some(&approved))]);
    until("the sync is refused", Duration::from_mins(3), async || {
        let said = format!("{:#}", application.status()["operationState"]);
        if said.contains("only your own entry of spec.approvals may be changed") { Ok(()) } else { Err(said) }
    })
    .await;
    let status = run.settles().await;
    assert!(status.phase == Phase::AwaitingApproval && status.approvals.is_empty(), "{}: {:?}", status.message, status.approvals);
    application.give_up_sync();
    application.commit("not approved by a commit", &[("run", Some(manifest))]);
    application.is("Synced", "Suspended").await;
}

/// By Argo CD and by Flux's rules, and both say why.
async fn judged(run: &Run<'_>, argo: &str, flux: &str) {
    run.settles().await;
    let object = serde_json::to_value(run.get().await).expect("a run is JSON");
    let (argo_said, flux_said) = (health(&object), kstatus(&object));
    assert_eq!((argo_said.0.as_str(), flux_said.0.as_str()), (argo, flux), "{argo_said:?} {flux_said:?}: {object:#}");
    assert!(argo_said.1.len() > 5 && flux_said.1.len() > 5, "{argo_said:?} {flux_said:?}");
}

/// The commands of the documentation, by their exit codes.
fn is_told_to_pipelines(scene: &Scene, run: &Run<'_>) {
    let run = format!("backfillrun/{}", run.name);
    let finished = scene.kubectl(&["wait", "--for=condition=Finished", "--timeout=60s", &run]);
    assert!(finished.contains("condition met"), "{finished}");
    let wait = ["--namespace", &scene.namespace, "wait", "--for=condition=Succeeded", "--timeout=0s", &run];
    let succeeded = lab().cluster.try_kubectl(&wait, "");
    assert!(succeeded.is_err(), "a run that was aborted has not succeeded: {succeeded:?}");
}
