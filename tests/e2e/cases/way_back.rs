//! The way back: undo, restore, and the flag, each proved by checksums.

use crate::chaos::{differences, flags, ledger, rows, stop_application, tables};
use crate::conclusion;
use crate::lab::lab;
use crate::manifest::example;
use crate::prediction;
use crate::run::Run;
use crate::scene::Scene;
use backfill_operator::api::Phase;
use backfill_operator::api::spec::RollbackMethod;
use backfill_operator::api::status::Subject;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The example with a check that nothing can pass: the run fails when all its rows are written.
fn failing(name: &str, rollback: &Value) -> Value {
    let mut run = named(name);
    run["spec"]["rollback"] = rollback.clone();
    run["spec"]["verify"] = json!([{"name": "impossible", "sql": "SELECT count(*) FROM scenarios", "expect": {"equals": -1}}]);
    run
}

fn named(name: &str) -> Value {
    let mut run = example();
    run["metadata"]["name"] = json!(name);
    run
}

#[tokio::test]
async fn a_failed_verification_is_undone_to_the_checksum_and_later_writes_of_the_application_stay() {
    let scene = Scene::new("undo", 1000).await;
    let database = &scene.database;
    stop_application(&scene).await;
    let (before, flags_before) = (rows(database), flags(&scene));

    let run = Run::apply(&scene, &failing("undone", &json!({"trigger": "Manual"})));
    run.approved_by(&lab().maria).await;
    let said = run.stalls("RollbackIsManual").await;
    assert!(said.contains("impossible"), "it says which check failed: {said}");
    assert_ne!(rows(database), before, "the rows are written");

    // The application writes: two prompts that the run has written, and titles beside others.
    let written: Vec<i64> = ids(&scene, "SELECT id FROM scenarios WHERE accepted_generation_id IS NOT NULL ORDER BY id");
    let (changed, renamed) = (&written[3..5], &written[7..10]);
    let mut keys = ids(&scene, &format!("SELECT accepted_generation_id FROM scenarios WHERE id IN ({})", list(changed)));
    database
        .sql(&format!("UPDATE scenarios SET accepted_prompt = 'by the application', updated_at = now() WHERE id IN ({})", list(changed)));
    database.sql(&format!("UPDATE scenarios SET title = 'renamed', updated_at = now() WHERE id IN ({})", list(renamed)));
    run.patch(&json!({"spec": {"abort": true}}));
    let status = run.reaches(Phase::RolledBack).await;

    let touched = changed.iter().chain(renamed).map(|id| format!("scenario {id}"));
    let touched: BTreeSet<String> = touched.chain(keys.iter().map(|id| format!("generation {id}"))).collect();
    assert_eq!(differences(&rows(database), &before), touched, "every other row is what it was");
    let of_renamed = format!("FROM scenarios WHERE id IN ({}) AND title = 'renamed'", list(renamed));
    assert_eq!(
        database.count(&format!("SELECT count(*) {of_renamed} AND accepted_prompt IS NULL AND updated_at > now() - interval '1 hour'")),
        3
    );
    let of_changed = format!("FROM scenarios WHERE id IN ({}) AND accepted_prompt = 'by the application'", list(changed));
    assert_eq!(database.count(&format!("SELECT count(*) {of_changed}")), 2);
    let rollback = status.rollback.expect("an account of the way back");
    assert_eq!((rollback.method, rollback.skipped_because_changed_since), (Some(RollbackMethod::Undo), 2), "{rollback:?}");
    let mut skipped: Vec<i64> = rollback
        .skipped_keys
        .iter()
        .map(|key| key.split(' ').next().and_then(|key| key.parse().ok()).expect("a key of a generation, and what changed"))
        .collect();
    skipped.sort_unstable();
    keys.sort_unstable();
    assert_eq!(skipped, keys, "the rows that stay are named");
    assert_eq!(rollback.undone, status.result.expect("a result").written - 2);
    assert_eq!(flags(&scene), flags_before, "no byte of the flags has changed");
    conclusion::lets_go_and_reports(&run).await;
    assert_eq!(ledger(database), ["undone Undone"]);

    let expected = prediction::of_example(database).written;
    let mut again = named("afterwards");
    again["spec"]["verify"] = json!([]);
    let status = Run::apply(&scene, &again);
    let end = status.approved_by(&lab().maria).await;
    assert!(end.question.contains(&expected.to_string()), "{}", end.question);
    // The application is stopped: there is no log to watch.
    let result = status.reaches(Phase::Succeeded).await.result.expect("a result");
    assert_eq!(result.written, expected, "a run after it does what one before it would have done");
}

#[tokio::test]
async fn a_failed_verification_is_restored_to_the_checksum_for_a_first_and_a_second_run() {
    let scene = Scene::new("restore", 1000).await;
    stop_application(&scene).await;
    let (before, flags_before) = (tables(&scene.database), flags(&scene));
    for (n, name) in ["first", "second"].iter().enumerate() {
        let run = Run::apply(&scene, &failing(name, &json!({"method": "Restore"})));
        let asked = run.approved_by(&lab().maria).await;
        let status = run.reaches(Phase::RolledBack).await;
        assert_eq!(tables(&scene.database), before, "the {name} run: every table is what it was, with its columns");
        assert!(
            status.approvals.iter().all(|approval| approval.digest == asked.digest),
            "nothing to lose, so nobody is asked: {:?}",
            status.approvals
        );
        let rollback = status.rollback.expect("an account of the way back");
        assert_eq!((rollback.method, rollback.losses.len()), (Some(RollbackMethod::Restore), 0), "{rollback:?}");
        assert_eq!(ledger(&scene.database).len(), n + 1, "the ledger outlives a restore");
        assert_eq!(flags(&scene), flags_before, "no byte of the flags has changed");
        conclusion::lets_go_and_reports(&run).await;
    }
    assert_eq!(ledger(&scene.database), ["first Restored", "second Restored"]);
}

#[tokio::test]
async fn a_restore_that_would_lose_a_later_write_is_asked_for_and_the_run_can_be_applied_again_afterwards() {
    let scene = Scene::new("losses", 1000).await;
    let database = &scene.database;
    stop_application(&scene).await;
    let before = tables(database);
    let manifest = failing("lossy", &json!({"method": "Restore", "trigger": "Manual"}));
    let run = Run::apply(&scene, &manifest);
    run.approved_by(&lab().maria).await;
    run.stalls("RollbackIsManual").await;
    database.sql("UPDATE scenarios SET title = 'a later write' WHERE id = 1");
    run.patch(&json!({"spec": {"abort": true}}));
    let asked =
        run.until("a restore is asked for", |status| status.awaiting.clone().filter(|asked| asked.subject == Subject::Restore)).await;
    assert!(asked.question.contains("public.scenarios") && !asked.question.contains("scenario_generations"), "{}", asked.question);
    assert_eq!(database.sql("SELECT title FROM scenarios WHERE id = 1"), "a later write", "nothing is lost before somebody agrees");
    run.approved_by(&lab().paul).await;
    run.reaches(Phase::RolledBack).await;
    assert_eq!(tables(database), before, "every table is what it was when it was backed up");
    assert_eq!(ledger(database), ["lossy Restored"]);
    conclusion::lets_go_and_reports(&run).await;

    scene.kubectl(&["delete", "backfillrun", &run.name, "--timeout=60s"]);
    let again = Run::apply(&scene, &manifest);
    let asked = again.asks().await;
    let status = again.status().await;
    assert_eq!(asked.subject, Subject::Plan, "what was restored is not taken for applied");
    assert!(status.plan.is_some_and(|plan| plan.will_write > 0), "it plans all the rows again");
}

#[tokio::test]
async fn a_run_that_has_succeeded_is_taken_back_once_people_approve_that_and_its_undo_is_released_in_the_end() {
    let scene = Scene::new("asked-back", 1000).await;
    stop_application(&scene).await;
    let database = &scene.database;
    let (before, flags_before) = (rows(database), flags(&scene));
    let run = Run::apply(&scene, &named("asked-back"));
    let plan = run.approved_by(&lab().maria).await;
    run.reaches(Phase::Succeeded).await;
    assert_ne!(rows(database), before, "the rows are written");
    assert_ne!(flags(&scene), flags_before, "the flag is on");
    conclusion::lets_go_and_reports(&run).await;

    let ask = json!({"metadata": {"annotations": {"backfill.dev/edited-by": lab().dana.name}}, "spec": {"rollback": {"requested": true}}});
    run.patch(&ask);
    let asked =
        run.until("a rollback is asked for", |status| status.awaiting.clone().filter(|asked| asked.subject == Subject::Rollback)).await;
    assert_ne!(asked.digest, plan.digest);
    assert_ne!(rows(database), before, "nothing goes back before somebody agrees");
    run.approved_by(&lab().maria).await;
    let status = run.reaches(Phase::RolledBack).await;
    assert_eq!(rows(database), before, "every row is what it was");
    assert_eq!(flags(&scene), flags_before, "and the flag, to the byte");
    assert_eq!(status.rollback.expect("an account").undone, status.result.expect("a result").written);
    assert_eq!(ledger(database), ["asked-back Undone"]);
    conclusion::lets_go_and_reports(&run).await;

    let mut short = named("closed");
    short["spec"]["rollback"] = json!({"keepUndo": "5s"});
    let run = Run::apply(&scene, &short);
    run.succeeds().await;
    run.until("its undo is released", |status| status.closed_at).await;
    assert_eq!(database.count("SELECT count(*) FROM backfill.undo u JOIN backfill.runs r ON r.uid = u.run_uid WHERE r.name = 'closed'"), 0);
    assert_eq!(ledger(database), ["asked-back Undone", "closed Closed"]);
    let refused = run.patched_by(&lab().dana, &ask).expect_err("nothing is kept to take it back with");
    assert!(refused.contains("no undo of this run is kept any more (status.closedAt)"), "{refused}");
}

#[tokio::test]
async fn a_log_line_that_matches_puts_the_flag_back_and_leaves_the_data() {
    let scene = Scene::new("logs", 1000).await;
    let flags_before = flags(&scene);
    let expected = prediction::of_example(&scene.database);
    let run = import_breaks(&scene, "watched", "DisableFlag").await;
    let status = run.reaches(Phase::Failed).await;
    assert_eq!(status.history.last().map(|step| step.reason.as_str()), Some("LogPatternExceeded"), "{:?}", status.history);
    assert_eq!(flags(&scene), flags_before, "the document is what it was, to the byte");
    prediction::holds(&scene.database, &expected);
    let monitor = status.monitor.expect("an account of the watch");
    assert!(monitor.patterns.iter().any(|pattern| pattern.name == "importer" && pattern.before == 0 && pattern.after > 0), "{monitor:?}");
    conclusion::lets_go_and_reports(&run).await;
}

#[tokio::test]
async fn a_log_line_that_matches_takes_the_data_back_where_the_run_says_so() {
    let scene = Scene::new("logs2", 1000).await;
    let flags_before = flags(&scene);
    // The application goes on renaming: what it does not write is compared.
    let rows = || {
        [
            scene.database.checksum("id, accepted_prompt, accepted_prompt_metadata", "scenarios"),
            scene.database.checksum("t.*", "scenario_generations"),
        ]
    };
    let before = rows();
    let run = import_breaks(&scene, "watched", "Rollback").await;
    let status = run.reaches(Phase::RolledBack).await;
    assert_eq!(rows(), before, "the rows are what they were");
    assert_eq!(flags(&scene), flags_before, "the document is what it was, to the byte");
    let flag = status.flag.expect("an account of the flag");
    let began = status.history.iter().find(|step| step.to == Phase::RollingBack).expect("a way back").at;
    let undo = status.steps.iter().find(|step| step.step.slug() == "undo").expect("an undo").started_at;
    assert!(began <= undo && flag.restored_at.is_some_and(|at| at <= undo), "the flag goes first: {flag:?}, undo at {undo}");
    conclusion::lets_go_and_reports(&run).await;
}

/// Runs the example until the flag is on, on an application that breaks as soon as it sees that.
async fn import_breaks<'s>(scene: &'s Scene, name: &str, on_failure: &str) -> Run<'s> {
    scene.database.sql("UPDATE app_settings SET value = 'true' WHERE key = 'break_import'");
    let mut manifest = named(name);
    manifest["spec"]["monitor"]["duration"] = json!("150s");
    manifest["spec"]["monitor"]["onFailure"] = json!(on_failure);
    let run = Run::apply(scene, &manifest);
    run.approved_by(&lab().maria).await;
    run.reaches(Phase::Monitoring).await;
    // The kubelet brings a changed ConfigMap to a pod when it looks at the pod, which a change of the pod makes it do now.
    scene.kubectl(&["annotate", "pods", "--selector=app=scenarios-app", "e2e/look=now"]);
    run
}

fn ids(scene: &Scene, sql: &str) -> Vec<i64> {
    scene.database.sql(sql).lines().map(|line| line.parse().expect("an id")).collect()
}

fn list(ids: &[i64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
