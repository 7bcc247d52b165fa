//! Runs that people stop: deleted, aborted, suspended; and two that want the same database.

use crate::chaos::{differences, flags, is_gone, is_under_way, ledger, nothing_is_written_twice, rows, running, stop_application};
use crate::conclusion;
use crate::lab::lab;
use crate::manifest::{example, small};
use crate::prediction;
use crate::run::Run;
use crate::scene::Scene;
use crate::wait::until;
use backfill_operator::api::Phase;
use serde_json::{Value, json};
use std::time::Duration;

/// For a run to take everything back and go.
const GOES: Duration = Duration::from_mins(3);

/// The small run, so slow that it can be caught at it.
pub(super) fn slow(name: &str) -> Value {
    let mut run = small(name);
    run["spec"]["backfill"]["sql"]["batch"] = json!({"size": 10, "pause": "250ms"});
    run
}

#[tokio::test]
async fn a_run_that_is_deleted_while_it_waits_for_approval_goes_at_once_and_has_changed_nothing() {
    let scene = Scene::new("del1", 1000).await;
    stop_application(&scene).await;
    let (before, flags_before) = (rows(&scene.database), flags(&scene));
    let run = Run::apply(&scene, &example());
    run.asks().await;
    scene.kubectl(&["delete", "backfillrun", &run.name, "--timeout=10s"]);
    assert_eq!(differences(&rows(&scene.database), &before).len(), 0);
    assert_eq!(scene.database.count("SELECT count(*) FROM pg_namespace WHERE nspname = 'backfill'"), 0, "not even a ledger is there");
    assert_eq!(flags(&scene), flags_before);
    leaves_nothing_behind(&scene).await;
}

#[tokio::test]
async fn a_run_that_is_deleted_while_it_applies_takes_its_rows_back_and_goes() {
    deleted_while_applying("del2", "background").await;
}

#[tokio::test]
async fn a_run_that_is_deleted_in_the_foreground_while_it_applies_takes_its_rows_back_and_goes() {
    deleted_while_applying("fore", "foreground").await;
}

async fn deleted_while_applying(case: &str, cascade: &str) {
    let scene = Scene::new(case, 1000).await;
    stop_application(&scene).await;
    let before = rows(&scene.database);
    let run = Run::apply(&scene, &slow("deleted"));
    run.approved_by(&lab().maria).await;
    is_under_way(&run, &scene, 20).await;
    scene.kubectl(&["delete", "backfillrun", &run.name, "--wait=false", &format!("--cascade={cascade}")]);
    is_gone(&scene, "backfillrun", &run.name, GOES).await;
    assert_eq!(differences(&rows(&scene.database), &before).len(), 0, "every row is what it was");
    assert_eq!(ledger(&scene.database), ["deleted Undone"]);
    assert_eq!(scene.database.count("SELECT count(*) FROM backfill.claim"), 0, "the database is free for another run");
    leaves_nothing_behind(&scene).await;
}

#[tokio::test]
async fn a_run_that_is_deleted_while_it_watches_puts_the_flag_back_then_the_rows_and_goes() {
    let scene = Scene::new("del3", 1000).await;
    let flags_before = flags(&scene);
    let prompts = || {
        [
            scene.database.checksum("id, accepted_prompt, accepted_prompt_metadata", "scenarios"),
            scene.database.checksum("t.*", "scenario_generations"),
        ]
    };
    let before = prompts();
    let mut manifest = example();
    manifest["spec"]["monitor"]["duration"] = json!("10m");
    let run = Run::apply(&scene, &manifest);
    run.approved_by(&lab().maria).await;
    run.reaches(Phase::Monitoring).await;
    assert_ne!(flags(&scene), flags_before, "the flag is on");
    scene.kubectl(&["delete", "backfillrun", &run.name, "--wait=false"]);
    is_gone(&scene, "backfillrun", &run.name, GOES).await;
    assert_eq!(flags(&scene), flags_before, "the document is what it was, to the byte");
    assert_eq!(prompts(), before, "the rows are what they were");
    leaves_nothing_behind(&scene).await;
}

#[tokio::test]
async fn a_namespace_that_is_deleted_while_its_run_applies_goes_away_and_the_database_keeps_what_undo_needs() {
    let scene = Scene::new("nsgone", 1000).await;
    let run = Run::apply(&scene, &slow("orphan"));
    run.approved_by(&lab().maria).await;
    is_under_way(&run, &scene, 20).await;
    lab().cluster.kubectl(&["delete", "namespace", &scene.namespace, "--wait=false"], "");
    is_gone(&scene, "namespace", &scene.namespace, GOES).await;
    let written = scene.database.count("SELECT count(*) FROM scenarios WHERE accepted_prompt LIKE 'filled: %'");
    assert!(written >= 20, "{written} rows are written");
    nothing_is_written_twice(&scene.database, "orphan", written);
    assert_eq!(ledger(&scene.database), ["orphan Applying"]);
}

#[tokio::test]
async fn a_second_run_on_a_database_waits_says_for_whom_and_goes_on_after_the_first() {
    let scene = Scene::new("tworuns", 1000).await;
    // A row that it renames while the second waits is drift, and people would be asked again.
    stop_application(&scene).await;
    // Long enough for the second one's backup, plan and approval, on a busy machine, too.
    let mut manifest = slow("first");
    manifest["spec"]["backfill"]["sql"]["batch"]["pause"] = json!("2s");
    let first = Run::apply(&scene, &manifest);
    first.approved_by(&lab().maria).await;
    is_under_way(&first, &scene, 10).await;
    // It writes other rows than the first.
    let mut manifest = small("second");
    manifest["spec"]["backfill"]["sql"]["source"]["where"] = json!("s.accepted_prompt LIKE 'Accepted by hand%'");
    manifest["spec"]["backfill"]["sql"]["writes"] = json!([{"set": {"accepted_prompt": "'second: ' || s.id::text"}}]);
    let second = Run::apply(&scene, &manifest);
    second.approved_by(&lab().maria).await;
    let waits = second.until("the second waits", |status| status.waiting_for.clone().map(|holder| (holder, status.message.clone()))).await;
    assert_eq!((waits.0.namespace.as_str(), waits.0.name.as_str()), (scene.namespace.as_str(), "first"));
    assert!(waits.1.contains(&format!("{}/first", scene.namespace)), "{}", waits.1);
    assert_eq!(
        scene.database.count("SELECT count(*) FROM scenarios WHERE accepted_prompt LIKE 'second: %'"),
        0,
        "it writes nothing meanwhile"
    );
    assert_eq!(first.status().await.phase, Phase::Applying, "the first is still at it");

    // The rest of the first goes fast.
    first.patch(&json!({"spec": {"backfill": {"sql": {"batch": {"size": 1000, "pause": "0s"}}}}}));
    let ended = first.reaches(Phase::Succeeded).await.finished_at.expect("an end");
    let status = second.reaches(Phase::Succeeded).await;
    let wrote = status.steps.iter().find(|step| step.step.slug() == "apply").expect("an apply").started_at;
    assert!(wrote >= ended, "the second began at {wrote}, the first ended at {ended}");
    assert_eq!(
        status.result.expect("a result").written,
        scene.database.count("SELECT count(*) FROM scenarios WHERE accepted_prompt LIKE 'second: %'")
    );
    assert_eq!(ledger(&scene.database), ["first Applied", "second Applied"]);
}

#[tokio::test]
async fn a_suspended_run_begins_no_batch_a_resumed_one_goes_on_and_an_aborted_one_goes_back() {
    let scene = Scene::new("abort", 1000).await;
    stop_application(&scene).await;
    let before = rows(&scene.database);
    let written = || scene.database.count("SELECT coalesce(sum(written), 0) FROM backfill.batches");
    let run = Run::apply(&scene, &slow("steered"));
    run.approved_by(&lab().maria).await;
    is_under_way(&run, &scene, 20).await;

    run.patch(&json!({"spec": {"suspend": true}}));
    until("no worker runs", GOES, async || running(&scene, "apply").map_or(Ok(()), |pod| Err(pod.0))).await;
    let stopped_at = written();
    run.until("it says so", |status| status.message.starts_with("suspended").then_some(())).await;
    // Ten batches would fit in: nobody can wait for what must not happen but by waiting.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!((written(), run.status().await.phase), (stopped_at, Phase::Applying), "no batch is begun while it is suspended");

    run.patch(&json!({"spec": {"suspend": false}}));
    is_under_way(&run, &scene, stopped_at + 20).await;
    run.patch(&json!({"spec": {"abort": true}}));
    let status = run.reaches(Phase::RolledBack).await;
    assert_eq!(differences(&rows(&scene.database), &before).len(), 0, "every row is what it was");
    let rollback = status.rollback.expect("an account of the way back");
    assert_eq!((rollback.undone, rollback.skipped_because_changed_since), (written(), 0), "{rollback:?}");
    conclusion::lets_go_and_reports(&run).await;
    assert!(prediction::audited(&scene.database) == 0);
}

/// Jobs, pods and what belongs to them go with the run.
pub(super) async fn leaves_nothing_behind(scene: &Scene) {
    until("the Jobs are gone", GOES, async || {
        let left =
            scene.kubectl(&["get", "jobs,configmaps,serviceaccounts,rolebindings", "--selector=backfill.dev/run-uid", "--output=name"]);
        if left.trim().is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}
