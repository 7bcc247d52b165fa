//! Beside others that write the worker takes small batches that are on disk before the next one begins, and rests; alone it
//! does not. On servers of their own: the other tests of the shared one write, too.

use crate::harness::{Bench, Direct};
use crate::server::Server;
use backfill_operator::engine::apply::Ending;
use backfill_operator::engine::connector::Connector as _;
use backfill_operator::engine::throttle::Before;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A trigger notes of each of the run's statements whether its COMMIT will wait for the disk.
const TABLE: &str = "CREATE TABLE app (id int PRIMARY KEY, v int); INSERT INTO app SELECT g, 0 FROM generate_series(1, 10) g;
    CREATE TABLE n (id int PRIMARY KEY, v int, w int); CREATE TABLE waits (at timestamptz, waits text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO waits VALUES (clock_timestamp(), current_setting('synchronous_commit')); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER UPDATE ON n FOR EACH STATEMENT EXECUTE FUNCTION note()";

struct Run {
    bench: Bench,
    /// Held for as long as the run's database is used.
    _server: Server,
}

/// A run of so many rows, with an application that writes beside it as long as the flag says so.
async fn run(rows: i64, throttle: &str, writes: &Arc<AtomicBool>) -> Run {
    let server = Server::start();
    let spec = format!("{{source: {{table: n}}, writes: [{{set: {{w: s.v * 2}}}}], throttle: {{{throttle}}}}}");
    let bench = Bench::on(&server, &format!("{TABLE}; INSERT INTO n SELECT g, g FROM generate_series(1, {rows}) g"), &spec).await;
    let plan = bench.plan_by(5000).await.unwrap();
    bench.claim().await;
    let application: Vec<_> = (0..4)
        .map(|_| {
            let (writes, credentials) = (Arc::clone(writes), bench.credentials.clone());
            tokio::spawn(async move {
                let mut connection = Direct(credentials).connect().await.unwrap();
                while writes.load(Ordering::Relaxed) {
                    sqlx::query("UPDATE app SET v = v + 1 WHERE id = 1 + (random() * 9)::int").execute(&mut connection).await.unwrap();
                    tokio::time::sleep(Duration::from_millis(15)).await;
                }
            })
        })
        .collect();
    let begun = Instant::now();
    let stops = |done, _| {
        // Most is left when it stops, and long before the run ends.
        if done > 6000 && begun.elapsed() > Duration::from_secs(2) {
            writes.store(false, Ordering::Relaxed);
        }
    };
    assert_eq!(bench.apply_with(&plan, stops).await.unwrap(), Ending::Done);
    writes.store(false, Ordering::Relaxed);
    for client in application {
        client.await.unwrap();
    }
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE w = v * 2").await, rows);
    Run { bench, _server: server }
}

impl Run {
    /// Batches of which this is true.
    async fn batches(&self, condition: &str) -> i64 {
        self.bench.number(&format!("SELECT count(*) FROM backfill.batches WHERE {condition}")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_others_that_write_batches_are_small_and_on_disk_and_when_they_stop_it_goes_at_full_speed_again() {
    let run = run(60_000, "besideWriters: Gentle", &Arc::new(AtomicBool::new(true))).await;
    let told = run.bench.gentle.lock().unwrap().clone();
    assert!(told.ends_with(&[true, false]), "{told:?}");
    // The first quarter of a second nothing may be known; five seconds after the last writer it is fast again.
    let small = run.batches("last - first < 100").await;
    let large = run.batches("last - first >= 1000").await;
    assert!(small > 50 && large > 5, "{small} small and {large} large batches");
    let waits = run.bench.text("SELECT string_agg(waits || ' ' || n, ', ' ORDER BY first) FROM (
        SELECT waits, min(at) AS first, count(*) > 4 AS n FROM (
            SELECT *, count(*) FILTER (WHERE changed) OVER (ORDER BY at) AS part FROM (
                SELECT *, waits IS DISTINCT FROM lag(waits) OVER (ORDER BY at) AS changed FROM waits) AS a) AS b GROUP BY waits, part) AS c").await;
    let waits = waits.unwrap();
    assert!(waits.ends_with("on true, off true"), "which COMMITs waited for the disk, in their order: {waits}");
    // Twice as long at rest as at work, and 20 ms at least: of a stretch of small batches hardly any follows another sooner.
    let soon = run
        .bench
        .number(
            "SELECT count(*) FROM (SELECT committed_at - lag(committed_at) OVER (ORDER BY committed_at) AS since,
        last - first AS rows, lag(last - first) OVER (ORDER BY committed_at) AS before FROM backfill.batches) AS b
        WHERE rows < 100 AND before < 100 AND since < interval '20 ms'",
        )
        .await;
    assert!(soon < 10, "{soon} of {small} batches began without a rest");
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_it_is_never_gentle_nor_where_the_run_says_so() {
    let alone = run(20_000, "besideWriters: Gentle", &Arc::new(AtomicBool::new(false))).await;
    let full = run(20_000, "besideWriters: Full", &Arc::new(AtomicBool::new(true))).await;
    for run in [alone, full] {
        assert_eq!(*run.bench.gentle.lock().unwrap(), [false]);
        assert_eq!(run.bench.number("SELECT count(*) FROM waits WHERE waits <> 'off'").await, 0);
        assert!(run.batches("true").await < 60);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_can_tell_whether_others_write_beside_it() {
    let server = Server::start();
    let bench = Bench::on(&server, TABLE, "{source: {table: n}, writes: [{set: {w: s.v * 2}}]}").await;
    let mut connection = Direct(bench.credentials.clone()).connect().await.unwrap();
    let mut application = Direct(bench.credentials.clone()).connect().await.unwrap();
    let begun = Instant::now();
    assert!(!Before::now(&mut connection).await.unwrap().many_since(&mut connection).await.unwrap());
    assert!(begun.elapsed() >= Duration::from_millis(250), "it waits until it can tell");
    let before = Before::now(&mut connection).await.unwrap();
    for _ in 0..50 {
        sqlx::query("UPDATE app SET v = v + 1 WHERE id = 1").execute(&mut application).await.unwrap();
        tokio::time::sleep(Duration::from_millis(6)).await;
    }
    assert!(before.many_since(&mut connection).await.unwrap());
    let before = Before::now(&mut connection).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    sqlx::query("UPDATE app SET v = v + 1 WHERE id = 1").execute(&mut application).await.unwrap();
    assert!(!before.many_since(&mut connection).await.unwrap());
}
