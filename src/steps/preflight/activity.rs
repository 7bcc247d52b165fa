//! Transactions that have been open for long: they hold locks and vacuum back. For the approver to know; no verdict.

use super::findings::Findings;
use super::{Cut, unmeasured};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

const NAME: &str = "long-transactions";

/// Of other roles' sessions `pg_stat_activity` shows nothing but that they exist, unless the role is a monitor.
const LONG: &str = "
    SELECT count(*) FILTER (WHERE xact_start < now() - interval '10 min') AS long,
           count(*) FILTER (WHERE query = '<insufficient privilege>') AS hidden,
           string_agg(CASE WHEN xact_start < now() - interval '10 min'
             THEN 'pid ' || pid || ' for ' || round(extract(epoch FROM now() - xact_start) / 60) || ' min' END, ', ' ORDER BY xact_start) AS which,
           quote_ident(current_user) AS role, pg_has_role('pg_read_all_stats', 'USAGE') AS sees
    FROM pg_stat_activity WHERE datname = current_database()";

pub(super) async fn check(connection: &mut PgConnection, findings: &mut Findings) -> Result<(), Cut> {
    let row = match sqlx::query(LONG).fetch_one(connection).await {
        Ok(row) => row,
        Err(error) => return unmeasured(&error, NAME, findings),
    };
    let (long, hidden, sees): (i64, i64, bool) = (row.try_get("long")?, row.try_get("hidden")?, row.try_get("sees")?);
    let (which, role): (Option<String>, String) = (row.try_get("which")?, row.try_get("role")?);
    if long > 0 {
        let which: String = which.unwrap_or_default().chars().take(200).collect();
        findings.inconclusive(NAME, format!("{long} transactions have been open for more than 10 min: {which}"));
    } else if hidden > 0 && !sees {
        findings.inconclusive(NAME, format!("the role cannot see {hidden} sessions of other roles; run: GRANT pg_monitor TO {role};"));
    } else {
        findings.passed(NAME, "no transaction has been open for more than 10 min");
    }
    Ok(())
}
