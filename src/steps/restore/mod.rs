//! The step `restore`: the dump, in place, in one transaction.
//!
//! Everything that the dump has is dropped and made anew, what was made since is dropped, and the ledger's schema is
//! left alone. All of it commits at once or not at all: a step that dies on the way leaves the database as it was. The
//! transaction also writes to the ledger that it happened, so that a second attempt does not take the application's
//! later writes away.

mod contents;
mod error;
mod fence;
mod script;
mod stream;

use super::backup_store::{Manifest, ProvedDump};
use super::session::{Role, Session};
use super::{StepContext, StepEnd};
use crate::api::Phase;
use crate::api::status::{CheckResult, CheckStatus};
use crate::postgres::archive::{self, Archive};
use crate::postgres::facts;
use crate::postgres::table_sums::{self, TableSum};
use crate::postgres::tools::ToolLogin;
use crate::protocol::{Outcome, RestoreReport, StepReport};
use error::RestoreError;
use rand::Rng as _;
use script::Script;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use std::time::Duration;

/// Locks are waited for at most 5 s at a time: longer, and the application would queue up behind us. So there are
/// several tries, further and further apart.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Restores the dump.
pub async fn run(context: &StepContext) -> StepEnd {
    let restored = tokio::select! {
        restored = restore(context) => restored,
        () = context.stop.cancelled() => Err(RestoreError::Stopped),
    };
    match restored {
        Ok(checks) => {
            let differs = checks.iter().any(|c| c.result == CheckResult::Failed);
            let report = StepReport::Restore(RestoreReport { checks });
            if differs {
                let message = "the dump is restored, but tables differ from what its snapshot held: see the checks";
                return StepEnd::reported(Outcome::Failed, "RestoreDiffers", message, report);
            }
            StepEnd::reported(Outcome::Passed, "Restored", "the database holds what the dump holds", report)
        }
        Err(error) => StepEnd::bare(error.outcome(), error.reason(), error.to_string()),
    }
}

async fn restore(context: &StepContext) -> Result<Vec<CheckStatus>, RestoreError> {
    let dump = ProvedDump::open(context).await?;
    let manifest = &dump.manifest;
    let session = Session::of(context, Role::Main)?;
    let login = ToolLogin::new(&session.credentials, &session.options, &context.paths.scratch)?;
    let mut connection = session.connect().await?;
    let (ledger, uid) = (&context.input.spec.database.ledger_schema, &context.input.run.uid);
    let has_sums = table_sums::exists(&mut connection, ledger).await?;
    if has_sums && let Some(sums) = table_sums::recorded(&mut connection, ledger, uid, "Restored").await? {
        tracing::info!("an earlier attempt has restored this dump");
        return Ok(checks(manifest.as_ref(), &sums));
    }
    let fence = fence::raise(&mut connection, ledger, uid).await?;
    let server = facts(&mut connection).await?;
    let entries = archive::list(Archive::File(dump.path())).await?;
    let contents = contents::choose(&mut connection, &entries).await?;
    let list = context.paths.scratch.join("restore.list");
    std::fs::write(&list, &contents.list).map_err(RestoreError::ScratchUnwritable)?;
    let tables = manifest.as_ref().map(|m| m.tables.as_slice()).unwrap_or_default();
    let script = Script { ledger, run_uid: uid, schemas: &contents.schemas, fence: &fence, sums_of: if has_sums { tables } else { &[] } };
    let stream = stream::Stream { context, login: &login, list: &list, dump: dump.path(), script: &script, server_major: server.major() };
    with_retries(&stream).await?;
    // The application may write again: what the transaction measured counts, where the ledger could take it.
    let sums = match table_sums::recorded(&mut connection, ledger, uid, "Restored").await {
        Ok(Some(sums)) => sums,
        _ => measured(&mut session.connect().await?, ledger).await?,
    };
    analyze(&mut connection).await;
    Ok(checks(manifest.as_ref(), &sums))
}

async fn with_retries(stream: &stream::Stream<'_>) -> Result<(), RestoreError> {
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        match stream.run().await {
            Err(error) if error.is_contention() && attempt < TRIES => {
                tracing::warn!(attempt, %error, "the restore was rolled back and is tried again");
                let jitter = rand::rng().random_range(0.5..1.5);
                tokio::time::sleep(pause.mul_f64(jitter)).await;
                pause *= 2;
            }
            end => return end,
        }
    }
    Ok(())
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
