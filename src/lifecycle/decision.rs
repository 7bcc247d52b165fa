//! What `decide` answers.

use super::observed::SecretKey;
use crate::api::status::{BackfillRunStatus, Step};
use crate::protocol::StepInput;
use std::collections::BTreeMap;
use std::time::Duration;

/// The next status, at most one effect, and when to look again.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The status to commit, before the effect.
    pub status: BackfillRunStatus,
    /// What to do, after the commit; idempotent.
    pub effect: Option<Effect>,
    /// What to tell as Kubernetes events, after the commit.
    pub events: Vec<EventNote>,
    /// When to look again, even if nothing changes; `None`: only when something does.
    pub requeue: Option<Duration>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Hold the deletion: from here on there is a way back.
    AddFinalizer,
    /// Clean up what has no owner, and let the run go.
    RemoveFinalizer,
    /// Make the Job of the step in hand, and its input.
    StartStep(Box<StartStep>),
    /// Delete the Job of the step in hand: SIGTERM, then the grace period.
    StopStep {
        /// Name of the Job.
        job_name: String,
    },
    /// Tell the running pod what has changed of its settings.
    TellPod {
        /// Name of the Job.
        job_name: String,
        /// All settings, as annotations.
        settings: BTreeMap<String, String>,
    },
    /// Switch the flag on, if its value still is the previous one.
    EnableFlag {
        /// The value that was seen.
        previous: String,
    },
    /// Put the flag back, if its value still is ours.
    RestoreFlag {
        /// The value to put back.
        previous: String,
    },
    /// Write the report.
    WriteReport,
}

/// A Job to make.
#[derive(Clone, Debug, PartialEq)]
pub struct StartStep {
    /// Which step.
    pub step: Step,
    /// Which of several Jobs of the kind, from 0.
    pub index: i32,
    /// Name of the Job; the input's ConfigMap is called `NAME-input`.
    pub job_name: String,
    /// Name of the Job of an attempt that is long past: it is deleted, so that a run that is tried again for days leaves
    /// only its latest attempts behind.
    pub forget: Option<String>,
    /// What the step is told.
    pub input: StepInput,
    /// SHA-256 of the input.
    pub input_hash: String,
    /// The Job ends after this.
    pub deadline: Duration,
    /// False for a run that is being deleted: foreground deletion would take owned Jobs with it.
    pub owned: bool,
    /// Preflight: Secret keys to mount.
    pub environment_secrets: BTreeMap<String, SecretKey>,
}

/// A Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventNote {
    /// Warning, or Normal.
    pub warning: bool,
    /// One CamelCase word.
    pub reason: String,
    /// A sentence.
    pub message: String,
}
