//! An application that goes on writing while the script runs and while it is undone: all that it committed is there afterwards.

use super::{BOTH, TABLES, arm, back, bench, left_over, of, script, settle};
use crate::harness::{Bench, Direct};
use backfill_operator::engine::connector::Connector as _;
use backfill_operator::engine::ledger::State;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use sqlx::AssertSqlSafe;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Id, the application's note, title, the script's own column, the title of before.
type Row = (i64, Option<String>, Option<String>, Option<i32>, Option<String>);

/// Its own column and, now and then, that of the script; answers its last word on each row.
async fn application(bench: Arc<Bench>, seed: u64, stop: Arc<AtomicBool>) -> BTreeMap<i64, (String, Option<String>)> {
    let mut connection = Direct(bench.credentials.clone()).connect().await.unwrap();
    let mut random = StdRng::seed_from_u64(seed);
    let mut words = BTreeMap::new();
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        // Each of two applications has rows of its own.
        let id = 2 * random.random_range(0..150) + i64::try_from(seed).unwrap() + 1;
        n += 1;
        let (note, title) = (format!("app {n}"), (n % 40 == 0).then(|| format!("titled {n}")));
        let set = title.as_ref().map_or(String::new(), |title| format!(", title = '{title}'"));
        let sql = format!("UPDATE orders SET note = '{note}'{set} WHERE id = {id}");
        tokio::time::sleep(Duration::from_millis(1)).await;
        match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await {
            Ok(_) => {
                let kept = words.get(&id).and_then(|(_, title): &(String, Option<String>)| title.clone());
                words.insert(id, (note, title.or(kept)));
            }
            // It may be a deadlock's victim, and then has written nothing.
            Err(error) => assert_eq!(backfill_operator::postgres::sqlstate(&error).as_deref(), Some("40P01"), "{error}"),
        }
    }
    words
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_write_that_an_application_committed_is_still_there_after_the_undo() {
    let bench =
        Arc::new(bench(&format!("{TABLES}; ALTER TABLE orders ADD COLUMN note text; ALTER TABLE orders ADD COLUMN filled int")).await);
    bench.sql("CREATE TABLE before AS SELECT * FROM orders").await;
    arm(&bench, &of(&BOTH)).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let applications: Vec<_> = (0..2).map(|seed| tokio::spawn(application(bench.clone(), seed, stop.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // Row by row, as scripts do.
    let child = script(
        &bench,
        "DO $$ BEGIN FOR i IN 1..300 LOOP UPDATE orders SET title = 'filled ' || i, filled = i WHERE id = i; COMMIT; PERFORM pg_sleep(0.002); END LOOP; END $$;",
    );
    assert_eq!(super::complaint(child), "");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let account = settle(&bench, State::Applied).await;
    assert_eq!(account.rows(), 300, "the script's rows, and none of the application's: {account:?}");
    assert!(account.tables[0].others > 0, "{account:?}");
    let undone = back(&bench).await;
    stop.store(true, Ordering::SeqCst);
    let mut words = BTreeMap::new();
    for application in applications {
        words.extend(application.await.unwrap());
    }
    assert_eq!(undone.undone + undone.skipped, 300);
    assert!(undone.skipped > 0 && undone.undone > 0, "they met: {undone:?}");
    assert!(undone.skipped_keys[0].starts_with("public.orders/") && undone.skipped_keys[0].ends_with("(title)"), "{undone:?}");
    let mut connection = bench.connect().await;
    let now: Vec<Row> = sqlx::query_as("SELECT o.id, o.note, o.title, o.filled, b.title FROM orders o JOIN before b USING (id)")
        .fetch_all(&mut connection)
        .await
        .unwrap();
    for (id, note, title, filled, before) in now {
        let (word, titled) = words.get(&id).cloned().map_or((None, None), |(note, title)| (Some(note), title));
        assert_eq!(note, word, "row {id}: the application's own column");
        if title == before {
            assert_eq!(filled, None, "row {id}");
        } else {
            // Before the script wrote it, the application's title is what the row goes back to.
            assert!(titled.is_some() && title.as_deref().is_some_and(|t| t.starts_with("titled ")), "row {id}: {title:?}, not {titled:?}");
            assert_eq!(title, titled, "row {id}: the last word of the application");
        }
    }
    assert_eq!(left_over(&bench).await, 0);
}
