//! The copy against what the dump's snapshot held.

use crate::api::Phase;
use crate::api::status::{CheckResult, CheckStatus};
use crate::postgres::table_sums::{self, TableSum};
use sqlx::{AssertSqlSafe, PgConnection};

/// Name of the check.
pub(super) const RESTORED_TABLES: &str = "restored-tables";
/// At most so many tables are named.
const NAMED: usize = 20;

/// What all tables of the copy hold.
pub(super) async fn measure(connection: &mut PgConnection, ledger_schema: &str) -> Result<Vec<TableSum>, sqlx::Error> {
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}", table_sums::SETTINGS);
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await?;
    let tables = table_sums::tables(connection, ledger_schema).await?;
    let sums = table_sums::measure(connection, &tables).await?;
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
    Ok(sums)
}

/// Each table that differs, or one check that says that none does.
pub(super) fn compare(dumped: &[TableSum], restored: &[TableSum]) -> Vec<CheckStatus> {
    let differing: Vec<CheckStatus> = dumped
        .iter()
        .filter_map(|then| {
            let message = match restored.iter().find(|now| now.table == then.table) {
                Some(now) if now == then => return None,
                Some(now) if now.rows == then.rows => {
                    format!("{} has its {} rows, but other content than was dumped", then.table, now.rows)
                }
                Some(now) => format!("{} has {} rows on the copy, and had {} when it was dumped", then.table, now.rows, then.rows),
                None => format!("{} is not on the copy", then.table),
            };
            Some(check(CheckResult::Failed, message))
        })
        .take(NAMED)
        .collect();
    if !differing.is_empty() {
        return differing;
    }
    let rows: i64 = dumped.iter().map(|table| table.rows).sum();
    vec![check(CheckResult::Passed, format!("{} tables with {rows} rows are as the dump's snapshot had them", dumped.len()))]
}

/// Of a dump that was made elsewhere nobody knows what it held.
pub(super) fn uncompared(restored: &[TableSum]) -> Vec<CheckStatus> {
    let rows: i64 = restored.iter().map(|table| table.rows).sum();
    let message = format!(
        "{} tables with {rows} rows came out of the dump. It was made elsewhere, and nobody measured them then: that they are as they were cannot be said",
        restored.len()
    );
    vec![check(CheckResult::Inconclusive, message)]
}

fn check(result: CheckResult, message: String) -> CheckStatus {
    CheckStatus { name: RESTORED_TABLES.into(), phase: Phase::Planning, result, message }
}

#[cfg(test)]
mod tests {
    use super::{CheckResult, TableSum, compare};

    #[test]
    fn a_table_that_is_missing_shorter_or_other_is_named() {
        let sum = |table: &str, rows, digest: &str| TableSum { table: table.into(), rows, digest: digest.into() };
        let dumped = [sum("a", 1, "1"), sum("b", 2, "2"), sum("c", 3, "3"), sum("d", 4, "4")];
        let restored = [sum("a", 1, "1"), sum("b", 1, "2"), sum("c", 3, "9")];
        let messages: Vec<String> = compare(&dumped, &restored).into_iter().map(|check| check.message).collect();
        assert_eq!(
            messages,
            [
                "b has 1 rows on the copy, and had 2 when it was dumped",
                "c has its 3 rows, but other content than was dumped",
                "d is not on the copy"
            ]
        );
        let same = compare(&dumped, &dumped);
        assert_eq!((same.len(), same[0].result), (1, CheckResult::Passed));
    }
}
