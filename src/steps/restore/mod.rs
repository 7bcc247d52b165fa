//! The step `restore`: the dump, in place or into a database beside the old one. Either way all of it happens at once or not
//! at all, and a second attempt finds that it has.

mod accounted;
mod contents;
mod error;
mod fence;
mod in_place;
mod script;
mod stream;
mod swap;
mod tables;

pub(super) use swap::{Beside, MAINTENANCE, beside, drop_old};

use super::backup_store::Manifest;
use super::checks_again::checks_again;
use super::loss_account;
use super::{StepContext, StepEnd};
use crate::api::Phase;
use crate::api::spec::RestoreMode;
use crate::api::status::{CheckResult, CheckStatus};
use crate::postgres::table_sums::{self, TableSum};
use crate::protocol::{Outcome, RestoreReport, StepReport};
use error::RestoreError;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

/// What a restore leaves behind.
struct Restored {
    checks: Vec<CheckStatus>,
    /// The database as it was before, under its new name.
    old_database: Option<String>,
}

/// Restores the dump.
pub async fn run(context: &StepContext) -> StepEnd {
    let restore = async {
        match context.input.restore {
            Some(RestoreMode::Swap) => swap::restore(context).await,
            Some(RestoreMode::InPlace) | None => in_place::restore(context).await.map(|checks| Restored { checks, old_database: None }),
        }
    };
    let restored = tokio::select! {
        restored = restore => restored,
        () = context.stop.cancelled() => Err(RestoreError::Stopped),
    };
    match restored {
        Ok(Restored { mut checks, old_database }) => {
            let differs = checks.iter().any(|c| c.result == CheckResult::Failed);
            if !differs {
                checks.extend(checks_again(context).await);
            }
            let not_swapped = context.input.restore == Some(RestoreMode::Swap) && old_database.is_none();
            let report = StepReport::Restore(RestoreReport { checks, old_database });
            if differs {
                let message = if not_swapped {
                    "beside the database the dump was restored into another one, where tables differ from what its snapshot held (see the checks): the names were not exchanged, and the database is as it was"
                } else {
                    "the dump is restored, but tables differ from what its snapshot held: see the checks"
                };
                return StepEnd::reported(Outcome::Failed, "RestoreDiffers", message, report);
            }
            StepEnd::reported(Outcome::Passed, "Restored", "the database holds what the dump holds", report)
        }
        Err(error) => StepEnd::bare(error.outcome(), error.reason(), error.to_string()),
    }
}

/// Nothing is lost but what people have approved: the account is drawn up once more, now that the run's own writers are out.
/// What the tables held then; `None` where there is no account to hold to.
async fn as_approved(context: &StepContext) -> Result<Option<Vec<TableSum>>, RestoreError> {
    let Some(approved) = &context.input.loss_digest else { return Ok(None) };
    let (now, sums) = loss_account::account(context).await.map_err(|error| RestoreError::LossUnknown(Box::new(error)))?;
    if now.digest == *approved {
        return Ok(Some(sums));
    }
    let tables: Vec<String> = now.losses.iter().map(|l| l.table.clone()).take(NAMED).collect();
    Err(RestoreError::LossChanged { tables: tables.join(", ") })
}

async fn measured(connection: &mut PgConnection, ledger: &str) -> Result<Vec<TableSum>, RestoreError> {
    let begin = format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}", table_sums::SETTINGS);
    sqlx::raw_sql(AssertSqlSafe(begin)).execute(&mut *connection).await?;
    let tables = table_sums::tables(connection, ledger).await?;
    let sums = table_sums::measure(connection, &tables).await?;
    sqlx::raw_sql("COMMIT").execute(&mut *connection).await?;
    Ok(sums)
}

/// Restored tables have no statistics, and plans made without them can be slow. Not worth failing for.
async fn analyze(connection: &mut PgConnection) {
    if let Err(error) = sqlx::raw_sql("SET statement_timeout = 0; SET client_min_messages = error; ANALYZE").execute(&mut *connection).await
    {
        tracing::warn!(error = crate::postgres::describe(&error), "the restored tables could not be analysed");
    }
    let _ = connection.ping().await;
}

/// At most this many tables are named.
const NAMED: usize = 20;

fn checks(manifest: Option<&Manifest>, now: &[TableSum]) -> Vec<CheckStatus> {
    let check = |name: &str, result, message| CheckStatus { name: name.into(), phase: Phase::RollingBack, result, message };
    let Some(manifest) = manifest else {
        let message = "the dump is restored; its manifest is gone, so that its tables could not be compared".into();
        return vec![check("restored-tables", CheckResult::Inconclusive, message)];
    };
    if manifest.is_unmeasured() {
        let rows: i64 = now.iter().map(|t| t.rows).sum();
        let message = format!(
            "the dump is restored: {} tables with {rows} rows. It was made elsewhere, and nobody measured them then, so that they could not be compared",
            now.len()
        );
        return vec![check("restored-tables", CheckResult::Inconclusive, message)];
    }
    let differing: Vec<CheckStatus> = manifest
        .tables
        .iter()
        .filter_map(|then| {
            let message = match now.iter().find(|n| n.table == then.table) {
                Some(now) if now == then => return None,
                Some(now) => format!("{} has {} rows, the dump {}, or other content", then.table, now.rows, then.rows),
                None => format!("{} is missing", then.table),
            };
            Some(check("restored-tables", CheckResult::Failed, message))
        })
        .take(NAMED)
        .collect();
    if !differing.is_empty() {
        return differing;
    }
    let rows: i64 = manifest.tables.iter().map(|t| t.rows).sum();
    vec![check(
        "restored-tables",
        CheckResult::Passed,
        format!("{} tables with {rows} rows are as the dump's snapshot had them", manifest.tables.len()),
    )]
}
