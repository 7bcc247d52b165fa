//! `drift.mode: Fail`: one row that is not as planned, and the run fails; nothing is half.

use crate::harness::Bench;
use backfill_operator::api::spec::DriftMode;
use backfill_operator::engine::apply::{ApplyError, Ending};
use std::sync::Arc;
use tokio::sync::Notify;

const TABLES: &str = "
    CREATE TABLE n (id int PRIMARY KEY, v int, w int, audit jsonb); INSERT INTO n (id, v) SELECT g, g FROM generate_series(1, 300) g;
    CREATE TABLE copies (id int PRIMARY KEY, v int); INSERT INTO copies SELECT g FROM generate_series(1, 300) g;";
const SPEC: &str = "
source: {table: n}
writes: [{set: {w: s.v * 2}}, {table: copies, match: t.id = s.id, set: {v: s.v}}]
audit: {column: audit, path: [run]}
batch: {size: 30}
drift: {mode: Fail, maxPercent: 50}";
const HALF: &str = "SELECT count(*) FROM n JOIN copies c USING (id)
    WHERE (n.w IS NULL) <> (c.v IS NULL OR id = 217) OR (n.w IS NULL) <> (n.audit IS NULL)";

#[tokio::test]
async fn one_row_that_changed_since_the_plan_is_named_and_nothing_is_written() {
    // With a witness of the plan (nothing is joined), and without one.
    for spec in
        [SPEC.to_owned(), SPEC.replace("source: {table: n}", "source: {table: n, joins: [{as: c, table: copies, match: c.id = s.id}]}")]
    {
        let bench = Bench::new(TABLES, &spec).await;
        assert_eq!(bench.spec.drift.mode, DriftMode::Fail);
        let plan = bench.plan().await;
        bench.claim().await;
        bench.sql("UPDATE n SET v = -1 WHERE id = 217").await;
        let before = bench.text("SELECT md5(string_agg((n, c)::text, '' ORDER BY id)) FROM n JOIN copies c USING (id)").await;
        let error = bench.apply(&plan).await.unwrap_err();
        assert!(matches!(error, ApplyError::DriftAboveLimit { drifted: 1, .. }), "{error}");
        assert_eq!(
            error.to_string(),
            "1 of 300 planned rows changed since the plan (217), more than drift allows (none, as drift.mode is Fail): nothing was written"
        );
        assert_eq!(bench.text("SELECT md5(string_agg((n, c)::text, '' ORDER BY id)) FROM n JOIN copies c USING (id)").await, before);
        assert_eq!((bench.result().await.written, bench.result().await.batches), (0, 0));
        // What was asked about again is written.
        let again = bench.plan().await;
        assert_eq!(bench.apply(&again).await.unwrap(), Ending::Done);
    }
}

#[tokio::test]
async fn a_row_that_changes_while_the_run_is_applied_is_named_and_whole_batches_stand_before_it() {
    // Read again under a lock since its version is another one, or read anew since it was not read ahead yet.
    for change in ["UPDATE n SET v = -1 WHERE id = 217", "UPDATE copies SET v = 5 WHERE id = 217", "DELETE FROM n WHERE id = 217"] {
        let mut bench = Bench::new(TABLES, SPEC).await;
        bench.spec.batch.pause = "300ms".into();
        let plan = bench.plan().await;
        bench.claim().await;
        let begun = Arc::new(Notify::new());
        let application = async {
            begun.notified().await;
            bench.sql(change).await;
        };
        let telling = Arc::clone(&begun);
        let (applied, ()) = tokio::join!(bench.apply_with(&plan, move |_, _| telling.notify_one()), application);
        let error = applied.unwrap_err();
        assert!(matches!(error, ApplyError::RowDrifted { .. }), "{change}: {error}");
        assert_eq!(error.to_string(), "the source row 217 changed since the plan, and drift.mode is Fail");
        let written = bench.number("SELECT count(*) FROM n WHERE w IS NOT NULL").await;
        assert_eq!((written, bench.number(HALF).await), (210, 0), "{change}: fourteen batches, and nothing of the fifteenth");
        let result = bench.result().await;
        assert_eq!((result.written, result.drifted, result.batches), (210, 0, 14));
        // Another attempt does not get past it.
        assert!(matches!(bench.apply(&plan).await.unwrap_err(), ApplyError::RowDrifted { .. }));
        assert_eq!(bench.number("SELECT count(*) FROM n WHERE w IS NOT NULL").await, 210);
        let undone = bench.undo().await;
        assert_eq!((undone.undone, undone.skipped), (210, 0));
        assert_eq!(bench.number("SELECT count(*) FROM n WHERE w IS NOT NULL OR audit IS NOT NULL").await, 0);
    }
}
