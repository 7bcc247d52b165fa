//! A finished run, and all that a `GitOps` tool can do to it.

use super::{flags, in_git};
use crate::application::Application;
use crate::chaos::stop_application;
use crate::manifest::small;
use crate::run::Run;
use crate::scene::Scene;
use crate::wait::until;
use backfill_operator::api::{BackfillRun, Phase};
use serde_json::json;
use std::time::Duration;

/// For Argo CD to notice, and for a run to find that there is nothing to do.
const WITHIN: Duration = Duration::from_mins(3);

#[tokio::test]
async fn nothing_that_argo_cd_can_do_to_a_finished_run_changes_a_row() {
    let scene = Scene::new("gitagain", 1000).await;
    stop_application(&scene).await;
    let manifest = in_git(small("fill"));
    let application = Application::new(&scene, &[("run", &manifest), ("flags", &flags(false))], |_| ());
    let run = Run::appears(&scene, "fill").await;
    run.approved().await;
    run.reaches(Phase::Succeeded).await;
    application.is("Synced", "Healthy").await;
    let versions = || scene.database.checksum("xmin, t.*", "scenarios");
    let before = versions();
    let uid = run.get().await.metadata.uid;

    application.refresh("--hard-refresh");
    for options in [&[][..], &["--replace"]] {
        let end = application.sync(options).await;
        // Replace takes the entries of people away, and an admission policy may refuse that.
        let refused = end.as_ref().is_err_and(|complaint| options == ["--replace"] && complaint.contains("spec.approvals"));
        assert!(end.is_ok() || refused, "{options:?}: {end:?}");
        application.is("Synced", "Healthy").await;
        let now = run.get().await;
        assert_eq!((&now.metadata.uid, phase(&now)), (&uid, Phase::Succeeded), "{options:?} leaves the run as it is");
        assert_eq!(versions(), before, "every row is the version that it was after {options:?}");
    }

    // Deleted and made anew: by force, and by healing what a person deleted.
    application.sync(&["--replace", "--force"]).await.expect("a sync by force");
    let uid = is_known(&run, uid).await;
    assert_eq!(versions(), before, "every row is the version that it was after a sync by force");
    scene.kubectl(&["delete", "backfillrun", &run.name, "--timeout=60s"]);
    is_known(&run, uid).await;
    assert_eq!(versions(), before, "every row is the version that it was after it was healed");
    application.is("Synced", "Healthy").await;

    // Another spec under the old name is refused, with what to do instead; under a new name it is a run of its own.
    let mut changed = manifest.clone();
    changed["spec"]["backfill"]["sql"]["source"]["where"] = json!("s.accepted_prompt IS NULL AND s.id % 2 = 0");
    application.commit("the same name", &[("run", Some(&changed))]);
    until("Argo CD says why not", WITHIN, async || {
        let said = format!("{:#}", application.status()["operationState"]);
        let all = ["this run has finished and is never run again", "metadata.name"].iter().all(|words| said.contains(words));
        if all { Ok(()) } else { Err(said) }
    })
    .await;
    assert_eq!(phase(&run.get().await), Phase::Succeeded);
    application.give_up_sync();
    changed["metadata"]["name"] = json!("fill-even");
    application.commit("a name of its own", &[("run", Some(&manifest)), ("even", Some(&changed))]);
    let even = Run::appears(&scene, "fill-even").await;
    let status = even.reaches(Phase::Succeeded).await;
    assert_eq!(status.history.last().map(|h| h.reason.as_str()), Some("NothingToDo"), "{:?}", status.history);
    application.is("Synced", "Healthy").await;
    assert_eq!(versions(), before, "every row is the version that it was");
}

fn phase(run: &BackfillRun) -> Phase {
    run.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

/// Another object of the name is there, and has ended, because the ledger knows it; returns its uid.
async fn is_known(run: &Run<'_>, old: Option<String>) -> Option<String> {
    until("another run of the name is there", WITHIN, async || {
        let uid = run.try_get().await?.metadata.uid;
        if uid == old { Err(format!("{uid:?}")) } else { Ok(()) }
    })
    .await;
    let status = run.reaches(Phase::Succeeded).await;
    assert_eq!(status.history.last().map(|h| h.reason.as_str()), Some("AlreadyApplied"), "{:?}", status.history);
    assert!(!status.mutation_started, "nothing was begun");
    run.get().await.metadata.uid
}
