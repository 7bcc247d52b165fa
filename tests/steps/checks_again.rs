//! After a way back the run's own SQL checks are made again.

use crate::support::pod::{Pod, TABLES, spec};
use crate::support::postgres::Database;
use backfill_operator::api::Phase;
use backfill_operator::api::status::{CheckResult, CheckStatus, Step};
use backfill_operator::protocol::{Outcome, StepReport};

const CHECKS: &str = "
preflight:
  checks:
    - {name: all-there, sql: SELECT count(*) FROM scenarios, expect: {equals: 500}}
    - {name: nobody-wrote, sql: SELECT count(*) FROM scenarios WHERE updated_at > '2027-01-01', expect: {equals: 0}}
verify:
  - {name: filled, sql: SELECT count(*) FROM scenarios WHERE accepted_prompt IS NULL, expect: {equals: 0}}
  - {name: sane, sql: SELECT count(*) FROM scenarios WHERE id < 1, expect: {equals: 0}}";

fn named<'a>(checks: &'a [CheckStatus], name: &str) -> (CheckResult, &'a str) {
    let check = checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("{name} in {checks:?}"));
    assert_eq!(check.phase, Phase::RollingBack);
    (check.result, check.message.as_str())
}

/// Backed up, planned, applied, verified: what an undo takes back.
async fn applied() -> (Database, Pod) {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(CHECKS));
    pod.passes(&[Step::Backup, Step::Plan, Step::Claim, Step::Apply, Step::Verify]);
    assert_eq!(database.text("SELECT count(accepted_prompt) FROM scenarios").await, "500");
    (database, pod)
}

fn told(checks: &[CheckStatus]) {
    assert_eq!(named(checks, "all-there"), (CheckResult::Passed, "500, as expected"));
    assert_eq!(named(checks, "sane").0, CheckResult::Passed);
    let (result, message) = named(checks, "filled");
    assert_eq!(result, CheckResult::Inconclusive, "it is no verdict: {message}");
    assert!(message.contains("found 500") && message.contains("were taken back"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undo_makes_the_run_s_own_checks_again_and_tells_them() {
    let (database, mut pod) = applied().await;
    database.execute("UPDATE scenarios SET updated_at = '2028-01-01' WHERE id = 1").await;
    let end = pod.run(Step::Undo);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Passed, "Undone"), "{} {}", end.verdict.message, end.stderr);
    let Some(StepReport::Undo(report)) = end.report else { panic!() };
    assert_eq!(database.text("SELECT count(accepted_prompt) FROM scenarios").await, "0");
    told(&report.checks);
    let (result, message) = named(&report.checks, "nobody-wrote");
    assert!(result == CheckResult::Inconclusive && message.contains("it held before the run"), "{message}");
    assert_eq!(named(&report.checks, "put-back").0, CheckResult::Passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_a_restore() {
    let (database, mut pod) = applied().await;
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Passed, "Restored"), "{} {}", end.verdict.message, end.stderr);
    let Some(StepReport::Restore(report)) = end.report else { panic!() };
    assert_eq!(database.text("SELECT count(accepted_prompt) FROM scenarios").await, "0");
    told(&report.checks);
    assert_eq!(named(&report.checks, "nobody-wrote").0, CheckResult::Passed);
}
