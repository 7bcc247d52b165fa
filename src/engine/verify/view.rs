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
    let Some((seq, target)) = model.named().next() else { return Ok(()) };
    let view = ledger.table("written");
    // A list a key column, an element a row: side by side again.
    let lists = target
        .key
        .iter()
        .enumerate()
        .map(|(n, column)| format!("min(texts) FILTER (WHERE name = {}) AS l{n}", quote_literal(&column.name)));
    let (lists, sets): (Vec<String>, Vec<String>) = (lists.collect(), (0..target.key.len()).map(|n| format!("l.l{n}")).collect());
    let names: Vec<String> = (0..target.key.len()).map(|n| format!("k{n}")).collect();
    let columns: Vec<String> =
        target.key.iter().enumerate().map(|(n, column)| format!("k.k{n}::{} AS {}", column.full_type, quote(&column.name))).collect();
    let mut statements = vec![
        format!("DROP VIEW IF EXISTS {view}"),
        format!(
            "CREATE VIEW {view} AS SELECT {} FROM (SELECT {} FROM {} WHERE run_uid = {} AND seq = {seq} AND action <> 'Entry' AND role = 'key'
                 GROUP BY range, batch, action) AS l, unnest({}) AS k({})",
            columns.join(", "),
            lists.join(", "),
            ledger.table("undo"),
            quote_literal(ledger.uid()),
            sets.join(", "),
            names.join(", "),
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
