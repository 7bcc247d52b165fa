//! The input of a step: one immutable document.

use super::cnpg::Cnpg;
use crate::api::spec::{BackfillRunSpec, RestoreMode};
use crate::api::status::{BackupStatus, PlanStatus, Step};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Which run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunIdentity {
    /// Namespace of the resource.
    pub namespace: String,
    /// Name of the resource.
    pub name: String,
    /// Uid of the resource: the ledger's key.
    pub uid: String,
}

/// Which backups are needed, when a step begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BackupsInUse {
    /// Uids of the runs that need theirs: what they took, or are taking.
    pub runs: Vec<String>,
    /// Where those backups lie; one that was made elsewhere bears no run's name.
    pub paths: Vec<String>,
}

/// All that a step is told. Holds no secret: those are files in the pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StepInput {
    /// Which run.
    pub run: RunIdentity,
    /// Which step.
    pub step: Step,
    /// Which attempt, from 1. Attempts of one step never run side by side, but a dead one's session may linger.
    pub attempt: i32,
    /// The spec, without approvals and notifications.
    pub spec: BackfillRunSpec,
    /// SHA-256 of the data-relevant spec as the user wrote it: by it the ledger knows a re-applied run.
    pub spec_hash: String,
    /// The proved backup, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupStatus>,
    /// The plan, once there is one (without samples).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// Backup: what is never deleted.
    #[serde(default)]
    pub backups_in_use: BackupsInUse,
    /// Preflight: literal values of the workload's environment that the run asks about, by name. Those that come from
    /// Secrets are files in `Paths::environment` instead.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Rehearse: what its space is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<RehearsalInput>,
    /// Claim: uid of a holder that the controller knows to be finished or gone; its claim may be taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub take_over_from: Option<String>,
    /// Monitor: logs are read from here on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_since: Option<Timestamp>,
    /// Monitor: what is later than this counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_from: Option<Timestamp>,
    /// Monitor: when the watch ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor_until: Option<Timestamp>,
    /// Restore: how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreMode>,
    /// Restore: digest of the loss account that was approved, or was empty. Another loss is not taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_digest: Option<String>,
    /// Preflight, restore: what CloudNativePG manages.
    #[serde(default, skip_serializing_if = "Cnpg::is_empty")]
    pub cnpg: Cnpg,
    /// Close: the database that a restore left beside the present one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_database: Option<String>,
}

/// What a rehearsal is told of its space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RehearsalInput {
    /// What the copy and all that belongs to it may take, in bytes.
    pub storage_bytes: i64,
    /// What the database took at preflight, in bytes.
    pub database_bytes: i64,
}

/// Where a step finds its files. In a pod these are the defaults; tests point them elsewhere.
#[derive(Clone, Debug)]
pub struct Paths {
    /// The [`StepInput`], as JSON.
    pub input: PathBuf,
    /// A folder with the keys of `database.secretRef`, a file each.
    pub database: PathBuf,
    /// A folder with the keys of `database.planSecretRef`; missing where there is none.
    pub plan_database: PathBuf,
    /// A folder with the keys of `database.restoreSecretRef`; missing where there is none.
    pub restore_database: PathBuf,
    /// The CA's certificate (`ca.crt`); missing where there is none.
    pub ca: PathBuf,
    /// A folder with a file for each variable of the workload that comes from a Secret.
    pub environment: PathBuf,
    /// The backup volume.
    pub backup: PathBuf,
    /// Rehearse: the disk for the scratch server; missing elsewhere.
    pub rehearsal: PathBuf,
    /// A folder with the access key of the bucket, a file a key of its Secret; missing where there is none.
    pub s3: PathBuf,
    /// The CA of the bucket's store; missing where there is none.
    pub s3_ca: PathBuf,
    /// The key by which backups are encrypted; missing where they are not.
    pub encryption: PathBuf,
    /// A disk of the pod, for what cannot be streamed.
    pub workspace: PathBuf,
    /// Memory-backed scratch, 0700: password files.
    pub scratch: PathBuf,
    /// The pod's annotations, as the downward API writes them.
    pub control: PathBuf,
    /// Where the verdict is written.
    pub termination: PathBuf,
}

impl Paths {
    /// The paths below a root: `/` in a pod.
    #[must_use]
    pub fn below(root: &std::path::Path) -> Self {
        Self {
            input: root.join("run/backfill/input/input.json"),
            database: root.join("run/backfill/database"),
            plan_database: root.join("run/backfill/plan-database"),
            restore_database: root.join("run/backfill/restore-database"),
            ca: root.join("run/backfill/ca/ca.crt"),
            environment: root.join("run/backfill/environment"),
            backup: root.join("backup"),
            rehearsal: root.join("rehearsal"),
            s3: root.join("run/backfill/s3"),
            s3_ca: root.join("run/backfill/s3-ca/ca.crt"),
            encryption: root.join("run/backfill/encryption/identity"),
            workspace: root.join("run/backfill/workspace"),
            scratch: root.join("run/backfill/scratch"),
            control: root.join("run/backfill/control/annotations"),
            termination: root.join("dev/termination-log"),
        }
    }
}
