//! The step `rehearse`: the dump restored into a scratch server that only this pod reaches, every table compared with the
//! dump's snapshot, and the plan applied on that copy.
//!
//! Called by `steps::dispatch`. It has the backup volume read-only, a disk of its own, and no way to the database: not
//! even its Secret is mounted. What it proves is what the word "restorable" stands for.

mod compare;
mod dump;
mod error;
mod programs;
mod restore;
mod server;
mod space;
mod trial;

use super::backup_store::BackupStore;
use super::{StepContext, StepEnd};
use crate::api::status::{CheckResult, CheckStatus, CountStatus, DRIFTED, PlanStatus, QUARANTINED, RehearsalStatus, ResultStatus, WRITTEN};
use crate::api::{duration, quantity};
use crate::engine::verify;
use crate::protocol::{Outcome, RehearsalReport, StepReport};
use dump::Dump;
use error::RehearsalError;
use jiff::Timestamp;
use programs::Programs;
use server::ScratchServer;
use std::time::Duration;

/// How often the disk is looked at: between two looks a fast one takes less than the room that is left for it.
const LOOK: Duration = Duration::from_secs(2);

/// Rehearses the backup.
pub async fn run(context: &StepContext) -> StepEnd {
    match rehearse(context).await {
        Ok(report) => end(report),
        Err(error) => StepEnd::bare(error.outcome(), error.reason(), error.to_string()),
    }
}

async fn rehearse(context: &StepContext) -> Result<RehearsalReport, RehearsalError> {
    let rehearsal = context.input.spec.backup.rehearsal.clone().unwrap_or_default();
    let limit = duration::parse(&rehearsal.timeout).unwrap_or(Duration::from_hours(6));
    let late = || RehearsalError::RehearsalTimeout { timeout: rehearsal.timeout.clone() };
    let begun = tokio::time::Instant::now();
    let prepared = async {
        let dump = Dump::open(context).await?;
        let programs = Programs::fitting(dump.origin.major()).await?;
        let server = ScratchServer::start(&programs, &context.paths.rehearsal, server::options(&context.input.run)).await?;
        Ok::<_, RehearsalError>((dump, server))
    };
    let (dump, mut server) = tokio::select! {
        prepared = tokio::time::timeout_at(begun + limit, prepared) => prepared.map_err(|_| late())??,
        () = context.stop.cancelled() => return Err(RehearsalError::Stopped),
    };
    let rehearsed = tokio::select! {
        rehearsed = tokio::time::timeout_at(begun + limit, on(context, &dump, &mut server)) => rehearsed.unwrap_or_else(|_| Err(late())),
        full = watched(context) => Err(full),
        () = context.stop.cancelled() => Err(RehearsalError::Stopped),
    };
    // A server that died under it makes every statement fail in its own way.
    let of_its_own = |error: &RehearsalError| matches!(error, RehearsalError::Stopped | RehearsalError::ScratchServerFailed { .. });
    let gone = rehearsed.as_ref().is_err_and(|error| !of_its_own(error)) && server.has_ended();
    let complaint = server.complaint();
    server.stop().await;
    if gone && complaint.contains("No space left on device") {
        return Err(full(context));
    }
    if gone { Err(RehearsalError::ScratchServerLost { detail: complaint }) } else { rehearsed }
}

/// All that is done on the server.
async fn on(context: &StepContext, dump: &Dump, server: &mut ScratchServer) -> Result<RehearsalReport, RehearsalError> {
    server.is_up().await?;
    let origin = &dump.origin;
    server.make_database(origin).await?;
    let ledger_schema = &context.input.spec.database.ledger_schema;
    let contents = restore::choose(dump, server, ledger_schema).await?;
    let took = restore::restore(context, server, dump, &contents, origin.size_bytes).await?;
    let mut connection = server.connection().await?;
    let restored = compare::measure(&mut connection, ledger_schema).await?;
    let unmeasured = dump.manifest.is_unmeasured();
    let dumped = if unmeasured { &restored } else { &dump.manifest.tables };
    let mut checks = if unmeasured { compare::uncompared(&restored) } else { compare::compare(dumped, &restored) };
    let mut rehearsal = RehearsalStatus {
        backup_sha256: dump.manifest.sha256.clone(),
        server_version: server.version(&mut connection).await?,
        restore_seconds: seconds(took),
        tables: i64::try_from(dumped.len()).unwrap_or(i64::MAX),
        rows: dumped.iter().map(|table| table.rows).sum(),
        remarks: contents.remarks,
        ..RehearsalStatus::default()
    };
    if server.major() != origin.major() {
        let remark = format!("the scratch server is PostgreSQL {}, and the database of {}", server.major(), origin.major());
        rehearsal.remarks.push(remark);
    }
    let same = checks.iter().all(|check| check.result != CheckResult::Failed);
    match (&context.input.spec.backfill.sql, &context.input.plan, trial::why_not(&context.input.spec)) {
        (Some(spec), Some(plan), None) if same => {
            // As after a real restore: plans made without statistics can be slow.
            analyze(&mut connection).await?;
            // The engine holds it against the plan's SHA-256, which is that of the file in the clear.
            let file = BackupStore::open(context)?.fetch(&plan.file, None).await?;
            let trial = trial::apply(context, server, spec, plan, file.path()).await?;
            rehearsal.apply_seconds = Some(seconds(trial.took));
            rehearsal.counts = counts(plan, &trial.result);
            checks.extend(trial.checks);
        }
        (_, _, why_not) => rehearsal.remarks.extend(why_not.map(str::to_owned)),
    }
    rehearsal.rehearsed_at = Some(Timestamp::now());
    Ok(RehearsalReport { rehearsal, checks })
}

async fn analyze(connection: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
    sqlx::raw_sql("SET client_min_messages = error; ANALYZE").execute(connection).await.map(drop)
}

/// Ends where the copy takes more than its space: the kubelet would evict the pod, and nobody would know why.
async fn watched(context: &StepContext) -> RehearsalError {
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tick.tick().await;
        let limit = context.input.rehearsal.map_or(i64::MAX, |space| space.storage_bytes);
        if space::taken(&context.paths.rehearsal) > limit {
            return full(context);
        }
    }
}

fn full(context: &StepContext) -> RehearsalError {
    let limit = context.input.rehearsal.map_or_else(|| "its disk".into(), |space| quantity::display(space.storage_bytes));
    RehearsalError::RehearsalVolumeFull { limit }
}

fn counts(plan: &PlanStatus, result: &ResultStatus) -> Vec<CountStatus> {
    let count = |name: &str, predicted, rehearsed| CountStatus { name: name.into(), predicted, rehearsed, real: None };
    vec![count(WRITTEN, plan.will_write, result.written), count(DRIFTED, 0, result.drifted), count(QUARANTINED, 0, result.quarantined)]
}

/// At least one: what took no time at all was not measured.
fn seconds(took: Duration) -> i64 {
    i64::try_from(took.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1)
}

fn end(report: RehearsalReport) -> StepEnd {
    let of = |result: CheckResult, restored: bool| {
        let checks = report.checks.iter().filter(|c| c.result == result && (c.name == compare::RESTORED_TABLES) == restored);
        checks.map(|c| format!("{}: {}", c.name, c.message)).collect::<Vec<_>>().join("; ")
    };
    let (differing, failing) = (of(CheckResult::Failed, true), of(CheckResult::Failed, false));
    let report_of = |report: RehearsalReport| StepReport::Rehearsal(report);
    if !differing.is_empty() {
        let message = format!("the restored copy is not what was dumped: {differing}");
        return StepEnd::reported(Outcome::Failed, "RehearsalDiffers", message, report_of(report));
    }
    if !failing.is_empty() {
        let message = format!("the backup restores, but on the copy with the plan applied: {failing}");
        return StepEnd::reported(Outcome::Failed, "RehearsalChecksFailed", message, report_of(report));
    }
    let RehearsalStatus { server_version, restore_seconds, tables, rows, .. } = &report.rehearsal;
    let took = duration::display(Duration::from_secs(u64::try_from(*restore_seconds).unwrap_or(0)));
    let compared = !report.checks.iter().any(|c| c.name == compare::RESTORED_TABLES && c.result == CheckResult::Inconclusive);
    let as_dumped = if compared { "are as they were dumped" } else { "came out of it; nobody measured them when they were dumped" };
    let message = format!("restored into PostgreSQL {server_version} in {took}: {tables} tables with {rows} rows {as_dumped}");
    let report = RehearsalReport { checks: told(&report.checks), ..report };
    StepEnd::reported(Outcome::Passed, "BackupRestored", message, report_of(report))
}

/// What is always so on a copy that nobody else writes to is not told.
fn told(checks: &[CheckStatus]) -> Vec<CheckStatus> {
    checks.iter().filter(|check| check.name != verify::UNCHANGED_SINCE || check.result != CheckResult::Passed).cloned().collect()
}
