//! The view `written`: the keys of the rows that the run wrote, for the team's checks to ask about.

use crate::engine::ledger::{Ledger, LedgerError};
use crate::engine::model::Model;
use crate::engine::sql::{quote, quote_literal};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Makes the view anew for this run: the key columns of its first write's table, by their own names and types. `reader`
/// is the role that checks, where it is another one.
///
/// # Errors
/// [`LedgerError::Database`].
pub async fn publish(connection: &mut PgConnection, ledger: &Ledger, model: &Model, reader: Option<&str>) -> Result<(), LedgerError> {
    let Some(target) = model.writes.first() else { return Ok(()) };
    let view = ledger.table("written");
    let columns: Vec<String> = target
        .key
        .iter()
        .map(|column| format!("(key->>{})::{} AS {}", quote_literal(&column.name), column.full_type, quote(&column.name)))
        .collect();
    let mut statements = vec![
        format!("DROP VIEW IF EXISTS {view}"),
        format!(
            "CREATE VIEW {view} AS SELECT {} FROM {} WHERE run_uid = {} AND seq = 0 AND path IS NULL",
            columns.join(", "),
            ledger.table("undo"),
            quote_literal(ledger.uid()),
        ),
    ];
    if let Some(reader) = reader {
        statements.push(format!("GRANT USAGE ON SCHEMA {} TO {}", ledger.schema(), quote(reader)));
        statements.push(format!("GRANT SELECT ON {view} TO {}", quote(reader)));
    }
    let mut transaction = connection.begin().await?;
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).persistent(false).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}
