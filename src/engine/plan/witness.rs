//! A witness of what the plan saw: which transactions had ended by then, and how many rows each table had. Rows whose version
//! is older than that are as they were planned, which is known without reading what they hold.

use crate::api::status::PlanStatus;
use crate::engine::model::{Model, WriteAction};
use crate::engine::sql::quote_literal;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection};

/// Counting is worth it where at least so many percent of the rows that are counted are planned.
const PLANNED_PERCENT: i64 = 20;

/// Which server and database: numbers of transactions mean nothing in another one, nor after a restart that may have taken it
/// back to a moment before the plan.
const ORIGIN: &str = "
    SELECT extract(epoch FROM pg_postmaster_start_time())::text || '/' || oid FROM pg_database WHERE datname = current_database()";

/// What the plan saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// Every transaction before this one had ended: `pg_snapshot_xmin`, as `xid8`.
    pub oldest_open: String,
    /// Where that was.
    #[serde(default)]
    pub origin: String,
    /// The tables that planned rows are read from and written to.
    pub tables: Vec<Seen>,
}

/// A table, as it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The table, quoted.
    pub table: String,
    /// Its file and its columns, with the labels of enums (of elements of arrays and of domains over one, too) and the expressions of generated columns. In another file lie rows that were written anew, maybe with a version that looks old (`COPY …
    /// FREEZE`), and a new column gives old rows its default. `None` where it has no file of its own, or others beside it: it is
    /// partitioned, or inherited from.
    #[serde(default)]
    pub form: Option<String>,
    /// Its rows; `None` where they were not counted, since a few planned rows of a large table are sooner compared.
    pub rows: Option<i64>,
}

/// Takes a witness in the plan's snapshot; `None` where it would not tell: a joined table may change what is planned without
/// a change of the row itself, as a row may that is inserted by somebody else, or that comes to refer to a deleted one.
pub(super) async fn take(connection: &mut PgConnection, model: &Model, counts: &PlanStatus) -> Result<Option<Witness>, sqlx::Error> {
    let planned = counts.will_write;
    let inserts = model.writes.iter().any(|write| matches!(write.action, WriteAction::Insert(_)) || !write.references().is_empty());
    if planned == 0 || inserts || model.recompute || model.all_joins().next().is_some() || model.writes_losers() {
        return Ok(None);
    }
    let few = |rows: i64| planned.saturating_mul(100) < rows.saturating_mul(PLANNED_PERCENT);
    let mut names = vec![model.source.table.quoted()];
    for table in model.writes.iter().map(|write| write.table.quoted()) {
        if !names.contains(&table) {
            names.push(table);
        }
    }
    let mut tables = Vec::with_capacity(names.len());
    for table in names {
        let (form, estimate) = form(connection, &table).await?;
        // The source has been counted.
        let rows = if tables.is_empty() { counts.scanned } else { estimate };
        tables.push(Seen { table, form, rows: (!few(rows)).then_some(rows) });
    }
    if tables.iter().all(|seen| seen.rows.is_some()) {
        for seen in tables.iter_mut().skip(1) {
            let sql = format!("SELECT count(*) FROM {}", seen.table);
            seen.rows = Some(sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).fetch_one(&mut *connection).await?);
        }
    } else {
        for seen in &mut tables {
            seen.rows = None;
        }
    }
    let oldest_open = sqlx::query_scalar("SELECT pg_snapshot_xmin(pg_current_snapshot())::text");
    let oldest_open = oldest_open.persistent(false).fetch_one(&mut *connection).await?;
    Ok(Some(Witness { oldest_open, origin: origin(connection).await?, tables }))
}

/// The form of a table ([`Seen::form`]), and the server's estimate of its rows.
async fn form(connection: &mut PgConnection, table: &str) -> Result<(Option<String>, i64), sqlx::Error> {
    let sql = format!("SELECT {}, greatest(c.reltuples, 0)::int8 FROM pg_class c WHERE c.oid = to_regclass($1)", form_of("c"));
    Ok(sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(table).fetch_optional(connection).await?.unwrap_or_default())
}

/// The form of the table whose row of `pg_class` has this alias.
fn form_of(class: &str) -> String {
    format!(
        "CASE WHEN NOT {class}.relhassubclass THEN pg_relation_filenode({class}.oid) || ' ' || (SELECT md5(string_agg(
             ROW(a.attnum, a.attname, a.atttypid, a.atttypmod, a.attisdropped, a.attmissingval::text,
                 (SELECT string_agg(quote_literal(e.enumlabel), ',' ORDER BY e.oid) FROM pg_enum e
                  WHERE e.enumtypid IN (SELECT unnest(ARRAY[t.oid, t.typelem, t.typbasetype]) FROM pg_type t WHERE t.oid = a.atttypid)),
                 (SELECT pg_get_expr(d.adbin, d.adrelid) FROM pg_attrdef d WHERE a.attgenerated <> '' AND d.adrelid = a.attrelid AND d.adnum = a.attnum)
             )::text, '' ORDER BY a.attnum))
             FROM pg_attribute a WHERE a.attrelid = {class}.oid AND a.attnum > 0) END"
    )
}

async fn origin(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(ORIGIN).persistent(false).fetch_one(connection).await
}

impl Witness {
    /// True where its numbers of transactions mean here what they meant at plan: in the same database, on a server that was
    /// not started again, and before half of all numbers have been used.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn holds(&self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        if origin(connection).await? != self.origin {
            return Ok(false);
        }
        let sql = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric - $1::numeric BETWEEN 0 AND 1000000000";
        sqlx::query_scalar(sql).persistent(false).bind(&self.oldest_open).fetch_one(connection).await
    }

    /// One that calls rows unchanged only if they also are as a snapshot saw them whose oldest open transaction was this.
    #[must_use]
    pub fn as_of(mut self, oldest_open: i64) -> Self {
        if self.oldest_open.parse::<i64>().is_ok_and(|own| oldest_open < own) {
            self.oldest_open = oldest_open.to_string();
        }
        self
    }

    /// `age(xmin)` of a row's version must be greater than this expression for the row to be as the plan saw it.
    #[must_use]
    pub fn age(&self) -> String {
        format!("(SELECT age({}::text::xid8::xid))", quote_literal(&self.oldest_open))
    }

    /// A condition that holds while the tables have the form that the plan saw, and nobody can change it before the transaction
    /// ends, since its statement has them locked. `None` where that cannot be said.
    #[must_use]
    pub fn forms_hold(&self) -> Option<String> {
        let same = self.tables.iter().map(|seen| {
            let (table, form) = (quote_literal(&seen.table), quote_literal(seen.form.as_ref()?));
            Some(format!("(SELECT {} FROM pg_class c WHERE c.oid = to_regclass({table})) IS NOT DISTINCT FROM {form}", form_of("c")))
        });
        Some(same.collect::<Option<Vec<_>>>()?.join(" AND "))
    }

    /// At most so many rows have changed or gone since: those that are not there in a version from before the plan. `None` where
    /// that is not known.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn changed_at_most(&self, connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
        if !self.holds(connection).await? {
            return Ok(None);
        }
        let mut changed = 0;
        for Seen { table, form: seen, rows } in &self.tables {
            let Some(rows) = rows else { return Ok(None) };
            if form(connection, table).await?.0 != *seen {
                return Ok(None);
            }
            let sql = format!("SELECT count(*) FILTER (WHERE age(xmin) > {}) FROM {table}", self.age());
            let query = sqlx::query_scalar::<_, i64>(AssertSqlSafe(sql)).persistent(false);
            changed += rows.saturating_sub(query.fetch_one(&mut *connection).await?).max(0);
        }
        Ok(Some(changed))
    }
}
