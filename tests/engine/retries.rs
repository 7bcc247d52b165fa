//! What passes by itself is tried again: each row is written once, whatever the server or the way to it does meanwhile.

use crate::harness::{Bench, Direct, credentials};
use crate::server::Server;
use crate::standby::Standby;
use backfill_operator::engine::apply::{ApplyError, Ending};
use backfill_operator::engine::connector::{ConnectRefused, Connector};
use sqlx::{AssertSqlSafe, PgConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Rows that are written more than once would be in the log more than once: but a log that is rolled back with its batch
/// would hide it, so the count of batches is looked at, too.
const TABLE: &str = "
    CREATE TABLE n (id int PRIMARY KEY, v int, audit jsonb); INSERT INTO n SELECT g FROM generate_series(1, 300) g;
    CREATE TABLE log (id int); CREATE SEQUENCE tries;
    CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.id); RETURN NULL; END $$;
    CREATE TRIGGER log AFTER UPDATE ON n FOR EACH ROW EXECUTE FUNCTION log();";
const SPEC: &str = "{source: {table: n}, writes: [{set: {v: s.id * 2}}], audit: {column: audit, path: [run]}, batch: {size: 30}}";

/// Every planned row is written, once, with one entry, and can be put back.
async fn whole(bench: &Bench, what: &str) {
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE v = id * 2 AND audit #>> '{run,result}' = 'written'").await, 300, "{what}");
    assert_eq!(bench.number("SELECT count(*) FROM (SELECT id FROM log GROUP BY id HAVING count(*) <> 1) x").await, 0, "{what}");
    let result = bench.result().await;
    assert_eq!((result.written, result.drifted, result.quarantined), (300, 0, 0), "{what}");
    assert_eq!(
        bench
            .number("SELECT count(*) FROM (SELECT DISTINCT range, unnest(hashes) FROM backfill.undo WHERE role = 'row' AND seq = 0) x")
            .await,
        300,
        "{what}"
    );
    assert_eq!(bench.undo().await.undone, 300, "{what}");
}

#[tokio::test]
async fn an_error_that_passes_by_itself_is_tried_again_and_the_batches_before_it_stay() {
    for code in ["40001", "40P01", "55P03", "57014", "53200"] {
        let bench = Bench::new(TABLE, SPEC).await;
        // Twice, in the middle of the work, the server says so. A sequence counts on through what is rolled back.
        bench
            .sql(&format!(
                "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     IF NEW.id = 150 AND nextval('tries') < 3 THEN RAISE EXCEPTION 'as told' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$;
                 CREATE TRIGGER trouble BEFORE UPDATE ON n FOR EACH ROW EXECUTE FUNCTION trouble()"
            ))
            .await;
        let plan = bench.plan_by(1000).await.unwrap();
        bench.claim().await;
        assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done, "{code}");
        assert_eq!(bench.number("SELECT last_value FROM tries").await, 3, "{code}");
        bench.sql("DROP TRIGGER trouble ON n").await;
        // What was too large for the server is not tried again as it was, even where the number is fixed.
        let next = bench.number("SELECT last - first + 1 FROM backfill.batches WHERE first = 120").await;
        assert_eq!(next, if matches!(code, "57014" | "53200") { 15 } else { 30 }, "{code}");
        whole(&bench, code).await;
    }
}

#[tokio::test]
async fn undo_tries_the_same_errors_again() {
    for code in ["40001", "40P01", "55P03", "57014", "53200"] {
        let bench = Bench::new(TABLE, SPEC).await;
        bench.through().await;
        bench
            .sql(&format!(
                "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     IF NEW.id = 150 AND nextval('tries') < 3 THEN RAISE EXCEPTION 'as told' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$;
                 CREATE TRIGGER trouble BEFORE UPDATE ON n FOR EACH ROW EXECUTE FUNCTION trouble()"
            ))
            .await;
        let undone = bench.undo().await;
        assert_eq!((undone.undone, undone.skipped), (300, 0), "{code}");
        assert!(bench.number("SELECT last_value FROM tries").await >= 3, "{code}");
        assert_eq!(bench.number("SELECT count(*) FROM n WHERE v IS NOT NULL OR audit IS NOT NULL").await, 0, "{code}");
    }
}

#[tokio::test]
async fn what_never_passes_ends_after_so_many_attempts_and_leaves_whole_batches() {
    let bench = Bench::new(TABLE, SPEC).await;
    bench
        .sql(
            "CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                 IF NEW.id = 150 THEN RAISE EXCEPTION 'as told' USING ERRCODE = '40001'; END IF; RETURN NEW; END $$;
             CREATE TRIGGER trouble BEFORE UPDATE ON n FOR EACH ROW EXECUTE FUNCTION trouble()",
        )
        .await;
    let plan = bench.plan().await;
    bench.claim().await;
    let error = bench.apply(&plan).await.unwrap_err();
    assert!(matches!(error, ApplyError::GaveUp { .. }), "{error}");
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE v IS NOT NULL").await, bench.result().await.written);
    assert_eq!(bench.result().await.written, 120);
    bench.sql("DROP TRIGGER trouble ON n").await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    whole(&bench, "after it").await;
}

/// Sessions of this database that wait for a lock; other tests have databases of their own on the same server.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

#[tokio::test(flavor = "multi_thread")]
async fn in_a_deadlock_with_the_application_the_worker_gives_way() {
    let bench = Bench::new(TABLE, SPEC).await;
    bench.sql("ALTER DATABASE current_db SET deadlock_timeout = '1s'".replace("current_db", &bench.credentials.database).as_str()).await;
    // A batch takes its rows in key order: the application holds a later one and wants an earlier one.
    let plan = bench.plan().await;
    bench.claim().await;
    let mut application = bench.connect().await;
    sqlx::raw_sql("SET lock_timeout = 0; BEGIN; UPDATE n SET audit = NULL WHERE id = 145").execute(&mut application).await.unwrap();
    let hold = async {
        // By then the batch holds 121 to 144 and waits for 145.
        while bench.number(WAITING).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        sqlx::query("UPDATE n SET audit = NULL WHERE id = 122").execute(&mut application).await.expect("it is no victim");
        sqlx::query("COMMIT").execute(&mut application).await.unwrap();
    };
    let (ending, ()) = tokio::join!(bench.apply(&plan), hold);
    assert_eq!(ending.unwrap(), Ending::Done);
    assert_eq!(bench.number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await, 0);
    assert_eq!(bench.result().await.written, 300);
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE v = id * 2").await, 300);
}

/// A deadlock that the server finds first, as where somebody else's locks are looked for sooner than ours are given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_is_survived_whoever_is_its_victim() {
    let bench = Bench::new(TABLE, SPEC).await;
    let plan = bench.plan().await;
    bench.claim().await;
    let mut application = bench.connect().await;
    let impatient = "SET lock_timeout = 0; SET deadlock_timeout = '10ms'; BEGIN; UPDATE n SET audit = NULL WHERE id = 145";
    sqlx::raw_sql(impatient).execute(&mut application).await.unwrap();
    let hold = async {
        while bench.number(WAITING).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let ended = sqlx::query("UPDATE n SET audit = NULL WHERE id = 122").execute(&mut application).await;
        let victim = ended.as_ref().is_err_and(|error| error.as_database_error().is_some_and(|e| e.code().as_deref() == Some("40P01")));
        sqlx::query("ROLLBACK").execute(&mut application).await.unwrap();
        victim
    };
    let (ending, victim) = tokio::join!(bench.apply(&plan), hold);
    assert_eq!(ending.unwrap(), Ending::Done);
    assert!(victim, "there was no deadlock");
    assert_eq!(bench.result().await.written, 300);
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE v = id * 2").await, 300);
}

/// The way to the server, which loses the answer of some COMMITs: they are sent, and nothing comes back.
async fn forgetful(port: u16, every: u32) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = listener.local_addr().unwrap().port();
    let commits = Arc::new(AtomicU32::new(0));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let commits = Arc::clone(&commits);
            tokio::spawn(async move {
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
                loop {
                    tokio::select! {
                        read = from_client.read(&mut asked) => {
                            let Ok(length @ 1..) = read else { return };
                            let commit = asked[..length].windows(7).any(|bytes| bytes == b"COMMIT\0");
                            if to_server.write_all(&asked[..length]).await.is_err() { return }
                            if commit && commits.fetch_add(1, Ordering::SeqCst) % every == every - 1 {
                                // The server has answered, and nobody hears it.
                                let _ = from_server.read(&mut answered).await;
                                return;
                            }
                        }
                        read = from_server.read(&mut answered) => {
                            let Ok(length @ 1..) = read else { return };
                            if to_client.write_all(&answered[..length]).await.is_err() { return }
                        }
                    }
                }
            });
        }
    });
    here
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_looked_up_in_the_ledger_and_not_written_again() {
    let mut bench = Bench::new(TABLE, SPEC).await;
    let plan = bench.plan().await;
    bench.claim().await;
    let direct = bench.credentials.clone();
    bench.credentials.port = forgetful(direct.port, 3).await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    bench.credentials = direct;
    whole(&bench, "answers lost").await;
}

/// Leads to the old primary, and from the failover on to the standby.
struct Moving {
    old: Direct,
    new: Direct,
    moved: AtomicBool,
}

impl Connector for Moving {
    async fn connect(&self) -> Result<PgConnection, ConnectRefused> {
        if self.moved.load(Ordering::SeqCst) { self.new.connect().await } else { self.old.connect().await }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_to_a_standby_that_is_read_only_at_first_is_waited_for_and_loses_whole_batches_at_most() {
    let primary = Server::start();
    let bench = Bench::on(&primary, TABLE, SPEC).await;
    let plan = bench.plan().await;
    bench.claim().await;
    let standby = Standby::of(&primary, "next", "");
    let mut there = credentials(&primary, &bench.credentials.database, "postgres");
    there.port = standby.port;
    let moving = Moving { old: Direct(bench.credentials.clone()), new: Direct(there.clone()), moved: AtomicBool::new(false) };
    let mut batches = 0;
    let (told, mut third) = tokio::sync::mpsc::unbounded_channel();
    let progress = |_, _| {
        batches += 1;
        if batches == 3 {
            // The name leads to the standby, which is not promoted yet; sessions at the old primary end.
            moving.moved.store(true, Ordering::SeqCst);
            told.send(()).unwrap();
        }
    };
    let failover = async {
        third.recv().await.unwrap();
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'backfill/test' AND pid <> pg_backend_pid()";
        bench.number(end).await;
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let mut connection = moving.new.connect().await.unwrap();
        let promoted: bool = sqlx::query_scalar("SELECT pg_promote()").fetch_one(&mut connection).await.unwrap();
        assert!(promoted);
    };
    let (ending, ()) = tokio::join!(bench.apply_through(&moving, &plan, progress), failover);
    assert_eq!(ending.unwrap(), Ending::Done);
    let mut bench = bench;
    bench.credentials = there;
    whole(&bench, "after the failover").await;
}

#[tokio::test]
async fn every_session_has_its_timeouts_whatever_the_role_s_are() {
    let bench = Bench::new("SELECT 1", "{source: {table: n}, writes: [{set: {v: '1'}}]}").await;
    let database = bench.credentials.database.clone();
    for setting in ["lock_timeout = 0", "statement_timeout = 0", "idle_in_transaction_session_timeout = 0"] {
        bench.sql(&format!("ALTER DATABASE {database} SET {setting}")).await;
    }
    let mut connection = bench.connect().await;
    for (setting, wanted) in [
        ("lock_timeout", "5s"),
        ("statement_timeout", "1min"),
        ("idle_in_transaction_session_timeout", "1min"),
        ("TimeZone", "UTC"),
        ("search_path", "public"),
    ] {
        let found: String = sqlx::query_scalar(AssertSqlSafe(format!("SHOW {setting}"))).fetch_one(&mut connection).await.unwrap();
        assert_eq!(found, wanted, "{setting}");
    }
}
