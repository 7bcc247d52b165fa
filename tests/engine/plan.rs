//! What a plan says, and that it does nothing else.

use crate::harness::{Bench, SPEC, TABLES, credentials, rows};
use crate::server::Server;
use backfill_operator::api::spec::SampleShow;
use backfill_operator::engine::model::ModelError;
use backfill_operator::engine::plan::{PlanError, PlanReader, ValidationError};
use backfill_operator::engine::row::RowError;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

#[tokio::test]
async fn every_source_row_is_counted_once_by_its_verdict() {
    let bench = Bench::scenario(1000).await;
    let plan = bench.plan().await;
    assert_eq!(plan.scanned, bench.number("SELECT count(*) FROM scenario_generations").await);
    assert_eq!(plan.matching, bench.number("SELECT count(*) FROM scenario_generations WHERE metadata ? 'llm_response'").await);
    assert_eq!(plan.matching, plan.will_write + plan.already_done + plan.no_match + plan.lost + plan.invalid);
    let predicted = "SELECT count(*) FROM scenarios s WHERE accepted_prompt IS NULL
        AND EXISTS (SELECT FROM scenario_generations g WHERE g.scenario_id = s.id AND g.metadata #> '{llm_response,skills}' IS NOT NULL)";
    assert_eq!(plan.will_write, bench.number(predicted).await);
    assert!(plan.lost > 0 && plan.invalid > 0 && plan.no_match > 0 && plan.will_write > 0, "{plan:?}");
    assert_eq!(plan.invalid_sample.len(), 5);
    assert_eq!(plan.invalid_sample[0].pointer, "");
    assert_eq!(plan.sample.len(), 5);
    let first = &plan.sample[0];
    assert_eq!((first.table.as_str(), first.key.as_str()), ("scenarios", "12"));
    assert_eq!(first.changes[0].after.as_deref(), Some("Pr\u{fc}fe 1.2"));
}

#[tokio::test]
async fn the_digest_is_the_same_whatever_the_range_size() {
    let bench = Bench::scenario(300).await;
    let whole = bench.plan_by(100_000).await.unwrap();
    for page in [1, 2, 7, 50, 299, 300, 1000] {
        let paged = bench.plan_by(page).await.unwrap();
        assert_eq!(paged.rows_digest, whole.rows_digest, "ranges of {page}");
        assert_eq!((paged.will_write, paged.invalid_sample), (whole.will_write, whole.invalid_sample.clone()));
    }
}

#[test]
fn the_digest_changes_with_any_single_changed_value() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let bench = runtime.block_on(Bench::scenario(60));
    let before = runtime.block_on(bench.plan());
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    let winners = [12, 21, 32, 41, 52, 61];
    runner
        .run(&(prop::sample::select(winners.to_vec()), "[a-z\u{e4}\"' ]{1,12}"), |(id, text)| {
            let text = text.replace('\'', "''").replace('"', "\\\"");
            runtime.block_on(async {
                bench.sql(&format!("UPDATE scenario_generations SET metadata = jsonb_set(metadata, '{{llm_response,prompt}}', '\"changed {text}\"') WHERE id = {id}")).await;
                let changed = bench.plan().await;
                bench.sql(&format!("UPDATE scenario_generations SET metadata = jsonb_set(metadata, '{{llm_response,prompt}}', to_jsonb('Pr\u{fc}fe ' || {id} / 10 || '.' || {id} % 10)) WHERE id = {id}")).await;
                let back = bench.plan().await;
                prop_assert_ne!(&changed.rows_digest, &before.rows_digest);
                prop_assert_eq!(&back.rows_digest, &before.rows_digest);
                Ok(())
            })
        })
        .unwrap();
}

#[tokio::test]
async fn a_role_that_can_only_select_plans_and_nothing_is_written() {
    let mut bench = Bench::scenario(100).await;
    let before = bench.exact_hash().await;
    let role = Server::fresh_name("reader");
    bench.sql(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")).await;
    let writer = std::mem::replace(&mut bench.credentials, credentials(Server::shared(), "x", &role));
    bench.credentials.database.clone_from(&writer.database);
    let plan = bench.plan().await;
    bench.credentials = writer;
    assert!(plan.will_write > 0);
    assert_eq!(bench.exact_hash().await, before);
    assert_eq!(bench.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'backfill'").await, 0);
}

#[tokio::test]
async fn the_plan_file_holds_exactly_the_planned_rows() {
    let bench = Bench::scenario(100).await;
    let plan = bench.plan().await;
    let mut reader = PlanReader::open(&bench.plan_file(), &bench.run.uid).unwrap();
    let mut rows = 0;
    while let Some(range) = reader.next_range().unwrap() {
        rows += range.len();
    }
    assert_eq!(rows, usize::try_from(plan.will_write).unwrap());
    let (trailer, sha256) = reader.end().unwrap();
    assert_eq!((&trailer.rows_digest, sha256), (&plan.rows_digest, &plan.file_sha256));
}

#[tokio::test]
async fn columns_that_migrations_add_are_planned_as_null() {
    let mut bench = Bench::scenario(50).await;
    let with_column = bench.plan().await;
    bench.sql("ALTER TABLE scenarios DROP COLUMN accepted_prompt_metadata").await;
    let missing = bench.model().await.unwrap_err();
    assert_eq!(missing.reason(), "ColumnMissing");
    assert!(missing.to_string().contains("migrations.adds"), "{missing}");
    bench.adds = serde_yaml_ng::from_str("[{table: scenarios, column: accepted_prompt_metadata, type: jsonb}]").unwrap();
    let planned = bench.plan().await;
    assert_eq!(planned.will_write, with_column.will_write);
    bench.sql("ALTER TABLE scenarios ADD COLUMN accepted_prompt_metadata jsonb").await;
    assert_eq!(bench.plan().await.rows_digest, planned.rows_digest);
}

#[tokio::test]
async fn a_match_that_finds_several_rows_fails_with_their_keys() {
    let mut bench = Bench::scenario(20).await;
    bench.spec.writes[0].matches = Some("t.title LIKE 'Scenario%'".into());
    let error = bench.plan_by(100).await.unwrap_err();
    assert!(matches!(error, PlanError::Row(RowError::NotUnique(_))), "{error}");
    assert!(error.to_string().contains("scenarios"), "{error}");
}

#[tokio::test]
async fn two_source_rows_for_one_target_fail_and_a_pick_lets_one_win() {
    let mut bench = Bench::scenario(20).await;
    let picked = bench.plan().await;
    bench.spec.source.pick = None;
    let error = bench.plan_by(3).await.unwrap_err();
    let PlanError::TargetWrittenTwice { first, second } = &error else { panic!("{error}") };
    assert_eq!(first.strip_suffix('1').map(str::len), second.strip_suffix('2').map(str::len), "{first} and {second}");
    assert!(error.to_string().contains("source.pick"));
    assert_eq!(picked.sample[0].changes[0].after.as_deref(), Some("Pr\u{fc}fe 1.2"), "the newest generation wins");
}

#[tokio::test]
async fn invalid_rows_fail_the_plan_where_the_rule_says_so() {
    let mut bench = Bench::scenario(100).await;
    bench.spec.validate[0].max_invalid_percent = 1;
    let error = bench.plan_by(100).await.unwrap_err();
    let PlanError::NotGoodEnough { source: ValidationError::TooManyInvalid { .. }, plan } = &error else { panic!("{error}") };
    assert_eq!(plan.invalid_sample.len(), 5);
    bench.spec.validate[0].on_invalid = backfill_operator::api::spec::OnInvalid::Fail;
    let error = bench.plan_by(100).await.unwrap_err();
    assert!(matches!(error, PlanError::Validation(ValidationError::RowInvalid { .. })), "{error}");
}

#[tokio::test]
async fn validation_messages_hold_no_values_and_schemas_cannot_reach_out() {
    let mut bench = Bench::scenario(30).await;
    let schema = serde_json::json!({"properties": {"prompt": {"const": "x"}}});
    bench.spec.validate[0].schema.inline = schema.as_object().cloned();
    bench.spec.validate[0].max_invalid_percent = 100;
    let plan = bench.plan().await;
    assert_eq!(plan.invalid_sample[0].pointer, "/prompt");
    assert!(plan.invalid_sample.iter().all(|row| !row.message.contains("Pr\u{fc}fe")), "{:?}", plan.invalid_sample);
    let schema = serde_json::json!({"$ref": "http://127.0.0.1:1/schema.json"});
    bench.spec.validate[0].schema.inline = schema.as_object().cloned();
    let error = bench.plan_by(100).await.unwrap_err();
    assert!(matches!(error, PlanError::Validation(ValidationError::SchemaInvalid { .. })), "{error}");
}

#[tokio::test]
async fn samples_are_cut_redacted_masked_or_left_out() {
    let mut bench = Bench::new(&format!("{TABLES}; {}", rows(3)), SPEC).await;
    let secret = "postgres://app:hunter2@db/prod";
    bench
        .sql(&format!("UPDATE scenario_generations SET metadata = jsonb_set(metadata, '{{llm_response,prompt}}', to_jsonb('{secret} ' || repeat('x', 300)))"))
        .await;
    let plan = bench.plan().await;
    let shown = plan.sample[0].changes[0].after.clone().unwrap();
    assert!(shown.starts_with("[redacted: connection-string]") && shown.chars().count() == 256, "{shown}");
    assert_eq!(plan.sensitive, plan.will_write);
    bench.spec.samples.show = SampleShow::Masked;
    assert_eq!(bench.plan().await.sample[0].changes[0].after.as_deref(), Some("<text, 331 characters>"));
    bench.spec.samples.show = SampleShow::None;
    assert_eq!(bench.plan().await.sample[0].changes[0].after, None);
}

#[tokio::test]
async fn values_that_the_server_would_refuse_fail_the_plan() {
    let tables = "CREATE DOMAIN code AS varchar(3); CREATE DOMAIN inner_code AS code CHECK (VALUE <> 'no');
        CREATE TABLE a (id int PRIMARY KEY, short varchar(3), must text NOT NULL, deep inner_code); INSERT INTO a VALUES (1, 'x', 'y')";
    let mut bench = Bench::new(tables, "{source: {table: a}, writes: [{set: {short: \"'abcd'\"}}]}").await;
    let error = bench.plan_by(10).await.unwrap_err();
    assert!(matches!(error, PlanError::Row(RowError::ValueTooLong { max: 3, .. })), "{error}");
    // A cast to a domain cuts, too.
    bench.spec.writes[0].set = [("deep".to_owned(), "'abcd'".to_owned())].into();
    let error = bench.plan_by(10).await.unwrap_err();
    assert!(matches!(error, PlanError::Row(RowError::ValueTooLong { max: 3, .. })), "{error}");
    bench.spec.writes[0].set = [("deep".to_owned(), "'no'".to_owned())].into();
    let error = bench.plan_by(10).await.unwrap_err();
    assert!(error.to_string().contains("inner_code"), "{error}");
    bench.spec.writes[0].set = [("must".to_owned(), "NULL".to_owned())].into();
    let error = bench.plan_by(10).await.unwrap_err();
    assert!(matches!(error, PlanError::Row(RowError::NullRefused { .. })), "{error}");
}

#[tokio::test]
async fn errors_of_expressions_name_their_place_and_hold_no_values() {
    let mut bench = Bench::scenario(10).await;
    bench.spec.source.filter = Some("s.nonsense = 1".into());
    let error = bench.model().await.unwrap_err();
    assert!(matches!(error, ModelError::ExpressionInvalid { .. }), "{error}");
    assert!(error.to_string().starts_with("backfill.sql.source.where: "), "{error}");
    bench.spec.source.filter = None;
    bench.spec.writes[0].set.insert("title".into(), "(s.metadata->>'llm_response')::int::text".into());
    let error = bench.plan_by(10).await.unwrap_err();
    assert!(!error.to_string().contains("Pr\u{fc}fe"), "{error}");
}

#[tokio::test]
async fn values_and_comments_cannot_end_the_copy_that_a_plan_is_read_by() {
    let hostile = r#"it's) TO STDOUT; DROP TABLE n; -- $q$ \ " /*"#;
    let bench = Bench::new(
        &format!("CREATE TABLE n (id int PRIMARY KEY, v text); INSERT INTO n SELECT g, $${hostile}$$ FROM generate_series(1, 3) g"),
        &format!(
            "{{source: {{table: n, where: \"s.v = param.old -- as it was\"}}, parameters: {{old: {{sql: {}, type: text}}}},
              writes: [{{set: {{v: \"param.old || '!' -- louder\"}}}}]}}",
            serde_json::to_string(&format!("$x${hostile}$x$")).unwrap()
        ),
    )
    .await;
    let plan = bench.plan().await;
    assert_eq!((plan.matching, plan.will_write, plan.scanned), (3, 3, 3));
    assert_eq!(plan.parameters[0].value.as_deref(), Some(hostile));
    assert_eq!(bench.number("SELECT count(*) FROM n").await, 3);
}

#[tokio::test]
async fn an_empty_answer_and_rows_larger_than_a_chunk_are_planned() {
    let bench = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, v text, w text); CREATE TABLE parts (id int PRIMARY KEY, n int, v text);
         INSERT INTO n SELECT g, CASE WHEN g % 7 = 0 THEN repeat('\u{e4}', 700000) ELSE 'x' END FROM generate_series(1, 1200) g WHERE g < 20 OR g > 600;
         INSERT INTO parts SELECT g, 1 + g % 2, 'p' FROM generate_series(1, 1500) g",
        "{source: {table: n, where: s.id < 20}, writes: [{set: {w: \"left(s.v, 5)\"}}]}",
    )
    .await;
    let large = bench.plan().await;
    assert_eq!((large.matching, large.will_write), (19, 19));
    let mut all = bench;
    all.spec.source.filter = None;
    let plan = all.plan().await;
    assert_eq!((plan.matching, plan.will_write), (619, 619));
    all.spec.source.filter = Some("s.id < 0".into());
    assert_eq!(all.plan().await.matching, 0);
    // One source row whose rows fill more than a chunk stays together.
    let many = "{table: n, where: s.id <= 2, joins: [{as: p, table: parts, match: p.n = s.id, rows: Many, key: [id]}]}";
    all.spec.source = serde_yaml_ng::from_str(many).unwrap();
    all.spec.writes = serde_yaml_ng::from_str("[{table: parts, match: t.id = p.id, set: {v: \"'q'\"}}]").unwrap();
    let plan = all.plan().await;
    assert_eq!((plan.matching, plan.will_write, plan.writes[0].updates), (2, 2, 1500));
}
