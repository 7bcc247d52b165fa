//! The real undo process, killed at each batch boundary and between: the next one goes on, and every row comes back once.

use crate::crash::{Moment, drop_database, lay_out, proxy, run, worker};
use crate::harness::{Bench, SPEC, TABLES, admin, credentials, rows};
use crate::server::Server;
use backfill_operator::engine::apply::Ending;
use backfill_operator::protocol::Outcome;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::os::unix::process::ExitStatusExt as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;

/// The application's own trigger: it fires for every row that is put back, since triggers are never switched off.
const LOG: &str = "
    CREATE TABLE log (source text, id bigint);
    CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (TG_TABLE_NAME, NEW.id); RETURN NULL; END $$;
    CREATE TRIGGER log AFTER UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION log();
    CREATE TRIGGER log AFTER UPDATE ON scenario_generations FOR EACH ROW EXECUTE FUNCTION log()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_killed_at_any_moment_leaves_whole_batches_and_the_next_one_ends_it() {
    killed_at_any_moment(LOG).await;
}

/// Without a trigger that could see the order, two sessions put batches back at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undo_by_two_sessions_killed_at_any_moment_leaves_whole_batches_and_the_next_one_ends_it() {
    killed_at_any_moment("CREATE TABLE log (source text, id bigint)").await;
}

/// Waits for what the dead one has sent: it may still be at work.
async fn nobody_else(bench: &Bench, moment: Moment) {
    let mut connection = bench.connect().await;
    let others = "SELECT string_agg(concat_ws(' ', pid, state, query), '; ') FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    for _ in 0..600 {
        let found: Option<String> = sqlx::query_scalar(others).fetch_one(&mut connection).await.unwrap();
        if found.is_none() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{moment:?}: somebody is still there");
}

async fn killed_at_any_moment(log: &str) {
    let spec = SPEC.replace("size: 50", "size: 40");
    let mut bench = Bench::new(&format!("{TABLES}; {}; {log}", rows(250)), &spec).await;
    let before = bench.exact_hash().await;
    let plan = bench.plan().await;
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    bench.sql("TRUNCATE log").await;
    let batches = u32::try_from(bench.number("SELECT count(*) FROM backfill.batches").await).unwrap();
    assert!(batches > 4, "{batches}");
    let template = bench.credentials.database.clone();
    let server = Server::shared();

    // The first COMMIT begins the undo, the last one ends it; between them is one for each batch.
    let mut random = StdRng::seed_from_u64(5);
    let boundaries = (1..=batches + 2).flat_map(|n| [Moment::BeforeCommit(n), Moment::BeforeReply(n)]);
    let between = (1..=batches + 1).map(|n| Moment::After(n, u64::from(random.random_range(0..3000_u32))));
    for moment in boundaries.chain(between) {
        let database = Server::fresh_name("undo");
        admin(server, &format!("CREATE DATABASE {database} TEMPLATE {template}")).await;
        bench.credentials = credentials(server, &database, "postgres");
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        lay_out(&bench, root.path(), "undo", &plan, listener.local_addr().unwrap().port());
        let child = Arc::new(Mutex::new(None));
        let proxied = tokio::spawn(proxy(listener, server.port, moment, child.clone()));
        *child.lock().unwrap() = Some(worker(root.path(), "undo"));
        proxied.await.unwrap();
        let dead = child.clone();
        let status = tokio::task::spawn_blocking(move || dead.lock().unwrap().as_mut().unwrap().wait().unwrap()).await.unwrap();
        assert!(status.signal() == Some(9) || matches!(moment, Moment::After(..)), "{moment:?}: {status}");

        nobody_else(&bench, moment).await;
        let left = bench.number("SELECT coalesce(sum(written), 0)::int8 FROM backfill.batches WHERE undone_at IS NULL").await;
        let in_data = bench.number("SELECT count(*) FROM scenario_generations WHERE metadata ? 'import_audit'").await;
        assert_eq!(left, in_data, "{moment:?}: ledger and data differ");

        lay_out(&bench, root.path(), "undo", &plan, server.port);
        let passed = run(root.path(), "undo").await;
        assert_eq!(passed.outcome, Outcome::Passed, "{moment:?}: {}", passed.message);
        assert!(passed.message.starts_with(&format!("{} rows put back, 0 left alone", plan.will_write)), "{moment:?}: {}", passed.message);
        assert_eq!(bench.exact_hash().await, before, "{moment:?}");
        let fired = bench.number("SELECT count(*) FROM (SELECT FROM log GROUP BY source, id HAVING count(*) <> 1) x").await;
        assert_eq!(fired, 0, "{moment:?}: rows put back twice");
        let triggers = if log == LOG { 2 * plan.will_write } else { 0 };
        assert_eq!(bench.number("SELECT count(*) FROM log").await, triggers, "{moment:?}: the triggers are on");
        assert_eq!(bench.number("SELECT count(*) FROM backfill.claim").await, 0);
        drop_database(&bench).await;
    }
}
