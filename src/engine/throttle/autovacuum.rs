//! A vacuum on a table that the run writes. Cost: one look at each session's slot; the catalogue is asked only while a
//! vacuum runs somewhere in the database.

use super::{Reading, brief};
use sqlx::PgConnection;

pub(super) const NAME: &str = "Autovacuum";

/// Partitions and TOAST tables of a written table count as it does. On which table a vacuum of another role works may be
/// seen by monitors only; that it holds a vacuum's lock on one of ours, by everybody.
const SQL: &str = "
    WITH RECURSIVE vacuum AS MATERIALIZED (
        SELECT pid, relid, phase FROM pg_stat_progress_vacuum
        WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database())),
    written AS (
        SELECT oid FROM unnest($1::int8[]::oid[]) AS t(oid) WHERE EXISTS (SELECT FROM vacuum)
        UNION SELECT inhrelid FROM pg_inherits JOIN written ON inhparent = written.oid),
    touched AS (SELECT c.oid, c.oid::regclass::text AS name FROM pg_class c JOIN written USING (oid)
        UNION ALL SELECT c.reltoastrelid, c.oid::regclass::text FROM pg_class c JOIN written USING (oid) WHERE c.reltoastrelid <> 0)
    SELECT touched.name, vacuum.pid, coalesce(vacuum.phase, 'not shown to this role')
    FROM vacuum JOIN touched ON touched.oid = vacuum.relid OR vacuum.relid IS NULL AND EXISTS (
        SELECT FROM pg_locks l WHERE l.pid = vacuum.pid AND l.locktype = 'relation' AND l.relation = touched.oid
          AND l.mode = 'ShareUpdateExclusiveLock' AND l.granted)
    ORDER BY touched.name LIMIT 1";

/// Looks for one.
pub(super) async fn read(connection: &mut PgConnection, tables: &[i64]) -> Result<Reading, sqlx::Error> {
    let mut transaction = brief(connection).await?;
    let query = sqlx::query_as(SQL).persistent(false).bind(tables);
    let found: Option<(String, i32, String)> = query.fetch_optional(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(found.map_or(Reading::Free, |(table, pid, phase)| {
        Reading::Over(format!("a vacuum works on {table} (pid {pid}, phase: {phase}), and avoidAutovacuum is set"))
    }))
}
