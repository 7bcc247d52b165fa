//! What a person writes: the spec of a `BackfillRun`, a file a block.

mod after;
mod approval;
mod backfill;
mod backup;
mod batch;
mod capture;
mod database;
mod destination;
mod dump;
mod existing;
mod flag;
mod jobs;
mod monitor;
mod pods;
mod preflight;
mod references;
mod rehearsal;
mod rollback;
mod sensitive;
mod source;
mod throttle;
mod verify;
mod write;

pub use after::{After, AfterCondition};
pub use approval::{Approval, ApprovalEntry, ApprovalPolicy, OnChange};
pub use backfill::{
    Audit, Backfill, Drift, DriftMode, OnInvalid, Quarantine, SampleShow, Samples, SchemaSource, ScriptBackfill, SqlBackfill, Validation,
};
pub use backup::{Backup, Encryption, EncryptionKeyRef, Proof, Retain, Scratch};
pub use batch::{BATCH_MAX, Batch, BatchRows};
pub use capture::Capture;
pub use database::{Database, SecretKeyRef, SecretKeys, SecretRef, Tls, TlsMode};
pub use destination::{Destination, Place, PvcDestination, S3Destination, S3SecretKeys, S3SecretRef};
pub use dump::{Compression, DumpFormat, Scope};
pub use existing::{CnpgBackupRef, ExistingBackup};
pub use flag::{ConfigMapFlag, FeatureFlag, FlagProvider};
pub use jobs::{AddedColumn, Migrations, TeamJob};
pub use monitor::{LogPattern, Logs, Monitor, Notification, NotificationEvent, OnMonitorFailure};
pub use pods::PodTemplate;
pub use preflight::{CommitFrom, EnvironmentCheck, EnvironmentMatch, Expectation, Preflight, Release, SqlCheck, WorkloadKind, WorkloadRef};
pub use references::ConfigMapKeyRef;
pub use rehearsal::Rehearsal;
pub use rollback::{RestoreMode, Rollback, RollbackMethod, RollbackTrigger};
pub use sensitive::{ExtraRules, OnMatch, SecretRule, SensitiveData};
pub use source::{Join, JoinRows, JoinType, Parameter, Pick, PickWrite, Source};
pub use throttle::{BesideWriters, Throttle, ThrottleQuery};
pub use verify::VerifyCheck;
pub use write::{Action, Cascades, ConflictMode, OnConflict, Per, Write};

use super::status::BackfillRunStatus;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One PostgreSQL backfill, from the release check to the watch over the logs, and the way back.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "backfill.dev",
    version = "v1alpha1",
    kind = "BackfillRun",
    plural = "backfillruns",
    shortname = "bfr",
    category = "backfill",
    namespaced,
    status = "BackfillRunStatus",
    derive = "PartialEq",
    doc = "One PostgreSQL backfill: checks, backup, exact plan, approval, safe writes, verification, feature flag, watch over the logs, and the way back.",
    printcolumn = r#"{"name":"Phase","type":"string","jsonPath":".status.phase"}"#,
    printcolumn = r#"{"name":"Plan","type":"integer","jsonPath":".status.plan.willWrite","description":"rows that the plan would write"}"#,
    printcolumn = r#"{"name":"Progress","type":"string","jsonPath":".status.progress.summary"}"#,
    printcolumn = r#"{"name":"Approved","type":"string","jsonPath":".status.conditions[?(@.type==\"Approved\")].status"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Backup","type":"string","priority":1,"jsonPath":".status.backup.path"}"#,
    printcolumn = r#"{"name":"Commit","type":"string","priority":1,"jsonPath":".status.release.commit"}"#,
    printcolumn = r#"{"name":"Message","type":"string","priority":1,"jsonPath":".status.message"}"#,
    validation = Rule::new("size(self.metadata.name) <= 63").message("metadata.name: at most 63 characters, so that it fits in a label"),
    validation = Rule::new(TABLES).message("backup.scope: Tables holds the rows of the tables that the run writes: only a run with backfill.sql says which these are, migrations change what is no row, and no database can be made of them alone. Take backfill.job, migrations and rollback.restore: Swap out, or leave backup.scope at Database"),
    validation = Rule::new(CNPG).message("backup.existing.cnpgBackup: the operator cannot restore it, so that undo must be a way back: use backfill.sql, and take rollback.method: Restore and rollback.restore out"),
    validation = Rule::new(FROZEN).message(Message::Expression(FROZEN_MESSAGE.into())),
    validation = Rule::new(REQUESTED).message(Message::Expression(REQUESTED_MESSAGE.into())),
    validation = Rule::new(LATCHED).message("spec.abort cannot be taken back once data has changed: the run is on its way back")
)]
#[serde(rename_all = "camelCase")]
pub struct BackfillRunSpec {
    /// Pause: finish the batch in hand, start nothing new. Clocks of waiting stop. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub suspend: bool,
    /// Stop for good: the flag goes back first, then the data. It is remembered in the status. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub abort: bool,
    /// Give up a run that can neither go on nor back: the finalizer goes, undo rows stay in the ledger. Default: false.
    #[serde(default, skip_serializing_if = "is_false")]
    pub abandon: bool,
    /// The database to change.
    pub database: Database,
    /// What the pods of the run's steps look like. Default: the chart's values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,
    /// Runs of this namespace that come first: nothing begins before they are as far as that, and none of them goes back before
    /// this one has. At most 8. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    pub after: Vec<After>,
    /// The release that is deployed: recorded at preflight; a change after planning voids the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Release>,
    /// What must hold before anything begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preflight: Option<Preflight>,
    /// The backup that is taken and proved before the plan.
    pub backup: Backup,
    /// The team's migrations, run after approval and before the rows are written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrations: Option<Migrations>,
    /// What is written: declared as SQL, or by the team's own script.
    pub backfill: Backfill,
    /// How many people must approve, and how long is waited for them. Default: one person, 72h.
    #[serde(default)]
    pub approval: ApprovalPolicy,
    /// The approvals, by user name: each person patches their own entry. At most 32 entries, names of at most 256 characters.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    #[x_kube(validation = Rule::new("self.all(k, size(k) <= 256)").message("a user name has at most 256 characters"))]
    pub approvals: BTreeMap<String, ApprovalEntry>,
    /// What must hold after the rows are written. At most 32 checks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub verify: Vec<VerifyCheck>,
    /// What happens when the run fails after data has changed. Default: undone at once.
    #[serde(default)]
    pub rollback: Rollback,
    /// The feature flag to switch on after verification. Default: none is touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_flag: Option<FeatureFlag>,
    /// The watch over the logs afterwards. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<Monitor>,
    /// Who is told what. Channels are the operator's configuration. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub notifications: Vec<Notification>,
}

/// Of some tables' rows neither a database can be made, nor can anything be taken back that is no row of theirs.
const TABLES: &str = "!has(self.spec.backup.scope) || self.spec.backup.scope != 'Tables' \
|| (has(self.spec.backfill.sql) && !has(self.spec.migrations) \
&& !(has(self.spec.rollback) && has(self.spec.rollback.restore) && self.spec.rollback.restore == 'Swap'))";

/// A run whose backup the operator cannot restore.
const CNPG: &str = "!has(self.spec.backup.existing) || !has(self.spec.backup.existing.cnpgBackup) \
|| (has(self.spec.backfill.sql) && !(has(self.spec.rollback) && (has(self.spec.rollback.restore) || (has(self.spec.rollback.method) && self.spec.rollback.method == 'Restore'))))";

/// A field that may be absent is the same in both when it is absent in both, or set and equal. Written with `has`: of an
/// optional (`self.?field`) the API server cannot bound the cost, and refuses the definition.
macro_rules! same {
    ($first:literal $(, $path:literal)*) => {
        concat!(same!(@ $first) $(, " && ", same!(@ $path))*)
    };
    (@ $path:literal) => {
        concat!(
            "has(self.spec.", $path, ") == has(oldSelf.spec.", $path, ")",
            " && (!has(self.spec.", $path, ") || self.spec.", $path, " == oldSelf.spec.", $path, ")"
        )
    };
}

/// After `mutationStarted` the spec is what was approved; only what steers the run may still change. A finished run is never
/// run again, so that a change of it would say what was never done. `batch` and
/// `throttle` lie inside `backfill.sql`, so the parts around them are named one by one.
const FROZEN: &str = concat!(
    "!has(oldSelf.status) || (!has(oldSelf.status.finishedAt) && (!has(oldSelf.status.mutationStarted) || !oldSelf.status.mutationStarted)) || (",
    same!(
        "database",
        "podTemplate",
        "after",
        "release",
        "preflight",
        "backup",
        "migrations",
        "approval",
        "verify",
        "featureFlag",
        "monitor",
        "backfill.job"
    ),
    " && has(self.spec.rollback) == has(oldSelf.spec.rollback) && (!has(self.spec.rollback) || (",
    same!("rollback.trigger", "rollback.method", "rollback.restore", "rollback.keepUndo"),
    ")) && has(self.spec.backfill.sql) == has(oldSelf.spec.backfill.sql) && (!has(self.spec.backfill.sql) || (",
    same!(
        "backfill.sql.source",
        "backfill.sql.parameters",
        "backfill.sql.validate",
        "backfill.sql.writes",
        "backfill.sql.audit",
        "backfill.sql.sensitiveData",
        "backfill.sql.samples",
        "backfill.sql.drift",
        "backfill.sql.quarantine"
    ),
    ")))"
);
const FROZEN_MESSAGE: &str = "has(oldSelf.status.finishedAt) ? \
'this run has finished and is never run again: what it says is what was done. Only rollback.requested may still be changed. Put its spec back, and give the changed one another metadata.name (or metadata.generateName, in a hook of a GitOps tool)' : \
'data has begun to change (status.mutationStarted): only suspend, abort, abandon, approvals, backfill.sql.batch, backfill.sql.throttle, backfill.sql.workers and notifications may still be changed; to change anything else, set spec.abort: true and create a new run'";
/// A request is taken while the run's undo is kept. One that is there already, or is taken back, is let through.
const REQUESTED: &str = "!has(self.spec.rollback) || !has(self.spec.rollback.requested) || !self.spec.rollback.requested \
|| (has(oldSelf.spec.rollback) && has(oldSelf.spec.rollback.requested) && oldSelf.spec.rollback.requested) \
|| (has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase == 'Succeeded' && !has(oldSelf.status.closedAt))";
const REQUESTED_MESSAGE: &str = "has(oldSelf.status) && has(oldSelf.status.closedAt) ? \
'no undo of this run is kept any more (status.closedAt): what it wrote can only be put right by hand, or by restoring the backup in status.backup' : \
'spec.rollback.requested takes back a run that has succeeded, and this one has not: set spec.abort: true to take back a run that is under way'";
const LATCHED: &str = "!has(oldSelf.status) || !has(oldSelf.status.mutationStarted) || !oldSelf.status.mutationStarted \
|| !has(oldSelf.spec.abort) || !oldSelf.spec.abort || (has(self.spec.abort) && self.spec.abort)";

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_false(value: &bool) -> bool {
    !*value
}
