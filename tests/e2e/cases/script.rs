//! The team's own script, unchanged: the operator adds the backup, the approval and the checks.

use crate::conclusion;
use crate::lab::lab;
use crate::manifest::{captured_script, script};
use crate::prediction;
use crate::run::Run;
use crate::scene::Scene;
use backfill_operator::api::Phase;
use backfill_operator::api::spec::RollbackMethod;
use serde_json::json;

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

#[tokio::test]
async fn a_captured_script_is_undone_row_by_row_while_the_application_goes_on_writing() {
    let scene = Scene::new("captured-script", 2000).await;
    let expected = prediction::of_script(&scene.database);
    let prompts =
        "SELECT md5(string_agg(ROW(id, accepted_prompt, accepted_prompt_metadata)::text, '|' ORDER BY id)) FROM scenarios WHERE id <= 2000";
    let before = scene.database.sql(prompts);
    let mut failing = captured_script();
    failing["spec"]["verify"] = json!([{"name": "impossible", "sql": "SELECT count(*) FROM scenarios", "expect": {"equals": -1}}]);
    let run = Run::apply(&scene, &failing);
    run.asks().await;
    let status = run.status().await;
    assert_eq!(status.way_back.first().map(String::as_str), Some("Undo"), "{:?}", status.way_back);
    assert!(status.awaiting.is_some_and(|awaiting| awaiting.question.contains("are captured")), "who approves reads it");
    run.approved_by(&lab().maria).await;
    let status = run.reaches(Phase::RolledBack).await;

    let result = status.result.expect("a result");
    let updated: Vec<i64> = result.captured.iter().map(|table| table.updated).collect();
    assert_eq!(updated, [expected.written, expected.written], "a scenario and a generation each: {:?}", result.captured);
    let rollback = status.rollback.expect("an account of the way back");
    assert_eq!(rollback.method, Some(RollbackMethod::Undo), "{rollback:?}");
    assert_eq!(rollback.undone + rollback.skipped_because_changed_since, 2 * expected.written, "{rollback:?}");
    assert_eq!(rollback.skipped_because_changed_since, 0, "the application writes other columns, and the time of the moment: {rollback:?}");
    assert_eq!(scene.database.sql(prompts), before, "every prompt is what it was");
    assert_eq!(prediction::audited(&scene.database), 0, "no generation says that it was imported");
    assert_eq!(scene.database.count("SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%backfill_capture%'"), 0);
    conclusion::lets_go_and_reports(&run).await;
}
