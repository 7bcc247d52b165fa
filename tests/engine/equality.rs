//! However many workers there are, and whatever becomes of them: the tables are those that one worker makes, and one statement.

use crate::harness::{Bench, Direct, SPEC, TABLES, rows};
use backfill_operator::api::status::PlanStatus;
use backfill_operator::engine::apply::Ending;
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Rows that are written more than once would be in here more than once.
const LOG: &str = "
    CREATE TABLE log (source text, op text, id text);
    CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN INSERT INTO log VALUES (TG_TABLE_NAME, TG_OP, CASE TG_OP WHEN 'DELETE' THEN OLD.id ELSE NEW.id END); RETURN NULL; END $$;";

/// A backfill with its one statement.
struct Case {
    setup: String,
    spec: &'static str,
    statement: &'static str,
    /// One text over everything that counts.
    sum: &'static str,
    /// Everything.
    exact: &'static str,
}

fn flagship() -> Case {
    let log = "CREATE TRIGGER log AFTER UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION log();
               CREATE TRIGGER log AFTER UPDATE ON scenario_generations FOR EACH ROW EXECUTE FUNCTION log()";
    Case {
        setup: format!("{TABLES}; {}; {LOG} {log}", rows(400)),
        spec: SPEC,
        statement: "
            WITH winner AS (
                SELECT DISTINCT ON (scenario_id) * FROM scenario_generations WHERE metadata ? 'llm_response'
                ORDER BY scenario_id, updated_at DESC, id),
            written AS (
                UPDATE scenarios t SET accepted_prompt = s.metadata #>> '{llm_response,prompt}',
                    accepted_prompt_metadata = jsonb_build_object('model', s.metadata #> '{llm_response,model}'), updated_at = now()
                FROM winner s WHERE t.id = s.scenario_id AND t.accepted_prompt IS NULL AND s.metadata #> '{llm_response,skills}' IS NOT NULL
                RETURNING s.id)
            UPDATE scenario_generations g SET metadata = jsonb_set(metadata, '{import_audit}',
                '{\"source\": \"backfill\", \"run\": \"staging/import\", \"planDigest\": \"sha256:approved\", \"result\": \"written\"}')
            FROM written w WHERE g.id = w.id",
        sum:
            "(SELECT string_agg(ROW(id, title, accepted_prompt, accepted_prompt_metadata)::text, '' ORDER BY id) FROM scenarios)
              || (SELECT string_agg(ROW(id, scenario_id, metadata #- '{import_audit,at}')::text, '' ORDER BY id) FROM scenario_generations)",
        exact: "(SELECT string_agg(x::text, '' ORDER BY id) FROM scenarios x) || (SELECT string_agg(x::text, '' ORDER BY id) FROM scenario_generations x)",
    }
}

/// One source row to many inserted ones, and then it goes.
fn insert_and_delete() -> Case {
    let log = "CREATE TRIGGER log AFTER INSERT OR DELETE ON lines FOR EACH ROW EXECUTE FUNCTION log();
               CREATE TRIGGER log AFTER INSERT OR DELETE ON carts FOR EACH ROW EXECUTE FUNCTION log()";
    Case {
        setup: format!(
            "CREATE TABLE carts (id int PRIMARY KEY, items jsonb, state text);
             CREATE TABLE lines (id text PRIMARY KEY, cart int NOT NULL, item text);
             INSERT INTO carts SELECT n, (SELECT coalesce(jsonb_agg('größe ' || i), '[]') FROM generate_series(1, n % 4) i),
                 CASE WHEN n % 5 = 0 THEN 'open' ELSE 'closed' END FROM generate_series(1, 400) n;
             INSERT INTO lines VALUES ('7.1', 7, 'by hand'); {LOG} {log}"
        ),
        spec: "
source:
  table: carts
  where: s.state = 'closed'
  joins:
    - as: e
      rows: Many
      key: [nr]
      query: SELECT x.nr, x.item FROM jsonb_array_elements_text(s.items) WITH ORDINALITY AS x(item, nr)
writes:
  - {table: lines, action: Insert, onConflict: {key: [id]}, set: {id: \"s.id || '.' || e.nr\", cart: s.id, item: e.item}}
  - {action: Delete, per: Source}
audit: {table: entries}
batch: {size: 10}",
        statement: "
            WITH gone AS (DELETE FROM carts WHERE state = 'closed' AND items <> '[]' RETURNING *)
            INSERT INTO lines SELECT g.id || '.' || x.nr, g.id, x.item FROM gone g, jsonb_array_elements_text(g.items) WITH ORDINALITY AS x(item, nr)
            ON CONFLICT DO NOTHING",
        sum: "(SELECT string_agg(x::text, '' ORDER BY id) FROM carts x) || (SELECT string_agg(x::text, '' ORDER BY id) FROM lines x)",
        exact: "(SELECT string_agg(x::text, '' ORDER BY id) FROM carts x) || (SELECT string_agg(x::text, '' ORDER BY id) FROM lines x)",
    }
}

/// A trigger writes something else than the run does, and each worker notes that in the run's row of the ledger.
fn changed_by_trigger() -> Case {
    let all = "(SELECT string_agg(x::text, '' ORDER BY id) FROM words x)";
    Case {
        setup: format!(
            "CREATE TABLE words (id int PRIMARY KEY, word text, loud text);
             CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.loud := upper(NEW.loud); RETURN NEW; END $$;
             CREATE TRIGGER shout BEFORE UPDATE ON words FOR EACH ROW EXECUTE FUNCTION shout();
             INSERT INTO words SELECT n, 'wörd ' || n FROM generate_series(1, 300) n;
             {LOG} CREATE TRIGGER log AFTER UPDATE ON words FOR EACH ROW EXECUTE FUNCTION log()"
        ),
        spec: "{source: {table: words}, writes: [{set: {loud: s.word}}], batch: {size: 10}}",
        statement: "UPDATE words SET loud = word",
        sum: all,
        exact: all,
    }
}

/// Makes it 31 s since a worker touched what it holds.
fn long_ago(worker: i32) -> String {
    format!("UPDATE backfill.ranges SET touched_at = clock_timestamp() - interval '31 s' WHERE worker = {worker} AND done_at IS NULL")
}

impl Case {
    async fn bench(&self) -> Bench {
        Bench::new(&self.setup, self.spec).await
    }

    async fn sum(&self, bench: &Bench) -> String {
        bench.text(&format!("SELECT md5({})", self.sum)).await.unwrap()
    }

    async fn exact(&self, bench: &Bench) -> String {
        bench.text(&format!("SELECT md5({})", self.exact)).await.unwrap()
    }

    /// What one statement makes of the tables.
    async fn wanted(&self) -> String {
        let bench = self.bench().await;
        bench.sql(self.statement).await;
        self.sum(&bench).await
    }

    /// The tables are as they should be, and so is the ledger; and undo brings everything back.
    async fn holds(&self, bench: &Bench, plan: &PlanStatus, wanted: &str, before: &str, what: &str) {
        assert_eq!(self.sum(bench).await, wanted, "{what}");
        let result = bench.result().await;
        assert_eq!((result.written, result.drifted, result.quarantined), (plan.will_write, 0, 0), "{what}");
        assert_eq!(result.rows_digest, plan.rows_digest, "{what}");
        let twice = "SELECT count(*) FROM (SELECT FROM log GROUP BY source, op, id HAVING count(*) <> 1) x";
        assert_eq!(bench.number(twice).await, 0, "{what}: rows written twice");
        let gaps = "SELECT count(*) FROM (
                SELECT b.range, b.first, coalesce(lag(b.last) OVER r + 1, 0) AS begins, b.last, lead(b.first) OVER r AS next, r.rows
                FROM backfill.batches b JOIN backfill.ranges r USING (run_uid, range) WINDOW r AS (PARTITION BY b.range ORDER BY b.batch)) x
            WHERE first <> begins OR (next IS NULL AND last + 1 <> rows)";
        assert_eq!(bench.number(gaps).await, 0, "{what}: batches do not lie end to end");
        assert_eq!(bench.text("SELECT state FROM backfill.runs").await.as_deref(), Some("Applied"), "{what}");
        assert_eq!(bench.undo().await.undone, plan.will_write, "{what}");
        assert_eq!(self.exact(bench).await, before, "{what}: undo leaves something behind");
    }

    /// So many workers at the same time, undisturbed.
    async fn by(&self, workers: i32, wanted: &str) {
        let mut bench = self.bench().await;
        if workers > 1 {
            // So few rows are one worker's before the others have looked.
            bench.spec.batch.pause = "100ms".into();
        }
        let before = self.exact(&bench).await;
        let plan = bench.plan_by(25).await.unwrap();
        bench.claim().await;
        bench.attempt.fetch_add(1, Ordering::Relaxed);
        let direct = Direct(bench.credentials.clone());
        let ended = join_all((0..workers).map(|worker| bench.work(&direct, worker, &plan, |_, _| {}))).await;
        for ending in ended {
            assert_eq!(ending.unwrap(), Ending::Done);
        }
        let shared = bench.number("SELECT count(DISTINCT worker) FROM backfill.ranges").await;
        assert!(workers == 1 || shared > 1, "all ranges were one worker's");
        self.holds(&bench, &plan, wanted, &before, &format!("{workers} workers")).await;
    }

    /// Workers that are cut off at any moment, some of which come back as another process; one stays away until it is
    /// taken for dead.
    async fn by_mortals(&self, seed: u64, wanted: &str) {
        let bench = self.bench().await;
        let before = self.exact(&bench).await;
        let plan = bench.plan_by(25).await.unwrap();
        bench.claim().await;
        bench.attempt.fetch_add(1, Ordering::Relaxed);
        let direct = Direct(bench.credentials.clone());
        let mut random = StdRng::seed_from_u64(seed);
        let workers = random.random_range(2..=4);
        let lives = (0..workers).map(|worker| {
            let mut random = StdRng::seed_from_u64(seed * 100 + u64::try_from(worker).unwrap());
            let (bench, direct, plan) = (&bench, &direct, &plan);
            async move {
                // The first worker never dies for good: it ends the work alone if it must.
                let mut lives = if worker == 0 { u32::MAX } else { random.random_range(1..4) };
                let mut patience = 60;
                while lives > 0 {
                    let life = Duration::from_millis(random.random_range(5..patience));
                    tokio::select! {
                        ending = bench.work(direct, worker, plan, |_, _| {}) => return ending.map(|ending| assert_eq!(ending, Ending::Done)),
                        () = tokio::time::sleep(life) => {}
                    }
                    (lives, patience) = (lives.saturating_sub(1), patience * 2);
                }
                // Its ranges are nobody's from now on; 30 s are not waited for.
                while bench.number("SELECT count(*) FROM backfill.runs WHERE state = 'Applied'").await == 0 {
                    bench.sql(&long_ago(worker)).await;
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            }
        });
        for ended in join_all(lives).await {
            ended.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        self.holds(&bench, &plan, wanted, &before, &format!("seed {seed}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_number_of_workers_writes_what_one_statement_would() {
    for case in [flagship(), insert_and_delete()] {
        let wanted = case.wanted().await;
        for workers in [1, 2, 3, 5] {
            case.by(workers, &wanted).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_find_the_same_trigger_do_not_stand_in_each_others_way() {
    let case = changed_by_trigger();
    let wanted = case.wanted().await;
    case.by(4, &wanted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_die_at_any_moment_change_nothing_of_the_end() {
    for case in [flagship(), insert_and_delete()] {
        let wanted = case.wanted().await;
        for seed in 0..8 {
            case.by_mortals(seed, &wanted).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ranges_of_a_dead_worker_are_taken_over_after_30_s_and_not_before() {
    let case = insert_and_delete();
    let wanted = case.wanted().await;
    let bench = case.bench().await;
    let before = case.exact(&bench).await;
    let plan = bench.plan_by(25).await.unwrap();
    bench.claim().await;
    bench.attempt.fetch_add(1, Ordering::Relaxed);
    let direct = Direct(bench.credentials.clone());
    // The first dies after its first batch.
    let (told, mut first_batch) = tokio::sync::mpsc::unbounded_channel();
    tokio::select! {
        _ = bench.work(&direct, 0, &plan, |_, _| told.send(()).unwrap()) => panic!("it ended"),
        _ = first_batch.recv() => {}
    }
    let held = "SELECT count(*) FROM backfill.ranges WHERE worker = 0 AND done_at IS NULL";
    let second = bench.work(&direct, 1, &plan, |_, _| {});
    let watch = async {
        let begun = Instant::now();
        let open = "SELECT count(*) FROM backfill.ranges WHERE done_at IS NULL AND worker IS DISTINCT FROM 0";
        while bench.number(open).await > 0 {
            assert!(begun.elapsed() < Duration::from_mins(1), "the second does not get on");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let left = bench.number(held).await;
        assert!(left > 0, "the dead worker held a range");
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(bench.number(held).await, left, "a worker that may live keeps its ranges");
        bench.sql(&long_ago(0)).await;
    };
    let (ending, ()) = tokio::join!(second, watch);
    assert_eq!(ending.unwrap(), Ending::Done);
    case.holds(&bench, &plan, &wanted, &before, "taken over").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_comes_late_joins_the_others_while_they_write() {
    let bench = flagship().bench().await;
    bench.claim().await;
    let mut batch = bench.connect().await;
    let epoch = bench.ledger().begin(&mut batch, 1).await.unwrap();
    // A batch of another worker is under way, as there is always one.
    sqlx::query("BEGIN").execute(&mut batch).await.unwrap();
    sqlx::query("SELECT 1 FROM backfill.runs FOR SHARE").execute(&mut batch).await.unwrap();
    let begun = Instant::now();
    assert_eq!(bench.ledger().begin(&mut bench.connect().await, 1).await.unwrap(), epoch);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}
