//! Each reading of the throttle holds under the real condition, and lets go when it is over.

use crate::harness::{Bench, admin, credentials};
use crate::server::Server;
use crate::standby::Standby;
use backfill_operator::api::spec;
use backfill_operator::engine::throttle::{Held, Throttle};
use backfill_operator::postgres::{ConnectOptions, connect};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// What the worker asks for: nothing but the reading in question.
fn settings(of: &str) -> spec::Throttle {
    let lag = if of.contains("maxReplicationLag") { "" } else { "maxReplicationLag: 1d," };
    serde_yaml_ng::from_str(&format!("{{{lag} hold: 100ms, {of}}}")).unwrap()
}

/// A session of the application, that is not called as the run's are.
async fn session(bench: &Bench, name: &str) -> PgConnection {
    let options =
        ConnectOptions { tls: spec::TlsMode::Disable, ca: None, statement_timeout: Duration::from_mins(2), application_name: name.into() };
    let mut connection = connect(&bench.credentials, &options).await.unwrap();
    run(&mut connection, "SET lock_timeout = 0").await;
    connection
}

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

/// Begins a statement that another session is to see at work.
fn begun(mut connection: PgConnection, sql: &str) -> JoinHandle<()> {
    let sql = sql.to_owned();
    tokio::spawn(async move { run(&mut connection, &sql).await })
}

/// A session whose vacuums take some seconds: pages that a checkpoint has cleaned cost a vacuum more, whatever was in
/// memory before.
async fn slow_vacuum(bench: &Bench) -> PgConnection {
    let mut connection = session(bench, "dba").await;
    run(&mut connection, "CHECKPOINT; SET vacuum_cost_delay = '20ms'; SET vacuum_cost_limit = 50").await;
    connection
}

/// Asks until it holds.
async fn holds(throttle: &mut Throttle, connection: &mut PgConnection) -> Held {
    let begun = Instant::now();
    loop {
        if let Some(held) = throttle.held(connection).await.unwrap() {
            return held;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "it never holds: {:?}", throttle.remarks());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Asks until it lets go.
async fn lets_go(throttle: &mut Throttle, connection: &mut PgConnection) {
    let begun = Instant::now();
    while let Some(held) = throttle.held(connection).await.unwrap() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it never lets go: {held:?}");
        tokio::time::sleep(throttle.again()).await;
    }
}

/// True where it never holds for so long.
async fn stays_free(throttle: &mut Throttle, connection: &mut PgConnection, time: Duration) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < time {
        if throttle.held(connection).await.unwrap().is_some() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    true
}

/// A role of the bench's database that is no monitor, with a connection of its own that is called as the run's are.
async fn outsider(bench: &Bench, server: &Server) -> (String, PgConnection) {
    let role = Server::fresh_name("outsider");
    admin(server, &format!("CREATE ROLE {role} LOGIN")).await;
    let credentials = credentials(server, &bench.credentials.database, &role);
    let options = ConnectOptions {
        tls: spec::TlsMode::Disable,
        ca: None,
        statement_timeout: Duration::from_mins(1),
        application_name: "backfill/test".into(),
    };
    (role, connect(&credentials, &options).await.unwrap())
}

fn remarks(throttle: &Throttle) -> Vec<String> {
    throttle.remarks().iter().map(|r| format!("{}: {}", r.reading, r.message)).collect()
}

const TABLE: &str =
    "CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 20000) n";

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_stops_replaying_holds_and_one_that_has_caught_up_lets_go() {
    let primary = Server::start();
    let bench = Bench::on(&primary, TABLE, crate::harness::SPEC).await;
    let standby = Standby::of(&primary, "copy", "");
    let mut on_standby = connect(
        &credentials_of(&standby),
        &ConnectOptions { tls: spec::TlsMode::Disable, ca: None, statement_timeout: Duration::from_mins(1), application_name: "t".into() },
    )
    .await
    .unwrap();
    let mut connection = bench.connect().await;
    let mut throttle = Throttle::new(&settings("maxReplicationLag: 1s"), &[]);
    bench.sql("UPDATE t SET v = v || 'a' WHERE id < 100").await;
    lets_go(&mut throttle, &mut connection).await;
    assert!(stays_free(&mut throttle, &mut connection, Duration::from_secs(3)).await, "a standby that keeps up does not hold");

    run(&mut on_standby, "SELECT pg_wal_replay_pause()").await;
    // An idle server writes nothing that a paused standby could miss.
    bench.sql("UPDATE t SET v = v || 'b'").await;
    let held = holds(&mut throttle, &mut connection).await;
    assert_eq!(held.reading, "ReplicationLag");
    for part in ["the standby copy (127.0.0.1) is ", " s behind (", "more than maxReplicationLag 1s"] {
        assert!(held.message.contains(part), "{}", held.message);
    }
    // Seconds pass, and the lag with them, though nobody writes any more.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(holds(&mut throttle, &mut connection).await.reading, "ReplicationLag");

    // A limit that was raised counts at once.
    throttle.set(&settings("maxReplicationLag: 10m"));
    assert_eq!(throttle.held(&mut connection).await.unwrap(), None);
    throttle.set(&settings("maxReplicationLag: 1s"));
    assert!(throttle.held(&mut connection).await.unwrap().is_some());

    // A role that is no monitor is told so, and is not held: it cannot see the lag.
    let (role, mut blind) = outsider(&bench, &primary).await;
    let mut unseeing = Throttle::new(&settings("maxReplicationLag: 1s"), &[]);
    assert!(stays_free(&mut unseeing, &mut blind, Duration::from_secs(3)).await);
    assert_eq!(
        remarks(&unseeing),
        [format!("ReplicationLag: the role cannot see how far standbys are behind (GRANT pg_monitor TO {role};)")]
    );
    admin(&primary, &format!("GRANT pg_monitor TO {role}")).await;
    assert_eq!(holds(&mut unseeing, &mut blind).await.reading, "ReplicationLag");

    run(&mut on_standby, "SELECT pg_wal_replay_resume()").await;
    lets_go(&mut throttle, &mut connection).await;

    // One that is gone has no lag that could be measured; its slot says that it is missing.
    drop(on_standby);
    drop(standby);
    let begun = Instant::now();
    while throttle.remarks().is_empty() && begun.elapsed() < Duration::from_secs(20) {
        bench.sql("UPDATE t SET v = v || 'c' WHERE id = 1").await;
        throttle.held(&mut connection).await.unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    assert!(remarks(&throttle)[0].starts_with("ReplicationLag: the standby of the replication slot copy is not connected"), "{throttle:?}");
    lets_go(&mut throttle, &mut connection).await;
}

fn credentials_of(standby: &Standby) -> backfill_operator::postgres::Credentials {
    backfill_operator::postgres::Credentials {
        host: "127.0.0.1".into(),
        port: standby.port,
        database: "postgres".into(),
        username: "postgres".into(),
        password: "unused".to_owned().into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_late_on_purpose_is_as_late_as_it_is() {
    let primary = Server::start();
    let bench = Bench::on(&primary, TABLE, crate::harness::SPEC).await;
    let _standby = Standby::of(&primary, "late", "-c recovery_min_apply_delay=6s");
    let mut connection = bench.connect().await;
    let mut above = Throttle::new(&settings("maxReplicationLag: 2s"), &[]);
    let mut below = Throttle::new(&settings("maxReplicationLag: 30s"), &[]);
    let begun = Instant::now();
    let mut held = false;
    while begun.elapsed() < Duration::from_secs(9) {
        bench.sql("UPDATE t SET v = v || 'a' WHERE id < 10").await;
        held |= above.held(&mut connection).await.unwrap().is_some();
        assert_eq!(below.held(&mut connection).await.unwrap(), None);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(held);
    lets_go(&mut above, &mut connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_at_work_hold_the_runs_own_do_not_and_those_that_end_let_go() {
    let server = Server::start();
    let bench = Bench::on(&server, TABLE, crate::harness::SPEC).await;
    let mut connection = bench.connect().await;
    let mut throttle = Throttle::new(&settings("maxActiveBackends: 2"), &[]);
    let mut sessions = Vec::new();
    for _ in 0..2 {
        sessions.push(begun(session(&bench, "app").await, "SELECT pg_sleep(6)"));
    }
    for _ in 0..3 {
        sessions.push(begun(session(&bench, "backfill/test").await, "SELECT pg_sleep(6)"));
    }
    let idle = session(&bench, "app").await;
    assert!(stays_free(&mut throttle, &mut connection, Duration::from_millis(2500)).await, "two are not more than two");
    sessions.push(begun(session(&bench, "app").await, "SELECT pg_sleep(3)"));
    let held = holds(&mut throttle, &mut connection).await;
    assert_eq!(held.reading, "ActiveBackends");
    assert!(held.message.starts_with("3 sessions are at work, more than maxActiveBackends 2"), "{}", held.message);

    // A role that is no monitor sees that there are sessions, and not what they do.
    let (role, mut blind) = outsider(&bench, &server).await;
    let mut unseeing = Throttle::new(&settings("maxActiveBackends: 2"), &[]);
    assert_eq!(unseeing.held(&mut blind).await.unwrap(), None);
    let wanted = format!("ActiveBackends: the role cannot see whether sessions of other roles are at work (GRANT pg_monitor TO {role};)");
    assert_eq!(remarks(&unseeing), [wanted]);

    lets_go(&mut throttle, &mut connection).await;
    for session in sessions {
        session.await.unwrap();
    }
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_wait_for_a_lock_hold_and_let_go_when_they_have_it() {
    let bench = Bench::new(TABLE, crate::harness::SPEC).await;
    let elsewhere = Bench::new(TABLE, crate::harness::SPEC).await;
    let (_, mut connection) = outsider(&bench, Server::shared()).await;
    let mut throttle = Throttle::new(&settings("maxWaitingLocks: 1"), &[]);
    let mut holder = session(&bench, "app").await;
    run(&mut holder, "BEGIN; UPDATE t SET v = 'a' WHERE id = 1").await;
    let mut other_holder = session(&elsewhere, "app").await;
    run(&mut other_holder, "BEGIN; UPDATE t SET v = 'a' WHERE id = 1").await;
    let row = begun(session(&bench, "app").await, "UPDATE t SET v = 'b' WHERE id = 1");
    let elsewhere_row = begun(session(&elsewhere, "app").await, "UPDATE t SET v = 'b' WHERE id = 1");
    assert!(
        stays_free(&mut throttle, &mut connection, Duration::from_millis(2500)).await,
        "one waits here; another database does not count"
    );
    let table = begun(session(&bench, "app").await, "ALTER TABLE t ADD COLUMN w int");
    let held = holds(&mut throttle, &mut connection).await;
    assert_eq!(held.reading, "WaitingLocks");
    assert!(held.message.starts_with("2 sessions of this database wait for a lock, more than maxWaitingLocks 1"), "{}", held.message);
    run(&mut holder, "COMMIT").await;
    run(&mut other_holder, "COMMIT").await;
    lets_go(&mut throttle, &mut connection).await;
    for waiting in [row, elsewhere_row, table] {
        waiting.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_write_ahead_log_holds_and_its_end_lets_go() {
    // Of its own, as what other tests write would count.
    let server = Server::start();
    let bench = Bench::on(&server, TABLE, crate::harness::SPEC).await;
    let (_, mut connection) = outsider(&bench, &server).await;
    let mut throttle = Throttle::new(&settings("maxWalRate: 1Mi"), &[]);
    assert!(stays_free(&mut throttle, &mut connection, Duration::from_millis(2500)).await);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut writer = session(&bench, "app").await;
    let flood = tokio::spawn(async move {
        let mut stopped = stopped;
        while stopped.try_recv().is_err() {
            run(&mut writer, "UPDATE t SET v = repeat('y', 400) WHERE id <= 10000").await;
        }
    });
    let held = holds(&mut throttle, &mut connection).await;
    assert_eq!(held.reading, "WalRate");
    assert!(held.message.contains(" of write-ahead log a second are written, more than maxWalRate 1.0 MiB"), "{}", held.message);
    stop.send(()).unwrap();
    flood.await.unwrap();
    lets_go(&mut throttle, &mut connection).await;
}

async fn oid(bench: &Bench, table: &str) -> i64 {
    bench.number(&format!("SELECT '{table}'::regclass::oid::int8")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vacuum_of_a_written_table_holds_one_of_another_does_not_and_its_end_lets_go() {
    let setup = format!(
        "{TABLE}; CREATE TABLE other AS SELECT * FROM t; CREATE TABLE parts (id int, v text) PARTITION BY RANGE (id);
         CREATE TABLE part_1 PARTITION OF parts FOR VALUES FROM (0) TO (100000); INSERT INTO parts SELECT * FROM t"
    );
    let bench = Bench::new(&setup, crate::harness::SPEC).await;
    // A role that is no monitor knows it by the lock, a monitor by the vacuum's own words.
    let (_, mut blind) = outsider(&bench, Server::shared()).await;
    let mut seeing = bench.connect().await;
    for (table, name) in [("t", "t"), ("parts", "part_1")] {
        let tables = [oid(&bench, table).await];
        let mut throttle = Throttle::new(&settings("avoidAutovacuum: true"), &tables);
        let mut unseeing = Throttle::new(&settings("avoidAutovacuum: true"), &tables);
        bench.sql("DELETE FROM other WHERE id % 2 = 0; INSERT INTO other SELECT * FROM t").await;
        let harmless = begun(slow_vacuum(&bench).await, "VACUUM other");
        assert!(stays_free(&mut throttle, &mut seeing, Duration::from_millis(1500)).await);
        assert!(stays_free(&mut unseeing, &mut blind, Duration::from_millis(1500)).await);
        bench.sql(&format!("DELETE FROM {table} WHERE id % 2 = 0")).await;
        let running = begun(slow_vacuum(&bench).await, &format!("VACUUM {table}"));
        let held = holds(&mut throttle, &mut seeing).await;
        assert_eq!(held.reading, "Autovacuum");
        assert!(held.message.starts_with(&format!("a vacuum works on {name} (pid ")), "{}", held.message);
        assert!(!held.message.contains("not shown"), "{}", held.message);
        let held = holds(&mut unseeing, &mut blind).await;
        assert!(held.message.starts_with(&format!("a vacuum works on {name} (pid ")), "{}", held.message);
        assert!(held.message.contains("phase: not shown to this role"), "{}", held.message);
        running.await.unwrap();
        lets_go(&mut throttle, &mut seeing).await;
        lets_go(&mut unseeing, &mut blind).await;
        harmless.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_own_autovacuum_of_a_written_table_holds_until_it_is_done() {
    let server = Server::start_with(
        "-c autovacuum=on -c autovacuum_naptime=1s -c autovacuum_vacuum_threshold=10 -c autovacuum_vacuum_scale_factor=0 \
         -c autovacuum_vacuum_cost_delay=20ms -c autovacuum_vacuum_cost_limit=50",
    );
    let bench = Bench::on(&server, TABLE, crate::harness::SPEC).await;
    let tables = [oid(&bench, "t").await];
    let mut connection = bench.connect().await;
    let mut throttle = Throttle::new(&settings("avoidAutovacuum: true"), &tables);
    bench.sql("DELETE FROM t WHERE id % 2 = 0; CHECKPOINT").await;
    let held = holds(&mut throttle, &mut connection).await;
    assert_eq!(held.reading, "Autovacuum");
    let worker = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query LIKE '%public.t%'";
    assert_eq!(bench.number(worker).await, 1, "{}", held.message);
    lets_go(&mut throttle, &mut connection).await;
    assert!(bench.number("SELECT autovacuum_count FROM pg_stat_user_tables WHERE relname = 't'").await > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runs_own_number_holds_above_its_limit_and_lets_go_below() {
    let bench = Bench::new("CREATE TABLE queue (id int); INSERT INTO queue VALUES (1), (2)", crate::harness::SPEC).await;
    let mut connection = bench.connect().await;
    let mut throttle = Throttle::new(&settings("query: {sql: 'SELECT count(*) FROM queue;', max: 2}"), &[]);
    assert!(stays_free(&mut throttle, &mut connection, Duration::from_millis(1500)).await);
    bench.sql("INSERT INTO queue VALUES (3)").await;
    let held = holds(&mut throttle, &mut connection).await;
    assert_eq!((held.reading, held.message.as_str()), ("Query", "throttle.query returned 3, more than its max 2"));
    bench.sql("DELETE FROM queue WHERE id = 3").await;
    lets_go(&mut throttle, &mut connection).await;
    assert_eq!(remarks(&throttle), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_that_cannot_be_taken_is_remarked_and_neither_holds_nor_changes_anything() {
    let setup = "CREATE TABLE queue (id int); CREATE FUNCTION meddle() RETURNS bigint LANGUAGE sql AS 'INSERT INTO queue VALUES (1); SELECT 9::bigint';
        CREATE FUNCTION sly() RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN meddle(); END'";
    let bench = Bench::new(setup, crate::harness::SPEC).await;
    let (role, mut blind) = outsider(&bench, Server::shared()).await;
    let mut connection = bench.connect().await;
    for (sql, told) in [
        ("DELETE FROM queue", "refused: it must be one SELECT"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("SELECT pg_sleep(3)", "the function pg_sleep has effects"),
        ("SELECT meddle()", "the function meddle is VOLATILE"),
        ("SELECT sly()", "SQLSTATE 25006"),
        ("SELECT count(*) FROM nowhere", "does not exist"),
        ("SELECT NULL::bigint", "returned NULL"),
        ("SELECT 'a'", "a whole number"),
        ("SELECT n FROM generate_series(1, 2) n", "exactly one row"),
        ("SELECT count(*) FROM generate_series(1, 1000000000000)", "longer than 2 s"),
    ] {
        let mut throttle = Throttle::new(&settings(&format!("query: {{sql: {sql:?}, max: 0}}")), &[]);
        let begun = Instant::now();
        assert_eq!(throttle.held(&mut connection).await.unwrap(), None, "{sql}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{sql} took {:?}", begun.elapsed());
        let remarks = remarks(&throttle);
        assert!(remarks.len() == 1 && remarks[0].starts_with("Query: ") && remarks[0].contains(told), "{sql}: {remarks:?}");
    }
    assert_eq!(bench.number("SELECT count(*) FROM queue").await, 0);
    for (sql, told) in [
        ("SELECT count(*) FROM queue", "permission denied for table queue"),
        ("SELECT count(*) FROM pg_stat_activity", format!("(GRANT pg_monitor TO {role};)").as_str()),
    ] {
        let mut throttle = Throttle::new(&settings(&format!("query: {{sql: {sql:?}, max: 0}}")), &[]);
        assert_eq!(throttle.held(&mut blind).await.unwrap(), None);
        assert!(remarks(&throttle)[0].contains(told), "{:?}", throttle.remarks());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readings_are_cheap_and_taken_once_a_second_at_most() {
    let server = Server::start();
    let bench = Bench::on(&server, TABLE, crate::harness::SPEC).await;
    let all = "maxReplicationLag: 1m, maxActiveBackends: 1000, maxWaitingLocks: 1000, maxWalRate: 1Gi, avoidAutovacuum: true, query: {sql: 'SELECT count(*) FROM t', max: 1000000}";
    let mut connection = bench.connect().await;
    let tables = [oid(&bench, "t").await];
    let mut throttle = Throttle::new(&settings(all), &tables);
    throttle.held(&mut connection).await.unwrap();
    let begun = Instant::now();
    let mut asked = Vec::new();
    while begun.elapsed() < Duration::from_millis(3500) {
        let asking = Instant::now();
        assert_eq!(throttle.held(&mut connection).await.unwrap(), None);
        asked.push(asking.elapsed());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    asked.sort();
    println!("six readings: {:?}; a look in between: {:?}", asked.iter().rev().take(3).collect::<Vec<_>>(), asked[asked.len() / 2]);
    assert!(asked.len() > 50 && asked[asked.len() / 2] < Duration::from_millis(1), "most looks ask nothing");
    assert_eq!(remarks(&throttle), Vec::<String>::new());
    // Each reading is a transaction that is rolled back; a session's are counted when it ends.
    connection.close().await.unwrap();
    let rolled_back = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    let begun = Instant::now();
    while bench.number(rolled_back).await < 6 && begun.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let readings = bench.number(rolled_back).await;
    assert!((12..=24).contains(&readings), "{readings} readings in 3.5 s, six at a time");
}
