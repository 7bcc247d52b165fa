//! One batch: one transaction that holds the fence, locks its rows, looks at them again, and writes what is still as planned.

use super::drift::is_as_planned;
use super::write::{self, RowChange};
use super::{ApplyError, ApplyOptions};
use crate::api::spec::DriftMode;
use crate::engine::ledger::{Ledger, LedgerError, RunRow, State};
use crate::engine::model::Model;
use crate::engine::query::{self, Moment};
use crate::engine::row::{self, Key, show};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};
use std::collections::BTreeMap;

/// How many drifted keys a person is shown.
const NAMED: i64 = 10;

/// Planned rows by ordinal.
#[derive(Debug, Default)]
pub(super) struct Planned {
    /// Keys of source rows.
    pub(super) keys: BTreeMap<i64, Key>,
    /// Their fingerprints.
    pub(super) fingerprints: BTreeMap<i64, i64>,
}

/// At most `limit` planned rows after an ordinal.
pub(super) async fn planned_after(
    connection: &mut PgConnection,
    ledger: &Ledger,
    cursor: i64,
    limit: usize,
) -> Result<Planned, sqlx::Error> {
    let sql = format!(
        "SELECT ordinal, ARRAY(SELECT jsonb_array_elements_text(key)) AS key, fingerprint FROM {}
         WHERE run_uid = $1 AND ordinal > $2 ORDER BY ordinal LIMIT $3",
        ledger.table("planned")
    );
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(cursor).bind(limit);
    let mut planned = Planned::default();
    for row in query.fetch_all(connection).await? {
        let ordinal: i64 = row.try_get("ordinal")?;
        planned.keys.insert(ordinal, row.try_get("key")?);
        planned.fingerprints.insert(ordinal, row.try_get("fingerprint")?);
    }
    Ok(planned)
}

/// Writes batches under one epoch.
#[derive(Debug)]
pub(super) struct Batch<'a> {
    model: &'a Model,
    options: ApplyOptions<'a>,
    epoch: i64,
    locks_source: bool,
    entry: Option<String>,
}

impl<'a> Batch<'a> {
    pub(super) async fn new(
        connection: &mut PgConnection,
        model: &'a Model,
        options: ApplyOptions<'a>,
        epoch: i64,
    ) -> Result<Self, ApplyError> {
        // A source that is only read may belong to another role; locking a row takes the right to change it.
        let locks_source = may_lock(connection, model).await?;
        let entry = model.audit.as_ref().map(|_| {
            let run = format!("{}/{}", options.run.namespace, options.run.name);
            serde_json::json!({"source": "backfill", "run": run, "planDigest": options.plan.digest, "result": "written"}).to_string()
        });
        Ok(Self { model, options, epoch, locks_source, entry })
    }

    /// Handles the next rows; answers the run's row as it is after them. The run is `Applied` where none were left.
    pub(super) async fn next(&self, connection: &mut PgConnection, size: usize) -> Result<RunRow, ApplyError> {
        let ledger = self.options.ledger;
        let mut transaction = connection.begin().await?;
        let mut run = ledger.fence(&mut transaction, self.epoch).await?;
        let planned = planned_after(&mut transaction, ledger, run.cursor, size).await?;
        let ends = planned.keys.keys().next().copied().zip(planned.keys.keys().next_back().copied());
        let Some((first, last)) = ends else {
            ledger.set_state(&mut transaction, State::Applied).await?;
            transaction.commit().await?;
            run.state = State::Applied.as_str().into();
            return Ok(run);
        };
        run.batches += 1;
        self.lock(&mut transaction, &planned).await?;
        let judged = row::judge(&mut transaction, self.model, &planned.keys, Moment::Apply).await?;
        let (mut changes, mut drifted, mut written) = (Vec::new(), BTreeMap::new(), 0);
        for (ordinal, key) in &planned.keys {
            match judged.get(ordinal) {
                Some(row) if is_as_planned(self.model, &planned, *ordinal, key, Some(row)) => {
                    written += 1;
                    changes.extend(row.changes.iter().map(|change| RowChange { ordinal: *ordinal, source_key: key, change }));
                }
                _ if self.options.spec.drift.mode == DriftMode::Fail => return Err(ApplyError::RowDrifted { key: show(key) }),
                _ => {
                    drifted.insert(*ordinal, key);
                }
            }
        }
        write::write(&mut transaction, self.model, ledger, run.batches, &changes, self.entry.as_deref()).await?;
        (run.cursor, run.state) = (last, State::Applying.as_str().into());
        run.written += written;
        run.drifted += i64::try_from(drifted.len()).unwrap_or(0);
        self.record(&mut transaction, &run, (first, written), &drifted).await?;
        transaction.commit().await?;
        Ok(run)
    }

    async fn lock(&self, connection: &mut PgConnection, planned: &Planned) -> Result<(), sqlx::Error> {
        let key_columns = self.model.source.key.len();
        if self.locks_source {
            let sql = query::lock_source(&self.model.source);
            row::with_keys(&sql, &planned.keys, key_columns).execute(&mut *connection).await?;
        }
        for write in self.model.writes.iter().filter(|write| !write.is_own_row()) {
            let sql = query::lock_target(&self.model.source, write);
            row::with_keys(&sql, &planned.keys, key_columns).execute(&mut *connection).await?;
        }
        Ok(())
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        run: &RunRow,
        (first, written): (i64, i64),
        drifted: &BTreeMap<i64, &Key>,
    ) -> Result<(), sqlx::Error> {
        let ledger = self.options.ledger;
        let sql = format!(
            "INSERT INTO {} (run_uid, batch, epoch, first_ordinal, last_ordinal, written, drifted) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            ledger.table("batches")
        );
        let count = i64::try_from(drifted.len()).unwrap_or(0);
        let insert = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(run.batches).bind(self.epoch);
        insert.bind(first).bind(run.cursor).bind(written).bind(count).execute(&mut *connection).await?;
        if !drifted.is_empty() {
            let sql = format!(
                "INSERT INTO {} (run_uid, ordinal, key) SELECT $1, o, k::jsonb FROM unnest($2::int8[], $3::text[]) AS d(o, k)",
                ledger.table("drifted")
            );
            let ordinals: Vec<i64> = drifted.keys().copied().collect();
            let keys: Vec<String> = drifted.values().map(|key| serde_json::json!(key).to_string()).collect();
            let insert = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(ordinals).bind(keys);
            insert.execute(&mut *connection).await?;
        }
        let sql = format!(
            "UPDATE {} SET state = $2, cursor = $3, written = $4, drifted = $5, batches = $6, updated_at = now() WHERE uid = $1",
            ledger.table("runs")
        );
        let update = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(&run.state).bind(run.cursor);
        update.bind(run.written).bind(run.drifted).bind(run.batches).execute(connection).await?;
        Ok(())
    }
}

/// The right to change any column is enough to lock rows.
async fn may_lock(connection: &mut PgConnection, model: &Model) -> Result<bool, sqlx::Error> {
    let sql = "SELECT has_any_column_privilege($1::oid, 'UPDATE')";
    sqlx::query_scalar(sql).persistent(false).bind(model.source.table.oid).fetch_one(connection).await
}

/// Keys of the first drifted rows.
pub(super) async fn drifted_keys(connection: &mut PgConnection, ledger: &Ledger) -> Result<Vec<String>, LedgerError> {
    let sql = format!(
        "SELECT ARRAY(SELECT jsonb_array_elements_text(key)) FROM {} WHERE run_uid = $1 ORDER BY ordinal LIMIT $2",
        ledger.table("drifted")
    );
    let keys: Vec<Vec<String>> =
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(NAMED).fetch_all(connection).await?;
    Ok(keys.iter().map(|key| show(key)).collect())
}
