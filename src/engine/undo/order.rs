//! Does it matter in which order batches are put back?

use crate::engine::ledger::Ledger;
use sqlx::{AssertSqlSafe, PgConnection};

/// True where batches can be put back in any order, and several at the same time, with the same end as newest first. That is
/// so where the run has updated rows only, and each of them once:
///
/// - the plan refuses two source rows that write the same row by one write (`TargetWrittenTwice`), unless rows are judged anew when
///   they are written; what a script did is captured in the order in which it was done, and a row may be in it many times;
/// - no two writes are of one table, but for an audit entry in the very row that a batch has written;
/// - no column that was written is unique, so that no value is in the way of another row's old one;
/// - no trigger or rule of the application sees the order.
///
/// Where any of this is not known, the answer is no.
pub(super) async fn any(connection: &mut PgConnection, ledger: &Ledger) -> Result<bool, sqlx::Error> {
    let (runs, undo) = (ledger.table("runs"), ledger.table("undo"));
    let keys = |write: &str| {
        format!("(SELECT k.range, k.batch, k.name, k.texts FROM {undo} k WHERE k.run_uid = $1 AND k.role = 'key' AND k.seq = {write}.seq)")
    };
    let sql = format!(
        "WITH RECURSIVE w AS (
             SELECT (e->>'seq')::int4 AS seq, e->>'table' AS name, e AS write FROM {runs} r, jsonb_array_elements(r.writes) AS e WHERE r.uid = $1),
         f AS (SELECT seq, to_regclass(name)::oid AS oid FROM w UNION SELECT f.seq, i.inhrelid FROM f JOIN pg_inherits i ON i.inhparent = f.oid)
         SELECT NOT EXISTS (SELECT FROM w WHERE write ?| ARRAY['captured', 'recompute', 'losesReference'])
            AND NOT EXISTS (SELECT FROM {undo} u WHERE u.run_uid = $1 AND (u.action NOT IN ('Update', 'Entry') OR u.seq <> ALL (ARRAY(SELECT seq FROM w))))
            AND NOT EXISTS (SELECT FROM f WHERE oid IS NULL)
            AND NOT EXISTS (SELECT FROM pg_trigger t JOIN f ON f.oid = t.tgrelid WHERE NOT t.tgisinternal AND t.tgenabled <> 'D')
            AND NOT EXISTS (SELECT FROM pg_rewrite r JOIN f ON f.oid = r.ev_class)
            AND NOT EXISTS (
                SELECT FROM f JOIN pg_index i ON i.indrelid = f.oid AND (i.indisunique OR i.indisexclusion)
                WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL OR EXISTS (
                    SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                        AND (a.attgenerated <> '' OR EXISTS (
                            SELECT FROM {undo} u WHERE u.run_uid = $1 AND u.seq = f.seq AND u.role = 'column' AND u.name = a.attname::text))))
            AND NOT EXISTS (
                SELECT FROM w a JOIN w b ON a.seq < b.seq
                    AND EXISTS (SELECT FROM f x JOIN f y ON y.oid = x.oid WHERE x.seq = a.seq AND y.seq = b.seq)
                WHERE EXISTS (
                    SELECT FROM {of_a} x FULL JOIN {of_b} y USING (range, batch, name) WHERE x.texts IS DISTINCT FROM y.texts))",
        of_a = keys("a"),
        of_b = keys("b"),
    );
    sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_one(connection).await
}
