//! What a plan says of the time that apply will take.

use crate::support::pod::{Pod, TABLES, spec};
use crate::support::postgres::Database;
use backfill_operator::api::spec::BesideWriters;
use backfill_operator::api::status::{PlanStatus, Step};
use backfill_operator::protocol::{Outcome, StepReport};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn planned(pod: &mut Pod) -> PlanStatus {
    let end = pod.run(Step::Plan);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{} {}", end.verdict.message, end.stderr);
    match end.report {
        Some(StepReport::Plan(report)) => report.plan,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_knows_that_apply_will_be_gentle_where_an_application_writes_meanwhile() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(""));
    let end = pod.run(Step::Backup);
    let Some(StepReport::Backup(report)) = end.report else { panic!("{} {}", end.verdict.message, end.stderr) };
    pod.input.backup = Some(report.backup);
    let writes = Arc::new(AtomicBool::new(true));
    let mut connection = database.as_owner().await;
    let application = tokio::spawn({
        let writes = Arc::clone(&writes);
        async move {
            while writes.load(Ordering::Relaxed) {
                sqlx::query("SELECT pg_current_xact_id()").execute(&mut connection).await.unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    pod.input.spec.backfill.sql.as_mut().unwrap().workers = 2;
    assert_eq!(planned(&mut pod).gentle_rows_per_second, 4000, "two workers");
    pod.input.spec.backfill.sql.as_mut().unwrap().throttle.beside_writers = BesideWriters::Full;
    assert_eq!(planned(&mut pod).gentle_rows_per_second, 0);
    writes.store(false, Ordering::Relaxed);
    application.await.unwrap();
}
