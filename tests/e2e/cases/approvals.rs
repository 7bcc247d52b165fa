//! Who says what about which plan, and what comes of it.

use crate::conclusion;
use crate::lab::lab;
use crate::manifest::small;
use crate::run::Run;
use crate::scene::Scene;
use crate::users::DANA;
use backfill_operator::api::{BackfillRunStatus, Phase};
use serde_json::json;

#[tokio::test]
async fn a_denial_ends_the_run_and_nothing_is_changed() {
    let scene = Scene::new("denial", 200).await;
    let before = content(&scene);
    let run = Run::apply(&scene, &small("denied"));
    let awaiting = run.asks().await;
    let denial = awaiting.command.replace("Approve", "Deny");
    let end = lab().maria.shell(&lab().cluster, &denial);
    assert!(end.status.success(), "{denial}: {}", String::from_utf8_lossy(&end.stderr));

    let status = run.reaches(Phase::Denied).await;
    assert!(status.message.contains(lab().maria.name) && status.message.contains("nothing was changed"), "{}", status.message);
    was_never_begun(&scene, &status);
    assert_eq!(content(&scene), before, "no row has changed");
    conclusion::lets_go_and_reports(&run).await;
    // What is decided is decided.
    let end = lab().paul.shell(&lab().cluster, &awaiting.command);
    assert!(end.status.success(), "{}: {}", awaiting.command, String::from_utf8_lossy(&end.stderr));
    let status = run.settles().await;
    assert_eq!(status.phase, Phase::Denied, "{}", status.message);
}

#[tokio::test]
async fn a_plan_that_nobody_approves_in_time_expires_and_nothing_is_changed() {
    let scene = Scene::new("timeout", 200).await;
    let before = content(&scene);
    let mut manifest = small("expired");
    manifest["spec"]["approval"] = json!({"timeout": "5s"});
    let run = Run::apply(&scene, &manifest);
    let status = run.reaches(Phase::Expired).await;
    assert!(status.message.contains("nobody approved in time"), "{}", status.message);
    let waited =
        status.history.windows(2).find(|pair| pair[0].to == Phase::AwaitingApproval).map(|pair| pair[1].at.duration_since(pair[0].at));
    assert!(waited.is_some_and(|waited| waited.as_secs() >= 5), "waited for {waited:?}: {:?}", status.history);
    was_never_begun(&scene, &status);
    assert_eq!(content(&scene), before, "no row has changed");
    conclusion::lets_go_and_reports(&run).await;
}

#[tokio::test]
async fn an_approval_of_an_older_plan_does_not_count_and_neither_does_that_of_who_asked_for_the_run() {
    let scene = Scene::new("stale", 200).await;
    let run = Run::apply(&scene, &small("changed"));
    let old = run.asks().await;
    run.patch(&json!({"spec": {"backfill": {"sql": {"source": {"where": "s.accepted_prompt IS NULL AND s.id % 2 = 0"}}}}})).await;
    let new = run.until("another plan is asked about", |status| status.awaiting.clone().filter(|a| a.digest != old.digest)).await;
    let count = scene.database.count("SELECT count(*) FROM scenarios WHERE accepted_prompt IS NULL AND id % 2 = 0");

    let end = lab().maria.shell(&lab().cluster, &old.command);
    assert!(end.status.success(), "{}: {}", old.command, String::from_utf8_lossy(&end.stderr));
    let status = run.settles().await;
    assert_eq!(status.phase, Phase::AwaitingApproval, "{}", status.message);
    let words = format!("the entry of {} is about another digest and does not count", lab().maria.name);
    assert!(status.message.contains(&words) && status.approvals.is_empty(), "{}: {:?}", status.message, status.approvals);

    run.patch(&json!({"spec": {"approvals": {DANA: {"decision": "Approve", "digest": new.digest}}}})).await;
    let status = run.settles().await;
    assert_eq!(status.phase, Phase::AwaitingApproval, "{}", status.message);
    let words = format!("{DANA} asked for the run and cannot approve it");
    assert!(status.message.contains(&words) && status.approvals.is_empty(), "{}: {:?}", status.message, status.approvals);
    was_never_begun(&scene, &status);

    run.approved_by(&lab().maria).await;
    let status = run.reaches(Phase::Succeeded).await;
    assert_eq!(status.result.as_ref().map(|r| r.written), Some(count), "what was approved last is what is written");
    let odd = scene.database.count("SELECT count(*) FROM scenarios WHERE accepted_prompt LIKE 'filled: %' AND id % 2 = 1");
    assert_eq!(odd, 0, "what was planned first is not");
}

fn content(scene: &Scene) -> String {
    scene.database.checksum("id, accepted_prompt, accepted_prompt_metadata", "scenarios")
}

fn was_never_begun(scene: &Scene, status: &BackfillRunStatus) {
    assert!(!status.mutation_started, "{status:?}");
    assert_eq!(scene.database.count("SELECT count(*) FROM pg_namespace WHERE nspname = 'backfill'"), 0, "no ledger is there");
}
