//! A run that is taken out of Git while it writes.

use super::{flags, in_git};
use crate::application::Application;
use crate::cases::deletion::{leaves_nothing_behind, slow};
use crate::chaos::{differences, is_gone, is_under_way, ledger, rows, stop_application};
use crate::run::Run;
use crate::scene::Scene;
use crate::wait::until;
use std::time::Duration;

/// For a run to take everything back and go.
const GOES: Duration = Duration::from_mins(3);

#[tokio::test]
async fn a_run_that_argo_cd_replaces_and_prunes_while_it_applies_takes_its_rows_back_and_goes() {
    let scene = Scene::new("gitprune", 1000).await;
    stop_application(&scene).await;
    let before = rows(&scene.database);
    let manifest = in_git(slow("pruned"));
    let application = Application::new(&scene, &[("run", &manifest), ("flags", &flags(false))], |_| ());
    let run = Run::appears(&scene, "pruned").await;
    run.approved().await;
    is_under_way(&run, &scene, 20).await;

    // Replace writes the whole object as it stands in Git, without the finalizer that holds it (unless a policy refuses that).
    let replaced = application.sync(&["--replace"]).await;
    until("the run is held", GOES, async || {
        let held = run.get().await.metadata.finalizers.unwrap_or_default();
        if held.iter().any(|f| f.starts_with("backfill.dev/")) { Ok(()) } else { Err(format!("{held:?} after {replaced:?}")) }
    })
    .await;
    is_under_way(&run, &scene, 40).await;

    application.commit("the run goes", &[("run", None)]);
    is_gone(&scene, "backfillrun", &run.name, GOES).await;
    assert_eq!(differences(&rows(&scene.database), &before).len(), 0, "every row is what it was");
    assert_eq!(ledger(&scene.database), ["pruned Undone"]);
    assert_eq!(scene.database.count("SELECT count(*) FROM backfill.claim"), 0, "the database is free for another run");
    leaves_nothing_behind(&scene).await;
    application.is("Synced", "Healthy").await;
}
