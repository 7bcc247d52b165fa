//! What undo puts back, and what it leaves alone.

use crate::harness::Bench;
use backfill_operator::engine::apply::ApplyError;
use backfill_operator::engine::ledger::{self, Claimed, LedgerError};
use backfill_operator::engine::undo::{UndoError, Undone, release_undo};

#[tokio::test]
async fn undo_restores_the_tables_to_the_bit() {
    let bench = Bench::scenario(500).await;
    let before = bench.exact_hash().await;
    let plan = bench.through().await;
    assert_ne!(bench.exact_hash().await, before);
    assert_eq!(bench.undo().await, Undone { undone: plan.will_write, skipped: 0, skipped_keys: Vec::new() });
    assert_eq!(bench.exact_hash().await, before);
    assert_eq!(bench.text("SELECT state FROM backfill.runs").await.as_deref(), Some("Undone"));
    assert_eq!(bench.number("SELECT count(*) FROM backfill.claim").await, 0);
}

#[tokio::test]
async fn a_later_write_that_a_collation_takes_for_the_same_is_kept_too() {
    let setup = "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE TABLE r (id int PRIMARY KEY, name text COLLATE blind); INSERT INTO r SELECT n, 'before' FROM generate_series(1, 3) n";
    let bench = Bench::new(setup, "{source: {table: r}, writes: [{set: {name: \"'after'\"}}]}").await;
    bench.through().await;
    bench.sql("UPDATE r SET name = 'AFTER' WHERE id = 2").await;
    let undone = bench.undo().await;
    assert_eq!((undone.undone, undone.skipped_keys), (2, vec!["2 (name)".to_owned()]));
    assert_eq!(bench.text("SELECT string_agg(name, ',' ORDER BY id) FROM r").await.as_deref(), Some("before,AFTER,before"));
}

#[tokio::test]
async fn later_writes_of_the_application_are_kept() {
    let bench = Bench::scenario(100).await;
    let plan = bench.through().await;
    bench
        .sql(
            "UPDATE scenarios SET accepted_prompt = 'edited since', updated_at = '2027-01-01' WHERE id = 1;
             UPDATE scenarios SET title = 'another title', updated_at = '2027-01-01' WHERE id = 2;
             UPDATE scenario_generations SET metadata = metadata || '{\"beside\": 1}' WHERE id = 32;
             UPDATE scenario_generations SET metadata = jsonb_set(metadata, '{import_audit,result}', '\"edited\"') WHERE id = 41;
             DELETE FROM scenario_generations WHERE scenario_id = 5; DELETE FROM scenarios WHERE id = 5;
             INSERT INTO scenarios (id, title) VALUES (100000, 'new')",
        )
        .await;
    let undone = bench.undo().await;
    assert_eq!(undone.skipped_keys, ["12 (accepted_prompt)", "41 (metadata)", "52 (row is gone)"]);
    assert_eq!((undone.undone, undone.skipped), (plan.will_write - 3, 3));
    let row = |id: i64| format!("SELECT ROW(title, accepted_prompt, accepted_prompt_metadata, updated_at) FROM scenarios WHERE id = {id}");
    let edited = bench.text(&row(1)).await.unwrap();
    assert!(edited.contains("edited since") && edited.contains("2027"), "{edited}");
    assert_eq!(bench.text(&row(2)).await.as_deref(), Some("(\"another title\",,,\"2027-01-01 00:00:00+00\")"));
    assert_eq!(bench.text(&row(3)).await.as_deref(), Some("(\"Scenario 3\",,,\"2026-01-01 00:00:00+00\")"));
    assert_eq!(
        bench
            .number("SELECT count(*) FROM scenario_generations WHERE id = 32 AND metadata ? 'beside' AND NOT metadata ? 'import_audit'")
            .await,
        1
    );
    assert_eq!(
        bench.text("SELECT metadata #>> '{import_audit,result}' FROM scenario_generations WHERE id = 41").await.as_deref(),
        Some("edited")
    );
    assert_eq!(
        bench.number("SELECT count(*) FROM scenario_generations WHERE id = 12 AND metadata ? 'import_audit'").await,
        1,
        "the entry stays with its row"
    );
    assert_eq!(bench.number("SELECT count(*) FROM scenarios WHERE id = 100000").await, 1);
}

#[tokio::test]
async fn a_half_applied_run_is_undone_and_its_worker_fenced_off() {
    let bench = Bench::scenario(300).await;
    let before = bench.exact_hash().await;
    let plan = bench.plan().await;
    bench.claim().await;
    let stop = bench.stop.clone();
    let mut batches = 0;
    bench
        .apply_with(&plan, |_, _| {
            batches += 1;
            if batches == 2 {
                stop.cancel();
            }
        })
        .await
        .unwrap();
    let epoch = bench.number("SELECT epoch FROM backfill.runs").await;
    let mut bench = bench;
    bench.stop = tokio_util::sync::CancellationToken::new();
    assert_eq!(bench.undo().await.undone, 100);
    assert_eq!(bench.exact_hash().await, before);
    assert!(bench.number("SELECT epoch FROM backfill.runs").await > epoch);
}

#[tokio::test]
async fn a_worker_that_starts_after_the_way_back_has_begun_writes_nothing() {
    let bench = Bench::scenario(100).await;
    let before = bench.exact_hash().await;
    let plan = bench.through().await;
    bench.undo().await;
    assert!(matches!(bench.apply(&plan).await, Err(ApplyError::Ledger(LedgerError::RunEnded(state))) if state == "Undone"));
    assert_eq!(bench.exact_hash().await, before);
    let bench = Bench::scenario(20).await;
    let plan = bench.plan().await;
    bench.claim().await;
    ledger::release(&mut bench.connect().await, &bench.ledger()).await.unwrap();
    assert!(matches!(bench.apply(&plan).await, Err(ApplyError::Ledger(LedgerError::ClaimLost))));
}

#[tokio::test]
async fn undo_can_be_repeated_and_a_run_that_wrote_nothing_is_undone_with_nothing() {
    let bench = Bench::scenario(50).await;
    assert_eq!(bench.undo().await, Undone::default(), "no ledger");
    assert_eq!(bench.claim().await, Claimed::Ours);
    assert_eq!(bench.undo().await, Undone::default(), "nothing written");
    let bench = Bench::scenario(50).await;
    let plan = bench.through().await;
    let once = bench.undo().await;
    let hash = bench.exact_hash().await;
    assert_eq!(bench.undo().await, once);
    assert_eq!((bench.exact_hash().await, once.undone), (hash, plan.will_write));
}

#[tokio::test]
async fn data_and_audit_of_one_row_go_and_come_back_together() {
    let bench = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, v int, meta jsonb); INSERT INTO n SELECT g, g, CASE WHEN g % 2 = 0 THEN '{\"k\": 1}'::jsonb END FROM generate_series(1, 20) g",
        "{source: {table: n}, writes: [{set: {v: 's.v + 100'}}], audit: {column: meta, path: [a, b]}}",
    )
    .await;
    let hash = "SELECT md5(string_agg(n::text, '' ORDER BY id)) FROM n";
    let before = bench.text(hash).await;
    bench.sql("CREATE TABLE log (id int); CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.id); RETURN NEW; END $$; CREATE TRIGGER log AFTER UPDATE ON n FOR EACH ROW EXECUTE FUNCTION log()").await;
    bench.through().await;
    assert_eq!(bench.number("SELECT count(*) FROM log").await, 20, "one UPDATE a row");
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE v > 100 AND meta #>> '{a,b,result}' = 'written'").await, 20);
    bench.sql("UPDATE n SET v = 7 WHERE id = 3").await;
    let undone = bench.undo().await;
    assert_eq!((undone.undone, undone.skipped_keys.as_slice()), (19, &["3 (v)".to_owned()][..]));
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE meta #>> '{a,b,result}' = 'written'").await, 1, "the entry stays with its row");
    bench.sql("UPDATE n SET v = 3, meta = NULL WHERE id = 3").await;
    assert_eq!(bench.text(hash).await, before);
}

#[tokio::test]
async fn a_write_into_the_audit_column_itself_holds_both() {
    let bench = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, meta jsonb); INSERT INTO n SELECT g, '{\"k\": 1}' FROM generate_series(1, 5) g",
        "{source: {table: n, where: \"s.meta->>'k' = '1'\"}, writes: [{set: {meta: \"s.meta || '{\\\"k\\\": 2}'\"}}], audit: {column: meta, path: [audit]}}",
    )
    .await;
    let before = bench.text("SELECT md5(string_agg(n::text, '' ORDER BY id)) FROM n").await;
    bench.through().await;
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE meta->>'k' = '2' AND meta #>> '{audit,result}' = 'written'").await, 5);
    assert_eq!(bench.undo().await.undone, 5);
    assert_eq!(bench.text("SELECT md5(string_agg(n::text, '' ORDER BY id)) FROM n").await, before);
}

#[tokio::test]
async fn a_released_undo_leaves_counts_and_state_behind_and_no_way_back() {
    let bench = Bench::scenario(300).await;
    let plan = bench.through().await;
    let written = bench.exact_hash().await;
    // Another run's rows stay.
    bench
        .sql("INSERT INTO backfill.undo (run_uid, range, batch, seq, action, role, name) VALUES ('other', 0, 0, 0, 'Update', 'row', '')")
        .await;
    let mut connection = bench.connect().await;
    assert!(release_undo(&mut connection, &bench.ledger()).await.unwrap() > 0);
    assert_eq!(release_undo(&mut connection, &bench.ledger()).await.unwrap(), 0, "it can be repeated");
    assert_eq!(bench.text("SELECT state FROM backfill.runs").await.as_deref(), Some("Closed"));
    assert_eq!(bench.number("SELECT count(*) FROM backfill.undo").await, 1);
    assert_eq!(bench.number("SELECT count(*) FROM backfill.ranges").await, 0);
    assert_eq!(bench.number("SELECT sum(written)::int8 FROM backfill.batches").await, plan.will_write, "the account stays");
    assert!(matches!(bench.try_undo().await, Err(UndoError::Released)));
    assert_eq!(bench.exact_hash().await, written);
}

#[tokio::test]
async fn the_undo_of_a_run_that_is_being_taken_back_is_not_released() {
    let bench = Bench::scenario(50).await;
    bench.through().await;
    bench.undo().await;
    let released = release_undo(&mut bench.connect().await, &bench.ledger()).await;
    assert!(matches!(released, Err(UndoError::NotApplied(state)) if state == "Undone"));
}
