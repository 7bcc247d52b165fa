use crate::restore::ledger;
use crate::support::pod::{Pod, RUN_UID, TABLES, spec};
use crate::support::postgres::Database;
use backfill_operator::api::status::{BackupStatus, Step};
use backfill_operator::protocol::{ClaimReport, Outcome, PlanReport, StepReport};

fn holder(report: Option<StepReport>) -> Option<String> {
    match report {
        Some(StepReport::Claim(ClaimReport { held_by })) => held_by.map(|holder| holder.uid),
        other => panic!("{other:?}"),
    }
}

/// A step that stalls is tried again without a look at its report: this must be a verdict.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_another_run_is_a_verdict_that_names_it_and_is_taken_over_when_told_so() {
    let database = Database::new(TABLES).await;
    ledger(&database).await;
    let mut pod = Pod::new(&database, spec(""));
    pod.input.run.uid = "00000000-0000-4000-8000-000000000001".into();
    let end = pod.run(Step::Claim);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Inconclusive, "DatabaseBusy"), "{}", end.verdict.message);
    assert_eq!(holder(end.report).as_deref(), Some(RUN_UID));

    pod.input.take_over_from = Some(RUN_UID.into());
    let end = pod.run(Step::Claim);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{}", end.verdict.message);
    assert_eq!(holder(end.report), None);
}

/// Planned by the role that may only read.
fn planned(database: &Database) -> Pod {
    let mut spec = spec("");
    spec.database.plan_secret_ref = Some(serde_json::from_str(r#"{"name": "db-ro"}"#).unwrap());
    let mut pod = Pod::new(database, spec);
    pod.plan_secret(database);
    std::fs::create_dir_all(pod.paths.backup.join("staging")).unwrap();
    pod.input.backup = Some(BackupStatus { file: "staging/a.dump".into(), ..BackupStatus::default() });
    let end = pod.run(Step::Plan);
    let Some(StepReport::Plan(PlanReport { plan })) = end.report else { panic!("{}", end.verdict.message) };
    assert_eq!(plan.definitions.iter().map(|definition| definition.table.as_str()).collect::<Vec<_>>(), ["scenarios"]);
    pod.input.plan = Some(plan);
    pod
}

/// The plan's role and the writer's see the same definition; a change since then is a verdict, before any migration of the team.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_not_what_was_planned_is_a_verdict_and_the_run_that_goes_back_does_not_ask() {
    let database = Database::new(TABLES).await;
    let mut pod = planned(&database);
    let end = pod.run(Step::Claim);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{}", end.verdict.message);

    database.execute("ALTER TABLE scenarios ADD COLUMN priority int NOT NULL DEFAULT 0").await;
    let end = pod.run(Step::Claim);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Failed, "SchemaChanged"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("the definition of scenarios has changed"), "{}", end.verdict.message);

    pod.input.plan.as_mut().unwrap().definitions.clear();
    assert_eq!(pod.run(Step::Claim).verdict.outcome, Outcome::Passed);
}
