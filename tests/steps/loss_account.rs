use crate::restore::ledger;
use crate::support::pod::{Pod, RUN_UID, TABLES, spec};
use crate::support::postgres::Database;
use backfill_operator::api::status::Step;
use backfill_operator::protocol::StepReport;
use backfill_operator::steps::applied_sums::record_applied;
use backfill_operator::steps::{Reporter, StepContext};

#[tokio::test(flavor = "multi_thread")]
async fn the_account_has_what_the_application_did_and_not_what_the_run_did() {
    let database = Database::new(&format!("{TABLES} CREATE TABLE \"Orders\" (id int); INSERT INTO \"Orders\" VALUES (1);")).await;
    ledger(&database).await;
    let mut pod = Pod::new(&database, spec(""));
    let Some(StepReport::Backup(report)) = pod.run(Step::Backup).report else { panic!("a backup") };
    pod.input.backup = Some(report.backup);
    assert!(pod.account().losses.is_empty(), "nothing has happened");

    // The run applies, and says what it left.
    database.execute("UPDATE scenarios SET accepted_prompt = 'filled'").await;
    let context = StepContext {
        input: pod.input.clone(),
        paths: pod.paths.clone(),
        stop: tokio_util::sync::CancellationToken::new(),
        reporter: Reporter::default(),
    };
    record_applied(&context).await.unwrap();
    let empty = pod.account();
    assert!(empty.losses.is_empty(), "{:?}", empty.losses);
    assert!(empty.digest.starts_with("sha256:"));
    assert_eq!(
        database.text(&format!("SELECT count(*) FROM backfill.table_sums WHERE run_uid = '{RUN_UID}' AND moment = 'Applied'")).await,
        "3"
    );

    // Then the application writes; a second record does not take that for the run's.
    database
        .execute("INSERT INTO \"Orders\" VALUES (2); UPDATE scenarios SET accepted_prompt = 'own' WHERE id = 3; CREATE TABLE made (id int)")
        .await;
    record_applied(&context).await.unwrap();
    let full = pod.account();
    let tables: Vec<&str> = full.losses.iter().map(|l| l.table.as_str()).collect();
    assert_eq!(tables, ["public.\"Orders\"", "public.made", "public.scenarios"]);
    assert_eq!(full.losses[0].message, "1 rows in the dump, 2 now");
    assert_ne!(full.digest, empty.digest);
    assert_eq!(pod.account().digest, full.digest, "the same losses have the same digest");
}
