//! What the ledger knows of the run's own writes: its transactions, and how many rows they added and took.

use crate::engine::apply::WRITTEN_OVER;
use crate::engine::ledger::Ledger;
use crate::postgres::transactions::full;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use std::collections::BTreeMap;

/// The run's own writes.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Full ids of its transactions. A batch and its row in the ledger are one transaction.
    pub transactions: Vec<i64>,
    /// Rows of batches that undo has put back. It does so in subtransactions, which nobody can tell from those of others.
    pub put_back: i64,
    /// By the OID of a table, which may be a partitioned one.
    pub tables: BTreeMap<i64, OwnRows>,
    /// Rows that others had written since the snapshot when the run wrote over them, by the OID of their table; `None` where
    /// nobody took note.
    pub written_over: Option<BTreeMap<i64, i64>>,
    /// The ledger does not know the run (any more).
    pub unknown: bool,
}

/// Rows of a table that the run added and took, and that were not put back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnRows {
    pub inserted: i64,
    pub deleted: i64,
}

impl Own {
    /// As the ledger has it; `next` is the next full id. In script mode the ledger knows no batches but those of a capture, which
    /// are of other transactions.
    ///
    /// # Errors
    /// Those of the driver.
    pub(super) async fn read(connection: &mut PgConnection, ledger: &Ledger, next: i64) -> Result<Self, sqlx::Error> {
        if !there(connection, &[ledger.table("runs"), ledger.table("batches"), ledger.table("undo")]).await? {
            return Ok(Self { unknown: true, ..Self::default() });
        }
        let sql = format!(
            "SELECT coalesce(array_agg(DISTINCT {}), '{{}}'), coalesce(sum(written) FILTER (WHERE undone_at IS NOT NULL), 0)::int8
             FROM (SELECT xmin::text::int8 AS raw, written, undone_at FROM {} WHERE run_uid = $1) AS b",
            full("raw", next),
            ledger.table("batches")
        );
        let (transactions, put_back): (Vec<i64>, i64) =
            sqlx::query_as(AssertSqlSafe(sql)).bind(ledger.uid()).fetch_one(&mut *connection).await?;
        let sql = format!(
            "SELECT to_regclass(w->>'table')::oid::int8, coalesce(sum(cardinality(u.hashes)) FILTER (WHERE u.action = 'Insert'), 0)::int8,
                    coalesce(sum(cardinality(u.hashes)) FILTER (WHERE u.action = 'Delete'), 0)::int8
             FROM {} AS u JOIN {} AS b USING (run_uid, range, batch) JOIN {} AS r ON r.uid = u.run_uid
             CROSS JOIN LATERAL (SELECT w FROM jsonb_array_elements(r.writes) AS w WHERE (w->>'seq')::int4 = u.seq) AS e (w)
             WHERE u.run_uid = $1 AND u.role = 'row' AND u.action IN ('Insert', 'Delete') AND b.undone_at IS NULL
               AND to_regclass(w->>'table') IS NOT NULL GROUP BY 1",
            ledger.table("undo"),
            ledger.table("batches"),
            ledger.table("runs")
        );
        let rows: Vec<(i64, i64, i64)> = sqlx::query_as(AssertSqlSafe(sql)).bind(ledger.uid()).fetch_all(&mut *connection).await?;
        let tables = rows.into_iter().map(|(oid, inserted, deleted)| (oid, OwnRows { inserted, deleted })).collect();
        let mut own = Self { unknown: transactions.is_empty(), transactions, put_back, tables, ..Self::default() };
        own.written_over = own.read_written_over(connection, ledger).await?;
        Ok(own)
    }

    async fn read_written_over(&self, connection: &mut PgConnection, ledger: &Ledger) -> Result<Option<BTreeMap<i64, i64>>, sqlx::Error> {
        if !there(connection, &[ledger.table(WRITTEN_OVER)]).await? {
            return Ok(None);
        }
        let sql = format!("SELECT EXISTS (SELECT FROM {} WHERE run_uid = $1 AND batch = 0)", ledger.table(WRITTEN_OVER));
        let notes: bool = sqlx::query_scalar(AssertSqlSafe(sql)).bind(ledger.uid()).fetch_one(&mut *connection).await?;
        if !notes {
            return Ok(None);
        }
        // A row that an earlier batch of the run has written is its own.
        let sql = format!(
            "SELECT to_regclass(nullif(o.table_name, ''))::oid::int8, sum(o.rows)::int8 FROM {} AS o JOIN {} AS b USING (run_uid, range, batch)
             WHERE o.run_uid = $1 AND o.transaction <> ALL ($2) AND b.undone_at IS NULL AND to_regclass(nullif(o.table_name, '')) IS NOT NULL GROUP BY 1",
            ledger.table(WRITTEN_OVER),
            ledger.table("batches")
        );
        let rows: Vec<(i64, i64)> =
            sqlx::query_as(AssertSqlSafe(sql)).bind(ledger.uid()).bind(&self.transactions).fetch_all(connection).await?;
        Ok(Some(rows.into_iter().collect()))
    }
}

async fn there(connection: &mut PgConnection, tables: &[String]) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(bool_and(to_regclass(name) IS NOT NULL), true) FROM unnest($1::text[]) AS name")
        .bind(tables)
        .fetch_one(connection)
        .await
}
