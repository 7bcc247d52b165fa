//! The steps of a captured script, as Jobs run them: the script is a real client beside them.

use crate::support::pod::{End, Pod, RUN_UID, TABLES, spec};
use crate::support::postgres::{Database, programs, server};
use backfill_operator::api::BackfillRunSpec;
use backfill_operator::api::spec::RollbackMethod;
use backfill_operator::api::status::{CheckResult, Step};
use backfill_operator::protocol::{Outcome, StepReport};
use serde_json::json;
use std::process::Command;

fn captured(tables: &[&str]) -> BackfillRunSpec {
    let mut spec = spec("");
    let template = json!({"spec": {"containers": [{"name": "script"}]}});
    let job = json!({"dryRun": {"template": template}, "apply": {"template": template}, "capture": {"tables": tables}});
    spec.backfill = serde_json::from_value(json!({"job": job})).unwrap();
    spec
}

fn script(database: &Database, sql: &str, marked: bool) {
    let mut command = Command::new(programs().join("psql"));
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &server().port.to_string()]);
    command.args(["-U", &database.owner, "-d", &database.name, "-c", sql]).env("PGPASSWORD", &database.password);
    if marked {
        command.env("PGOPTIONS", format!("-c backfill.run={RUN_UID}"));
    }
    let end = command.output().unwrap();
    assert!(end.status.success(), "{}", String::from_utf8_lossy(&end.stderr));
}

fn passed(end: &End) {
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{}: {}", end.verdict.reason, end.verdict.message);
}

async fn sums(database: &Database) -> String {
    database.text("SELECT md5(string_agg(s::text, '' ORDER BY id)) FROM scenarios s").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_captured_script_is_verified_counted_and_undone_and_its_ledger_is_released() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, captured(&["scenarios", "scenario_generations"]));
    let end = pod.run(Step::Preflight);
    passed(&end);
    let Some(StepReport::Preflight(report)) = end.report else { panic!("a report") };
    assert_eq!(report.way_back.first().map(String::as_str), Some("Undo"));
    assert!(report.checks.iter().any(|check| check.name == "capture" && check.result == CheckResult::Passed), "{:?}", report.checks);
    let before = sums(&database).await;
    passed(&pod.run(Step::Claim));
    passed(&pod.run(Step::Capture));
    script(
        &database,
        "UPDATE scenarios SET accepted_prompt = 'by script ' || id WHERE id <= 100; DELETE FROM scenario_generations WHERE id > 490",
        true,
    );
    script(&database, "UPDATE scenarios SET updated_at = now() WHERE id = 400", false);

    let end = pod.run(Step::Verify);
    passed(&end);
    let Some(StepReport::Verify(report)) = end.report else { panic!("a report") };
    let said = &report.checks.iter().find(|check| check.name == "captured").unwrap().message;
    assert!(
        said.contains(
            "other sessions wrote about 1 rows (the application's, or those of sessions of the script that lost the run's setting"
        ),
        "{said}"
    );
    let counts: Vec<_> = report.captured.iter().map(|t| (t.table.as_str(), t.inserted, t.updated, t.deleted, t.others)).collect();
    assert_eq!(counts, [("public.scenarios", 0, 100, 0, 1), ("public.scenario_generations", 0, 0, 10, 0)]);
    let triggers = "SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%backfill_capture%'";
    assert_eq!(database.text(triggers).await, "0", "the script is over");
    assert_eq!(database.text("SELECT state FROM backfill.runs").await, "Applied");
    assert_eq!(
        database.text("SELECT table_name || ' ' || (key->>'id') || ' ' || (before->>'scenario_id') FROM backfill.undo_rows WHERE action = 'Delete' ORDER BY (key->>'id')::int LIMIT 1").await,
        "public.scenario_generations 491 491",
        "a person can read what is kept"
    );

    let end = pod.run(Step::Undo);
    passed(&end);
    let Some(StepReport::Undo(report)) = end.report else { panic!("a report") };
    assert_eq!((report.undone, report.skipped), (110, 0));
    assert!(report.checks.iter().all(|check| check.result == CheckResult::Passed), "{:?}", report.checks);
    database.execute("UPDATE scenarios SET updated_at = timestamptz '2026-01-01' + 400 * interval '1 min' WHERE id = 400").await;
    assert_eq!(sums(&database).await, before);
    assert_eq!(database.text("SELECT count(*) FROM scenario_generations").await, "500");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_closed_keeps_nothing_and_is_known_when_it_is_applied_again() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, captured(&["scenarios"]));
    passed(&pod.run(Step::Claim));
    passed(&pod.run(Step::Capture));
    script(&database, "UPDATE scenarios SET accepted_prompt = 'x' WHERE id <= 10", true);
    passed(&pod.run(Step::Verify));
    passed(&pod.run(Step::Close));
    for table in ["undo", "ranges", "captured", "captures"] {
        assert_eq!(database.text(&format!("SELECT count(*) FROM backfill.{table}")).await, "0", "{table}");
    }
    pod.input.run.uid = "00000000-0000-4000-8000-000000000001".into();
    let Some(StepReport::Preflight(report)) = pod.run(Step::Preflight).report else { panic!("a report") };
    assert!(report.already_applied);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_restore_brings_back_is_no_undo_unless_undo_is_asked_for_by_name() {
    let database = Database::new(&format!("{TABLES} CREATE TABLE log (id int PRIMARY KEY); INSERT INTO log VALUES (1);")).await;
    let mut pod = Pod::new(&database, captured(&["scenarios", "log"]));
    passed(&pod.run(Step::Claim));
    passed(&pod.run(Step::Capture));
    script(&database, "UPDATE scenarios SET accepted_prompt = 'x' WHERE id <= 10; TRUNCATE log", true);
    let end = pod.run(Step::Undo);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Failed, "CaptureIncomplete"));
    assert!(end.verdict.message.contains("public.log: the script emptied it by TRUNCATE"), "{}", end.verdict.message);
    assert_eq!(database.text("SELECT count(*) FROM scenarios WHERE accepted_prompt = 'x'").await, "10", "nothing is half done");

    pod.input.spec.rollback.method = RollbackMethod::Undo;
    let end = pod.run(Step::Undo);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Failed, "CaptureIncomplete"), "{}", end.verdict.message);
    let Some(StepReport::Undo(report)) = end.report else { panic!("a report") };
    assert_eq!(report.undone, 10);
    assert_eq!(database.text("SELECT count(*) FROM scenarios WHERE accepted_prompt = 'x'").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_was_not_seen_fails_the_run_and_a_table_that_cannot_be_captured_stalls_it() {
    let database = Database::new(&format!("{TABLES} CREATE TABLE keyless (id int);")).await;
    let mut pod = Pod::new(&database, captured(&["keyless", "nowhere"]));
    let end = pod.run(Step::Preflight);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "KeyMissing"), "{}", end.verdict.message);

    pod.input.spec = captured(&["scenarios"]);
    passed(&pod.run(Step::Claim));
    passed(&pod.run(Step::Capture));
    script(&database, "UPDATE scenarios SET accepted_prompt = 'x' WHERE id <= 10", false);
    let end = pod.run(Step::Verify);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Failed, "ChecksFailed"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("BACKFILL_PGOPTIONS"), "{}", end.verdict.message);
    let end = pod.run(Step::Undo);
    assert_eq!(end.verdict.reason, "CaptureIncomplete");
}
