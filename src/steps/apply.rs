//! `apply`: writes the approved plan.

use super::backup_store::{BackupStore, LocalFile, StoreError};
use super::session::{Role, Session};
use super::{Reporter, StepContext, StepEnd, engine_ends};
use crate::api::spec::SqlBackfill;
use crate::api::status::{PlanStatus, ResultStatus};
use crate::destination::DestinationError;
use crate::engine::apply::{self, ApplyError, ApplyOptions, Ending, Observer, Retries};
use crate::engine::ledger::Ledger;
use crate::engine::throttle::{Held, Remark};
use crate::postgres::transactions::SeenTransactions;
use crate::protocol::{ApplyReport, Outcome, StepReport};
use std::fmt::Write as _;

/// Applies the plan, as far as it is not applied yet.
pub async fn run(context: &StepContext) -> StepEnd {
    let input = &context.input;
    let (Some(spec), Some(plan)) = (&input.spec.backfill.sql, &input.plan) else {
        return StepEnd::bare(Outcome::Stalled, "PlanMissing", "there is no plan of declared writes to apply");
    };
    let session = match Session::of(context, Role::Main) {
        Ok(session) => session,
        Err(error) => return error.end(),
    };
    let ledger = Ledger::of(&input.spec.database.ledger_schema, &input.run);
    let file = match plan_file(context, plan).await {
        Ok(file) => file,
        Err(error) => return error.end(),
    };
    let backup_saw = match backup_saw(context).await {
        Ok(seen) => seen,
        Err(error) => return error.end(),
    };
    let approved = Approved { spec, plan, file: &file, backup_saw: backup_saw.as_ref() };
    match write(context, &session, &ledger, &approved).await {
        Ok((ending, result)) => end(ending, result),
        Err(error) => failed(&error),
    }
}

/// The plan file as the loader reads it, which compares it with what was approved.
async fn plan_file(context: &StepContext, plan: &PlanStatus) -> Result<LocalFile, StoreError> {
    let store = BackupStore::open(context)?;
    if store.local(&plan.file).is_some() {
        return store.draft(&plan.file);
    }
    match store.fetch(&plan.file, None).await {
        // One that is gone may be loaded already: the loader misses it only if it needs it.
        Err(StoreError::Destination(DestinationError::BackupMissing { .. })) => store.draft(&plan.file),
        fetched => fetched,
    }
}

/// What the snapshot of the backup saw; `None` where there is no manifest that says so.
async fn backup_saw(context: &StepContext) -> Result<Option<SeenTransactions>, StoreError> {
    match BackupStore::proved_manifest(context).await {
        Ok(manifest) => Ok(manifest.transactions),
        Err(error) if error.outcome() == Outcome::Lost => Err(error),
        Err(error) => {
            tracing::warn!(%error, "what others have written since the backup, and the run writes over, is not noted");
            Ok(None)
        }
    }
}

/// What was approved, and what it is compared with.
struct Approved<'a> {
    spec: &'a SqlBackfill,
    plan: &'a PlanStatus,
    file: &'a LocalFile,
    backup_saw: Option<&'a SeenTransactions>,
}

async fn write(
    context: &StepContext,
    session: &Session,
    ledger: &Ledger,
    approved: &Approved<'_>,
) -> Result<(Ending, ResultStatus), ApplyError> {
    let options = ApplyOptions {
        run: &context.input.run,
        attempt: context.input.attempt,
        worker: worker_index(),
        ledger,
        spec: approved.spec,
        plan: approved.plan,
        plan_file: approved.file.path(),
        backup_saw: approved.backup_saw,
        control: &context.paths.control,
        stop: &context.stop,
        retries: Retries::default(),
        tell_each_batch: false,
    };
    let ending = apply::apply(session, options, Told(&context.reporter)).await?;
    let mut connection = crate::engine::connector::Connector::connect(session).await?;
    Ok((ending, apply::result(&mut connection, ledger).await?))
}

/// What the worker says, as progress of the step.
struct Told<'a>(&'a Reporter);

impl Observer for Told<'_> {
    fn progress(&mut self, done: i64, total: i64) {
        self.0.progress(done, total, "rows");
    }

    fn gentle(&mut self, gentle: bool) {
        self.0.gentle(gentle);
    }

    fn throttled(&mut self, held: Option<&Held>, remarks: &[&Remark]) {
        self.0.throttled(held, remarks.iter().copied());
    }
}

/// An Indexed Job tells each pod which one it is; a pod alone is the first.
fn worker_index() -> i32 {
    std::env::var("JOB_COMPLETION_INDEX").ok().and_then(|index| index.parse().ok()).unwrap_or(0)
}

fn end(ending: Ending, result: ResultStatus) -> StepEnd {
    let (outcome, reason) = match ending {
        Ending::Done => (Outcome::Passed, "Applied"),
        Ending::Stopped => (Outcome::Stopped, "Stopped"),
        Ending::Suspended => (Outcome::Stopped, "Suspended"),
    };
    let mut message = format!("{} rows written in {} batches, {} left alone as drifted", result.written, result.batches, result.drifted);
    if result.quarantined > 0 {
        let _ = write!(message, ", {} refused by the database", result.quarantined);
    }
    StepEnd::reported(outcome, reason, message, StepReport::Apply(ApplyReport { result }))
}

fn failed(error: &ApplyError) -> StepEnd {
    let mut end = engine_ends::apply(error);
    if let ApplyError::DriftAboveLimit { drifted, keys, .. } = error {
        let result = ResultStatus { drifted: *drifted, drifted_keys: keys.clone(), ..ResultStatus::default() };
        end.report = Some(StepReport::Apply(ApplyReport { result }));
    }
    end
}
