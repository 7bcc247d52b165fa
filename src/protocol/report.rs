//! What each step reports beside its verdict: the details, typed.

use crate::api::status::{
    BackupStatus, CapturedStatus, CheckStatus, DatabaseStatus, LossStatus, MonitorStatus, PlanStatus, RehearsalStatus, ResultStatus, Step,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The details of a verdict, by step. The team's Jobs have none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepReport {
    /// Of `preflight`.
    Preflight(PreflightReport),
    /// Of `backup`.
    Backup(BackupReport),
    /// Of `plan` and `replan`.
    Plan(PlanReport),
    /// Of `rehearse`.
    Rehearsal(RehearsalReport),
    /// Of `claim`.
    Claim(ClaimReport),
    /// Of `apply`.
    Apply(ApplyReport),
    /// Of `verify`.
    Verify(VerifyReport),
    /// Of `monitor`.
    Monitor(MonitorReport),
    /// Of `undo`.
    Undo(UndoReport),
    /// Of `loss-account`.
    Loss(LossReport),
    /// Of `restore`.
    Restore(RestoreReport),
}

/// What preflight found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreflightReport {
    /// Each check.
    pub checks: Vec<CheckStatus>,
    /// The database.
    pub database: DatabaseStatus,
    /// The ledger says that this very run (namespace, name, data-relevant spec) has been applied: nothing to do.
    pub already_applied: bool,
    /// Ways back that role and server allow: `Undo`, [`RESTORE_SWAP`], [`RESTORE_IN_PLACE`], [`RESTORE_TABLES`].
    pub way_back: Vec<String>,
    /// Estimate of the dump, in bytes.
    pub dump_estimate_bytes: i64,
}

/// What backup wrote and proved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackupReport {
    /// The backup.
    pub backup: BackupStatus,
}

/// What the plan says. `plan.digest` is empty: the controller computes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// The plan.
    pub plan: PlanStatus,
}

/// What the rehearsal found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RehearsalReport {
    /// The restored copy.
    pub rehearsal: RehearsalStatus,
    /// Tables that differ, and the run's own checks on the copy.
    pub checks: Vec<CheckStatus>,
}

/// Who holds the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holder {
    /// Namespace of the holding run.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Since when.
    pub since: Option<Timestamp>,
}

/// What claim found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClaimReport {
    /// The run that holds the database; absent where it is ours now.
    pub held_by: Option<Holder>,
}

/// What apply wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplyReport {
    /// The counts, over all attempts.
    pub result: ResultStatus,
}

/// What verify found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// Each check.
    pub checks: Vec<CheckStatus>,
    /// What was captured of the script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captured: Vec<CapturedStatus>,
}

/// What monitor saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonitorReport {
    /// The counts.
    pub monitor: MonitorStatus,
}

/// What undo put back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UndoReport {
    /// Rows put back, over all attempts.
    pub undone: i64,
    /// Rows left alone because the application changed them since.
    pub skipped: i64,
    /// Keys of the first of them; at most 10.
    pub skipped_keys: Vec<String>,
    /// The checks after it.
    pub checks: Vec<CheckStatus>,
}

/// What a restore would lose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossReport {
    /// By table; empty: nothing would be lost.
    pub losses: Vec<LossStatus>,
    /// SHA-256 over the account, `sha256:…`.
    pub digest: String,
}

/// The reason with which verification ends where the server has lost what it had committed: what is missing is written again.
pub const TAKEN_BACK: &str = "CommitsLost";
/// Undo, row by row, is possible.
pub const UNDO: &str = "Undo";
/// A restore into a database beside the old one is possible.
pub const RESTORE_SWAP: &str = "RestoreSwap";
/// A restore in place is possible.
pub const RESTORE_IN_PLACE: &str = "RestoreInPlace";
/// A way back: the rows of the dump's tables, put back into the tables that are there.
pub const RESTORE_TABLES: &str = "RestoreTables";

/// What restore did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreReport {
    /// The checks after it: tables against what the dump's snapshot had.
    pub checks: Vec<CheckStatus>,
    /// The database as it was before, under its new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_database: Option<String>,
}

impl StepReport {
    /// True where the report is one that this step makes.
    #[must_use]
    pub const fn fits(&self, step: Step) -> bool {
        matches!(
            (self, step),
            (Self::Preflight(_), Step::Preflight)
                | (Self::Backup(_), Step::Backup)
                | (Self::Plan(_), Step::Plan | Step::Replan)
                | (Self::Rehearsal(_), Step::Rehearse)
                | (Self::Claim(_), Step::Claim)
                | (Self::Apply(_), Step::Apply)
                | (Self::Verify(_), Step::Verify)
                | (Self::Monitor(_), Step::Monitor)
                | (Self::Undo(_), Step::Undo)
                | (Self::Loss(_), Step::LossAccount)
                | (Self::Restore(_), Step::Restore)
        )
    }
}
