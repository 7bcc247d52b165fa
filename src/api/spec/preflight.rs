//! The release that is deployed, and what must hold before anything begins.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The release that is deployed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Release {
    /// The workload that uses the database.
    pub workload_ref: WorkloadRef,
    /// Where the commit is written. Default: the tag of the container's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_from: Option<CommitFrom>,
}

/// A workload in the run's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRef {
    /// Kind of the workload. Default: `Deployment`.
    #[serde(default)]
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Name of the container that counts. Default: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
}

/// Kinds of workloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WorkloadKind {
    /// apps/v1 Deployment
    #[default]
    Deployment,
    /// apps/v1 `StatefulSet`
    StatefulSet,
}

/// Where the commit of the release is written: exactly one.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.label), has(self.annotation), has(self.imageTag)].filter(x, x).size() == 1").message("release.commitFrom: set exactly one of label, annotation, imageTag"))]
pub struct CommitFrom {
    /// A label of the workload's pod template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub label: Option<String>,
    /// An annotation of the workload's pod template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub annotation: Option<String>,
    /// `true`: the tag of the container's image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_tag: Option<bool>,
}

/// What must hold before anything begins.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preflight {
    /// What the workload's container must be set to. Values that come from Secrets are compared inside the step's pod and never shown. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub environment: Vec<EnvironmentCheck>,
    /// Free space that the backup volume must have, as a quantity (`20Gi`). Default: `Auto`, 1.5 times the estimate of the dump.
    #[serde(default = "auto")]
    #[schemars(length(max = 32), regex(pattern = "^(Auto|[0-9]+(\\.[0-9]+)?(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?)$"))]
    pub min_free_space: String,
    /// SQL that must hold. What the role may not see is Inconclusive, never 0. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub checks: Vec<SqlCheck>,
}

fn auto() -> String {
    "Auto".into()
}

/// One variable of the workload's container: exactly one of `value` and `matches`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.value) != has(self.matches)").message("preflight.environment: set exactly one of value and matches"))]
pub struct EnvironmentCheck {
    /// Name of the variable.
    #[schemars(length(min = 1, max = 256))]
    pub name: String,
    /// The value that it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub value: Option<String>,
    /// What of `spec.database` it must be equal to: `host`, or the name of the `database`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<EnvironmentMatch>,
}

/// The part of the run's own connection that a variable must be equal to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EnvironmentMatch {
    /// The database's name, or a URI that names it.
    Database,
    /// The server's host name, or a URI that names it.
    Host,
}

/// One SELECT that returns one value, and what it must be.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SqlCheck {
    /// Name of the check.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// One SELECT with one column and one row.
    #[schemars(length(min = 1, max = 8192))]
    pub sql: String,
    /// What the value must be.
    pub expect: Expectation,
}

/// What the value of a check must be: exactly one.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.equals), has(self.atLeast), has(self.atMost)].filter(x, x).size() >= 1 && !(has(self.equals) && (has(self.atLeast) || has(self.atMost)))").message("expect: set equals, or atLeast and/or atMost"))]
pub struct Expectation {
    /// Equal to this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equals: Option<i64>,
    /// At least this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_least: Option<i64>,
    /// At most this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<i64>,
}
