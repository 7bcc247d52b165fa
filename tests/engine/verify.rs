//! What verify finds.

use crate::harness::Bench;
use backfill_operator::api::phase::Phase;
use backfill_operator::api::spec::Expectation;
use backfill_operator::api::status::CheckResult;
use backfill_operator::engine::verify::{against_ledger, publish, run_check};

#[tokio::test]
async fn an_applied_run_is_as_planned_and_the_view_holds_its_rows() {
    let bench = Bench::scenario(200).await;
    let plan = bench.through().await;
    let mut connection = bench.connect().await;
    let checks = against_ledger(&mut connection, &bench.ledger()).await.unwrap();
    assert!(checks.iter().all(|check| check.result == CheckResult::Passed), "{checks:?}");
    let model = bench.model().await.unwrap();
    for _ in 0..2 {
        publish(&mut connection, &bench.ledger(), &model, Some("postgres")).await.unwrap();
    }
    assert_eq!(
        bench.number("SELECT count(*) FROM backfill.written w JOIN scenarios t USING (id) WHERE t.accepted_prompt LIKE 'Pr%'").await,
        plan.will_write
    );
    bench.sql("UPDATE scenarios SET accepted_prompt = 'x' WHERE id = 1; DELETE FROM scenario_generations WHERE id = 21").await;
    let checks = against_ledger(&mut connection, &bench.ledger()).await.unwrap();
    assert_eq!(checks[0].result, CheckResult::Passed);
    assert_eq!(checks[1].result, CheckResult::Inconclusive);
    assert!(checks[1].message.starts_with("2 written rows"), "{}", checks[1].message);
}

#[tokio::test]
async fn checks_pass_fail_or_cannot_be_measured_and_never_write() {
    let bench = Bench::scenario(10).await;
    bench
        .sql("CREATE FUNCTION drop_it() RETURNS int LANGUAGE sql AS 'DELETE FROM scenarios; SELECT 1'; CREATE ROLE blind_checker LOGIN")
        .await;
    let mut connection = bench.connect().await;
    let equals = |n| Expectation { equals: Some(n), at_least: None, at_most: None };
    for (sql, expect, result, told) in [
        ("SELECT count(*) FROM scenarios", equals(10), CheckResult::Passed, "10, as expected"),
        ("SELECT count(*) FROM scenarios;", equals(9), CheckResult::Failed, "found 10, expected exactly 9"),
        (
            "SELECT 5 -- five",
            Expectation { equals: None, at_least: Some(1), at_most: Some(4) },
            CheckResult::Failed,
            "at least 1 and at most 4",
        ),
        ("SELECT max(id) FROM scenarios WHERE false", equals(0), CheckResult::Inconclusive, "NULL"),
        ("SELECT sum(id) FROM scenarios", equals(55), CheckResult::Passed, "55"),
        ("SELECT title FROM scenarios WHERE id = 1", equals(1), CheckResult::Failed, "whole number"),
        ("SELECT id FROM scenarios", equals(1), CheckResult::Failed, "exactly one row"),
        ("SELECT 1, 2", equals(1), CheckResult::Failed, "exactly one column"),
        ("SELECT nonsense", equals(1), CheckResult::Failed, "nonsense"),
        ("DELETE FROM scenarios", equals(1), CheckResult::Failed, "one SELECT"),
        ("SELECT drop_it()", equals(1), CheckResult::Failed, "VOLATILE"),
        ("SELECT 1 / 0", equals(1), CheckResult::Failed, "SQLSTATE 22012"),
    ] {
        let check = run_check(&mut connection, Phase::Verifying, "c", sql, &expect).await.unwrap();
        assert_eq!(check.result, result, "{sql}: {}", check.message);
        assert!(check.message.contains(told), "{sql}: {}", check.message);
    }
    sqlx::query("SET ROLE blind_checker").execute(&mut connection).await.unwrap();
    let check = run_check(&mut connection, Phase::Verifying, "c", "SELECT count(*) FROM scenarios", &equals(0)).await.unwrap();
    assert_eq!(check.result, CheckResult::Inconclusive, "{}", check.message);
    assert_eq!(bench.number("SELECT count(*) FROM scenarios").await, 10);
}
