//! A witness of what the plan saw: how many rows each table had, and which transactions had ended by then. Rows whose version
//! is older than that are as they were planned, which is counted without reading what they hold.

use crate::api::status::PlanStatus;
use crate::engine::model::{Model, WriteAction};
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection};

/// Counting is worth it where at least so many percent of the rows that are counted are planned.
const PLANNED_PERCENT: i64 = 20;

/// What the plan saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// Every transaction before this one had ended: `pg_snapshot_xmin`, as `xid`.
    pub oldest_open: String,
    /// The tables that planned rows are read from and written to.
    pub tables: Vec<Counted>,
}

/// Rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// The table, quoted.
    pub table: String,
    /// Its rows.
    pub rows: i64,
}

/// Takes a witness in the plan's snapshot; `None` where it would not tell: a joined table may change what is planned without
/// a change of the row itself, as a row may that is inserted by somebody else, or that comes to refer to a deleted one, and a few rows of a large table are sooner
/// compared than all of it is counted.
pub(super) async fn take(connection: &mut PgConnection, model: &Model, counts: &PlanStatus) -> Result<Option<Witness>, sqlx::Error> {
    let planned = counts.will_write;
    let inserts = model.writes.iter().any(|write| matches!(write.action, WriteAction::Insert(_)) || !write.references().is_empty());
    if planned == 0 || inserts || model.recompute || model.all_joins().next().is_some() || model.writes_losers() {
        return Ok(None);
    }
    // The source has been counted.
    let source = Counted { table: model.source.table.quoted(), rows: counts.scanned };
    if planned.saturating_mul(100) < source.rows.saturating_mul(PLANNED_PERCENT) {
        return Ok(None);
    }
    let mut tables = vec![source];
    for table in model.writes.iter().map(|write| write.table.quoted()) {
        if tables.iter().all(|counted| counted.table != table) {
            let estimate = sqlx::query_scalar::<_, i64>("SELECT greatest(reltuples, 0)::int8 FROM pg_class WHERE oid = to_regclass($1)");
            let estimate = estimate.persistent(false).bind(&table).fetch_optional(&mut *connection).await?.unwrap_or(0);
            if planned.saturating_mul(100) < estimate.saturating_mul(PLANNED_PERCENT) {
                return Ok(None);
            }
            let sql = format!("SELECT count(*) FROM {table}");
            let rows = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(&mut *connection).await?;
            tables.push(Counted { table, rows });
        }
    }
    let oldest_open = sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::xid::text");
    Ok(Some(Witness { oldest_open: oldest_open.persistent(false).fetch_one(connection).await?, tables }))
}

impl Witness {
    /// At most so many rows have changed or gone since: those that are not there in a version from before the plan.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn changed_at_most(&self, connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
        let mut changed = 0;
        for Counted { table, rows } in &self.tables {
            let sql = format!("SELECT count(*) FILTER (WHERE age(xmin) > age($1::xid)) FROM {table}");
            let query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).persistent(false).bind(&self.oldest_open);
            changed += rows.saturating_sub(query.fetch_one(&mut *connection).await?).max(0);
        }
        Ok(changed)
    }
}
