//! `capture`: triggers are on the tables of the team's script before it starts. And how the later steps settle what they recorded.

use super::session::{Role, open};
use super::{StepContext, StepEnd, engine_ends};
use crate::api::phase::Phase;
use crate::api::spec::Capture;
use crate::api::status::{CapturedStatus, CheckResult, CheckStatus};
use crate::engine::capture::{self, Account, CaptureError};
use crate::engine::ledger::{Ledger, State};
use crate::protocol::Outcome;
use sqlx::PgConnection;

/// Name of the check that says what was captured.
const CAPTURED: &str = "captured";

/// Puts the triggers on.
pub async fn run(context: &StepContext) -> StepEnd {
    let Some(spec) = of(context) else {
        return StepEnd::bare(Outcome::Stalled, "CaptureMissing", "the run has no backfill.job.capture");
    };
    let ledger = Ledger::of(&context.input.spec.database.ledger_schema, &context.input.run);
    let armed = async {
        let mut connection = open(context, Role::Main).await.map_err(|error| error.end())?;
        capture::arm(&mut connection, &ledger, spec).await.map_err(|error| engine_ends::capture(&error))
    };
    let armed = tokio::select! {
        armed = armed => armed,
        () = context.stop.cancelled() => return StepEnd::bare(Outcome::Stopped, "Stopped", "stopped; the triggers that are on go with the way back"),
    };
    match armed {
        Ok(tables) => {
            let names: Vec<String> = tables.into_iter().map(|table| table.name).collect();
            StepEnd::bare(Outcome::Passed, "Capturing", format!("what the script does to rows of {} is recorded", names.join(", ")))
        }
        Err(end) => end,
    }
}

/// What the spec asks to capture.
pub(super) fn of(context: &StepContext) -> Option<&Capture> {
    context.input.spec.backfill.job.as_ref()?.capture.as_ref()
}

/// After a script that ended well: none of its sessions writes any more, what it did is in the ledger, the triggers are gone.
pub(super) async fn finish(connection: &mut PgConnection, ledger: &Ledger) -> Result<Option<Account>, CaptureError> {
    let account = capture::settle(connection, ledger, State::Applied).await?;
    capture::disarm(connection, ledger).await?;
    Ok(account)
}

/// Before a restore: the script's sessions write no more, and no trigger of ours is on a table that is dropped or renamed. What was
/// recorded stays in the ledger, for the person who decides against the restore.
pub(super) async fn over(context: &StepContext) -> Result<(), StepEnd> {
    if of(context).is_none() {
        return Ok(());
    }
    let ledger = Ledger::of(&context.input.spec.database.ledger_schema, &context.input.run);
    let mut connection = open(context, Role::Main).await.map_err(|error| error.end())?;
    let settled = capture::settle(&mut connection, &ledger, State::Undoing).await;
    settled.map_err(|error| engine_ends::capture(&error))?;
    capture::disarm(&mut connection, &ledger).await.map_err(|error| engine_ends::capture(&error))
}

/// The account as a check: not a word is lost of what was not seen.
pub(super) fn check(context: &StepContext, account: &Account) -> CheckStatus {
    let by_role = of(context).is_some_and(|capture| capture.role.is_some());
    let whose = if by_role {
        "which are not undone"
    } else {
        "the application's, or those of sessions of the script that lost the run's setting: they are not undone"
    };
    let written: Vec<String> = account
        .tables
        .iter()
        .map(|t| {
            let others = if t.others > 0 { format!(", and other sessions wrote about {} rows ({whose})", t.others) } else { String::new() };
            format!("{}: {} inserted, {} updated, {} deleted{others}", t.table, t.inserted, t.updated, t.deleted)
        })
        .collect();
    let mut message = written.join("; ");
    let faults = account.faults();
    if !faults.is_empty() {
        message = format!("{message}. Only a restore brings this back: {}", faults.join("; "));
    }
    let mut result = CheckResult::Passed;
    if account.unseen {
        result = CheckResult::Failed;
        message = format!("{UNSEEN} ({message})");
    }
    CheckStatus { name: CAPTURED.into(), phase: Phase::Verifying, result, message }
}

/// Why nothing that was recorded can be relied on.
pub(super) const UNSEEN: &str = "no session of the script was seen at the captured tables, although rows of them were written: its driver does not read \
     PGOPTIONS, or another session than its own did the work. Hand the driver the value of BACKFILL_PGOPTIONS as its connection options, \
     or give the script a role of its own and set capture.role";

/// For the status.
pub(super) fn statuses(account: Option<&Account>) -> Vec<CapturedStatus> {
    let tables = account.iter().flat_map(|account| &account.tables);
    tables
        .map(|t| CapturedStatus {
            table: t.table.clone(),
            inserted: t.inserted,
            updated: t.updated,
            deleted: t.deleted,
            others: t.others,
            fault: t.fault.clone(),
        })
        .collect()
}
