//! What an approver is told beside the rows, and that planning neither writes nor goes on for ever.

use crate::harness::{Bench, Direct};
use backfill_operator::engine::connector::{ConnectRefused, Connector};
use backfill_operator::engine::plan::{self, PlanError, PlanOptions};
use sqlx::{Executor as _, PgConnection};

#[tokio::test]
async fn the_share_of_rows_that_are_read_for_nothing_and_the_cost_of_reading_are_shown() {
    let mut bench = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, v int); INSERT INTO n SELECT g FROM generate_series(1, 2000) g; ANALYZE n",
        "{source: {table: n, where: 's.id % 50 = 0'}, writes: [{set: {v: s.id}}]}",
    )
    .await;
    let plan = bench.plan().await;
    assert_eq!((plan.scanned, plan.matching, plan.will_write), (2000, 40, 40));
    assert!(
        plan.remarks.contains(&"98 percent of the source rows are read for nothing (1960 of 2000): where leaves them out".to_owned()),
        "{:?}",
        plan.remarks
    );
    let cost = |plan: &backfill_operator::api::status::PlanStatus| -> f64 {
        let told =
            plan.remarks.iter().find_map(|remark| remark.strip_prefix("the server's cost of reading the plan is ")).unwrap().to_owned();
        told.split_once(' ').unwrap().0.parse().unwrap()
    };
    let all = cost(&plan);
    assert!(all > 10.0, "{all}");
    bench.spec.source.joins =
        serde_yaml_ng::from_str("[{as: j, type: Left, query: SELECT count(*) AS n FROM n AS o WHERE o.v = s.id}]").unwrap();
    bench.spec.writes[0].set.insert("v".into(), "s.id + j.n".into());
    let looked_up = cost(&bench.plan().await);
    assert!(looked_up > 10.0 * all, "a query that reads the table for each row: {looked_up} beside {all}");
    bench.spec.source.joins.clear();
    bench.spec.writes[0].set.insert("v".into(), "s.id".into());
    bench.spec.source.filter = None;
    let plan = bench.plan().await;
    assert!(plan.remarks.iter().all(|remark| !remark.contains("read for nothing")), "{:?}", plan.remarks);
    assert!(plan.rows_per_second > 0);
}

/// With another statement timeout.
struct Hasty(Direct);

impl Connector for Hasty {
    async fn connect(&self) -> Result<PgConnection, ConnectRefused> {
        let mut connection = self.0.connect().await?;
        connection.execute("SET statement_timeout = '200ms'").await.unwrap();
        Ok(connection)
    }
}

#[tokio::test]
async fn a_plan_that_takes_too_long_is_ended_by_the_statement_timeout() {
    let bench = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, v int); INSERT INTO n SELECT g FROM generate_series(1, 3000) g",
        "{source: {table: n, joins: [{as: j, query: SELECT count(*) AS n FROM n AS a CROSS JOIN n AS b WHERE a.id + b.id > s.id}]}, writes: [{set: {v: j.n}}]}",
    )
    .await;
    let mut connection = Hasty(Direct(bench.credentials.clone())).connect().await.unwrap();
    let model = bench.model().await.unwrap();
    let path = bench.plan_file();
    let options = PlanOptions { run_uid: &bench.run.uid, path: &path, range: 100, samples: &bench.spec.samples, sensitive: None };
    let begun = std::time::Instant::now();
    let error = plan::plan(&mut connection, &model, options, |_, _| true).await.unwrap_err();
    let PlanError::TooSlow { patience } = &error else { panic!("{error}") };
    assert_eq!(patience.as_millis(), 200);
    assert!(error.to_string().contains("no further rows within 200ms (spec.database.statementTimeout)"), "{error}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
    // The server finds out that nobody waits any more, and stops, too.
    drop(connection);
    let copies = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE 'COPY%'";
    while bench.number(copies).await > 0 {
        assert!(begun.elapsed() < std::time::Duration::from_mins(1), "the server still copies");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_function_that_lies_about_itself_cannot_write_while_it_is_planned() {
    let bench = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, v int); INSERT INTO n VALUES (1); CREATE TABLE traces (at timestamptz);
         CREATE FUNCTION trace() RETURNS void LANGUAGE sql AS 'INSERT INTO traces VALUES (now())';
         CREATE FUNCTION sly(int) RETURNS int STABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM trace(); RETURN $1; END $$",
        "{source: {table: n}, writes: [{set: {v: sly(s.id)}}]}",
    )
    .await;
    let error = bench.plan_by(10).await.unwrap_err().to_string();
    assert!(error.contains("25006") && error.contains("read-only transaction"), "{error}");
    assert_eq!(bench.number("SELECT count(*) FROM traces").await, 0);
}

#[tokio::test]
async fn invalid_rows_are_counted_by_rule_and_by_what_is_wrong_where() {
    let bench = Bench::new(
        r#"CREATE TABLE n (id int PRIMARY KEY, doc jsonb, v int);
           INSERT INTO n SELECT g, jsonb_build_object('kind', CASE WHEN g % 10 = 0 THEN to_jsonb(g) ELSE '"a"' END, 'list', jsonb_build_array(1, CASE WHEN g % 4 = 0 THEN '"x"'::jsonb ELSE '2' END)) FROM generate_series(1, 100) g"#,
        "
source: {table: n}
validate:
  - {name: kind, value: s.doc, schema: {inline: {properties: {kind: {type: string}}}}, maxInvalidPercent: 50, sample: 2}
  - {name: list, value: s.doc, schema: {inline: {properties: {list: {items: {type: number}}}}}, maxInvalidPercent: 50, sample: 1}
writes: [{set: {v: s.id}}]",
    )
    .await;
    let plan = bench.plan().await;
    assert_eq!((plan.invalid, plan.will_write), (10 + 25 - 5, 70));
    for told in ["10 rows are invalid by the rule kind: 10 at /kind", "25 rows are invalid by the rule list: 25 at /list/*"] {
        assert!(plan.remarks.iter().any(|remark| remark.starts_with(told)), "{told}: {:?}", plan.remarks);
    }
    let named: Vec<(&str, &str, &str)> =
        plan.invalid_sample.iter().map(|row| (row.rule.as_str(), row.key.as_str(), row.pointer.as_str())).collect();
    assert_eq!(named, [("list", "4", "/list/1"), ("kind", "10", "/kind"), ("kind", "20", "/kind")]);
}
