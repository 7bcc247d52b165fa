//! `verify`: the ledger's own account, then the team's SQL.

use super::applied_sums::record_applied;
use super::session::{Role, Session, SessionError, open};
use super::{StepContext, StepEnd, capture, engine_ends};
use crate::api::phase::Phase;
use crate::api::status::{CapturedStatus, CheckResult, CheckStatus};
use crate::engine::ledger::{Ledger, release};
use crate::engine::model::Model;
use crate::engine::verify;
use crate::protocol::{Outcome, StepReport, TAKEN_BACK, VerifyReport};
use sqlx::PgConnection;

/// Runs all checks; where all pass the claim is given back, for the run changes nothing more.
pub async fn run(context: &StepContext) -> StepEnd {
    match taken_back(context).await {
        Ok(None) => {}
        Ok(Some(message)) => return StepEnd::bare(Outcome::Failed, TAKEN_BACK, message),
        Err(end) => return end,
    }
    // First of all: what is measured later may be the application's.
    if let Err(error) = record_applied(context).await {
        return error.end();
    }
    match checked(context).await {
        Ok((checks, captured)) => verdict(&checks, captured),
        Err(end) => end,
    }
}

/// Whether the server has lost what it had committed; only declared writes tell.
async fn taken_back(context: &StepContext) -> Result<Option<String>, StepEnd> {
    if context.input.spec.backfill.sql.is_none() {
        return Ok(None);
    }
    let ledger = Ledger::of(&context.input.spec.database.ledger_schema, &context.input.run);
    let mut main = open(context, Role::Main).await.map_err(|error| error.end())?;
    verify::taken_back(&mut main, &ledger).await.map_err(|error| engine_ends::ledger(&error))
}

async fn checked(context: &StepContext) -> Result<(Vec<CheckStatus>, Vec<CapturedStatus>), StepEnd> {
    let input = &context.input;
    let ledger = Ledger::of(&input.spec.database.ledger_schema, &input.run);
    let session = Session::of(context, Role::Main).map_err(|error: SessionError| error.end())?;
    let mut main = session.connect().await.map_err(|error| error.end())?;
    let mut reader = open(context, Role::Plan).await.map_err(|error| error.end())?;
    let mut checks = Vec::new();
    let mut account = None;
    if capture::of(context).is_some() {
        account = capture::finish(&mut main, &ledger).await.map_err(|error| engine_ends::capture(&error))?;
        checks.extend(account.as_ref().map(|account| capture::check(context, account)));
    }
    if input.spec.backfill.sql.is_some() {
        checks.extend(verify::against_ledger(&mut main, &ledger).await.map_err(|error| engine_ends::undo(&error))?);
        publish(context, &mut main, &mut reader, &ledger).await?;
    }
    for check in &input.spec.verify {
        let (Some(sql), Some(expect)) = (&check.sql, &check.expect) else { continue };
        let checked = verify::run_check(&mut reader, Phase::Verifying, &check.name, sql, expect).await;
        checks.push(checked.map_err(|error| engine_ends::database(&error))?);
    }
    if checks.iter().all(passes) {
        release(&mut main, &ledger).await.map_err(|error| engine_ends::ledger(&error))?;
    }
    Ok((checks, capture::statuses(account.as_ref())))
}

/// Makes the view of written rows, for the role that checks.
async fn publish(context: &StepContext, main: &mut PgConnection, reader: &mut PgConnection, ledger: &Ledger) -> Result<(), StepEnd> {
    let Some(spec) = &context.input.spec.backfill.sql else { return Ok(()) };
    let role: Option<String> = if context.input.spec.database.plan_secret_ref.is_some() {
        let asked = sqlx::query_scalar("SELECT current_user::text").persistent(false).fetch_one(reader).await;
        Some(asked.map_err(|error| engine_ends::database(&error))?)
    } else {
        None
    };
    let model = Model::resolve(main, spec, &[], &[]).await.map_err(|error| engine_ends::model(&error))?;
    verify::publish(main, ledger, &model, role.as_deref()).await.map_err(|error| engine_ends::ledger(&error))
}

/// Rows that the application wrote since are told, and hold nobody up.
fn passes(check: &CheckStatus) -> bool {
    check.result == CheckResult::Passed || (check.result == CheckResult::Inconclusive && check.name == verify::UNCHANGED_SINCE)
}

fn verdict(checks: &[CheckStatus], captured: Vec<CapturedStatus>) -> StepEnd {
    let named = |result: CheckResult| {
        let names: Vec<String> = checks
            .iter()
            .filter(|check| check.result == result && !passes(check))
            .map(|check| format!("{}: {}", check.name, check.message))
            .collect();
        names.join("; ")
    };
    let (failed, inconclusive) = (named(CheckResult::Failed), named(CheckResult::Inconclusive));
    let report = StepReport::Verify(VerifyReport { checks: checks.to_vec(), captured });
    if !failed.is_empty() {
        return StepEnd::reported(Outcome::Failed, "ChecksFailed", failed, report);
    }
    if !inconclusive.is_empty() {
        return StepEnd::reported(Outcome::Inconclusive, "ChecksInconclusive", inconclusive, report);
    }
    StepEnd::reported(Outcome::Passed, "Verified", format!("{} checks passed", checks.len()), report)
}
