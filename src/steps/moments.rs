//! Moments of a run in its ledger: which transactions had ended by then, and on which timeline of the server that was.
//!
//! A moment that is found again proves more than it says: the database that holds it has all that the server had done when
//! it was recorded, whichever server that was, and which has taken its place since.

use crate::engine::ledger::MARK;
use crate::engine::sql::{quote, quote_literal};
use crate::postgres::transactions::{NEXT, SeenTransactions, TIMELINE};
use crate::postgres::{describe, is_connection_loss};
use serde_json::Value;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

/// The run had applied its changes.
const APPLIED: &str = "Applied";

/// What is known of the moments of a run.
#[derive(Debug, Default)]
pub(super) struct Moments {
    /// The transactions that had ended when the run had applied its changes; absent where a former release recorded none.
    pub applied: Option<SeenTransactions>,
    /// Timelines with the next transaction id of then.
    recorded: Vec<(String, i64)>,
}

impl Moments {
    /// True where the database has gone on from what a snapshot saw, so that each transaction id that the snapshot has seen is
    /// still that of the same transaction, and no other is that of one it has seen: a moment is found that was recorded after
    /// the snapshot, and on its timeline. All that was in the server's log before it, a standby that has it has, too.
    pub(super) fn go_on_from(&self, seen: &SeenTransactions) -> bool {
        self.recorded.iter().any(|(timeline, next)| *timeline == seen.timeline && *next >= seen.next)
    }
}

/// Those of the ledger.
///
/// # Errors
/// Those of the driver.
pub(super) async fn read(connection: &mut PgConnection, ledger: &str, uid: &str) -> Result<Moments, sqlx::Error> {
    // Another role may have made it.
    let readable = "SELECT to_regclass($1) IS NOT NULL AND has_table_privilege(to_regclass($1), 'SELECT')";
    let readable: Option<bool> = sqlx::query_scalar(readable).bind(table(ledger)).fetch_one(&mut *connection).await?;
    if readable != Some(true) {
        return Ok(Moments::default());
    }
    // A row that was copied, with its ledger, into another server has another transaction than it says.
    let sql = format!(
        "SELECT moment, seen, seen->>'timeline', (seen->>'next')::int8 FROM {} WHERE run_uid = $1::uuid
         AND (NOT seen ? 'own' OR ((seen->>'own')::int8 & 4294967295) = xmin::text::int8)",
        table(ledger)
    );
    let rows: Vec<(String, Value, String, i64)> = sqlx::query_as(AssertSqlSafe(sql)).bind(uid).fetch_all(connection).await?;
    let mut moments = Moments::default();
    for (moment, seen, timeline, next) in rows {
        if moment == APPLIED {
            moments.applied = serde_json::from_value(seen).ok();
        }
        moments.recorded.push((timeline, next));
    }
    Ok(moments)
}

/// The table, beside the ledger's others, so that a ledger of a former release has it, too. False where the role may not make it.
pub(super) async fn make(connection: &mut PgConnection, ledger: &str) -> bool {
    let table = table(ledger);
    let comment = quote_literal(&format!(
        "{MARK} moments. The transactions that had ended when a run claimed the database, and when it had applied its changes."
    ));
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS {table} (run_uid uuid NOT NULL, moment text NOT NULL, seen jsonb NOT NULL, PRIMARY KEY (run_uid, moment));
         COMMENT ON TABLE {table} IS {comment}"
    );
    let made = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    made.inspect_err(|error| tracing::warn!(error = describe(error), "a loss account will compare sums alone")).is_ok()
}

/// Records what had ended when the run had applied its changes, in the transaction in hand.
///
/// # Errors
/// Those of the driver.
pub(super) async fn applied(connection: &mut PgConnection, ledger: &str, uid: &str, seen: &SeenTransactions) -> Result<(), sqlx::Error> {
    let sql = format!(
        "INSERT INTO {} VALUES ($1::uuid, '{APPLIED}', $2::jsonb || jsonb_build_object('own', pg_current_xact_id()::text::int8))
         ON CONFLICT (run_uid, moment) DO UPDATE SET seen = excluded.seen",
        table(ledger)
    );
    let seen = serde_json::to_value(seen).unwrap_or_default();
    sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(uid).bind(seen).execute(connection).await?;
    Ok(())
}

/// Records that the run has the database, once for each timeline on which it claims it. Where that cannot be, an account compares
/// sums alone after a failover.
///
/// # Errors
/// The driver's, where the connection gave way.
pub(super) async fn claimed(connection: &mut PgConnection, ledger: &str, uid: &str) -> Result<(), sqlx::Error> {
    if !make(connection, ledger).await {
        return Ok(());
    }
    // The statement's snapshot is older than the id that its own transaction gets.
    let sql = format!(
        "INSERT INTO {} SELECT $1::uuid, 'Claimed on ' || t, jsonb_build_object(
             'next', {NEXT}, 'timeline', t, 'own', pg_current_xact_id()::text::int8)
         FROM (SELECT {TIMELINE} AS t) AS timeline ON CONFLICT (run_uid, moment) DO UPDATE SET seen = excluded.seen",
        table(ledger)
    );
    match sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(uid).execute(connection).await {
        Err(error) if is_connection_loss(&error) => Err(error),
        Err(error) => {
            tracing::warn!(error = describe(&error), "after a failover a loss account will compare sums alone");
            Ok(())
        }
        Ok(_) => Ok(()),
    }
}

fn table(ledger: &str) -> String {
    format!("{}.moments", quote(ledger))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_moment_after_the_snapshot_on_its_timeline_proves_anything() {
        let seen = SeenTransactions { next: 100, timeline: "00000002".into(), ..SeenTransactions::default() };
        let go_on = |timeline: &str, next| Moments { recorded: vec![(timeline.into(), next)], ..Moments::default() }.go_on_from(&seen);
        assert!(!Moments::default().go_on_from(&seen));
        assert!(go_on("00000002", 100) && go_on("00000002", 7000));
        assert!(!go_on("00000002", 99), "before the snapshot");
        assert!(!go_on("00000001", 7000) && !go_on("00000003", 7000), "on another timeline");
    }
}
