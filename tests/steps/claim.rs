use crate::restore::ledger;
use crate::support::pod::{Pod, RUN_UID, TABLES, spec};
use crate::support::postgres::Database;
use backfill_operator::api::status::Step;
use backfill_operator::protocol::{ClaimReport, Outcome, StepReport};

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
