//! The plan, applied on the copy by the engine itself, and the run's SQL checks made there.

use super::error::RehearsalError;
use super::server::ScratchServer;
use crate::api::duration;
use crate::api::spec::{BesideWriters, DriftMode, Scope, SqlBackfill, Throttle};
use crate::api::status::{CheckResult, CheckStatus, PlanStatus, ResultStatus};
use crate::api::{Phase, spec::BackfillRunSpec};
use crate::engine::apply::{self, ApplyOptions, Ending, Observer, Retries};
use crate::engine::connector::Connector as _;
use crate::engine::ledger::{self, Ledger, LedgerError};
use crate::engine::model::Model;
use crate::engine::verify;
use crate::protocol::Outcome;
use crate::steps::{Reporter, StepContext, StepEnd, engine_ends};
use sqlx::PgConnection;
use std::path::Path;
use std::time::{Duration, Instant};

/// What the plan did on the copy.
pub(super) struct Trial {
    /// The counts.
    pub result: ResultStatus,
    /// How long it took.
    pub took: Duration,
    /// The ledger's account, and the run's SQL checks.
    pub checks: Vec<CheckStatus>,
}

/// Why the plan is not applied on the copy; `None`: it is.
pub(super) fn why_not(spec: &BackfillRunSpec) -> Option<&'static str> {
    if spec.backup.rehearsal.as_ref().is_some_and(|rehearsal| !rehearsal.apply_plan) {
        return Some("the plan was not applied on the copy (backup.rehearsal.applyPlan: false)");
    }
    if spec.backup.scope == Scope::Tables {
        return Some(
            "the plan was not applied on the copy: it has the rows of the written tables only (backup.scope: Tables), and a plan and its checks may read others",
        );
    }
    if spec.backfill.sql.is_none() {
        return Some("a script is not run on the copy: no pod but the rehearsal's own reaches it");
    }
    spec.migrations.as_ref().map(|_| "the plan was not applied on the copy: the run's migrations come before it, and no pod but the rehearsal's own reaches the copy")
}

/// Applies the plan, and checks.
pub(super) async fn apply(
    context: &StepContext,
    server: &ScratchServer,
    spec: &SqlBackfill,
    plan: &PlanStatus,
    plan_file: &Path,
) -> Result<Trial, RehearsalError> {
    let input = &context.input;
    let spec = unhindered(spec);
    let ledger = Ledger::of(&input.spec.database.ledger_schema, &input.run);
    let mut connection = server.connection().await?;
    claim(context, &mut connection).await.map_err(|error| failed(&engine_ends::ledger(&error)))?;
    let connector = server.connector(duration::parse(&input.spec.database.statement_timeout).unwrap_or(Duration::from_mins(5)));
    let begun = Instant::now();
    let workers = (0..spec.workers.max(1)).map(|worker| {
        let options = ApplyOptions {
            run: &input.run,
            attempt: 1,
            worker,
            ledger: &ledger,
            spec: &spec,
            plan,
            plan_file,
            backup_saw: None,
            // Settings of the pod are for the database itself.
            control: Path::new(""),
            stop: &context.stop,
            retries: Retries::default(),
            tell_each_batch: false,
        };
        apply::apply(&connector, options, Told(&context.reporter))
    });
    let endings = futures::future::try_join_all(workers).await.map_err(|error| failed(&engine_ends::apply(&error)))?;
    if endings.iter().any(|ending| *ending != Ending::Done) {
        return Err(RehearsalError::Stopped);
    }
    let took = begun.elapsed();
    let result = apply::result(&mut connection, &ledger).await.map_err(|error| failed(&engine_ends::ledger(&error)))?;
    let mut checks = verify::against_ledger(&mut connection, &ledger).await.map_err(|error| failed(&engine_ends::undo(&error)))?;
    checks.extend(made(context, &mut connection, &connector, &ledger, &spec).await?);
    for check in &mut checks {
        check.phase = Phase::Planning;
        excuse(check, result.drifted);
    }
    Ok(Trial { result, took, checks })
}

/// Nothing else works on the copy, so that nothing holds the worker. Rows that the application wrote between dump and plan
/// are drift here and none there: how many may be is not the question.
fn unhindered(spec: &SqlBackfill) -> SqlBackfill {
    let mut spec = spec.clone();
    spec.throttle = Throttle { beside_writers: BesideWriters::Full, ..Throttle::default() };
    spec.drift.max_percent = 100;
    if spec.drift.mode == DriftMode::Fail {
        spec.drift.mode = DriftMode::Skip;
    }
    spec
}

async fn claim(context: &StepContext, connection: &mut PgConnection) -> Result<(), LedgerError> {
    let input = &context.input;
    let schema = &input.spec.database.ledger_schema;
    ledger::ensure(connection, schema).await?;
    // Nobody else is there to hold it.
    ledger::claim(connection, schema, &input.run, &input.spec_hash, None).await.map(drop)
}

/// The checks of `verify` that are SQL, with the view of the rows that were written.
async fn made(
    context: &StepContext,
    connection: &mut PgConnection,
    connector: &super::server::CopyConnector,
    ledger: &Ledger,
    spec: &SqlBackfill,
) -> Result<Vec<CheckStatus>, RehearsalError> {
    let model = Model::resolve(connection, spec, &[], &[]).await.map_err(|error| failed(&engine_ends::model(&error)))?;
    verify::publish(connection, ledger, &model, None).await.map_err(|error| failed(&engine_ends::ledger(&error)))?;
    let lost = |error: crate::engine::connector::ConnectRefused| RehearsalError::ScratchServerLost { detail: error.message };
    let mut reader = connector.connect().await.map_err(lost)?;
    let mut checks = Vec::new();
    for check in &context.input.spec.verify {
        let (Some(sql), Some(expect)) = (&check.sql, &check.expect) else { continue };
        checks.push(verify::run_check(&mut reader, Phase::Planning, &check.name, sql, expect).await?);
    }
    Ok(checks)
}

/// The copy is older than the plan. Where rows differ for that, a check that does not hold there may well hold in the
/// database: it is told, and is no verdict.
fn excuse(check: &mut CheckStatus, drifted: i64) {
    if check.result == CheckResult::Failed && drifted > 0 {
        check.result = CheckResult::Inconclusive;
        check.message =
            format!("{}; but {drifted} planned rows changed between dump and plan, and were left alone on the copy", check.message);
    }
}

fn failed(end: &StepEnd) -> RehearsalError {
    let verdict = &end.verdict;
    match verdict.outcome {
        Outcome::Lost => RehearsalError::ScratchServerLost { detail: verdict.message.clone() },
        Outcome::Stopped => RehearsalError::Stopped,
        Outcome::Passed | Outcome::Failed | Outcome::Inconclusive | Outcome::Stalled => {
            RehearsalError::RehearsalApplyFailed { reason: verdict.reason.clone(), detail: verdict.message.clone() }
        }
    }
}

/// What the workers say, as progress of the step.
struct Told<'a>(&'a Reporter);

impl Observer for Told<'_> {
    fn progress(&mut self, done: i64, total: i64) {
        self.0.progress(done, total, "rows");
    }
}
