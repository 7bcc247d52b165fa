//! What the operator writes: the write-ahead log of a run, and what a person needs to decide.
//!
//! Budget: 128 KiB. Nothing in here may hold a secret.

mod apply;
mod approval;
mod backup;
mod chronicle;
mod flag;
mod plan;
mod preflight;
mod rehearsal;
mod rollback;
mod step;

pub use apply::{CapturedStatus, ProgressStatus, QuarantinedStatus, ResultStatus};
pub use approval::{ApprovalStatus, AwaitingStatus, ConfigMapStatus, EntryStatus, FloorStatus, Identity, Subject, VoidedStatus};
pub use backup::BackupStatus;
pub use chronicle::{EstimateStatus, HistoryStatus, NotificationStatus};
pub use flag::{FlagIntent, FlagStatus, MonitorStatus, PatternStatus};
pub use plan::{ChangeStatus, DefinitionStatus, FindingStatus, InvalidStatus, ParameterStatus, PlanStatus, PlannedWrites, SampleStatus};
pub use preflight::{CheckResult, CheckStatus, DatabaseStatus, ReferenceStatus, ReleaseStatus};
pub use rehearsal::{CountStatus, DRIFTED, QUARANTINED, RehearsalStatus, WRITTEN};
pub use rollback::{LossStatus, RefusedStatus, RollbackStatus};
pub use step::{Step, StepResult, StepStatus};

use super::phase::Phase;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator knows about a run.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackfillRunStatus {
    /// The generation of the spec that the status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Where the run stands, for people.
    pub phase: Phase,
    /// One sentence: what is happening, or what a person has to do.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// For programs.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// The step in hand: its Job is to be made, runs, or is to be tried again. At most one at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_step: Option<Step>,
    /// The run that holds the database, while this one waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<HolderStatus>,
    /// The last attempt of each step; written before its Job exists.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["step"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<StepStatus>,
    /// True from before the first Job that may change anything: from here on there is a way back, and a finalizer.
    pub mutation_started: bool,
    /// Set once, by `spec.abort` or by deletion; never taken back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<AbortStatus>,
    /// Since when the run is suspended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub suspended_since: Option<Timestamp>,
    /// SHA-256 of the spec that the latest checks, backup and plan were made for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub spec_hash: String,
    /// What the spec's references led to at preflight, by hash. At most 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub references: Vec<ReferenceStatus>,
    /// The release found at preflight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseStatus>,
    /// The ConfigMaps that the workload's environment and the team's Jobs read, as they were at preflight.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub config_maps: Vec<ConfigMapStatus>,
    /// The database found at preflight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<DatabaseStatus>,
    /// Every check with its result.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckStatus>,
    /// The ways back that this role and server allow: `Undo`, `RestoreSwap`, `RestoreInPlace`, `RestoreTables`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub way_back: Vec<String>,
    /// The proved backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupStatus>,
    /// The rehearsal of the backup, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<RehearsalStatus>,
    /// The plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// What people are asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub awaiting: Option<AwaitingStatus>,
    /// What was decided about the digest that is asked about, and whether the name is proved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalStatus>,
    /// Each entry of `spec.approvals` as it was seen first: what its name was worth then it is worth later.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["user"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<EntryStatus>,
    /// The latest approval that was voided, and by what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_voided: Option<VoidedStatus>,
    /// How many approvals were asked for the last time: the run's number, the operator's floor, and one more where the
    /// requester is not known.
    #[serde(skip_serializing_if = "is_zero")]
    pub approvals_required: i32,
    /// How far the step in hand is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<ProgressStatus>,
    /// For how many seconds the throttle has held the worker so far, over all attempts.
    #[serde(skip_serializing_if = "none")]
    pub throttled_seconds: i64,
    /// What was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultStatus>,
    /// The way back that was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackStatus>,
    /// The feature flag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<FlagStatus>,
    /// What the logs showed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub monitor: Option<MonitorStatus>,
    /// Estimate and actual time of each step.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub estimates: Vec<EstimateStatus>,
    /// The messages to the channels, and whether they arrived.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notifications: Vec<NotificationStatus>,
    /// Name of the ConfigMap with the report, once it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// The latest changes of phase, oldest first; at most 40.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<HistoryStatus>,
    /// Until when the run can be taken back after its success (`spec.rollback.requested`), or the old database is kept after a restore.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub undo_kept_until: Option<Timestamp>,
    /// Since when nothing is kept to take the run back with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub closed_at: Option<Timestamp>,
    /// Why the rollback that was asked for is not made. Ask again by taking `spec.rollback.requested` back first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rollback_refused: Option<RefusedStatus>,
    /// When the run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_zero(value: &i32) -> bool {
    *value == 0
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn none(count: &i64) -> bool {
    *count == 0
}

/// The run that holds the database.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HolderStatus {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Since when this run waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub waiting_since: Option<Timestamp>,
}

/// The abort.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AbortStatus {
    /// When it was seen.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Why: `spec.abort`, or the deletion of the run.
    pub reason: String,
}
