//! What the operator writes: the write-ahead log of a run, and what a person needs to decide.
//!
//! Budget: 128 KiB. Nothing in here may hold a secret.

mod approval;
mod rehearsal;

pub use approval::{ApprovalStatus, AwaitingStatus, ConfigMapStatus, EntryStatus, FloorStatus, Identity, Subject, VoidedStatus};
pub use rehearsal::{CountStatus, DRIFTED, QUARANTINED, RehearsalStatus, WRITTEN};

use super::phase::Phase;
use super::spec::{NotificationEvent, RollbackMethod};
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

/// The steps of a run; each is a Job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Step {
    /// Checks before anything.
    Preflight,
    /// The dump and its proof.
    Backup,
    /// The exact plan.
    Plan,
    /// The team's script, dry.
    DryRun,
    /// The backup, restored into a scratch server.
    Rehearse,
    /// The database is claimed for this run.
    Claim,
    /// Triggers record what the team's script does to its tables.
    Capture,
    /// The team's migrations.
    Migrate,
    /// The plan again, after the migrations.
    Replan,
    /// The rows are written.
    Apply,
    /// The team's script.
    Script,
    /// What was written is measured, and the run's SQL checks are made.
    Verify,
    /// A test Job of the team.
    Test,
    /// The watch over the logs.
    Monitor,
    /// Row by row, back.
    Undo,
    /// What a restore would lose.
    LossAccount,
    /// The dump, in place or beside the database.
    Restore,
    /// What is kept to take a run back with is released: its undo rows, or the database that a restore left.
    Close,
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 18] = [
        Self::Preflight,
        Self::Backup,
        Self::Plan,
        Self::DryRun,
        Self::Rehearse,
        Self::Claim,
        Self::Capture,
        Self::Migrate,
        Self::Replan,
        Self::Apply,
        Self::Script,
        Self::Verify,
        Self::Test,
        Self::Monitor,
        Self::Undo,
        Self::LossAccount,
        Self::Restore,
        Self::Close,
    ];

    /// The name as it stands in Job names and on the command line.
    #[must_use]
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Preflight => "preflight",
            Self::Backup => "backup",
            Self::Plan => "plan",
            Self::DryRun => "dry-run",
            Self::Rehearse => "rehearse",
            Self::Claim => "claim",
            Self::Capture => "capture",
            Self::Migrate => "migrate",
            Self::Replan => "replan",
            Self::Apply => "apply",
            Self::Script => "script",
            Self::Verify => "verify",
            Self::Test => "test",
            Self::Monitor => "monitor",
            Self::Undo => "undo",
            Self::LossAccount => "loss-account",
            Self::Restore => "restore",
            Self::Close => "close",
        }
    }

    /// True for the team's own Jobs, which end with an exit code and not with a verdict.
    #[must_use]
    pub const fn is_team_job(self) -> bool {
        matches!(self, Self::DryRun | Self::Migrate | Self::Script | Self::Test)
    }
}

/// The last attempt of a step.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepStatus {
    /// The step.
    pub step: Step,
    /// Counts from 1.
    pub attempt: i32,
    /// Which of several Jobs of the same kind (test Jobs), from 0.
    #[serde(default)]
    pub index: i32,
    /// Name of its Job.
    pub job_name: String,
    /// Uid of its Job, once it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_uid: Option<String>,
    /// SHA-256 of its input.
    pub input_hash: String,
    /// When the intent was written.
    #[schemars(with = "String")]
    pub started_at: Timestamp,
    /// When it counts as lost (or, for the team's Jobs, as failed).
    #[schemars(with = "String")]
    pub deadline: Timestamp,
    /// How it ended; absent while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<StepResult>,
    /// When its end was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// Why it ended so.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Attempts in a row that ended without a verdict.
    #[serde(default)]
    pub lost_in_a_row: i32,
    /// Not tried again before this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub retry_at: Option<Timestamp>,
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StepResult {
    /// Verdict: good.
    Passed,
    /// Verdict: bad.
    Failed,
    /// Verdict: could not be measured; a person decides.
    Inconclusive,
    /// It cannot work as things are; it is tried again when they change.
    Stalled,
    /// No report: evicted, out of memory, node or database gone. Never a verdict.
    Lost,
    /// Ended because the run was suspended or aborted.
    Stopped,
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

/// What a reference of the spec led to.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceStatus {
    /// Name of the ConfigMap.
    pub config_map: String,
    /// Key in it.
    pub key: String,
    /// SHA-256 of what it says, whatever its order and form.
    pub sha256: String,
}

/// The release found at preflight.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseStatus {
    /// The workload: kind/name.
    pub workload: String,
    /// The image with its digest, as a ready pod runs it.
    pub image: String,
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// SHA-256 over the container's environment (names, literal values, references).
    pub environment_hash: String,
}

/// The database found at preflight.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DatabaseStatus {
    /// System identifier and OID: the same database, whatever it is called.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Version of the server.
    pub server_version: String,
    /// Size in bytes.
    pub size_bytes: i64,
}

/// A check.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// Name of the check.
    pub name: String,
    /// The phase that made it.
    pub phase: Phase,
    /// `Passed`, `Failed` or `Inconclusive`.
    pub result: CheckResult,
    /// What was found.
    pub message: String,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum CheckResult {
    /// Good.
    Passed,
    /// Bad.
    Failed,
    /// Could not be measured; the approver sees it.
    Inconclusive,
}

/// The proved backup.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupStatus {
    /// Where it lies: `pvc/CLAIM/PATH`.
    pub path: String,
    /// File, relative to the claim's root.
    pub file: String,
    /// Size in bytes.
    pub size_bytes: i64,
    /// SHA-256 of the file; of a folder, over the SHA-256 and name of every file in it.
    pub sha256: String,
    /// `Custom`, or `Directory`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// `Dump` or `CnpgBackup` where it was made elsewhere (`backup.existing`); absent where the run took it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub existing: String,
    /// Of one that was made elsewhere: what is not known of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unproved: Vec<String>,
    /// Of a dump that was made elsewhere: the file of its manifest, which the run has written; else it lies beside the dump.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub manifest: String,
    /// `Tables` where only the rows of the tables in `tables` are in it; absent where all of the database is.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub scope: String,
    /// Of scope `Tables`: the tables whose rows are in it, at most 50 of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// How it is compressed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub compression: String,
    /// The public half of the key that it is encrypted for; absent where it is not encrypted.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub encrypted_for: String,
    /// Which `pg_dump` wrote it, and why that one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client: String,
    /// Version of the server.
    pub server_version: String,
    /// Which database it is of: the server's system identifier and the database's OID.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub database_id: String,
    /// Write-ahead log position at the dump's snapshot.
    pub lsn: String,
    /// When the snapshot was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub taken_at: Option<Timestamp>,
    /// What is proved. `Read`: every block was read back, and every table of the run is in it. `Restore`: it was restored into
    /// a scratch server, and every table is as it was dumped.
    pub proof: String,
    /// What a person needs to restore it.
    pub restore_with: String,
}

/// The plan.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanStatus {
    /// What people approve: over all that will run.
    pub digest: String,
    /// Over every planned write (key, old value, new value).
    pub rows_digest: String,
    /// File of the plan, relative to the claim's root. Empty in script mode.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// SHA-256 of the plan file.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file_sha256: String,
    /// What is written, by write of the spec.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub writes: Vec<PlannedWrites>,
    /// Values of `parameters`, taken once: these are what is approved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parameters: Vec<ParameterStatus>,
    /// What the written tables are: columns, constraints, unique indexes, triggers, rules and row security. Empty in script mode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub definitions: Vec<DefinitionStatus>,
    /// Rows of the source table.
    pub scanned: i64,
    /// Source rows that the source's `where` finds.
    pub matching: i64,
    /// Source rows that will be written.
    pub will_write: i64,
    /// Rows whose new values are the old ones.
    pub already_done: i64,
    /// Rows that find no target row, or for which `onlyIf` does not hold.
    pub no_match: i64,
    /// Rows that lost to the winner of their group (`source.pick`).
    pub lost: i64,
    /// Rows that fail validation.
    pub invalid: i64,
    /// Rows in whose new values something looks like a secret: of all rows where `sensitiveData` is set, else of the sample.
    pub sensitive: i64,
    /// Of them, those that are not written for it (`onMatch: Skip`).
    #[serde(skip_serializing_if = "none")]
    pub skipped_sensitive: i64,
    /// The first findings, at most 20: where, and by which rule; never the value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingStatus>,
    /// True where a role that can only SELECT made it.
    pub proved_read_only: bool,
    /// Planned changes, before and after.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<SampleStatus>,
    /// Invalid rows, and what is wrong with them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub invalid_sample: Vec<InvalidStatus>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub planned_at: Option<Timestamp>,
    /// Rows planned a second.
    pub rows_per_second: i64,
    /// Rows that all workers together will write a second, gently (`throttle.besideWriters`), where others wrote while the plan was
    /// made; absent where none did.
    #[serde(skip_serializing_if = "none")]
    pub gentle_rows_per_second: i64,
    /// Script mode: the last lines of the dry run.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Remarks for the approver: what is inconclusive, what does not hold in script mode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// What a written table was when the plan was made. Another definition voids the approval.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DefinitionStatus {
    /// Schema and name, quoted as in SQL.
    pub name: String,
    /// The same for people.
    pub table: String,
    /// SHA-256 of its definition; `absent` where it was not there.
    pub sha256: String,
}

/// Where something looks like a secret.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FindingStatus {
    /// Key of the source row.
    pub key: String,
    /// The table that is written.
    pub table: String,
    /// The column.
    pub column: String,
    /// The rule that found it.
    pub rule: String,
}

/// How many target rows one write of the spec changes.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PlannedWrites {
    /// The table.
    pub table: String,
    /// Rows whose columns are set.
    pub updates: i64,
    /// Rows that are added.
    pub inserts: i64,
    /// Rows that are removed.
    pub deletes: i64,
}

/// The value of a parameter.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParameterStatus {
    /// Its name.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its value, as text; absent for NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A planned change of one row.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SampleStatus {
    /// Key of the source row.
    pub key: String,
    /// Table that is written.
    pub table: String,
    /// The columns.
    pub changes: Vec<ChangeStatus>,
}

/// A planned change of one column; values are cut to 256 characters, secrets redacted.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChangeStatus {
    /// The column.
    pub column: String,
    /// The value before; absent for NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The value after; absent for NULL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

/// An invalid row.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InvalidStatus {
    /// Key of the source row.
    pub key: String,
    /// Name of the rule.
    pub rule: String,
    /// Where in the value, as a JSON pointer.
    pub pointer: String,
    /// What the schema asks there; never the value.
    pub message: String,
}

/// How far the step in hand is.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProgressStatus {
    /// For people: `52000/117990 (44%), 3s left`, or `52000/117990 (44%), held by ReplicationLag`.
    pub summary: String,
    /// Done.
    pub done: i64,
    /// Of how many.
    pub total: i64,
    /// What is counted: `rows` or `bytes`.
    pub unit: String,
    /// A second.
    pub per_second: i64,
    /// Time left, as a duration; empty where it is not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub remaining: String,
    /// True while other sessions write, and the worker is gentle to them (`throttle.besideWriters`).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gentle: bool,
    /// The reading that holds the worker at this moment: `ReplicationLag`, `ActiveBackends`, `WaitingLocks`, `WalRate`,
    /// `Autovacuum` or `Query`; empty where none does. The condition `Throttled` has what was measured.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub throttled_by: String,
    /// Readings of the throttle that cannot be taken, with what to do about it: they do not hold the worker.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<String>,
    /// When it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub at: Option<Timestamp>,
}

/// What was written.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResultStatus {
    /// Source rows written; of a script, the rows that were captured.
    pub written: i64,
    /// Planned rows left alone because they changed since the plan.
    pub drifted: i64,
    /// Keys of the first of them; at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub drifted_keys: Vec<String>,
    /// Planned rows that the database refused.
    #[serde(skip_serializing_if = "none")]
    pub quarantined: i64,
    /// The first of them, with what the database said; at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub quarantined_rows: Vec<QuarantinedStatus>,
    /// Rows in which secrets were redacted.
    #[serde(skip_serializing_if = "none")]
    pub redacted: i64,
    /// Columns in which a trigger left another value than the planned one, as `table.column`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changed_by_triggers: Vec<String>,
    /// Over every write that was made (key, old value, new value): the plan's, where no row was left alone.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub rows_digest: String,
    /// Batches.
    pub batches: i64,
    /// Script mode: the last lines of the script.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Script mode: what was captured of each table, so that it can be put back. At most 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub captured: Vec<CapturedStatus>,
}

/// What was captured of a table.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CapturedStatus {
    /// The table.
    pub table: String,
    /// Rows that the script inserted; a row counts each time it was written.
    #[serde(default)]
    pub inserted: i64,
    /// Rows that it updated.
    #[serde(default)]
    pub updated: i64,
    /// Rows that it deleted.
    #[serde(default)]
    pub deleted: i64,
    /// Rows that other sessions wrote meanwhile, by the server's statistics: the application's, as a rule. They are not captured.
    #[serde(default)]
    pub others: i64,
    /// What only a restore brings back: the table was emptied by TRUNCATE, or its definition changed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fault: String,
}

/// A planned row that the database refused.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuarantinedStatus {
    /// Key of the source row.
    pub key: String,
    /// PostgreSQL's error code.
    pub sqlstate: String,
    /// What the database said.
    pub message: String,
}

/// The way back that was taken.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RollbackStatus {
    /// `Undo` or `Restore`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<RollbackMethod>,
    /// Why.
    pub reason: String,
    /// True where people asked for it after the run had succeeded.
    #[serde(skip_serializing_if = "is_false")]
    pub requested: bool,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub began_at: Option<Timestamp>,
    /// When it had ended, well or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ended_at: Option<Timestamp>,
    /// Rows put back.
    pub undone: i64,
    /// Rows left alone because the application changed them since.
    pub skipped_because_changed_since: i64,
    /// Keys of the first of them; at most 10.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped_keys: Vec<String>,
    /// What a restore loses, by table.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LossStatus>,
    /// The database as it was before a restore beside it, under its new name; kept until `status.closedAt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old_database: Option<String>,
    /// Digest of that account.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub loss_digest: String,
}

/// A rollback that was asked for and is not made.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedStatus {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Why, as one word.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
}

/// What a restore would lose in one table.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LossStatus {
    /// The table.
    pub table: String,
    /// What differs from what the run left.
    pub message: String,
    /// Rows that are there now, and that others than the run inserted or changed since the snapshot; absent where only sums
    /// could be compared, as the message then says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<i64>,
    /// Rows of the snapshot that others than the run changed or deleted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone: Option<i64>,
    /// Rows that others had written since the snapshot when the run wrote over them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_over: Option<i64>,
    /// Rows that are there now as the run wrote them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_run: Option<i64>,
    /// When the first of the written rows was committed; absent where the server does not keep that (`track_commit_timestamp`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub first_at: Option<Timestamp>,
    /// When the last of them was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub last_at: Option<Timestamp>,
}

/// The feature flag.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FlagStatus {
    /// The value before, as JSON; `absent` where there was none.
    pub previous: String,
    /// Written before the flag is touched.
    pub intent: FlagIntent,
    /// When it was seen enabled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub enabled_at: Option<Timestamp>,
    /// When it was seen put back.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub restored_at: Option<Timestamp>,
}

/// What the operator means to do with the flag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FlagIntent {
    /// Leave it.
    #[default]
    None,
    /// Switch it on.
    Enable,
    /// Put the previous value back.
    Restore,
}

/// What the logs showed.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MonitorStatus {
    /// From when on the logs are read: the start of preflight.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// When the watch began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// Until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
    /// Lines read.
    pub lines: i64,
    /// Pods seen.
    pub pods: i64,
    /// By pattern.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<PatternStatus>,
}

/// How often a pattern was seen.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PatternStatus {
    /// Name of the pattern.
    pub name: String,
    /// Matching lines before the flag was on.
    pub before: i64,
    /// Matching lines since.
    pub after: i64,
    /// How many are still good.
    pub max: i32,
}

/// Estimate and actual time of a step, in seconds.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EstimateStatus {
    /// The step.
    pub step: Step,
    /// Estimated, in seconds; absent where nothing was known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_seconds: Option<i64>,
    /// Measured, in seconds; absent until it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_seconds: Option<i64>,
}

/// A message to a channel.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NotificationStatus {
    /// The event.
    pub event: NotificationEvent,
    /// The channel.
    pub channel: String,
    /// Distinguishes two events of one kind.
    pub id: String,
    /// When it happened.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// What is told, in a sentence.
    pub text: String,
    /// When it was delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub delivered_at: Option<Timestamp>,
    /// Attempts so far.
    #[serde(default)]
    pub attempts: i32,
    /// Not tried again before this; absent where it is due, delivered or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub retry_at: Option<Timestamp>,
    /// Why the last attempt failed; never an address or a key.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// A change of phase.
#[derive(JsonSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryStatus {
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// From.
    pub from: Phase,
    /// To.
    pub to: Phase,
    /// Why, as one word.
    pub reason: String,
}
