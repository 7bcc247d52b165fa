//! A ledger of an earlier release, with a run in it, comes to the tables of this one, and the way back stays open.

use crate::harness::Bench;
use backfill_operator::engine::ledger::{self, Claimed, LedgerError};
use backfill_operator::protocol::RunIdentity;

/// The tables before: two writes a source row, and an audit entry in a column.
const TABLES: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, total int, note text, meta jsonb);
    CREATE TABLE customers (tenant text, id int, orders int, seen timestamptz, PRIMARY KEY (tenant, id));
    INSERT INTO orders SELECT n, n * 10, CASE WHEN n % 2 = 0 THEN 'nöte' END,
        CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN '{\"a\": 1}'::jsonb ELSE '{\"done\": {\"other\": true}}' END FROM generate_series(1, 12) n;
    INSERT INTO customers SELECT 't,\"' || n % 2, n, NULL, '2026-01-01' FROM generate_series(1, 12) n";

const SPEC: &str = "
source: {table: orders}
writes:
  - {table: customers, match: t.id = s.id, set: {orders: s.total, seen: now()}}
  - {onlyIf: s.id <= 8, set: {note: \"'checked'\"}}
audit: {column: meta, path: [done, run]}";

/// What release 0.1.0 wrote for that, as its statements wrote it: three batches of four rows, the last row drifted.
const RUN: &str = r#"
    CREATE TEMP TABLE was AS SELECT o.id, o.note, o.meta::text AS meta, c.tenant, c.orders::text AS orders, c.seen::text AS seen
        FROM orders o JOIN customers c USING (id);
    UPDATE customers SET orders = id * 10, seen = now() WHERE id < 12;
    UPDATE orders SET note = 'checked' WHERE id <= 8;
    UPDATE orders SET meta = jsonb_set(coalesce(meta, '{}'), '{done}', coalesce(meta->'done', '{}') ||
        '{"run": {"source": "backfill", "run": "staging/import", "planDigest": "sha256:old", "result": "written", "at": "2026-05-01T00:00:00+00:00"}}')
        WHERE id < 12;
    INSERT INTO backfill.runs (uid, namespace, name, spec_hash, plan_digest, rows_digest, plan_file_sha256, state, epoch, cursor, planned, written, drifted, batches, drift_checked)
        VALUES ('UID', 'staging', 'import', 'spec', 'sha256:old', 'sha256:rows', 'sha256:file', 'STATE', 1, 12, 12, 11, 1, 3, true);
    INSERT INTO backfill.planned SELECT 'UID', n, jsonb_build_array(n::text), n * 7 FROM generate_series(1, 12) n;
    INSERT INTO backfill.batches (run_uid, batch, epoch, first_ordinal, last_ordinal, written, drifted)
        SELECT 'UID', b, 1, b * 4 - 3, b * 4, CASE b WHEN 3 THEN 3 ELSE 4 END, CASE b WHEN 3 THEN 1 ELSE 0 END FROM generate_series(1, 3) b;
    INSERT INTO backfill.drifted VALUES ('UID', 12, '["12"]');
    INSERT INTO backfill.undo (run_uid, batch, ordinal, seq, source_key, table_name, key, before, after, compare)
        SELECT 'UID', (was.id + 3) / 4, was.id, 0, jsonb_build_array(was.id::text), '"public"."customers"',
               jsonb_build_object('tenant', was.tenant, 'id', was.id::text), jsonb_build_object('orders', was.orders, 'seen', was.seen),
               jsonb_build_object('orders', hashtextextended(c.orders::text, 0), 'seen', hashtextextended(c.seen::text, 0)), ARRAY['orders']
        FROM was JOIN customers c USING (id) WHERE was.id < 12;
    INSERT INTO backfill.undo (run_uid, batch, ordinal, seq, source_key, table_name, key, before, after, compare)
        SELECT 'UID', (was.id + 3) / 4, was.id, 1, jsonb_build_array(was.id::text), '"public"."orders"', jsonb_build_object('id', was.id::text),
               jsonb_build_object('note', was.note), jsonb_build_object('note', hashtextextended('checked', 0)), ARRAY['note']
        FROM was WHERE was.id <= 8;
    INSERT INTO backfill.undo (run_uid, batch, ordinal, seq, source_key, table_name, key, before, after, compare, path, entry)
        SELECT 'UID', (was.id + 3) / 4, was.id, 2, jsonb_build_array(was.id::text), '"public"."orders"', jsonb_build_object('id', was.id::text),
               jsonb_build_object('meta', was.meta), jsonb_build_object('meta', hashtextextended(o.meta::text, 0)), ARRAY[]::text[],
               ARRAY['done', 'run'], (o.meta #> '{done,run}')::text
        FROM was JOIN orders o USING (id) WHERE was.id < 12;"#;

const SUM: &str = "SELECT md5((SELECT string_agg(o::text, '' ORDER BY id) FROM orders o) || (SELECT string_agg(c::text, '' ORDER BY id) FROM customers c))";

/// A database that release 0.1.0 has left, and the sum of the tables before that.
async fn left_behind(state: &str) -> (Bench, Option<String>) {
    let bench = Bench::new(TABLES, SPEC).await;
    let before = bench.text(SUM).await;
    bench.sql(include_str!("ledger_v1.sql")).await;
    bench.sql(&RUN.replace("UID", &bench.run.uid).replace("STATE", state)).await;
    (bench, before)
}

#[tokio::test]
async fn a_run_of_the_release_before_is_known_and_can_be_put_back() {
    let (bench, before) = left_behind("Applied").await;
    assert_ne!(bench.text(SUM).await, before);
    let mut connection = bench.connect().await;
    ledger::ensure(&mut connection, "backfill").await.unwrap();
    ledger::ensure(&mut connection, "backfill").await.unwrap();
    let again = RunIdentity { uid: "again".into(), ..bench.run.clone() };
    let known = ledger::already_applied(&mut connection, "backfill", &again, "spec").await.unwrap();
    assert_eq!(known.map(|run| (run.uid, run.written)), Some((bench.run.uid.clone(), 11)));
    let result = bench.result().await;
    assert_eq!((result.written, result.drifted, result.batches), (11, 1, 3));
    // The application has written to one row since, and removed another.
    bench.sql("UPDATE customers SET orders = 1 WHERE id = 5").await;
    bench.sql("DELETE FROM customers WHERE id = 9").await;
    let undone = bench.undo().await;
    assert_eq!((undone.undone, undone.skipped), (9, 2), "{undone:?}");
    assert_eq!(undone.skipped_keys, ["5 (orders)", "9 (row is gone)"]);
    assert_eq!(bench.number("SELECT count(*) FROM orders WHERE meta #> '{done,run}' IS NOT NULL").await, 2, "their entries stay");
    bench.sql("UPDATE customers SET orders = NULL, seen = '2026-01-01' WHERE id = 5; INSERT INTO customers VALUES ('t,\"1', 9, NULL, '2026-01-01')").await;
    bench.sql("UPDATE orders SET note = NULL WHERE id = 5").await;
    bench.sql("UPDATE orders SET meta = '{\"done\": {\"other\": true}}' WHERE id = 5; UPDATE orders SET meta = NULL WHERE id = 9").await;
    assert_eq!(bench.text(SUM).await, before);
}

#[tokio::test]
async fn all_rows_of_the_release_before_come_back_to_the_bit() {
    let (bench, before) = left_behind("Applied").await;
    ledger::ensure(&mut bench.connect().await, "backfill").await.unwrap();
    assert_eq!((bench.undo().await.undone, bench.text(SUM).await), (11, before));
    assert_eq!(bench.text("SELECT state FROM backfill.runs").await.as_deref(), Some("Undone"));
}

#[tokio::test]
async fn a_run_of_the_release_before_that_has_not_ended_holds_the_migration_up() {
    for state in ["Applying", "Undoing"] {
        let (bench, _) = left_behind(state).await;
        let error = ledger::ensure(&mut bench.connect().await, "backfill").await.unwrap_err();
        assert!(matches!(&error, LedgerError::RunOfBefore { run } if run == "staging/import"), "{error}");
        assert_eq!(error.reason(), "LedgerOfBefore");
        assert_eq!(bench.number("SELECT count(*) FROM backfill.planned").await, 12, "nothing was touched");
    }
}

#[tokio::test]
async fn a_run_that_had_only_loaded_its_plan_writes_all_of_it_with_this_release() {
    let bench = Bench::new(TABLES, SPEC).await;
    let plan = bench.plan().await;
    bench.sql(include_str!("ledger_v1.sql")).await;
    bench
        .sql(&format!(
            "INSERT INTO backfill.runs (uid, namespace, name, spec_hash, plan_file_sha256, planned, state) VALUES ('{uid}', 'staging', 'import', 'spec', '{file}', 12, 'Claimed');
             INSERT INTO backfill.claim (run_uid, namespace, name) VALUES ('{uid}', 'staging', 'import');
             INSERT INTO backfill.planned SELECT '{uid}', n, jsonb_build_array(n::text), n FROM generate_series(1, 12) n",
            uid = bench.run.uid,
            file = plan.file_sha256,
        ))
        .await;
    assert_eq!(bench.claim().await, Claimed::Ours);
    bench.apply(&plan).await.unwrap();
    assert_eq!((plan.will_write, bench.result().await.written), (12, 12));
    assert_eq!(bench.number("SELECT count(*) FROM customers WHERE orders = id * 10").await, 12);
}

#[tokio::test]
async fn two_that_migrate_at_the_same_moment_do_it_once() {
    let (bench, before) = left_behind("Applied").await;
    let (mut first, mut second) = (bench.connect().await, bench.connect().await);
    let (first, second) = tokio::join!(ledger::ensure(&mut first, "backfill"), ledger::ensure(&mut second, "backfill"));
    first.unwrap();
    second.unwrap();
    assert_eq!((bench.undo().await.undone, bench.text(SUM).await), (11, before));
}
