//! What `gather` saw. Nothing else reaches the decision from outside.

use super::references::Contents;
use crate::api::Phase;
use crate::api::conditions::{self, ConditionType};
use crate::api::spec::BackfillRun;
use crate::api::status::{ConfigMapStatus, ReleaseStatus};
use crate::protocol::{BackupsInUse, Cnpg, Progress, StepReport, Verdict};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// All that was read in this pass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The Job of the step in hand; `None` where no step is in hand.
    pub step: Option<StepObservation>,
    /// The workload; `None` where the run names none. `Err`: what to change.
    pub release: Option<Result<ReleaseFound, Problem>>,
    /// Contents that the spec refers to; `None` where none were read. `Err`: what to change.
    pub references: Option<Result<Contents, Problem>>,
    /// The ConfigMaps that workload and Jobs read, by name; `None` where they were not read.
    pub config_maps: Option<Vec<ConfigMapStatus>>,
    /// Whether the API server proves the names in approvals; `None` where nobody asked.
    pub admission: Option<AdmissionObservation>,
    /// The messages of approvals, without what looks like a secret, by user name.
    pub messages: BTreeMap<String, String>,
    /// The flag; `None` where it was not read.
    pub flag: Option<FlagObservation>,
    /// The run that holds the database, where this one waits for it.
    pub holder: Option<HolderObservation>,
    /// The runs of `spec.after`, in its order; empty where they were not read.
    pub after: Vec<AfterObservation>,
    /// Names of runs that were planned after this one, have changed data and have not ended; read on the way back only.
    pub dependents: Vec<String>,
    /// The backups that runs need; none where the run deletes none.
    pub backups_in_use: BackupsInUse,
    /// What CloudNativePG manages; empty where it was not read.
    pub cnpg: Cnpg,
    /// The Backup of `backup.existing.cnpgBackup`; `None` where it was not read. `Err`: what to change.
    pub cnpg_backup: Option<Result<CnpgBackup, Problem>>,
    /// In a namespace that is being deleted no Job can be made.
    pub namespace_terminating: bool,
    /// The report's ConfigMap is there.
    pub report_written: bool,
}

/// A Backup of CloudNativePG that says that it is completed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CnpgBackup {
    /// Its name.
    pub name: String,
    /// The cluster that it is of.
    pub cluster: String,
    /// System identifier of that cluster's server; empty where the cluster does not say.
    pub system_id: String,
    /// When it was completed.
    pub stopped_at: Timestamp,
    /// Where in the write-ahead log it ends.
    pub end_lsn: String,
    /// How it was made: `barmanObjectStore`, `volumeSnapshot`, `plugin`.
    pub method: String,
    /// Where it lies, as far as it says.
    pub destination: String,
}

/// Something outside is not as the run needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// One CamelCase word.
    pub reason: String,
    /// What to change.
    pub message: String,
}

/// Whether the admission policies are in force where the run is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmissionObservation {
    /// A request that they must refuse was refused by them.
    InForce,
    /// It was not.
    Missing {
        /// What happened instead.
        why: String,
    },
}

/// The Job of the step in hand.
#[derive(Clone, Debug, PartialEq)]
pub enum StepObservation {
    /// No Job of that name.
    Absent,
    /// A Job of that name that is not ours.
    Foreign,
    /// The Job is there, its pod cannot start.
    Waiting {
        /// Uid of the Job.
        job_uid: String,
        /// Why, where Kubernetes says so: a missing Secret, an unbound claim, an image that cannot be pulled.
        problem: Option<String>,
    },
    /// The pod runs.
    Running {
        /// Uid of the Job.
        job_uid: String,
        /// The latest progress line.
        progress: Option<Progress>,
        /// The settings that the pod has been told, as annotations.
        told: BTreeMap<String, String>,
    },
    /// One of our steps left a verdict.
    Ended {
        /// Uid of the Job.
        job_uid: String,
        /// The verdict.
        verdict: Verdict,
        /// Its details; `None` where there are none, or where they could not be read.
        report: Option<Box<StepReport>>,
    },
    /// A Job of the team ended.
    TeamEnded {
        /// Uid of the Job.
        job_uid: String,
        /// How.
        end: TeamEnd,
    },
    /// The Job ended without a verdict.
    Lost {
        /// Uid of the Job.
        job_uid: String,
        /// Why, as far as Kubernetes says.
        why: String,
        /// How far it came, where its log is still there.
        progress: Option<Progress>,
    },
    /// The Job is being deleted.
    Stopping,
}

/// How a Job of the team ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TeamEnd {
    /// Exit code 0, or not; a deadline that passed counts as not.
    pub passed: bool,
    /// Why not.
    pub message: String,
    /// The last lines of its output, scanned for secrets.
    pub output_tail: String,
    /// SHA-256 of its output.
    pub output_sha256: String,
    /// The image that ran, with its digest.
    pub image: String,
}

/// The workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReleaseFound {
    /// What is recorded.
    pub status: ReleaseStatus,
    /// Literal values of the variables that the run asks about.
    pub environment: BTreeMap<String, String>,
    /// Variables that come from Secrets: mounted into the preflight pod, never read by the operator.
    pub environment_secrets: BTreeMap<String, SecretKey>,
    /// Names of the ConfigMaps that its environment is made of.
    pub config_maps: Vec<String>,
}

/// One key of a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: String,
}

/// The flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagObservation {
    /// Its value as JSON, or `absent`.
    Value(String),
    /// It cannot be read or is no flag: what to change.
    Problem(Problem),
}

/// A run that comes before this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterObservation {
    /// It is as far as it must be.
    Reached,
    /// It may still get there.
    Ahead {
        /// Where it is.
        phase: Phase,
    },
    /// It has ended, and was taken back or never got there.
    Over {
        /// How.
        phase: Phase,
    },
    /// There is no such run.
    Missing,
}

impl AfterObservation {
    /// What the status of that run says.
    #[must_use]
    pub fn of(run: &BackfillRun, wanted: ConditionType) -> Self {
        let status = run.status.clone().unwrap_or_default();
        let phase = status.phase;
        // Also while people are asked what a restore may lose.
        let goes_back = status.rollback.is_some() || matches!(phase, Phase::RollingBack | Phase::RolledBack | Phase::RollbackFailed);
        match (conditions::is_true(&status.conditions, wanted) && !goes_back, phase.is_terminal()) {
            (true, _) => Self::Reached,
            (false, false) => Self::Ahead { phase },
            (false, true) => Self::Over { phase },
        }
    }
}

/// The run that holds the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HolderObservation {
    /// It is there and not finished.
    Live,
    /// It is finished, or gone: its claim may be taken over.
    Over,
    /// It is a run of another cluster, or may not be read.
    Unknown,
}
