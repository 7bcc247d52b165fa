//! Errors of the engine as ends of steps. The rule: what a person must change is Stalled, what the data says about the
//! plan is Failed, what may pass by itself is Lost.

use super::StepEnd;
use super::session::{Session, SessionError};
use crate::engine::apply::ApplyError;
use crate::engine::capture::CaptureError;
use crate::engine::connector::{ConnectRefused, Connector};
use crate::engine::ledger::LedgerError;
use crate::engine::model::ModelError;
use crate::engine::plan::{PlanError, PlanFileError, ValidationError};
use crate::engine::row::RowError;
use crate::engine::undo::UndoError;
use crate::postgres::{describe, is_connection_loss, may_pass, sqlstate};
use crate::protocol::{Outcome, PlanReport, StepReport};
use sqlx::PgConnection;

impl Connector for Session {
    async fn connect(&self) -> Result<PgConnection, ConnectRefused> {
        Self::connect(self).await.map_err(|error: SessionError| ConnectRefused {
            reason: error.reason(),
            message: error.to_string(),
            may_pass: error.outcome() == Outcome::Lost,
        })
    }
}

/// The end that an error of the database is.
pub(super) fn database(error: &sqlx::Error) -> StepEnd {
    let words = describe(error);
    if is_connection_loss(error) {
        return StepEnd::bare(Outcome::Lost, "ConnectionLost", words);
    }
    match sqlstate(error).as_deref() {
        _ if may_pass(error) => StepEnd::bare(Outcome::Lost, "StatementCancelled", words),
        Some(code) if code.starts_with("22") => StepEnd::bare(
            Outcome::Stalled,
            "ExpressionFailed",
            format!(
                "an expression fails on the values of some row ({words}): narrow source.where, or guard it with CASE in the expression"
            ),
        ),
        Some("42501") => StepEnd::bare(Outcome::Stalled, "PrivilegeMissing", words),
        _ => StepEnd::bare(Outcome::Stalled, "StatementFailed", words),
    }
}

pub(super) fn model(error: &ModelError) -> StepEnd {
    match error.database() {
        Some(error) => database(error),
        None => StepEnd::bare(Outcome::Stalled, error.reason(), error.to_string()),
    }
}

pub(super) fn ledger(error: &LedgerError) -> StepEnd {
    match error {
        LedgerError::Database(error) => database(error),
        LedgerError::Fenced | LedgerError::RangeTaken => StepEnd::bare(Outcome::Stopped, error.reason(), error.to_string()),
        LedgerError::CreateDenied { .. }
        | LedgerError::NotALedger { .. }
        | LedgerError::Newer { .. }
        | LedgerError::RunOfBefore { .. }
        | LedgerError::RunUnknown
        | LedgerError::RunEnded(_)
        | LedgerError::ClaimLost => StepEnd::bare(Outcome::Stalled, error.reason(), error.to_string()),
    }
}

fn file(error: &PlanFileError) -> StepEnd {
    let reason = match error {
        PlanFileError::Io { .. } => "PlanFileUnusable",
        PlanFileError::Damaged { .. } => "PlanFileDamaged",
    };
    StepEnd::bare(Outcome::Stalled, reason, error.to_string())
}

fn row(error: &RowError) -> StepEnd {
    let reason = match error {
        RowError::Database(error) => return database(error),
        RowError::NotUnique(_) => "MatchNotUnique",
        RowError::InsertConflict { .. } => "InsertConflict",
        RowError::Referred { .. } => "RowReferred",
        RowError::ValueTooLong { .. } => "ValueTooLong",
        RowError::NullRefused { .. } => "NullRefused",
        RowError::AuditPathBlocked { .. } => "AuditPathBlocked",
    };
    StepEnd::bare(Outcome::Failed, reason, error.to_string())
}

pub(super) fn plan(error: &PlanError) -> StepEnd {
    match error {
        PlanError::Row(error) => row(error),
        PlanError::File(error) => file(error),
        PlanError::Database(error) => database(error),
        PlanError::TooSlow { .. } => StepEnd::bare(Outcome::Lost, "StatementCancelled", error.to_string()),
        PlanError::Stopped => StepEnd::bare(Outcome::Stopped, "Stopped", error.to_string()),
        PlanError::NotGoodEnough { source, plan } => {
            let report = StepReport::Plan(PlanReport { plan: (**plan).clone() });
            StepEnd::reported(Outcome::Failed, "TooManyInvalid", source.to_string(), report)
        }
        PlanError::Sensitive { .. } => StepEnd::bare(Outcome::Failed, "SecretFound", error.to_string()),
        PlanError::Rule(rule) => StepEnd::bare(Outcome::Stalled, rule.reason(), rule.to_string()),
        PlanError::TargetWrittenTwice { .. } => StepEnd::bare(Outcome::Failed, "TargetWrittenTwice", error.to_string()),
        PlanError::Validation(invalid) => {
            let (outcome, reason) = match invalid {
                ValidationError::SchemaInvalid { .. } => (Outcome::Stalled, "SchemaInvalid"),
                ValidationError::RowInvalid { .. } => (Outcome::Failed, "RowInvalid"),
                ValidationError::TooManyInvalid { .. } => (Outcome::Failed, "TooManyInvalid"),
            };
            StepEnd::bare(outcome, reason, invalid.to_string())
        }
    }
}

pub(super) fn apply(error: &ApplyError) -> StepEnd {
    let (outcome, reason) = match error {
        ApplyError::Connect(refused) => return connect(refused),
        ApplyError::Model(error) => return model(error),
        ApplyError::Ledger(error) => return ledger(error),
        ApplyError::File(error) => return file(error),
        ApplyError::Row(error) => return row(error),
        ApplyError::Database(error) => return database(error),
        ApplyError::PlanReplaced => (Outcome::Stalled, "PlanReplaced"),
        ApplyError::SchemaChanged { .. } => (Outcome::Failed, "SchemaChanged"),
        ApplyError::DriftAboveLimit { .. } => (Outcome::Failed, "DriftAboveLimit"),
        ApplyError::RowDrifted { .. } => (Outcome::Failed, "RowDrifted"),
        ApplyError::Rule(rule) => (Outcome::Stalled, rule.reason()),
        ApplyError::RowHeldBack { .. } => (Outcome::Failed, "RowsHeldBack"),
        ApplyError::KeyChanged { .. } => (Outcome::Failed, "KeyChanged"),
        ApplyError::RowRefused { .. } => (Outcome::Failed, "RowRefused"),
        // Both are done again by the worker itself, and do not come out of it.
        ApplyError::Interleaved | ApplyError::Ambiguous => (Outcome::Lost, "Interleaved"),
        ApplyError::GaveUp { .. } => (Outcome::Lost, "GaveUp"),
    };
    StepEnd::bare(outcome, reason, error.to_string())
}

pub(super) fn capture(error: &CaptureError) -> StepEnd {
    let outcome = match error {
        CaptureError::Connect(refused) => return connect(refused),
        CaptureError::Ledger(error) => return ledger(error),
        CaptureError::Database(error) => return database(error),
        // Whoever holds the table lets go of it some time.
        CaptureError::Busy { .. } => Outcome::Lost,
        CaptureError::TableMissing { .. }
        | CaptureError::NotCapturable { .. }
        | CaptureError::KeyMissing { .. }
        | CaptureError::NotOwner { .. }
        | CaptureError::TableTwice { .. }
        | CaptureError::RoleMissing { .. }
        | CaptureError::RoleShared { .. }
        | CaptureError::Name(_) => Outcome::Stalled,
    };
    StepEnd::bare(outcome, error.reason(), error.to_string())
}

pub(super) fn undo(error: &UndoError) -> StepEnd {
    let (outcome, reason) = match error {
        UndoError::Connect(refused) => return connect(refused),
        UndoError::Ledger(error) => return ledger(error),
        UndoError::Database(error) => return database(error),
        UndoError::TargetGone(_) => (Outcome::Failed, "TargetGone"),
        UndoError::Released => (Outcome::Failed, "UndoReleased"),
        UndoError::NotApplied(_) => (Outcome::Stalled, "RunNotApplied"),
        UndoError::GaveUp { .. } => (Outcome::Lost, "GaveUp"),
    };
    StepEnd::bare(outcome, reason, error.to_string())
}

fn connect(refused: &ConnectRefused) -> StepEnd {
    let outcome = if refused.may_pass { Outcome::Lost } else { Outcome::Stalled };
    StepEnd::bare(outcome, refused.reason, refused.message.clone())
}
