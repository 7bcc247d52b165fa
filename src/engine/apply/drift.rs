//! Drift, looked at before the first write: would what is approved still be what is written?

use super::batch::{Planned, planned_after};
use super::{ApplyError, ApplyOptions, limit};
use crate::api::spec::DriftMode;
use crate::engine::ledger::Ledger;
use crate::engine::model::Model;
use crate::engine::query::Moment;
use crate::engine::row::{self, Judged, Key, show};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::collections::BTreeMap;

const PAGE: usize = 5000;
const NAMED: usize = 10;

/// Compares all planned rows with the database, once, before the first batch. False where it was stopped.
pub(super) async fn check(connection: &mut PgConnection, model: &Model, options: ApplyOptions<'_>, epoch: i64) -> Result<bool, ApplyError> {
    let run = options.ledger.run(connection).await?;
    if run.drift_checked || run.batches > 0 {
        return Ok(true);
    }
    let mut transaction = connection.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?;
    let (mut cursor, mut drifted, mut keys) = (0, 0, Vec::new());
    loop {
        if options.stop.is_cancelled() {
            return Ok(false);
        }
        let planned = planned_after(&mut transaction, options.ledger, cursor, PAGE).await?;
        let Some(last) = planned.keys.keys().next_back() else { break };
        cursor = *last;
        let judged = row::judge(&mut transaction, model, &planned.keys, Moment::Plan).await?;
        for (ordinal, key) in &planned.keys {
            if !is_as_planned(model, &planned, *ordinal, key, judged.get(ordinal)) {
                drifted += 1;
                if keys.len() < NAMED {
                    keys.push(show(key));
                }
            }
        }
    }
    transaction.rollback().await?;
    let allowed = match options.spec.drift.mode {
        DriftMode::Fail => drifted == 0,
        DriftMode::Skip => drifted * 100 <= run.planned * i64::from(options.spec.drift.max_percent),
    };
    if !allowed {
        return Err(ApplyError::DriftAboveLimit { drifted, planned: run.planned, limit: limit(options.spec), keys });
    }
    checked(connection, options.ledger, epoch).await?;
    Ok(true)
}

/// True where the row would be written as it was planned.
pub(super) fn is_as_planned(model: &Model, planned: &Planned, ordinal: i64, key: &Key, judged: Option<&Judged>) -> bool {
    let fingerprints: &BTreeMap<i64, i64> = &planned.fingerprints;
    judged.is_some_and(|row| row.audit_fits && !row.changes.is_empty() && fingerprints.get(&ordinal) == Some(&row.fingerprint(model, key)))
}

async fn checked(connection: &mut PgConnection, ledger: &Ledger, epoch: i64) -> Result<(), ApplyError> {
    let sql = format!("UPDATE {} SET drift_checked = true WHERE uid = $1 AND epoch = $2", ledger.table("runs"));
    sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(epoch).execute(connection).await?;
    Ok(())
}
