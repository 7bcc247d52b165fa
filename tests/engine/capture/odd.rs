//! Triggers, keys and constraints that stand in the way of a simple order.

use super::{arm, back, bench, hash, of, run_script, settle};
use crate::harness::Direct;
use backfill_operator::engine::ledger::State;
use backfill_operator::engine::undo;

/// Runs a script over these tables, and answers whether all is as before, and how many rows stayed.
async fn there_and_back(setup: &str, tables: &[&str], sql: &str) -> (bool, i64, Vec<String>) {
    let bench = bench(setup).await;
    let before = hash(&bench, tables).await;
    arm(&bench, &of(tables)).await.unwrap();
    run_script(&bench, sql);
    assert_ne!(hash(&bench, tables).await, before, "it does something: {sql}");
    let account = settle(&bench, State::Undoing).await;
    assert!(account.faults().is_empty() && !account.unseen, "{account:?}");
    let undone = back(&bench).await;
    assert_eq!(undo::not_as_before(&Direct(bench.credentials.clone()), &bench.ledger()).await.unwrap(), 0, "{sql}");
    (hash(&bench, tables).await == before, undone.skipped, undone.skipped_keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_and_unique_values_that_change_places_go_back() {
    for sql in [
        "UPDATE t SET u = u + 100; UPDATE t SET u = 1 + (u - 100) % 5",
        "UPDATE t SET id = id + 100; INSERT INTO t SELECT id - 100, u + 100 FROM t",
        "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (9, 1); UPDATE t SET u = 7 WHERE id = 9; UPDATE t SET u = 1 WHERE id = 2",
        "INSERT INTO t VALUES (6, 6); DELETE FROM t WHERE id = 6; INSERT INTO t VALUES (6, 66); UPDATE t SET id = 7 WHERE id = 6",
    ] {
        let setup = "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE); INSERT INTO t SELECT n, n FROM generate_series(1, 5) n";
        let (same, skipped, keys) = there_and_back(setup, &["t"], sql).await;
        assert!(same && skipped == 0, "{sql}: {keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_foreign_keys_and_triggers_did_in_the_wake_of_a_row_goes_back() {
    let setup = "
        CREATE TABLE users (id int PRIMARY KEY, name text, posts int NOT NULL DEFAULT 0);
        CREATE TABLE posts (id int PRIMARY KEY, user_id int REFERENCES users ON DELETE CASCADE ON UPDATE CASCADE, parent int REFERENCES posts ON DELETE SET NULL);
        CREATE TABLE profiles (user_id int PRIMARY KEY REFERENCES users, bio text);
        CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            UPDATE users SET posts = (SELECT count(*) FROM posts p WHERE p.user_id = users.id) WHERE posts <> (SELECT count(*) FROM posts p WHERE p.user_id = users.id); RETURN NULL; END $$;
        CREATE TRIGGER counted AFTER INSERT OR UPDATE OR DELETE ON posts FOR EACH STATEMENT EXECUTE FUNCTION counted();
        CREATE FUNCTION profiled() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO profiles VALUES (NEW.id, 'hello'); RETURN NULL; END $$;
        CREATE TRIGGER profiled AFTER INSERT ON users FOR EACH ROW EXECUTE FUNCTION profiled();
        INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 20) n;
        INSERT INTO posts SELECT n, 1 + n % 20, CASE WHEN n > 50 THEN n - 50 END FROM generate_series(1, 100) n";
    for sql in [
        "INSERT INTO users VALUES (100, 'new'), (101, 'newer'); INSERT INTO posts VALUES (1000, 100, 7), (1001, 101, 1000)",
        "DELETE FROM posts WHERE id BETWEEN 10 AND 30",
        "DELETE FROM profiles WHERE user_id < 5; DELETE FROM users WHERE id < 5",
        "UPDATE posts SET user_id = 1 + user_id % 20 WHERE id % 3 = 0",
        "INSERT INTO users VALUES (100, 'new'); UPDATE users SET name = 'renamed' WHERE id = 100; INSERT INTO posts VALUES (1000, 100, 7); DELETE FROM posts WHERE id = 7",
    ] {
        let (same, skipped, keys) = there_and_back(setup, &["posts", "profiles", "users"], sql).await;
        assert!(same && skipped == 0, "{sql}: {keys:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_and_keys_of_several_columns_go_back() {
    let setup = "CREATE SCHEMA \"My App\"; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN short AS text CHECK (length(value) < 9);
        CREATE TABLE \"My App\".\"Odd \"\"table\" (\"Key A\" text, \"b.c\" char(4), gone int, \"select\" mood[], d short, j jsonb, r int4range, PRIMARY KEY (\"b.c\", \"Key A\"));
        ALTER TABLE \"My App\".\"Odd \"\"table\" DROP COLUMN gone;
        INSERT INTO \"My App\".\"Odd \"\"table\" SELECT 'k''' || n, 'x', '{sad,NULL}', NULL, '{\"a\": null}', '[1,5)' FROM generate_series(1, 20) n";
    let table = "\"My App\".\"Odd \"\"table\"";
    let sql = format!(
        "UPDATE {table} SET \"select\" = '[0:1]={{ok,sad}}', d = 'a,\"b' WHERE \"Key A\" < 'k''15'; DELETE FROM {table} WHERE \"Key A\" > 'k''18';
         INSERT INTO {table} VALUES ('new', 'y', NULL, '', NULL, 'empty'); UPDATE {table} SET \"Key A\" = \"Key A\" || '!', r = NULL"
    );
    let (same, skipped, keys) = there_and_back(setup, &[table], &sql).await;
    assert!(same && skipped == 0, "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_of_the_moment_that_the_application_has_set_since_does_not_keep_the_row() {
    let bench = bench(
        "CREATE TABLE t (id int PRIMARY KEY, v text, note text, updated_at timestamptz NOT NULL DEFAULT '2026-01-01', seen timestamp);
         INSERT INTO t SELECT n, 'v' || n FROM generate_series(1, 5) n",
    )
    .await;
    arm(&bench, &of(&["t"])).await.unwrap();
    run_script(
        &bench,
        "SET TimeZone = 'Asia/Tokyo'; UPDATE t SET v = 'filled', updated_at = now(), seen = now() AT TIME ZONE 'UTC'; UPDATE t SET updated_at = '2020-02-02' WHERE id = 5",
    );
    settle(&bench, State::Applied).await;
    bench.sql("UPDATE t SET note = 'app', updated_at = '2030-01-01' WHERE id = 1; UPDATE t SET v = 'app' WHERE id = 2; UPDATE t SET updated_at = '2030-01-01' WHERE id = 5").await;
    let undone = back(&bench).await;
    assert_eq!(undone.skipped_keys, ["public.t/2 (v)", "public.t/5 (updated_at)"], "{undone:?}");
    let now = "SELECT string_agg(concat_ws(' ', id, v, note, updated_at::date, seen::date), ', ' ORDER BY id) FROM t WHERE id <> 2";
    assert_eq!(bench.text(now).await.unwrap(), "1 v1 app 2030-01-01, 3 v3 2026-01-01, 4 v4 2026-01-01, 5 v5 2030-01-01");
}
