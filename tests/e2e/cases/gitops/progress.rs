//! The example in Git, from the first commit to Succeeded.

use super::{flags, in_git};
use crate::application::Application;
use crate::argocd::{health, kstatus};
use crate::chronicle::Chronicle;
use crate::manifest::example;
use crate::prediction;
use crate::run::Run;
use crate::scene::Scene;
use crate::{chaos, users};
use backfill_operator::api::Phase;
use serde_json::Value;
use std::collections::BTreeSet;

#[tokio::test]
async fn an_application_shows_how_its_run_is_and_stays_synced_while_it_goes_from_the_commit_to_succeeded() {
    let scene = Scene::new("gitrun", 1000).await;
    let expected = prediction::of_example(&scene.database);
    let manifest = in_git(example());
    let chronicle = Chronicle::begin(&scene, "import-generation");
    let application = Application::new(&scene, &[("run", &manifest), ("flags", &flags(false))], |_| ());
    let run = Run::appears(&scene, "import-generation").await;
    run.asks().await;
    application.is("Synced", "Suspended").await;
    let (health, message) = application.health_of(&run.name);
    assert!(health == "Suspended" && message.starts_with("waits for approval: write "), "{health}: {message}");
    let synced_at = application.status()["operationState"]["startedAt"].clone();

    run.approved().await;
    run.reaches(Phase::Succeeded).await;
    application.is("Synced", "Healthy").await;
    prediction::holds(&scene.database, &expected);
    let (runs, syncs) = chronicle.end().await;
    is_told_in_every_phase(&runs);
    stays_synced(&syncs);
    let now = application.status();
    assert_eq!(now["operationState"]["startedAt"], synced_at, "nothing was synced again: {:#}", now["operationState"]);
    let approvals = run.get().await.spec.approvals;
    assert!(approvals.contains_key(users::MARIA), "the approvals are as people wrote them: {approvals:?}");

    // The flag differs from Git, and is left alone; a hard look and a sync by hand change nothing.
    let on = chaos::flags(&scene);
    assert!(on.contains(r#""import_generation": {"enabled": true}"#), "{on}");
    application.refresh("--hard-refresh");
    application.sync(&[]).await.expect("a sync by hand");
    application.is("Synced", "Healthy").await;
    assert_eq!(chaos::flags(&scene), on, "the flag stays on");
    assert_eq!(run.status().await.phase, Phase::Succeeded);
    prediction::holds(&scene.database, &expected);

    let waited = scene.kubectl(&["wait", "--for=condition=Succeeded", "--timeout=0s", &format!("backfillrun/{}", run.name)]);
    assert!(waited.contains("condition met"), "{waited}");
}

/// Each state that was seen, judged by both tools.
fn is_told_in_every_phase(runs: &[Value]) {
    let mut phases = BTreeSet::new();
    for run in runs {
        let (status, spec) = (&run["status"], &run["metadata"]["generation"]);
        let phase = status["phase"].as_str().unwrap_or("Pending");
        let (argo, flux) = match phase {
            "Succeeded" => ("Healthy", "Current"),
            _ if status["observedGeneration"] != *spec => ("Progressing", "InProgress"),
            "AwaitingApproval" if status["awaiting"].is_object() => ("Suspended", "InProgress"),
            _ => ("Progressing", "InProgress"),
        };
        assert_eq!(health(run).0, argo, "Argo CD in {phase}: {run:#}");
        // A resource of a second ago, that its controller has not seen, is to kstatus as good as it can be.
        if status.is_object() {
            assert_eq!(kstatus(run).0, flux, "kstatus in {phase}: {run:#}");
        }
        phases.insert(phase.to_owned());
    }
    // Pending, and the moment in which the flag is switched on, may fall between two looks.
    for phase in ["Preflight", "BackingUp", "Planning", "AwaitingApproval", "Migrating", "Applying", "Verifying", "Monitoring", "Succeeded"]
    {
        assert!(phases.contains(phase), "{phase} was seen: {phases:?}");
    }
}

/// From the moment when it is first in sync.
fn stays_synced(states: &[(String, String)]) {
    let after: Vec<_> = states.iter().skip_while(|(sync, _)| sync != "Synced").collect();
    assert!(after.iter().all(|(sync, _)| sync == "Synced"), "{states:?}");
    let healths: Vec<_> = after.iter().map(|(_, health)| health.as_str()).collect();
    let suspended = healths.iter().position(|health| *health == "Suspended").expect("it is seen waiting for people");
    assert!(healths[suspended..].contains(&"Progressing") && healths.last() == Some(&"Healthy"), "{states:?}");
    assert!(!healths.contains(&"Degraded"), "{states:?}");
}
