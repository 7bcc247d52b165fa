//! A script of the team, of which the operator knows nothing but its tables, undone row by row.

mod application;
mod odd;
mod random;
mod refusals;

use crate::harness::{Bench, Direct};
use backfill_operator::api::spec::Capture;
use backfill_operator::engine::capture::{self, Account, CaptureError};
use backfill_operator::engine::ledger::{Claimed, State};
use backfill_operator::engine::undo::{self, Undone};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Orders with lines, a counter that a trigger keeps, and types of many kinds.
pub const TABLES: &str = "
    CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, title text, total numeric NOT NULL DEFAULT 0, raw json,
        at timestamptz DEFAULT '2026-01-01 12:00+02', span interval, ratio float8, bytes bytea, shout text GENERATED ALWAYS AS (upper(title)) STORED);
    CREATE TABLE lines (id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE, amount numeric NOT NULL);
    CREATE FUNCTION sum_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE orders SET total = total + CASE WHEN TG_OP = 'DELETE' THEN -OLD.amount WHEN TG_OP = 'INSERT' THEN NEW.amount ELSE NEW.amount - OLD.amount END
        WHERE id = CASE WHEN TG_OP = 'DELETE' THEN OLD.order_id ELSE NEW.order_id END; RETURN NULL; END $$;
    CREATE TRIGGER sum_up AFTER INSERT OR UPDATE OR DELETE ON lines FOR EACH ROW EXECUTE FUNCTION sum_up();
    INSERT INTO orders (title, raw, span, ratio, bytes) SELECT CASE WHEN n % 5 > 0 THEN 'Größe ' || n END, '{\"b\": 1,  \"a\": 2}', n * interval '-1 day 1 hour', n / 3.0::float8, decode('00ff', 'hex')
        FROM generate_series(1, 300) n;
    INSERT INTO lines SELECT n, 1 + n % 300, n FROM generate_series(1, 900) n";

/// A run in script mode: its spec of declared writes is not used.
pub async fn bench(setup: &str) -> Bench {
    Bench::new(setup, "{source: {table: orders, key: [id]}, writes: [{set: {title: \"'x'\"}}]}").await
}

pub fn of(tables: &[&str]) -> Capture {
    Capture { tables: tables.iter().map(ToString::to_string).collect(), role: None }
}

pub async fn arm(bench: &Bench, capture: &Capture) -> Result<(), CaptureError> {
    assert_eq!(bench.claim().await, Claimed::Ours);
    capture::arm(&mut bench.connect().await, &bench.ledger(), capture).await.map(|_| ())
}

pub async fn settle(bench: &Bench, state: State) -> Account {
    capture::settle(&mut bench.connect().await, &bench.ledger(), state).await.unwrap().unwrap()
}

/// The way back, as the step takes it.
pub async fn back(bench: &Bench) -> Undone {
    settle(bench, State::Undoing).await;
    let undone = bench.undo().await;
    capture::disarm(&mut bench.connect().await, &bench.ledger()).await.unwrap();
    undone
}

/// `psql`, as the script's Job runs it: with the environment that it is given.
pub fn script(bench: &Bench, sql: &str) -> Child {
    let mut command = client(bench, &bench.credentials.username, sql);
    command.env("PGOPTIONS", capture::options(&bench.run.uid));
    command.spawn().unwrap()
}

/// `psql` without the mark: the application, or a driver that does not read the environment.
pub fn client(bench: &Bench, role: &str, sql: &str) -> Command {
    let mut command = Command::new("psql");
    command
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", &bench.credentials.port.to_string()])
        .args(["-U", role, "-d", &bench.credentials.database, "-c", sql])
        .env_remove("PGOPTIONS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// Runs it to its end; answers what it complained of.
pub fn complaint(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    if output.status.success() { String::new() } else { String::from_utf8_lossy(&output.stderr).into_owned() }
}

pub fn run_script(bench: &Bench, sql: &str) {
    assert_eq!(complaint(script(bench, sql)), "");
}

/// Everything in the tables, to the last digit.
pub async fn hash(bench: &Bench, tables: &[&str]) -> String {
    let mut all = String::new();
    for table in tables {
        let sql = format!("SELECT md5(coalesce(string_agg(md5(t::text), '' ORDER BY t::text COLLATE \"C\"), '')) FROM {table} t");
        all += &bench.text(&sql).await.unwrap();
    }
    all
}

const BOTH: [&str; 2] = ["orders", "lines"];

/// Triggers and functions of the capture that are there.
pub async fn left_over(bench: &Bench) -> i64 {
    bench
        .number(
            "SELECT (SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%backfill_capture%')
                  + (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'backfill')",
        )
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_did_is_put_back_to_the_last_byte_and_nothing_is_left_of_the_triggers() {
    let bench = bench(TABLES).await;
    let before = hash(&bench, &BOTH).await;
    arm(&bench, &of(&BOTH)).await.unwrap();
    run_script(
        &bench,
        "SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard'; SET extra_float_digits = -5; SET bytea_output = escape; SET TimeZone = 'Asia/Tokyo';
         UPDATE orders SET title = coalesce(title, 'none') || '!', span = span * 2, at = at + interval '1 day' WHERE id <= 200;
         UPDATE orders SET title = title || '?' WHERE id BETWEEN 100 AND 250;
         DELETE FROM lines WHERE order_id BETWEEN 20 AND 40;
         DELETE FROM orders WHERE id BETWEEN 20 AND 40;
         INSERT INTO orders (id, title, raw, ratio) OVERRIDING SYSTEM VALUE VALUES (20, 'again', '{\"x\":  1}', 1e-300);
         INSERT INTO orders (title) SELECT 'new ' || n FROM generate_series(1, 50) n;
         INSERT INTO lines SELECT 10000 + id, id, 7 FROM orders WHERE title LIKE 'new %';
         UPDATE lines SET amount = amount * 2 WHERE id % 7 = 0",
    );
    assert_ne!(hash(&bench, &BOTH).await, before);
    let account = settle(&bench, State::Applied).await;
    capture::disarm(&mut bench.connect().await, &bench.ledger()).await.unwrap();
    assert_eq!(left_over(&bench).await, 0, "the script is over");
    assert!(!account.unseen && account.faults().is_empty(), "{account:?}");
    let orders = &account.tables[0];
    assert_eq!((orders.inserted, orders.deleted), (51, 21), "{account:?}");
    // The statistics count ten updates that changed nothing, too.
    assert_eq!(account.tables.iter().map(|t| t.others).sum::<i64>(), 10, "{account:?}");
    let undone = back(&bench).await;
    assert_eq!((undone.undone, undone.skipped), (account.rows(), 0), "{undone:?}");
    assert_eq!(hash(&bench, &BOTH).await, before);
    assert_eq!(undo::not_as_before(&Direct(bench.credentials.clone()), &bench.ledger()).await.unwrap(), 0);
    assert_eq!(bench.number("SELECT count(*) FROM backfill.captured").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_trigger_of_the_application_changed_while_it_was_put_back_is_counted() {
    let bench = bench(TABLES).await;
    arm(&bench, &of(&BOTH)).await.unwrap();
    // Its lines go with it, and their trigger finds no order any more. On the way back it finds one, and sums up once more.
    run_script(&bench, "DELETE FROM orders WHERE id = 20");
    let undone = back(&bench).await;
    assert_eq!((undone.undone, undone.skipped), (4, 0), "{undone:?}");
    assert_eq!(undo::not_as_before(&Direct(bench.credentials.clone()), &bench.ledger()).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_of_several_sessions_that_is_killed_in_the_middle_is_put_back_and_writes_no_more() {
    let bench = bench(TABLES).await;
    let before = hash(&bench, &BOTH).await;
    arm(&bench, &of(&BOTH)).await.unwrap();
    // A procedure commits as it goes, and its server process does not notice that the client is gone.
    bench
        .sql(
            "CREATE PROCEDURE churn(first int) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..100000 LOOP
                 UPDATE orders SET title = coalesce(title, '') || '.' WHERE id = 1 + (first + i) % 300;
                 INSERT INTO lines VALUES (100000 * (first + 1) + i, 1 + i % 300, 1);
                 COMMIT; END LOOP; END $$",
        )
        .await;
    let mut scripts: Vec<Child> = (0..3).map(|n| script(&bench, &format!("CALL churn({n})"))).collect();
    while bench.number("SELECT count(*) FROM lines").await < 2000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for child in &mut scripts {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let undone = back(&bench).await;
    assert_eq!(undone.skipped, 0, "{undone:?}");
    assert!(undone.undone > 2000, "{undone:?}");
    // Its sessions have been refused since the way back began.
    while bench.number("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CALL churn%' AND datname = current_database()").await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hash(&bench, &BOTH).await, before);
    assert_eq!(left_over(&bench).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_transaction_of_the_script_is_waited_for() {
    let bench = bench(TABLES).await;
    let before = hash(&bench, &BOTH).await;
    arm(&bench, &of(&BOTH)).await.unwrap();
    let child = script(&bench, "BEGIN; UPDATE orders SET title = 'late' WHERE id < 50; SELECT pg_sleep(2); COMMIT");
    while bench.number("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()").await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let undone = back(&bench).await;
    assert_eq!(complaint(child), "", "it was let end");
    assert_eq!((undone.undone, undone.skipped), (49, 0));
    assert_eq!(hash(&bench, &BOTH).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn packing_that_is_cut_off_anywhere_goes_on() {
    let bench = bench(TABLES).await;
    let before = hash(&bench, &BOTH).await;
    arm(&bench, &of(&BOTH)).await.unwrap();
    for n in 0..25 {
        run_script(&bench, &format!("UPDATE orders SET title = 'round {n}'; UPDATE lines SET amount = amount + 1"));
    }
    let mut cut = 0;
    loop {
        // Longer each time, so that a slow machine gets on, too.
        let within = Duration::from_millis(60 + 20 * cut);
        let mut connection = bench.connect().await;
        let ledger = bench.ledger();
        let settled = tokio::time::timeout(within, capture::settle(&mut connection, &ledger, State::Undoing)).await;
        drop(connection);
        if settled.is_ok() {
            break;
        }
        cut += 1;
        assert!(cut < 200, "it gets on");
    }
    assert!(cut > 0, "it was cut off");
    let undone = back(&bench).await;
    // An order for each of its rounds, a line likewise, and an order for each line by the trigger.
    assert_eq!((undone.undone, undone.skipped), (25 * (300 + 900 + 900), 0), "{undone:?}");
    assert_eq!(hash(&bench, &BOTH).await, before);
}
