//! The steps of a run, and how each attempt at one went.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
