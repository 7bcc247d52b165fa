//! Which transactions a snapshot saw: what a row's `xmin` is compared with, to tell what was written since.
//!
//! Every function here works on full transaction ids, which do not wrap around, as `int8`. A row only has the last 32 bits
//! of its own; of all full ids that end so, it is the newest that has been given out. A row that was frozen more than 2^32
//! transactions ago may pass for a newer one: an account then says more than there is, never less.

use serde::{Deserialize, Serialize};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};
use std::collections::BTreeMap;

/// A snapshot is taken so often, until all that had begun before it can be told from what had ended.
const TRIES: u32 = 5;
/// At most so many transactions are looked at between the oldest open one and the newest: about a second.
const AT_MOST: i64 = 1_000_000;
/// Ids below are the system's own, and older than every snapshot.
const FIRST: u32 = 3;

/// The transactions of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeenTransactions {
    /// All before this one had ended.
    pub oldest_open: i64,
    /// This one and all after it had not begun.
    pub next: i64,
    /// Those between the two that had not ended, with their subtransactions.
    pub open: Vec<i64>,
    /// True where subtransactions of the open ones may be missing from that list.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unsure: bool,
    /// The server's timeline, which a failover and a recovery change: transaction ids of another one may mean others.
    pub timeline: String,
    /// How the tables are stored, by their name as SQL writes it.
    #[serde(default)]
    pub storage: BTreeMap<String, Storage>,
}

/// A table's storage: rows of another one have other transaction ids, whatever the table is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// OID of the table.
    pub oid: i64,
    /// Its file, which is a new one when all rows were written anew.
    pub file: i64,
}

/// The next full transaction id, as SQL: all ids below have been given out.
pub const NEXT: &str = "pg_snapshot_xmax(pg_current_snapshot())::text::int8";
/// The server's timeline, as SQL: a failover and a recovery begin another one.
pub const TIMELINE: &str = "left(pg_walfile_name(pg_current_wal_lsn()), 8)";

/// A snapshot sees nothing of subtransactions whose transaction is open, but does not list them: those are asked for. What
/// has ended meanwhile can no longer be asked. The timeline is asked beside it ([`TIMELINE`]).
const SEEN: &str = "
    WITH s AS (SELECT pg_current_snapshot() AS s),
         b AS (SELECT pg_snapshot_xmin(s)::text::int8 AS low, pg_snapshot_xmax(s)::text::int8 AS high,
                      ARRAY(SELECT x::text::int8 FROM pg_snapshot_xip(s) AS x) AS listed FROM s)
    SELECT low, high, listed, CASE WHEN high - low <= $1 THEN ARRAY(
               SELECT x FROM (SELECT x FROM generate_series(low, high - 1) AS x EXCEPT SELECT unnest(listed)) AS c (x)
               WHERE pg_xact_status(x::text::xid8) = 'in progress' ORDER BY x) END AS subtransactions
    FROM b";

const STILL_OPEN: &str = "SELECT coalesce(bool_and(pg_xact_status(x::text::xid8) = 'in progress'), true) FROM unnest($1::int8[]) AS x";

/// Begins a transaction of one snapshot with these statements, and says what it sees.
///
/// # Errors
/// Those of the driver.
pub async fn begin(connection: &mut PgConnection, statements: &str) -> Result<SeenTransactions, sqlx::Error> {
    let mut tries = 1;
    loop {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(&mut *connection).await?;
        let seen = seen(connection).await?;
        if !seen.unsure || tries == TRIES {
            return Ok(seen);
        }
        tries += 1;
        sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
    }
}

async fn seen(connection: &mut PgConnection) -> Result<SeenTransactions, sqlx::Error> {
    let sql = format!("SELECT *, {TIMELINE} AS timeline FROM ({SEEN}) AS seen");
    let row = sqlx::query(AssertSqlSafe(sql)).bind(AT_MOST).fetch_one(&mut *connection).await?;
    let (oldest_open, next): (i64, i64) = (row.try_get("low")?, row.try_get("high")?);
    let mut open: Vec<i64> = row.try_get("listed")?;
    let all_listed = i64::try_from(open.len()).is_ok_and(|listed| listed == next - oldest_open);
    let subtransactions: Option<Vec<i64>> = row.try_get("subtransactions")?;
    let still_open: bool = sqlx::query_scalar(STILL_OPEN).bind(&open).fetch_one(connection).await?;
    let unsure = !all_listed && (subtransactions.is_none() || !still_open);
    open.extend(subtransactions.unwrap_or_default());
    open.sort_unstable();
    Ok(SeenTransactions { oldest_open, next, open, unsure, timeline: row.try_get("timeline")?, storage: BTreeMap::new() })
}

/// The storage of tables, given as SQL writes them; of those that are there.
///
/// # Errors
/// Those of the driver.
pub async fn storage(connection: &mut PgConnection, tables: &[&str]) -> Result<BTreeMap<String, Storage>, sqlx::Error> {
    let rows: Vec<(String, i64, i64)> = sqlx::query_as(
        "SELECT name, o.oid::int8, coalesce(pg_relation_filenode(o.oid), 0)::int8
         FROM unnest($1::text[]) AS name, LATERAL (SELECT to_regclass(name)::oid AS oid) AS o WHERE o.oid IS NOT NULL",
    )
    .bind(tables)
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(name, oid, file)| (name, Storage { oid, file })).collect())
}

/// The full id of a row version, as SQL, out of its `xmin` as `int8` and the next id that will be given out.
#[must_use]
pub fn full(xmin: &str, next: i64) -> String {
    let newest = next - 1;
    format!("(CASE WHEN {xmin} < {FIRST} THEN 0 ELSE {newest} - (({newest} - {xmin}) & 4294967295) END)")
}

impl SeenTransactions {
    /// The condition, as SQL, under which a full id had ended before the snapshot.
    #[must_use]
    pub fn saw(&self, full: &str) -> String {
        let Self { oldest_open, next, .. } = self;
        let open: Vec<String> = self.open.iter().map(ToString::to_string).collect();
        format!("({full} < {oldest_open} OR ({full} < {next} AND {full} <> ALL ('{{{}}}'::int8[])))", open.join(","))
    }

    /// The condition, as SQL, under which nobody can say whether it had.
    #[must_use]
    pub fn cannot_tell(&self, full: &str) -> String {
        if self.unsure { format!("({full} >= {} AND {})", self.oldest_open, self.saw(full)) } else { "false".into() }
    }

    /// True where it had ended before the snapshot, of the last 32 bits of an id as a row has them. The row was written at
    /// most 2^30 transactions after the snapshot.
    #[must_use]
    pub fn has_seen(&self, xmin: u32) -> bool {
        let full = self.full_of(xmin);
        xmin < FIRST || full < self.oldest_open || (full < self.next && self.open.binary_search(&full).is_err())
    }

    /// The full id of a row that was written at most 2^30 transactions after the snapshot.
    #[must_use]
    pub const fn full_of(&self, xmin: u32) -> i64 {
        let newest = self.next + (1 << 30);
        newest - ((newest - xmin as i64) & 0xffff_ffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(oldest_open: i64, next: i64, open: &[i64]) -> SeenTransactions {
        SeenTransactions { oldest_open, next, open: open.to_vec(), timeline: "00000001".into(), ..SeenTransactions::default() }
    }

    #[test]
    fn a_snapshot_has_seen_what_had_ended_and_nothing_else() {
        let seen = seen(100, 110, &[100, 104]);
        for (xmin, has) in [(99, true), (100, false), (101, true), (104, false), (109, true), (110, false), (5000, false), (2, true)] {
            assert_eq!(seen.has_seen(xmin), has, "{xmin}");
        }
    }

    #[test]
    fn ids_go_on_after_the_last_that_fits_32_bits() {
        let wrap = 1_i64 << 32;
        let seen = seen(wrap - 3, wrap + 10, &[wrap - 3, wrap + 4]);
        for (xmin, has) in [
            (u32::MAX - 3, true),
            (u32::MAX - 2, false),
            (u32::MAX, true),
            (4, false),
            (9, true),
            (10, false),
            (900, false),
            (2_000_000_000, true),
        ] {
            assert_eq!(seen.has_seen(xmin), has, "{xmin}");
        }
        assert_eq!(seen.full_of(900), wrap + 900);
        assert_eq!(seen.full_of(u32::MAX), wrap - 1);
    }
}
