//! From the tables of an earlier release to those of this one, in one transaction.

use super::LedgerError;
use super::schema::{Found, TABLES, found, lock_claims, make_tables};
use crate::engine::sql::quote;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Version 1 had a row of the ledger for each planned row and for each written one; version 2 has lists. What ended runs
/// wrote can be undone as before. A run that has not ended would need its old worker.
const FROM_1: &[&str] = &[
    // Audit columns were kept whole; now the old value at the path is, and how many objects on the path were there.
    "INSERT INTO {}.undo (run_uid, range, batch, seq, action, role, name, hashes)
     SELECT run_uid, 0, batch, seq, CASE WHEN path IS NULL THEN 'Update' ELSE 'Entry' END, 'row', '', array_agg(ordinal - 1 ORDER BY ordinal)
     FROM {}.undo_v1 GROUP BY run_uid, batch, seq, path IS NULL",
    "INSERT INTO {}.undo (run_uid, range, batch, seq, action, role, name, texts)
     SELECT run_uid, 0, batch, seq, CASE WHEN path IS NULL THEN 'Update' ELSE 'Entry' END, 'key', k.key, array_agg(k.value ORDER BY ordinal)
     FROM {}.undo_v1, jsonb_each_text(key) AS k GROUP BY run_uid, batch, seq, path IS NULL, k.key",
    "INSERT INTO {}.undo (run_uid, range, batch, seq, action, role, name, texts, hashes)
     SELECT run_uid, 0, batch, seq, 'Update', 'column', b.key, array_agg(b.value ORDER BY ordinal), array_agg((after->>b.key)::int8 ORDER BY ordinal)
     FROM {}.undo_v1, jsonb_each_text(before) AS b WHERE path IS NULL GROUP BY run_uid, batch, seq, b.key",
    "INSERT INTO {}.undo (run_uid, range, batch, seq, action, role, name, texts, hashes)
     SELECT run_uid, 0, batch, seq, 'Entry', 'column', b.key, array_agg((b.value::jsonb #> path)::text ORDER BY ordinal),
            array_agg((SELECT count(*) FROM generate_subscripts(path, 1) AS i
                       WHERE jsonb_typeof(b.value::jsonb #> path[1:i - 1]) = 'object') ORDER BY ordinal)
     FROM {}.undo_v1, jsonb_each_text(before) AS b WHERE path IS NOT NULL GROUP BY run_uid, batch, seq, b.key",
    // A run that has only loaded its plan loads it again, into ranges: what counts as loaded here would count as done.
    "UPDATE {}.runs SET plan_file_sha256 = '', planned = 0, drift_checked = -1 WHERE state = 'Claimed'",
    "INSERT INTO {}.ranges (run_uid, range, rows, keys, fingerprints, planned_digest, cursor, written, drifted, batches, done_at)
     SELECT p.run_uid, 0, count(*)::int4,
            (SELECT jsonb_agg(c.column_keys ORDER BY c.n) FROM (
                SELECT k.n, jsonb_agg(k.part ORDER BY q.ordinal) AS column_keys FROM {}.planned q, jsonb_array_elements(q.key) WITH ORDINALITY AS k(part, n)
                WHERE q.run_uid = p.run_uid GROUP BY k.n) AS c),
            array_agg(p.fingerprint ORDER BY p.ordinal), '', count(*)::int4, r.written, r.drifted, r.batches, now()
     FROM {}.planned p JOIN {}.runs r ON r.uid = p.run_uid WHERE r.state <> 'Claimed' GROUP BY p.run_uid, r.written, r.drifted, r.batches",
    "INSERT INTO {}.batches (run_uid, range, batch, epoch, first, last, written, drifted, committed_at, undone_at)
     SELECT run_uid, 0, batch, epoch, first_ordinal - 1, last_ordinal - 1, written, drifted, committed_at, undone_at FROM {}.batches_v1",
    "UPDATE {}.runs r SET writes = w.writes FROM (
         SELECT run_uid, jsonb_agg(jsonb_build_object('seq', seq, 'table', table_name, 'compare', compare, 'path', path,
                                                      'entry', entry::jsonb - '{at,result}'::text[]) ORDER BY seq) AS writes
         FROM (SELECT DISTINCT ON (run_uid, seq) run_uid, seq, table_name, compare, path, entry FROM {}.undo_v1 ORDER BY run_uid, seq, batch) AS d GROUP BY run_uid) AS w
     WHERE w.run_uid = r.uid",
    "DROP VIEW IF EXISTS {}.written",
    "DROP TABLE {}.undo_v1, {}.batches_v1, {}.drifted_v1, {}.planned",
    "ALTER TABLE {}.runs DROP COLUMN cursor, DROP COLUMN written, DROP COLUMN drifted, DROP COLUMN batches",
];

const ASIDE_1: &[&str] = &[
    "ALTER TABLE {}.undo RENAME TO undo_v1",
    "ALTER TABLE {}.batches RENAME TO batches_v1",
    "ALTER TABLE {}.drifted RENAME TO drifted_v1",
    "ALTER INDEX {}.undo_pkey RENAME TO undo_v1_pkey",
    "ALTER INDEX {}.batches_pkey RENAME TO batches_v1_pkey",
    "ALTER INDEX {}.drifted_pkey RENAME TO drifted_v1_pkey",
    "ALTER TABLE {}.runs ADD COLUMN attempt int4 NOT NULL DEFAULT 0, ADD COLUMN witness jsonb, ADD COLUMN writes jsonb NOT NULL DEFAULT '[]',
         ALTER COLUMN drift_checked DROP DEFAULT",
    "ALTER TABLE {}.runs ALTER COLUMN drift_checked TYPE int8 USING CASE WHEN drift_checked THEN 0 ELSE -1 END, ALTER COLUMN drift_checked SET DEFAULT -1",
];

/// Brings a ledger to this version.
pub(super) async fn migrate(connection: &mut PgConnection, schema: &str, _version: i32) -> Result<(), LedgerError> {
    debug_assert_eq!(TABLES.len(), 9, "a table more or less is a version more, and a step here");
    let mut transaction = connection.begin().await?;
    lock_claims(&mut transaction).await?;
    // Another one may have done it while this one waited.
    if !matches!(found(&mut transaction, schema).await?, Found::Version(_)) {
        return Ok(());
    }
    let schema = quote(schema);
    let open = format!("SELECT namespace || '/' || name FROM {schema}.runs WHERE state IN ('Applying', 'Undoing') LIMIT 1");
    let open: Option<String> = sqlx::query_scalar(AssertSqlSafe(open)).persistent(false).fetch_optional(&mut *transaction).await?;
    if let Some(run) = open {
        return Err(LedgerError::RunOfBefore { run });
    }
    run(&mut transaction, ASIDE_1, &schema).await?;
    make_tables(&mut transaction, &schema).await?;
    run(&mut transaction, FROM_1, &schema).await?;
    transaction.commit().await?;
    Ok(())
}

async fn run(connection: &mut PgConnection, statements: &[&str], schema: &str) -> Result<(), sqlx::Error> {
    for statement in statements {
        let sql = statement.replace("{}.", &format!("{schema}."));
        sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}
