//! New values that look like secrets: redacted, skipped or refused, and never shown.

use crate::harness::Bench;
use backfill_operator::api::spec::OnMatch;
use backfill_operator::engine::apply::Ending;
use backfill_operator::engine::plan::PlanError;

/// A token of a kind that the standard rules know, made here so that none stands in the sources.
fn token() -> String {
    format!("ghp_{}", "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dF3hJ5".get(..36).unwrap())
}

const SPEC: &str = r#"
source: {table: notes}
writes:
  - set:
      body: "s.raw"
      extra: "jsonb_build_object('from', s.raw, 'n', s.id)"
      at: now()
audit: {column: meta, path: [audit]}
sensitiveData: {columns: [body, extra]}
batch: {size: 7}
"#;

async fn bench() -> Bench {
    let setup = format!(
        "CREATE TABLE notes (id int PRIMARY KEY, raw text, body text, extra jsonb, at timestamptz, meta jsonb);
         INSERT INTO notes (id, raw) SELECT g, CASE WHEN g % 10 = 3 THEN 'see {} for it' ELSE 'note ' || g END FROM generate_series(1, 40) g",
        token()
    );
    Bench::new(&setup, SPEC).await
}

#[tokio::test]
async fn secrets_are_redacted_in_what_is_written_and_named_without_their_values() {
    let mut bench = bench().await;
    let hash = "SELECT md5(string_agg(n::text, '' ORDER BY id)) FROM notes n";
    let before = bench.text(hash).await;
    let plan = bench.through().await;
    assert_eq!((plan.will_write, plan.sensitive, plan.findings.len()), (40, 4, 8));
    let first = &plan.findings[0];
    assert_eq!((first.key.as_str(), first.table.as_str(), first.column.as_str()), ("3", "notes", "body"));
    assert!(plan.remarks.iter().any(|remark| remark.contains(&first.rule)), "{:?}", plan.remarks);
    let said = format!("{plan:?}{}", std::fs::read_to_string(bench.plan_file()).unwrap());
    assert!(!said.contains(&token()), "neither status nor plan file holds the value");
    assert_eq!(bench.number(&format!("SELECT count(*) FROM notes WHERE body LIKE '%{0}%' OR extra::text LIKE '%{0}%'", token())).await, 0);
    let redacted = format!(
        "SELECT count(*) FROM notes WHERE body = 'see [redacted: {0}] for it' AND extra->>'from' = body AND (extra->>'n')::int = id",
        first.rule
    );
    assert_eq!(bench.number(&redacted).await, 4);
    assert_eq!(bench.number("SELECT count(*) FROM notes WHERE body = 'note ' || id").await, 36);
    let result = bench.result().await;
    assert_eq!((result.written, result.redacted, result.drifted), (40, 4, 0));
    assert_eq!(result.rows_digest, plan.rows_digest);
    let entries = |result: &str| format!("SELECT count(*) FROM notes WHERE meta #>> '{{audit,result}}' = '{result}'");
    assert_eq!((bench.number(&entries("redacted")).await, bench.number(&entries("written")).await), (4, 36));
    bench.run.uid = bench.run.uid.replace("4000", "4001");
    let again = bench.plan().await;
    assert_eq!((again.will_write, again.already_done), (0, 40), "a redacted value that is there is written again by nobody");
    bench.run.uid = bench.run.uid.replace("4001", "4000");
    assert_eq!(bench.undo().await.undone, 40);
    assert_eq!(bench.text(hash).await, before);
}

#[tokio::test]
async fn rows_with_secrets_are_skipped_or_fail_the_plan_where_the_run_says_so_and_a_rule_can_be_allowed() {
    let mut bench = bench().await;
    bench.spec.sensitive_data.as_mut().unwrap().on_match = OnMatch::Fail;
    let error = bench.plan_by(100).await.unwrap_err();
    let PlanError::Sensitive { key, rule, .. } = &error else { panic!("{error}") };
    assert_eq!(key, "3");
    assert!(!error.to_string().contains(&token()), "{error}");
    let rule = rule.clone();
    bench.spec.sensitive_data.as_mut().unwrap().on_match = OnMatch::Skip;
    let plan = bench.plan().await;
    assert_eq!((plan.will_write, plan.sensitive, plan.skipped_sensitive), (36, 4, 4));
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    assert_eq!(bench.number("SELECT count(*) FROM notes WHERE body IS NULL AND id % 10 = 3").await, 4);
    bench.spec.sensitive_data.as_mut().unwrap().allow = vec![rule];
    assert_eq!(bench.plan().await.will_write, 4, "what is allowed is a value like others");
}
