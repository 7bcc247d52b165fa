//! Undo while an application goes on writing: every write that it committed is still there afterwards.

use crate::harness::{Bench, Direct, SPEC, TABLES, rows};
use backfill_operator::engine::apply::Ending;
use backfill_operator::engine::connector::Connector as _;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const CLIENTS: i64 = 4;
const SCENARIOS: i64 = 6000;

/// What one client has committed, by its own account. Clients share no rows, so that the last write of each is known.
#[derive(Default)]
struct Log {
    prompts: BTreeMap<i64, String>,
    titles: BTreeMap<i64, String>,
    inserted: BTreeSet<i64>,
    deleted: BTreeSet<i64>,
    committed: u64,
}

impl Log {
    /// One transaction of some statements; what it wrote is logged once the server has said that it is committed.
    async fn write(&mut self, client: i64, connection: &mut PgConnection, random: &mut StdRng) {
        let id = random.random_range(0..SCENARIOS / CLIENTS) * CLIENTS + client + 1;
        let n = self.committed;
        let statements = match random.random_range(0..10) {
            0 => format!("INSERT INTO scenarios (id, title) VALUES ({}, 'new')", new_id(client, n)),
            1 => format!("DELETE FROM scenario_generations WHERE scenario_id = {id}; DELETE FROM scenarios WHERE id = {id}"),
            2..5 => format!("UPDATE scenarios SET accepted_prompt = 'app {client}.{n}' WHERE id = {id}"),
            5..8 => format!("UPDATE scenarios SET title = 'app {client}.{n}' WHERE id = {id}"),
            // Changed its mind within a transaction.
            8 => format!(
                "UPDATE scenarios SET accepted_prompt = 'first' WHERE id = {id}; UPDATE scenarios SET accepted_prompt = 'app {client}.{n}' WHERE id = {id}"
            ),
            _ => format!("UPDATE scenarios SET accepted_prompt = 'rolled back', title = 'rolled back' WHERE id = {id}"),
        };
        let end = if statements.contains("rolled back") { "ROLLBACK" } else { "COMMIT" };
        let sent = sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {statements}; {end}"))).execute(&mut *connection).await;
        if let Err(error) = sent {
            // It locks a child before its parent, and may lose a deadlock: that transaction is not committed, and says so.
            assert_eq!(backfill_operator::postgres::sqlstate(&error).as_deref(), Some("40P01"), "{error}");
            sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await.unwrap();
            return;
        }
        self.committed += 1;
        let there = !self.deleted.contains(&id);
        if end == "ROLLBACK" {
        } else if statements.starts_with("INSERT") {
            self.inserted.insert(new_id(client, n));
        } else if statements.starts_with("DELETE") {
            self.deleted.insert(id);
            self.prompts.remove(&id);
            self.titles.remove(&id);
        } else if there && statements.contains("title") {
            self.titles.insert(id, format!("app {client}.{n}"));
        } else if there {
            self.prompts.insert(id, format!("app {client}.{n}"));
        }
    }
}

fn new_id(client: i64, n: u64) -> i64 {
    1_000_000 + i64::try_from(n).unwrap() * CLIENTS + client
}

async fn client(bench: &Bench, number: i64, stop: Arc<AtomicBool>) -> Log {
    let mut connection = Direct(bench.credentials.clone()).connect().await.unwrap();
    let mut random = StdRng::seed_from_u64(u64::try_from(number).unwrap());
    let mut log = Log::default();
    while !stop.load(Ordering::SeqCst) {
        log.write(number, &mut connection, &mut random).await;
    }
    log
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_committed_write_of_an_application_that_keeps_running_is_there_after_the_undo() {
    let spec = SPEC.replace("size: 50", "size: 100");
    let bench = Arc::new(Bench::new(&format!("{TABLES}; {}", rows(SCENARIOS)), &spec).await);
    bench.sql("CREATE TABLE before AS SELECT * FROM scenarios").await;
    let plan = bench.plan().await;
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    bench.sql("CREATE TABLE applied AS SELECT id FROM scenarios WHERE accepted_prompt IS DISTINCT FROM (SELECT b.accepted_prompt FROM before b WHERE b.id = scenarios.id)").await;

    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (bench, stop) = (bench.clone(), stop.clone());
            tokio::spawn(async move { client(&bench, number, stop).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let undone = bench.undo().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.store(true, Ordering::SeqCst);
    let mut all = Log::default();
    for client in clients {
        let log = client.await.unwrap();
        all.committed += log.committed;
        all.prompts.extend(log.prompts);
        all.titles.extend(log.titles);
        all.inserted.extend(log.inserted);
        all.deleted.extend(log.deleted);
    }
    assert!(all.committed > 200 && undone.skipped > 0, "they met: {} writes, {undone:?}", all.committed);
    assert_eq!(undone.undone + undone.skipped, plan.will_write, "every row is accounted for");

    let mut connection = bench.connect().await;
    let now: BTreeMap<i64, (Option<String>, Option<String>)> = sqlx::query_as("SELECT id, title, accepted_prompt FROM scenarios")
        .fetch_all(&mut connection)
        .await
        .unwrap()
        .into_iter()
        .map(|(id, title, prompt)| (id, (title, prompt)))
        .collect();
    let before: Vec<(i64, Option<String>, Option<String>)> =
        sqlx::query_as("SELECT id, title, accepted_prompt FROM before").fetch_all(&mut connection).await.unwrap();
    for id in &all.inserted {
        assert_eq!(now.get(id), Some(&(Some("new".into()), None)), "row {id}, which the application inserted");
    }
    for (id, title, prompt) in before {
        if all.deleted.contains(&id) {
            assert_eq!(now.get(&id), None, "row {id}, which the application deleted");
            continue;
        }
        let expected = (all.titles.get(&id).cloned().or(title), all.prompts.get(&id).cloned().or(prompt));
        assert_eq!(now.get(&id), Some(&expected), "row {id}");
    }
    assert_eq!(now.len() + all.deleted.len(), usize::try_from(SCENARIOS).unwrap() + all.inserted.len());
    let named = undone
        .skipped_keys
        .iter()
        .all(|key| ["(accepted_prompt)", "(row is gone)", "(written meanwhile)"].iter().any(|why| key.ends_with(why)));
    assert!(named, "{:?}", undone.skipped_keys);
}
