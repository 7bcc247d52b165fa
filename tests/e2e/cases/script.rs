//! The team's own script, unchanged: the operator adds the backup, the approval and the checks.

use crate::conclusion;
use crate::manifest::script;
use crate::prediction;
use crate::run::Run;
use crate::scene::Scene;
use backfill_operator::api::Phase;

#[tokio::test]
async fn a_script_is_tried_dry_approved_and_run_with_the_path_of_the_backup() {
    let scene = Scene::new("script", 2000).await;
    let expected = prediction::of_script(&scene.database);
    let run = Run::apply(&scene, &script());
    run.asks().await;
    let plan = run.status().await.plan.expect("a plan");
    let words = format!("would fill accepted_prompt and accepted_prompt_metadata of {} scenarios", expected.written);
    assert!(plan.output.contains(&words), "the approver sees what the dry run says: {}", plan.output);
    assert!(!plan.remarks.is_empty(), "and what script mode does not give");
    assert_eq!(prediction::audited(&scene.database), 0, "the dry run has changed nothing");

    let status = run.succeeds().await;
    let backup = status.backup.expect("a backup");
    let output = status.result.expect("a result").output;
    let words = format!("done: {} scenarios filled, backup ", expected.written);
    assert!(output.contains(&words) && output.contains(&backup.file), "{output}; the backup is {backup:?}");
    prediction::holds(&scene.database, &expected);
    let phases: Vec<&str> = status.history.iter().map(|h| h.to.as_str()).collect();
    assert_eq!(phases, ["Preflight", "BackingUp", "Planning", "AwaitingApproval", "Applying", "Verifying", "Succeeded"]);
    assert_eq!(status.phase, Phase::Succeeded);
    conclusion::lets_go_and_reports(&run).await;
}
