//! Into a database beside the old one, checked there, which then takes its name.
//!
//! Until the exchange, which is one transaction, nothing of the application changes: a step that dies before leaves a database
//! of ours behind, which the next attempt drops. What was written to the old database to the last moment is not in the new one,
//! but it is not destroyed either: the old one is kept, and the account of it is drawn up once more when nobody can write any more.

mod begin;
mod carry;
mod discard;
mod exchange;
mod fill;
mod make;
mod obstacles;
mod sessions;

pub use obstacles::{Beside, beside};

use super::error::RestoreError;
use super::{Restored, as_approved, checks, fence, measured};
use crate::api::Phase;
use crate::api::status::{CheckResult, CheckStatus};
use crate::postgres::table_sums;
use crate::steps::backup_store::ProvedDump;
use crate::steps::session::{Role, Session};
use crate::steps::{StepContext, loss_account};
use discard::discard;
use make::Found;
use rand::Rng as _;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use std::time::Duration;

/// Where the databases are made and renamed from: a database cannot be renamed by a session of its own.
pub const MAINTENANCE: &str = "postgres";
/// So often is tried what sessions of others, or a statement of an earlier attempt, stand in the way of.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_secs(1);
/// The comment by which databases of ours are known.
const MARK: &str = "backfill.dev";

/// The databases of a restore.
#[derive(Clone, Debug)]
pub(super) struct Names {
    /// As the application calls it.
    pub live: String,
    /// Filled beside it.
    pub new: String,
    /// The live one, afterwards.
    pub old: String,
}

impl Names {
    fn of(context: &StepContext, live: &str) -> Self {
        let uid: String = context.input.run.uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
        // A name has at most 63 bytes.
        let mut head = live.len().min(40);
        while !live.is_char_boundary(head) {
            head -= 1;
        }
        let head = live.get(..head).unwrap_or_default();
        Self { live: live.to_owned(), new: format!("{head}_restored_{uid}"), old: format!("{head}_before_{uid}") }
    }
}

/// What a comment says of a database that is being filled, or was left: whose it is, and what it is.
fn mark(context: &StepContext, what: &str) -> String {
    let run = &context.input.run;
    format!("{MARK} {}: {what} of the run {}/{}", run.uid, run.namespace, run.name)
}

/// Restores the dump beside the database, and swaps the two.
pub(super) async fn restore(context: &StepContext) -> Result<Restored, RestoreError> {
    let dump = ProvedDump::open(context).await?;
    let manifest = &dump.manifest;
    let main = Session::of(context, Role::Main)?;
    let session = Session::of(context, Role::Restore)?;
    let names = Names::of(context, &main.credentials.database);
    let (ledger, uid) = (&context.input.spec.database.ledger_schema, &context.input.run.uid);
    let mut maintenance = session.to(MAINTENANCE).connect().await?;
    if make::find(&mut maintenance, &names.old, &mark(context, "")).await? == Found::Ours {
        tracing::info!(old = names.old, "an earlier attempt has swapped the databases");
        let sums = table_sums::recorded(&mut main.connect().await?, ledger, uid, "Restored").await?.unwrap_or_default();
        return Ok(restored(context, &session, &names, checks(manifest.as_ref(), &sums)).await);
    }
    let mut live = session.to(&names.live).connect().await?;
    let Beside { obstacles, .. } = beside(context, &session.to(&names.live), &mut live).await?;
    if !obstacles.is_empty() {
        return Err(RestoreError::SwapImpossible(obstacles));
    }
    let database = make::describe(&mut live).await?;
    let _ = live.close().await;
    // Ends all sessions of ours in the database.
    fence::raise(&mut main.connect().await?, ledger, uid).await?;
    as_approved(context).await?;
    let oid = begin::begin(&session, &mut maintenance, &names, &database, &mark(context, "being restored: the backup")).await?;
    let filled = fill::fill(context, &session, &names, dump.path()).await;
    let sums = match filled {
        Ok(()) => measured(&mut session.to(&names.new).connect().await?, ledger).await?,
        Err(error) => {
            give_up(&mut maintenance, &names.new, oid).await;
            return Err(error);
        }
    };
    let compared = checks(manifest.as_ref(), &sums);
    if compared.iter().any(|check| check.result == CheckResult::Failed) {
        // The application goes on with what it has.
        give_up(&mut maintenance, &names.new, oid).await;
        return Ok(Restored { checks: compared, old_database: None });
    }
    carry::carry(context, &session, &names, &sums).await?;
    for statement in database.settings(&names.new) {
        run_on(&mut maintenance, &statement).await?;
    }
    exchange::exchange(
        &session,
        &mut maintenance,
        &names,
        oid,
        &database.comment(&names.live),
        &mark(context, "the database as it was before the restore"),
    )
    .await?;
    Ok(restored(context, &session, &names, compared).await)
}

/// Drops what this attempt has made, and not what another one has by now. What stays is dropped by the next attempt.
async fn give_up(maintenance: &mut PgConnection, name: &str, oid: i64) {
    if make::oid(maintenance, name).await.is_ok_and(|found| found == Some(oid)) {
        let _ = discard(maintenance, name).await;
    }
}

/// After the exchange: what the new database does not have of the old one, now that nobody writes to it.
async fn restored(context: &StepContext, session: &Session, names: &Names, mut checks: Vec<CheckStatus>) -> Restored {
    let (result, message) = match loss_account::of(context, &session.to(&names.old)).await {
        Ok((account, _)) if account.losses.is_empty() => {
            (CheckResult::Passed, format!("{} is as the run had left it: the restore took nothing else", names.old))
        }
        Ok((account, _)) => {
            let tables: Vec<String> = account.losses.iter().map(|l| format!("{}: {}", l.table, l.message)).collect();
            (CheckResult::Inconclusive, format!("only in {}: {}", names.old, tables.join("; ")))
        }
        Err(error) => (CheckResult::Inconclusive, format!("{} is kept, but could not be compared: {error}", names.old)),
    };
    checks.push(CheckStatus { name: "left-in-old-database".into(), phase: Phase::RollingBack, result, message });
    Restored { checks, old_database: Some(names.old.clone()) }
}

/// Drops the database that a restore of this run has left; one that is gone, or is not ours, is left alone.
///
/// # Errors
/// Those of the connection and the driver.
pub async fn drop_old(context: &StepContext, name: &str) -> Result<(), RestoreError> {
    let mut maintenance = Session::of(context, Role::Restore)?.to(MAINTENANCE).connect().await?;
    if make::find(&mut maintenance, name, &mark(context, "")).await? == Found::Ours {
        discard(&mut maintenance, name).await?;
    }
    Ok(())
}

/// Between two tries.
async fn pause() {
    tokio::time::sleep(PAUSE.mul_f64(rand::rng().random_range(0.5..1.5))).await;
}

/// One statement; databases are made and dropped outside of a transaction, and may take longer than other statements.
async fn run_on(connection: &mut PgConnection, statement: &str) -> Result<(), RestoreError> {
    sqlx::raw_sql("SET statement_timeout = 0").execute(&mut *connection).await?;
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(connection).await?;
    Ok(())
}
