//! One run at a time changes a database.

use super::schema::{ledgers, lock_claims};
use super::{Ledger, LedgerError};
use crate::engine::sql::quote;
use crate::protocol::{Holder, RunIdentity};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row};

/// Whose the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Ours.
    Ours,
    /// Another run's.
    HeldBy(Holder),
}

/// Claims the database for a run. A claim of its own is no hindrance; one of `take_over_from` is taken over, and that
/// run's workers are fenced off. The claim holds over all ledger schemas of the database.
///
/// # Errors
/// [`LedgerError`].
pub async fn claim(
    connection: &mut PgConnection,
    schema: &str,
    run: &RunIdentity,
    spec_hash: &str,
    take_over_from: Option<&str>,
) -> Result<Claimed, LedgerError> {
    let ledger = Ledger::of(schema, run);
    let mut transaction = connection.begin().await?;
    lock_claims(&mut transaction).await?;
    for other in ledgers(&mut transaction).await? {
        let Some(holder) = holder(&mut transaction, &other).await? else { continue };
        if holder.uid == run.uid && other == schema {
            continue;
        }
        if holder.uid != run.uid && Some(holder.uid.as_str()) != take_over_from {
            return Ok(Claimed::HeldBy(holder));
        }
        take_over(&mut transaction, &other, &holder.uid).await?;
    }
    let sql =
        format!("INSERT INTO {} (run_uid, namespace, name) VALUES ($1, $2, $3) ON CONFLICT (only_one) DO NOTHING", ledger.table("claim"));
    sqlx::query(AssertSqlSafe(sql))
        .persistent(false)
        .bind(&run.uid)
        .bind(&run.namespace)
        .bind(&run.name)
        .execute(&mut *transaction)
        .await?;
    let sql = format!(
        "INSERT INTO {} AS r (uid, namespace, name, spec_hash, state) VALUES ($1, $2, $3, $4, 'Claimed')
         ON CONFLICT (uid) DO UPDATE SET spec_hash = excluded.spec_hash, updated_at = now() WHERE r.state = 'Claimed'",
        ledger.table("runs")
    );
    let insert = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(&run.uid).bind(&run.namespace).bind(&run.name).bind(spec_hash);
    insert.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Claimed::Ours)
}

/// Who holds the claim of a ledger.
async fn holder(connection: &mut PgConnection, schema: &str) -> Result<Option<Holder>, LedgerError> {
    let sql = format!(
        "SELECT run_uid, namespace, name, (extract(epoch FROM since) * 1000)::int8 AS since FROM {}.claim FOR UPDATE",
        quote(schema)
    );
    let Some(row) = sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_optional(connection).await? else { return Ok(None) };
    Ok(Some(Holder {
        uid: row.try_get("run_uid")?,
        namespace: row.try_get("namespace")?,
        name: row.try_get("name")?,
        since: jiff::Timestamp::from_millisecond(row.try_get("since")?).ok(),
    }))
}

async fn take_over(connection: &mut PgConnection, schema: &str, uid: &str) -> Result<(), LedgerError> {
    let schema = quote(schema);
    for sql in [
        format!("UPDATE {schema}.runs SET epoch = epoch + 1, updated_at = now() WHERE uid = $1"),
        format!("DELETE FROM {schema}.claim WHERE run_uid = $1"),
    ] {
        sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(uid).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Gives the claim back; one that is not ours stays.
///
/// # Errors
/// [`LedgerError::Database`].
pub async fn release(connection: &mut PgConnection, ledger: &Ledger) -> Result<(), LedgerError> {
    let sql = format!("DELETE FROM {} WHERE run_uid = $1", ledger.table("claim"));
    sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).execute(connection).await?;
    Ok(())
}
