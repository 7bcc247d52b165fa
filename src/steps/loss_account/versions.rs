//! What was written to a table since a snapshot, by the transactions that its rows are of: exact, where transaction ids mean
//! the same as they did then.

use super::own::Own;
use crate::api::status::LossStatus;
use crate::postgres::table_sums::TableSum;
use crate::postgres::transactions::{SeenTransactions, Storage, full};
use crate::steps::loss_account::Moment;
use jiff::Timestamp;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};
use std::fmt::Write as _;

/// What the versions of a table's rows say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Versions {
    /// Rows that the snapshot saw.
    pub old: i64,
    /// Rows of the run's own transactions.
    pub own: i64,
    /// Rows that others have written since.
    pub others: i64,
    /// When the first of those was committed.
    pub first_at: Option<Timestamp>,
    /// When the last was.
    pub last_at: Option<Timestamp>,
}

/// Counts the rows of a table by their transactions. `None` where the snapshot cannot say of some of them.
///
/// # Errors
/// Those of the driver.
pub(super) async fn count(
    connection: &mut PgConnection,
    table: &str,
    seen: &SeenTransactions,
    own: &Own,
    moment: &Moment,
) -> Result<Option<Versions>, sqlx::Error> {
    let id = full("raw", moment.next);
    let at = if moment.commit_timestamps {
        "(extract(epoch FROM pg_xact_commit_timestamp(raw::text::xid)) * 1000000)::int8"
    } else {
        "NULL::int8"
    };
    let sql = format!(
        "WITH v AS MATERIALIZED (SELECT xmin::text::int8 AS raw, rows FROM (SELECT xmin, count(*) AS rows FROM ONLY {table} GROUP BY xmin) AS x),
              f AS (SELECT v.rows, v.raw, o.id IS NOT NULL AS own, {saw} AS old, {cannot_tell} AS cannot_tell
                    FROM (SELECT v.*, {id} AS id FROM v) AS v LEFT JOIN (SELECT DISTINCT unnest($1::int8[]) AS id) AS o USING (id))
         SELECT coalesce(sum(rows) FILTER (WHERE old), 0)::int8 AS old, coalesce(sum(rows) FILTER (WHERE NOT old AND own), 0)::int8 AS own,
                coalesce(sum(rows) FILTER (WHERE NOT old AND NOT own), 0)::int8 AS others,
                coalesce(bool_or(cannot_tell), false) AS cannot_tell,
                min({at}) FILTER (WHERE NOT old AND NOT own) AS first_at, max({at}) FILTER (WHERE NOT old AND NOT own) AS last_at
         FROM f",
        saw = seen.saw("v.id"),
        cannot_tell = seen.cannot_tell("v.id"),
    );
    let row = sqlx::query(AssertSqlSafe(sql)).bind(&own.transactions).fetch_one(connection).await?;
    if row.try_get("cannot_tell")? {
        return Ok(None);
    }
    let at = |column: &str| -> Result<Option<Timestamp>, sqlx::Error> {
        let micros: Option<i64> = row.try_get(column)?;
        // To the second: for people.
        Ok(micros.and_then(|micros| Timestamp::from_second(micros.div_euclid(1_000_000)).ok()))
    };
    Ok(Some(Versions {
        old: row.try_get("old")?,
        own: row.try_get("own")?,
        others: row.try_get("others")?,
        first_at: at("first_at")?,
        last_at: at("last_at")?,
    }))
}

/// Why the ids of a table's rows mean nothing beside those of the snapshot; `None`: they mean the same.
pub(super) fn incomparable(
    then: &TableSum,
    was: Option<&Storage>,
    is: Option<&Storage>,
    versions: Option<&Versions>,
) -> Option<&'static str> {
    let (Some(was), Some(is)) = (was, is) else { return Some("how it was stored then is not known") };
    if was.oid != is.oid {
        return Some("it was dropped and made anew since");
    }
    match versions {
        None => Some("too many transactions were open when the snapshot was taken"),
        // VACUUM FULL and CLUSTER keep the ids, TRUNCATE and some ALTER TABLE do not.
        Some(versions) if was.file != is.file && versions.old == 0 && then.rows > 0 => Some("all of its rows were stored anew since"),
        Some(_) => None,
    }
}

/// What is known of a table beside its versions.
pub(super) struct Around<'a> {
    pub own: &'a Own,
    /// The table's OID, and that of the partitioned table that it belongs to; the same where it does not.
    pub oids: (i64, i64),
    /// Words for the moment of the snapshot: `since the snapshot of …`.
    pub since: &'a str,
}

/// What would be lost of a table whose content is not that of the snapshot; `None`: nothing but what the run itself wrote.
pub(super) fn loss(then: &TableSum, now: &TableSum, versions: &Versions, around: &Around<'_>) -> Option<LossStatus> {
    let own = around.own;
    let rows = own.tables.get(&around.oids.0).copied().unwrap_or_default();
    // Of which partition the run's rows were is not known.
    let of_partitions =
        around.oids.0 != around.oids.1 && own.tables.get(&around.oids.1).is_some_and(|rows| rows.inserted + rows.deleted > 0);
    let of_table = |oid: i64| own.written_over.as_ref().and_then(|rows| rows.get(&oid)).copied().unwrap_or(0);
    let partitions = if around.oids.0 == around.oids.1 { 0 } else { of_table(around.oids.1) };
    let written_over = of_table(around.oids.0) + partitions;
    // What the run wrote over was no row of then any more.
    let changed_by_run = (versions.own - rows.inserted).max(0) + rows.deleted - written_over;
    let gone = (then.rows - versions.old - changed_by_run).clamp(0, (then.rows - versions.old).max(0));
    let gone = (!of_partitions && partitions == 0).then_some(gone);
    let untouched = versions.others == 0 && gone.is_none_or(|gone| gone == 0) && written_over == 0;
    let of_run = versions.own + rows.deleted > 0;
    if untouched && of_run && own.written_over.is_some() {
        return None;
    }
    let message = if untouched && of_run {
        format!("as the run left it; what others wrote {} and before the run wrote over it is not known", around.since)
    } else if untouched && gone.is_some() {
        format!("no row was written {}, but its {} rows read otherwise than then: its columns have changed", around.since, now.rows)
    } else {
        said(versions, gone, written_over, around)
    };
    Some(LossStatus {
        table: now.table.clone(),
        message,
        written: Some(versions.others),
        gone,
        written_over: (written_over > 0).then_some(written_over),
        by_run: (versions.own > 0).then_some(versions.own),
        first_at: versions.first_at,
        last_at: versions.last_at,
    })
}

fn said(versions: &Versions, gone: Option<i64>, written_over: i64, around: &Around<'_>) -> String {
    let mut said = format!("{} rows inserted or changed {}", versions.others, around.since);
    match gone {
        Some(gone) => {
            let _ = write!(said, ", {gone} rows of then changed or deleted");
        }
        None => said.push_str(", and of the rows of then those that were changed or deleted, whose number is not known by partition"),
    }
    said.push_str(if around.own.unknown { ", by anybody" } else { ", not by the run" });
    if let (Some(first), Some(last)) = (versions.first_at, versions.last_at) {
        let _ = write!(said, "; committed from {first} to {last}");
    }
    if written_over > 0 {
        let _ = write!(said, "; {written_over} more that others had written when the run wrote over them");
    }
    if versions.own > 0 {
        let _ = write!(said, "; the run wrote {} of the rows", versions.own);
    }
    if around.own.put_back > 0 {
        let _ = write!(said, "; up to {} of them may be rows that undo has put back", around.own.put_back);
    }
    said
}
