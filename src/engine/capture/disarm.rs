//! After the script, and after one that nobody came back to: the triggers and their functions go.

use super::CaptureError;
use super::arm::with_lock;
use super::statements::{ROW_TRIGGER, STATEMENT_TRIGGER};
use crate::engine::ledger::Ledger;
use crate::engine::sql::quote;
use sqlx::{AssertSqlSafe, PgConnection};

/// Tables with a trigger of the capture, by the functions of this ledger. `$1`: the schema, not quoted.
const ARMED: &str = "
    SELECT DISTINCT format('%I.%I', n.nspname, c.relname), t.tgname::text
    FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_proc p ON p.oid = t.tgfoid WHERE p.pronamespace = to_regnamespace($1) AND t.tgname = ANY ($2) ORDER BY 1, 2";

/// Takes triggers and functions away, table by table; what was recorded stays. Nothing where there are none.
///
/// # Errors
/// [`CaptureError`]; can be repeated.
pub async fn disarm(connection: &mut PgConnection, ledger: &Ledger) -> Result<(), CaptureError> {
    let names = vec![ROW_TRIGGER, STATEMENT_TRIGGER];
    let armed: Vec<(String, String)> =
        sqlx::query_as(ARMED).persistent(false).bind(ledger.schema()).bind(names).fetch_all(&mut *connection).await?;
    for (table, trigger) in armed {
        with_lock(connection, &table, &[format!("DROP TRIGGER IF EXISTS {} ON {table}", quote(&trigger))]).await?;
    }
    for function in ["capture_row()", "capture_statement()"] {
        let sql = format!("DROP FUNCTION IF EXISTS {}", ledger.table(function));
        sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Takes away what a run before this one left on: whoever holds the claim is the only one with a script. Answers the uid of that run.
///
/// # Errors
/// [`CaptureError`].
pub async fn sweep(connection: &mut PgConnection, ledger: &Ledger) -> Result<Option<String>, CaptureError> {
    let left: Option<String> = sqlx::query_scalar(
        "SELECT split_part(encode(t.tgargs, 'escape'), '\\000', 1) FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
         WHERE p.pronamespace = to_regnamespace($1) AND t.tgname = ANY ($2) AND split_part(encode(t.tgargs, 'escape'), '\\000', 1) <> $3 LIMIT 1",
    )
    .persistent(false)
    .bind(ledger.schema())
    .bind(vec![ROW_TRIGGER, STATEMENT_TRIGGER])
    .bind(ledger.uid())
    .fetch_optional(&mut *connection)
    .await?;
    if left.is_some() {
        disarm(connection, ledger).await?;
    }
    Ok(left)
}
