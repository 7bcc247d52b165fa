//! `apply`: writes the approved plan.

use super::session::{Role, Session};
use super::{StepContext, StepEnd, engine_ends};
use crate::api::spec::SqlBackfill;
use crate::api::status::{PlanStatus, ResultStatus};
use crate::engine::apply::{self, ApplyError, ApplyOptions, Ending, Retries};
use crate::engine::ledger::Ledger;
use crate::protocol::{ApplyReport, Outcome, StepReport};

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
    match write(context, &session, &ledger, spec, plan).await {
        Ok((ending, result)) => end(ending, result),
        Err(error) => failed(&error),
    }
}

async fn write(
    context: &StepContext,
    session: &Session,
    ledger: &Ledger,
    spec: &SqlBackfill,
    plan: &PlanStatus,
) -> Result<(Ending, ResultStatus), ApplyError> {
    let options = ApplyOptions {
        run: &context.input.run,
        ledger,
        spec,
        plan,
        plan_file: &context.paths.backup.join(&plan.file),
        control: &context.paths.control,
        stop: &context.stop,
        retries: Retries::default(),
    };
    let ending = apply::apply(session, options, |done, total| context.reporter.progress(done, total, "rows")).await?;
    let mut connection = crate::engine::connector::Connector::connect(session).await?;
    Ok((ending, apply::result(&mut connection, ledger).await?))
}

fn end(ending: Ending, result: ResultStatus) -> StepEnd {
    let (outcome, reason) = match ending {
        Ending::Done => (Outcome::Passed, "Applied"),
        Ending::Stopped => (Outcome::Stopped, "Stopped"),
        Ending::Suspended => (Outcome::Stopped, "Suspended"),
    };
    let message = format!("{} rows written in {} batches, {} left alone as drifted", result.written, result.batches, result.drifted);
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
