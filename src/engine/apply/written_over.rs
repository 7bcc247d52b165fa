//! Rows that others wrote after the backup was taken, and that the run then writes over: a restore loses what they wrote, and no
//! row tells any more. Noted in the batch's transaction, where there are any.

use super::context::Context;
use super::write::{BatchNumber, Writing};
use crate::engine::ledger::{Ledger, MARK};
use crate::engine::model::AuditTarget;
use crate::engine::row::Key;
use crate::engine::sql::quote_literal;
use crate::postgres::transactions::SeenTransactions;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::{BTreeMap, BTreeSet};

/// Name of its table in the ledger.
pub const WRITTEN_OVER: &str = "written_over";

/// The rows of a batch.
#[derive(Debug, Default)]
pub(super) struct WrittenOver {
    /// Table, key, and the transaction that had written it.
    rows: BTreeSet<(String, Key, i64)>,
}

impl WrittenOver {
    /// Looks at the versions in which rows were read that are written now.
    pub(super) fn note<'w>(&mut self, context: &Context, written: impl Iterator<Item = &'w Writing<'w>>) {
        let Some(seen) = &context.backup_saw else { return };
        let since = |version: Option<&String>| {
            let xmin: u32 = version?.parse().ok()?;
            (!seen.has_seen(xmin)).then(|| seen.full_of(xmin))
        };
        for row in written {
            let versions = row.judged.changes.iter().filter_map(|change| {
                let target = context.model.writes.get(change.write)?;
                Some((&target.table, &change.key, since(change.version.as_ref())?))
            });
            self.rows.extend(versions.map(|(table, key, transaction)| (table.quoted(), key.clone(), transaction)));
            if matches!(context.model.audit, Some(AuditTarget::Column { .. }))
                && let Some(transaction) = since(row.judged.version.as_ref())
            {
                self.rows.insert((context.model.source.table.quoted(), row.key.clone(), transaction));
            }
        }
    }

    /// Into the ledger, by table and transaction.
    pub(super) async fn record(self, connection: &mut PgConnection, ledger: &Ledger, number: BatchNumber) -> Result<(), sqlx::Error> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut counted: BTreeMap<(String, i64), i64> = BTreeMap::new();
        for (table, _, transaction) in self.rows {
            *counted.entry((table, transaction)).or_default() += 1;
        }
        let (mut tables, mut transactions, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        for ((table, transaction), count) in counted {
            tables.push(table);
            transactions.push(transaction);
            rows.push(count);
        }
        let sql = format!(
            "INSERT INTO {} (run_uid, range, batch, table_name, transaction, rows) SELECT $1, $2, $3, * FROM unnest($4::text[], $5::int8[], $6::int8[])",
            ledger.table(WRITTEN_OVER)
        );
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(number.range).bind(number.batch);
        query.bind(tables).bind(transactions).bind(rows).execute(connection).await?;
        Ok(())
    }
}

/// Makes the table, beside the ledger's own; a row of no batch says that this run takes note, of all its batches.
pub(super) async fn prepare(connection: &mut PgConnection, ledger: &Ledger, seen: Option<&SeenTransactions>) -> Result<(), sqlx::Error> {
    let table = ledger.table(WRITTEN_OVER);
    let Some(seen) = seen else { return not_all(connection, ledger).await };
    let comment = quote_literal(&format!("{MARK} written over. Rows that others wrote after the backup, and that a run has written over."));
    let make = format!(
        "SELECT pg_advisory_xact_lock(hashtextextended({name}, 0));
         CREATE TABLE IF NOT EXISTS {table} (run_uid text NOT NULL, range int8 NOT NULL, batch int8 NOT NULL, table_name text NOT NULL,
             transaction int8 NOT NULL, rows int8 NOT NULL, PRIMARY KEY (run_uid, range, batch, table_name, transaction));
         COMMENT ON TABLE {table} IS {comment}",
        name = quote_literal(&format!("backfill.dev {table}"))
    );
    // One message is one transaction.
    sqlx::raw_sql(AssertSqlSafe(make)).execute(&mut *connection).await?;
    // Not where an attempt before this one has written and taken no note.
    let sql = format!(
        "INSERT INTO {table} SELECT $1, 0, 0, '', $2, 0 WHERE NOT EXISTS (SELECT FROM {} WHERE run_uid = $1) ON CONFLICT DO NOTHING",
        ledger.table("batches")
    );
    sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(seen.next).execute(connection).await?;
    Ok(())
}

/// What this attempt writes over is not noted, so that the notes of those before are no longer all there is.
async fn not_all(connection: &mut PgConnection, ledger: &Ledger) -> Result<(), sqlx::Error> {
    let table = ledger.table(WRITTEN_OVER);
    let there: bool =
        sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").persistent(false).bind(&table).fetch_one(&mut *connection).await?;
    if there {
        let sql = format!("DELETE FROM {table} WHERE run_uid = $1 AND batch = 0");
        sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).execute(connection).await?;
    }
    Ok(())
}
