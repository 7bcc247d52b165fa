//! What a DBA meets at two in the morning: odd tables, locks, ledgers of others, files cut short, roles without rights.

use crate::harness::{Bench, Direct, admin, credentials};
use crate::server::Server;
use crate::values::hash;
use backfill_operator::engine::apply::{ApplyError, Ending};
use backfill_operator::engine::connector::Connector as _;
use backfill_operator::engine::ledger::{self, LedgerError};
use backfill_operator::engine::plan::PlanFileError;
use std::time::{Duration, Instant};

#[tokio::test]
async fn rows_that_a_deferred_constraint_refuses_at_commit_are_found_one_by_one() {
    let mut bench = Bench::new(
        "CREATE TABLE kinds (id int PRIMARY KEY); INSERT INTO kinds SELECT generate_series(0, 9);
         CREATE TABLE n (id int PRIMARY KEY, kind int REFERENCES kinds DEFERRABLE INITIALLY DEFERRED); INSERT INTO n SELECT g FROM generate_series(1, 60) g",
        "{source: {table: n}, writes: [{set: {kind: 'CASE WHEN s.id IN (17, 44) THEN 77 ELSE s.id % 10 END'}}], batch: {size: 20}, quarantine: {max: 2}}",
    )
    .await;
    let plan = bench.plan().await;
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let result = bench.result().await;
    let refused: Vec<(&str, &str)> = result.quarantined_rows.iter().map(|row| (row.key.as_str(), row.sqlstate.as_str())).collect();
    assert_eq!((result.written, refused), (58, vec![("17", "23503"), ("44", "23503")]));
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE kind = id % 10").await, 58);
    assert_eq!(bench.undo().await.undone, 58);
    bench.spec.quarantine.max = 0;
}

#[tokio::test]
async fn rows_that_a_deferred_constraint_does_not_let_go_back_stay_and_hold_no_other_back() {
    let bench = Bench::new(
        "CREATE TABLE kinds (id int PRIMARY KEY); INSERT INTO kinds SELECT generate_series(0, 9);
         CREATE TABLE n (id int PRIMARY KEY, kind int REFERENCES kinds DEFERRABLE INITIALLY DEFERRED);
         INSERT INTO n SELECT g, CASE g WHEN 17 THEN 8 WHEN 44 THEN 9 ELSE 1 END FROM generate_series(1, 60) g",
        "{source: {table: n}, writes: [{set: {kind: '5'}}], batch: {size: 20}}",
    )
    .await;
    let plan = bench.plan().await;
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    bench.sql("DELETE FROM kinds WHERE id IN (8, 9)").await;
    let undone = bench.undo().await;
    assert_eq!((undone.undone, undone.skipped), (58, 2), "{:?}", undone.skipped_keys);
    assert!(undone.skipped_keys.iter().all(|key| key.contains("23503")), "{:?}", undone.skipped_keys);
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE kind = 5 AND id IN (17, 44)").await, 2);
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE kind = 1").await, 58);
}

#[tokio::test]
async fn a_value_too_long_for_its_index_is_a_row_that_is_refused() {
    let bench = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, long text, v text); CREATE INDEX ON n (v);
         INSERT INTO n SELECT g, CASE WHEN g = 7 THEN (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 400) i) ELSE 'short' END FROM generate_series(1, 20) g",
        "{source: {table: n}, writes: [{set: {v: s.long}}], batch: {size: 8}, quarantine: {max: 1}}",
    )
    .await;
    let plan = bench.plan().await;
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let result = bench.result().await;
    assert_eq!((result.written, result.quarantined), (19, 1));
    assert_eq!((result.quarantined_rows[0].key.as_str(), result.quarantined_rows[0].sqlstate.as_str()), ("7", "54000"));
}

#[tokio::test]
async fn a_plan_file_that_is_cut_short_or_gone_loads_nothing_and_the_whole_one_serves_afterwards() {
    let bench = Bench::scenario(300).await;
    let plan = bench.plan_by(40).await.unwrap();
    bench.claim().await;
    let whole = std::fs::read(bench.plan_file()).unwrap();
    for part in [0, whole.len() / 3, whole.len() - 1] {
        std::fs::write(bench.plan_file(), &whole[..part]).unwrap();
        let error = bench.apply(&plan).await.unwrap_err();
        assert!(matches!(error, ApplyError::File(PlanFileError::Damaged { .. })), "{part} bytes: {error}");
        assert_eq!(bench.number("SELECT count(*) FROM backfill.ranges").await, 0);
    }
    std::fs::remove_file(bench.plan_file()).unwrap();
    assert!(matches!(bench.apply(&plan).await, Err(ApplyError::File(PlanFileError::Io { .. }))));
    assert_eq!(bench.number("SELECT count(*) FROM scenarios WHERE updated_at > '2026-01-02'").await, 0);
    std::fs::write(bench.plan_file(), whole).unwrap();
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    // Loaded is loaded: another attempt needs no file.
    std::fs::remove_file(bench.plan_file()).unwrap();
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    assert_eq!(bench.result().await.written, plan.will_write);
}

#[tokio::test]
async fn a_ledger_of_a_later_release_is_left_alone_and_one_that_lost_a_table_gets_it_back() {
    let bench = Bench::scenario(10).await;
    let mut connection = bench.connect().await;
    ledger::ensure(&mut connection, "backfill").await.unwrap();
    bench.sql("DROP TABLE backfill.skipped").await;
    ledger::ensure(&mut connection, "backfill").await.unwrap();
    assert_eq!(bench.number("SELECT count(*) FROM backfill.skipped").await, 0);
    bench.sql("COMMENT ON TABLE backfill.runs IS 'backfill.dev ledger v99. from the future'").await;
    let error = ledger::ensure(&mut connection, "backfill").await.unwrap_err();
    assert!(matches!(error, LedgerError::Newer { .. }), "{error}");
    assert_eq!((error.reason(), error.to_string().contains("later release")), ("LedgerNewer", true));
}

#[tokio::test]
async fn a_ledger_of_another_role_is_told_with_the_grant_to_run() {
    let mut bench = Bench::scenario(20).await;
    ledger::ensure(&mut bench.connect().await, "backfill").await.unwrap();
    let role = Server::fresh_name("newcomer");
    admin(Server::shared(), &format!("CREATE ROLE {role} LOGIN")).await;
    let database = bench.credentials.database.clone();
    let owner = std::mem::replace(&mut bench.credentials, credentials(Server::shared(), &database, &role));
    let mut weak = Direct(bench.credentials.clone()).connect().await.unwrap();
    let error = ledger::ensure(&mut weak, "backfill").await.unwrap_err();
    let LedgerError::CreateDenied { statements } = &error else { panic!("{error}") };
    assert_eq!(statements, &format!("GRANT postgres TO {role};"));
    bench.credentials = owner;
    bench.sql(statements).await;
    ledger::ensure(&mut weak, "backfill").await.unwrap();
}

#[tokio::test]
async fn rights_and_columns_that_are_gone_by_the_time_of_apply_are_named_before_anything_is_written() {
    let mut bench = Bench::scenario(50).await;
    let plan = bench.plan().await;
    bench.claim().await;
    let role = Server::fresh_name("writer");
    let database = bench.credentials.database.clone();
    bench
        .sql(&format!(
            "CREATE ROLE {role} LOGIN NOINHERIT; GRANT postgres TO {role}; GRANT ALL ON SCHEMA backfill TO {role};
             GRANT ALL ON ALL TABLES IN SCHEMA backfill TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; GRANT UPDATE ON scenario_generations TO {role}"
        ))
        .await;
    let owner = std::mem::replace(&mut bench.credentials, credentials(Server::shared(), &database, &role));
    let error = bench.apply(&plan).await.unwrap_err().to_string();
    assert!(error.ends_with(&format!("GRANT UPDATE ON \"public\".\"scenarios\" TO {role};")), "{error}");
    bench.credentials = owner;
    bench.sql("ALTER TABLE scenarios RENAME COLUMN accepted_prompt TO prompt").await;
    let error = bench.apply(&plan).await.unwrap_err().to_string();
    assert!(error.contains("accepted_prompt"), "{error}");
    bench.sql("ALTER TABLE scenarios RENAME COLUMN prompt TO accepted_prompt; ALTER TABLE scenarios RENAME TO others").await;
    let error = bench.apply(&plan).await.unwrap_err().to_string();
    assert!(error.contains("there is no table \"scenarios\""), "{error}");
    bench.sql("ALTER TABLE others RENAME TO scenarios").await;
    assert_eq!(bench.result().await.written, 0);
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
}

#[tokio::test]
async fn columns_called_as_our_own_names_are_and_types_of_another_schema_come_through() {
    let setup = r#"CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN app.code AS text CHECK (VALUE <> '');
        CREATE TABLE app.o (n int, k0 app.code, t text, s text, v text, w text, u text, place int, n0 text, o0 text, result text, entry text, depth text, "backfill 0" app.mood, x app.mood[], PRIMARY KEY (n, k0));
        INSERT INTO app.o (n, k0, place) SELECT g, 'c' || g, g FROM generate_series(1, 30) g;
        CREATE TABLE app.copy (t int, key text, u text, n text, PRIMARY KEY (t, key))"#;
    let spec = r#"
source: {table: app.o}
writes:
  - set: {t: "'t' || s.n", s: "s.k0", v: "'v'", w: "s.v", u: "s.u || 'u'", place: "s.place + 1", n0: "'n'", o0: "NULL", result: "'r'", '"backfill 0"': "'ok'", x: "ARRAY['sad', NULL]::app.mood[]"}
  - {table: app.copy, action: Insert, onConflict: {key: [t, key]}, set: {t: s.n, key: s.k0, n: "'k'"}}
batch: {size: 7}"#;
    let mut bench = Bench::new(setup, spec).await;
    let look = "SELECT md5((SELECT string_agg(x::text, '' ORDER BY n) FROM app.o x) || coalesce((SELECT string_agg(x::text, '' ORDER BY t) FROM app.copy x), ''))";
    let before = bench.text(look).await;
    let one = Bench::new(setup, spec).await;
    one.sql("INSERT INTO app.copy SELECT n, k0, NULL, 'k' FROM app.o; UPDATE app.o SET t = 't' || n, s = k0, v = 'v', w = v, u = u || 'u', place = place + 1, n0 = 'n', o0 = NULL, result = 'r', \"backfill 0\" = 'ok', x = '{sad,NULL}'").await;
    let plan = bench.through().await;
    assert_eq!(bench.text(look).await, one.text(look).await);
    assert_eq!(bench.result().await.rows_digest, plan.rows_digest);
    // A row that was inserted and edited since stays, and is named so, whatever its column t holds.
    bench.sql("UPDATE app.copy SET u = 'edited' WHERE t = 9").await;
    let undone = bench.undo().await;
    assert_eq!((undone.undone, undone.skipped_keys), (29, vec!["9/c9 (the row)".to_owned()]));
    bench.sql("DELETE FROM app.copy").await;
    bench.run.uid = "another".into();
    assert_eq!(bench.number("SELECT count(*) FROM app.o WHERE t IS NOT NULL").await, 1, "9 stays whole");
    bench.sql("UPDATE app.o SET t = NULL, s = NULL, v = NULL, n0 = NULL, result = NULL, place = 9, \"backfill 0\" = NULL, x = NULL WHERE n = 9").await;
    assert_eq!(bench.text(look).await, before);
}

#[tokio::test]
async fn a_table_of_three_hundred_columns_is_deleted_from_and_put_back() {
    let columns: Vec<String> = (0..300).map(|n| format!("c{n} {}", ["text", "int", "jsonb", "timestamptz"][n % 4])).collect();
    let setup = format!(
        "CREATE TABLE wide (id int PRIMARY KEY, {}); INSERT INTO wide (id, c0, c1, c2, c299) SELECT n, 'x', n, '{{\"a\": null}}', now() FROM generate_series(1, 40) n",
        columns.join(", ")
    );
    let bench = Bench::new(&setup, "{source: {table: wide, where: s.id % 2 = 0}, writes: [{action: Delete}], batch: {size: 6}}").await;
    let before = bench.text(&hash("wide")).await;
    let plan = bench.through().await;
    assert_eq!((plan.will_write, bench.number("SELECT count(*) FROM wide").await), (20, 20));
    assert_eq!(bench.undo().await.undone, 20);
    assert_eq!(bench.text(&hash("wide")).await, before);
}

#[tokio::test]
async fn a_source_row_with_very_many_companions_is_one_transaction_and_that_is_said() {
    let bench = Bench::new(
        "CREATE TABLE lists (id int PRIMARY KEY, n int); INSERT INTO lists VALUES (1, 3), (2, 12000), (3, 3);
         CREATE TABLE items (list int, nr int, PRIMARY KEY (list, nr))",
        "{source: {table: lists, joins: [{as: e, rows: Many, key: [nr], query: 'SELECT nr FROM generate_series(1, s.n) AS nr'}]},
          writes: [{table: items, action: Insert, onConflict: {key: [list, nr]}, set: {list: s.id, nr: e.nr}}], batch: {size: 4}}",
    )
    .await;
    let plan = bench.plan().await;
    assert!(
        plan.remarks
            .iter()
            .any(|remark| remark
                == "the source row 2 writes 12000 rows, which are one transaction: more than the 5000 that a batch has at most"),
        "{:?}",
        plan.remarks
    );
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let batches = "SELECT count(*) FROM backfill.batches";
    assert_eq!(
        (bench.number(batches).await, bench.number("SELECT count(*) FROM items").await),
        (3, 12006),
        "never split, and none beside it"
    );
    assert_eq!(bench.undo().await.undone, 3);
    assert_eq!(bench.number("SELECT count(*) FROM items").await, 0);
}

#[tokio::test]
async fn a_parent_with_children_by_inheritance_is_not_deleted_from() {
    let setup = "CREATE TABLE a (id int PRIMARY KEY, v int); CREATE TABLE b (extra text) INHERITS (a); INSERT INTO a VALUES (1); INSERT INTO b VALUES (2, NULL, 'kept')";
    let bench = Bench::new(setup, "{source: {table: a}, writes: [{action: Delete}]}").await;
    let error = bench.model().await.unwrap_err();
    assert_eq!(error.reason(), "TableInherited");
    assert!(error.to_string().contains('b'), "{error}");
    // Columns of the parent can be set in all of them.
    let bench = Bench::new(setup, "{source: {table: a}, writes: [{set: {v: s.id}}]}").await;
    let before = bench.text(&hash("a")).await;
    bench.through().await;
    assert_eq!(bench.number("SELECT count(*) FROM a WHERE v = id").await, 2);
    assert_eq!(bench.undo().await.undone, 2);
    assert_eq!(bench.text(&hash("a")).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_the_application_never_leaves_in_peace_is_written_all_the_same() {
    let bench = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, hits int NOT NULL DEFAULT 0, v int); INSERT INTO n SELECT g FROM generate_series(1, 200) g",
        "{source: {table: n}, writes: [{set: {v: s.id}}], batch: {size: 20, pause: 20ms}}",
    )
    .await;
    let plan = bench.plan().await;
    bench.claim().await;
    let end = std::sync::atomic::AtomicBool::new(false);
    let hot = async {
        let mut connection = bench.connect().await;
        let mut hits = 0;
        while !end.load(std::sync::atomic::Ordering::Relaxed) {
            // Two rows in an order that changes with their places on disk: against a batch that is a deadlock now and then.
            match sqlx::query("UPDATE n SET hits = hits + 1 WHERE id IN (50, 51, 120)").execute(&mut connection).await {
                Ok(_) => hits += 1,
                Err(error) => {
                    assert_eq!(error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(), Some("40P01"), "{error}");
                }
            }
        }
        hits
    };
    let apply = async {
        let ending = bench.apply(&plan).await;
        end.store(true, std::sync::atomic::Ordering::Relaxed);
        ending
    };
    let (ending, hits) = tokio::join!(apply, hot);
    assert_eq!(ending.unwrap(), Ending::Done);
    let result = bench.result().await;
    assert_eq!((result.written, result.drifted), (200, 0));
    assert_eq!(bench.number("SELECT hits FROM n WHERE id = 50").await, hits, "no hit is lost");
    assert_eq!(bench.undo().await.undone, 200);
    assert_eq!(bench.number("SELECT hits FROM n WHERE id = 120").await, hits);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alter_table_that_waits_behind_a_batch_gets_its_turn() {
    let bench = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, v int); INSERT INTO n SELECT g FROM generate_series(1, 2000) g",
        "{source: {table: n}, writes: [{set: {v: s.id}}], batch: {size: 20}}",
    )
    .await;
    let plan = bench.plan().await;
    bench.claim().await;
    let alter = async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let begun = Instant::now();
        let mut connection = bench.connect().await;
        sqlx::query("ALTER TABLE n ADD COLUMN w int").execute(&mut connection).await.unwrap();
        begun.elapsed()
    };
    let (ending, waited) = tokio::join!(bench.apply(&plan), alter);
    assert_eq!(ending.unwrap(), Ending::Done);
    assert!(waited < Duration::from_secs(3), "{waited:?}");
    assert_eq!(bench.result().await.written, 2000);
    assert_eq!(bench.undo().await.undone, 2000);
}
