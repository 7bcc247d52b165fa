//! Whole runs over tables, values, kills and an application that nobody chose: each follows from its seed.
//!
//! `BACKFILL_FUZZ_RUNS` says how many, `BACKFILL_FUZZ_SEED` the first seed (`make fuzz`). A failure names its seed.

mod model;

use crate::harness::{Bench, Direct};
use backfill_operator::engine::apply::Ending;
use backfill_operator::engine::ledger::Claimed;
use model::{Case, State};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What the application has done: the columns that it has set with their last values, rows that it took away and brought.
#[derive(Default)]
struct Application {
    set: BTreeMap<Vec<String>, BTreeMap<usize, String>>,
    deleted: BTreeSet<Vec<String>>,
    inserted: BTreeSet<Vec<String>>,
    count: u32,
}

impl Application {
    /// One write to some row, in a transaction of its own.
    async fn write(&mut self, case: &Case, keys: &[Vec<String>], connection: &mut PgConnection, rng: &mut StdRng) {
        self.count += 1;
        let key = keys[rng.random_range(0..keys.len())].clone();
        match rng.random_range(0..10) {
            0 => {
                if affected(connection, format!("DELETE FROM r AS s WHERE {}", case.key_is(&key))).await == 1 {
                    self.deleted.insert(key);
                }
            }
            1 => {
                let key = case.new_key(self.count);
                if affected(connection, case.insert(&key, rng)).await == 1 {
                    self.inserted.insert(key);
                }
            }
            _ => {
                let Some(column) = case.column_of_the_application(rng) else { return };
                let (literal, value) = case.value_of_the_application(column, self.count);
                let sql = format!("UPDATE r AS s SET c{column} = {literal} WHERE {}", case.key_is(&key));
                if affected(connection, sql).await == 1 {
                    self.set.entry(key).or_default().insert(column, value);
                }
            }
        }
    }
}

async fn affected(connection: &mut PgConnection, sql: String) -> u64 {
    sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(connection).await.unwrap().rows_affected()
}

/// Under a name of its own: workers are ended by theirs.
async fn as_application(bench: &Bench) -> PgConnection {
    let mut connection = bench.connect().await;
    sqlx::query("SET application_name = 'application'").execute(&mut connection).await.unwrap();
    connection
}

/// Writes now and then until it is told to end.
async fn goes_on(
    application: &mut Application,
    case: &Case,
    keys: &[Vec<String>],
    connection: &mut PgConnection,
    rng: &mut StdRng,
    end: &AtomicBool,
) {
    let mut left = rng.random_range(0..25);
    while left > 0 && !end.load(Ordering::Relaxed) {
        application.write(case, keys, connection, rng).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..6))).await;
        left -= 1;
    }
}

/// Ends the worker's sessions on the server, as a failover does.
async fn terminate(bench: &Bench) {
    bench.number("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'backfill/%' AND pid <> pg_backend_pid()").await;
}

/// Applies to the end, through the kills that the seed has.
async fn apply_through_kills(bench: &mut Bench, plan: &backfill_operator::api::status::PlanStatus, rng: &mut StdRng) -> u32 {
    let mut kills = rng.random_range(0..5);
    for attempts in 1..40 {
        let kind = if kills > 0 { rng.random_range(0..3) } else { 3 };
        kills = u32::saturating_sub(kills, 1);
        let at = rng.random_range(1..6_u32);
        let (reached, stop) = (CancellationToken::new(), bench.stop.clone());
        let mut batches = 0;
        let progress = |_, _| {
            batches += 1;
            if batches == at {
                match kind {
                    // As SIGTERM does.
                    0 => stop.cancel(),
                    _ => reached.cancel(),
                }
            }
        };
        let direct = Direct(bench.credentials.clone());
        let applying = bench.apply_through(&direct, plan, progress);
        let ending = match kind {
            // As SIGKILL does: the worker is gone in the middle of whatever it does.
            1 => tokio::select! {
                ending = applying => Some(ending),
                () = async { reached.cancelled().await; tokio::time::sleep(Duration::from_micros(u64::from(at) * 700)).await; } => None,
            },
            2 => {
                // Once begun it is waited for: on the server it would go on, and end sessions that come after the worker.
                let ended = CancellationToken::new();
                let failover = async {
                    tokio::select! {
                        () = reached.cancelled() => terminate(bench).await,
                        () = ended.cancelled() => {}
                    }
                };
                let applying = async {
                    let ending = applying.await;
                    ended.cancel();
                    ending
                };
                Some(tokio::join!(applying, failover).0)
            }
            _ => Some(applying.await),
        };
        bench.stop = CancellationToken::new();
        if let Some(ending) = ending
            && ending.unwrap() == Ending::Done
        {
            return attempts;
        }
    }
    panic!("not done after 39 attempts");
}

/// Undoes to the end; some attempts are cut short.
async fn undo_through_kills(bench: &Bench, rng: &mut StdRng) {
    for _ in 0..rng.random_range(0..3) {
        if tokio::time::timeout(Duration::from_millis(rng.random_range(1..40)), bench.undo()).await.is_ok() {
            break;
        }
    }
    bench.undo().await;
}

/// Each row as it has to be: `wanted` says for a row of before what its columns may hold.
fn check(case: &Case, before: &State, now: &State, application: &Application, wanted: impl Fn(&[String], usize) -> Vec<Option<String>>) {
    for (key, old) in before {
        let Some(row) = now.get(key) else {
            assert!(application.deleted.contains(key), "{key:?} is gone, and the application did not delete it");
            continue;
        };
        let set = application.set.get(key);
        assert_eq!(row.len(), old.len());
        for (column, found) in row.iter().enumerate() {
            if let Some(value) = set.and_then(|set| set.get(&column)) {
                assert_eq!(found.as_ref(), Some(value), "{key:?}: c{column} is the application's");
            } else {
                let may_be = wanted(key, column);
                assert!(may_be.contains(found), "{key:?}: c{column} ({}) is {found:?}, and not one of {may_be:?}", case.type_of(column));
            }
        }
    }
    for key in now.keys() {
        assert!(before.contains_key(key) || application.inserted.contains(key), "{key:?} came from nowhere");
    }
    for key in &application.inserted {
        assert!(now.contains_key(key) || application.deleted.contains(key), "{key:?} of the application is gone");
    }
}

async fn run(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let case = Case::random(&mut rng);
    let mut bench = Bench::new(&case.setup(&mut rng), &case.spec(&mut rng)).await;
    let before = case.state(&bench, "r").await;
    let planned = case.planned(&bench).await;
    let keys: Vec<Vec<String>> = before.keys().cloned().collect();
    let mut application = Application::default();

    let plan = bench.plan().await;
    assert_eq!(usize::try_from(plan.will_write).unwrap(), planned.len(), "what is planned is what one statement would change");
    assert_eq!(bench.claim().await, Claimed::Ours);
    let mut connection = as_application(&bench).await;
    for _ in 0..rng.random_range(0..4) {
        application.write(&case, &keys, &mut connection, &mut rng).await;
    }
    let touched_before: BTreeSet<Vec<String>> = application.set.keys().chain(&application.deleted).cloned().collect();
    let end = AtomicBool::new(false);
    let (mut of_kills, mut of_application) = (StdRng::seed_from_u64(rng.random()), StdRng::seed_from_u64(rng.random()));
    let applied = async {
        let attempts = Box::pin(apply_through_kills(&mut bench, &plan, &mut of_kills)).await;
        end.store(true, Ordering::Relaxed);
        attempts
    };
    let (attempts, ()) = tokio::join!(applied, goes_on(&mut application, &case, &keys, &mut connection, &mut of_application, &end));
    println!(
        "seed {seed}: {} rows, {} planned, applied in {attempts} attempts beside {} writes of the application",
        before.len(),
        planned.len(),
        application.count
    );
    let result = bench.result().await;
    assert_eq!(result.written + result.drifted, plan.will_write, "every planned row is written or named as drifted");

    let now = case.state(&bench, "r").await;
    let old = |key: &[String], column: usize| before[key][column].clone();
    let new = |key: &[String], column: usize| planned.get(key).map_or_else(|| old(key, column), |row| row[column].clone());
    check(&case, &before, &now, &application, |key, column| {
        if application.set.contains_key(key) || touched_before.contains(key) {
            vec![old(key, column), new(key, column)]
        } else {
            vec![new(key, column)]
        }
    });

    for _ in 0..rng.random_range(0..6) {
        application.write(&case, &keys, &mut connection, &mut rng).await;
    }
    if rng.random_bool(0.5) {
        end.store(false, Ordering::Relaxed);
        let undone = async {
            undo_through_kills(&bench, &mut rng).await;
            end.store(true, Ordering::Relaxed);
        };
        tokio::join!(undone, goes_on(&mut application, &case, &keys, &mut connection, &mut of_application, &end));
    } else {
        undo_through_kills(&bench, &mut rng).await;
    }
    let now = case.state(&bench, "r").await;
    let (application, case) = (&application, &case);
    check(case, &before, &now, application, |key, column| {
        // Where the application has set what the run sets, too, undo leaves the row alone.
        let met = application.set.get(key).is_some_and(|set| set.keys().any(|c| case.is_set(*c)));
        if met { vec![old(key, column), new(key, column)] } else { vec![old(key, column)] }
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_nobody_chose_write_what_was_planned_and_their_undo_leaves_only_what_the_application_did() {
    let number = |name: &str, otherwise| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise);
    let (first, runs) = (number("BACKFILL_FUZZ_SEED", 1_u64), number("BACKFILL_FUZZ_RUNS", 20));
    let mut failed = Vec::new();
    for seed in first..first + runs {
        if let Err(error) = tokio::spawn(run(seed)).await {
            failed.push(seed);
            println!("seed {seed}: {error}");
        }
    }
    assert!(failed.is_empty(), "failed seeds: {failed:?}; run one alone with BACKFILL_FUZZ_SEED and BACKFILL_FUZZ_RUNS=1");
}
