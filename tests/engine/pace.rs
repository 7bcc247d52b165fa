//! How settings, batch size and throttle come together in a worker.

use crate::harness::Bench;
use backfill_operator::api::spec::SqlBackfill;
use backfill_operator::engine::apply::{Next, Pace};
use backfill_operator::protocol::settings::annotations;
use sqlx::PgConnection;
use std::path::Path;
use std::time::Duration;

const TABLE: &str = "CREATE TABLE queue (id int); CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1)";

fn spec(blocks: &str) -> SqlBackfill {
    serde_yaml_ng::from_str(&format!("{{source: {{table: t}}, writes: [{{set: {{v: '1'}}}}], {blocks}}}")).unwrap()
}

/// As the kubelet writes the annotations that the controller sets.
fn tell(file: &Path, spec: &SqlBackfill, more: &str) {
    let lines = annotations(spec).into_iter().map(|(key, value)| format!("{key}={}", serde_json::to_string(&value).unwrap()));
    std::fs::write(file, lines.chain([more.to_owned()]).collect::<Vec<_>>().join("\n")).unwrap();
}

async fn rows(pace: &mut Pace, connection: &mut PgConnection) -> usize {
    match pace.next(connection).await.unwrap() {
        Next::Batch(rows) => rows,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_halves_the_batches_once_a_changed_limit_ends_it_at_once_and_suspend_comes_first() {
    let bench = Bench::new(TABLE, crate::harness::SPEC).await;
    let mut connection = bench.connect().await;
    let file = bench.control();
    let limit = |max: i64| spec(&format!("throttle: {{query: {{sql: SELECT count(*) FROM queue, max: {max}}}, hold: 1h}}"));
    tell(&file, &limit(0), "");
    let mut pace = Pace::of(&spec(""), &file);
    for expected in [100, 200, 400, 800] {
        assert_eq!(rows(&mut pace, &mut connection).await, expected);
        assert_eq!(pace.took(expected, Duration::from_millis(100)), Duration::ZERO);
    }
    bench.sql("INSERT INTO queue VALUES (1)").await;
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for _ in 0..3 {
        let Next::Wait(held, again) = pace.next(&mut connection).await.unwrap() else { panic!("not held") };
        assert_eq!((held.reading, again), ("Query", Duration::from_secs(2)));
    }
    tell(&file, &limit(0), "backfill.dev/suspend=\"true\"");
    assert_eq!(pace.next(&mut connection).await.unwrap(), Next::Suspended, "a held worker ends, too");
    // An hour of hold is no reason to wait for a limit that is not there any more.
    tell(&file, &limit(1), "");
    assert_eq!(rows(&mut pace, &mut connection).await, 800, "1600 were to come next");
    tell(&file, &spec("batch: {size: 30, pause: 3s}"), "");
    assert_eq!(rows(&mut pace, &mut connection).await, 30);
    assert_eq!(pace.took(30, Duration::from_secs(9)), Duration::from_secs(3));
    assert_eq!(pace.remarks().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_not_had_in_time_and_a_statement_that_takes_too_long_halve_the_batches() {
    let bench = Bench::new(TABLE, crate::harness::SPEC).await;
    let (mut holder, mut connection) = (bench.connect().await, bench.connect().await);
    let mut pace = Pace::of(&spec(""), &bench.control());
    let mut fixed = Pace::of(&spec("batch: {size: 1000}"), &bench.control());
    sqlx::raw_sql("BEGIN; UPDATE t SET v = 2").execute(&mut holder).await.unwrap();
    for (setting, auto, number) in [("lock_timeout", 50, 1000), ("statement_timeout", 25, 500)] {
        let sql = format!("SET lock_timeout = 0; SET {setting} = '50ms'");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        let error = sqlx::query("UPDATE t SET v = 3").execute(&mut connection).await.unwrap_err();
        pace.failed(&error);
        fixed.failed(&error);
        sqlx::raw_sql("SET statement_timeout = 0").execute(&mut connection).await.unwrap();
        assert_eq!((rows(&mut pace, &mut connection).await, rows(&mut fixed, &mut connection).await), (auto, number), "{setting}");
    }
    let other = sqlx::query("SELECT 1 / 0").execute(&mut connection).await.unwrap_err();
    pace.failed(&other);
    assert_eq!(rows(&mut pace, &mut connection).await, 25);
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_finds_the_size_that_takes_the_target_on_a_real_table() {
    let bench = Bench::new(
        "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t SELECT n, 0 FROM generate_series(1, 20000) n",
        crate::harness::SPEC,
    )
    .await;
    let mut connection = bench.connect().await;
    let mut pace = Pace::of(&spec("batch: {target: 60ms}"), &bench.control());
    let (mut seen, mut took) = (Vec::new(), Vec::new());
    for _ in 0..25 {
        let size = rows(&mut pace, &mut connection).await;
        let begun = std::time::Instant::now();
        // A tenth of a millisecond a row, as a trigger or a network would cost.
        let sql = format!("SELECT pg_sleep(0.0001 * {size}); UPDATE t SET v = v + 1 WHERE id <= {size}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        let elapsed = begun.elapsed();
        let _ = pace.took(size, elapsed);
        seen.push(size);
        took.push(elapsed.as_millis());
    }
    println!("sizes {seen:?}\ntook {took:?} ms");
    assert_eq!(seen[0], 100);
    took.drain(..10);
    took.sort_unstable();
    assert!((15..=120).contains(&took[took.len() / 2]), "half of the later batches took {took:?} ms of 60");
}
