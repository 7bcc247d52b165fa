//! What must hold after the rows are written.

use super::jobs::TeamJob;
use super::preflight::Expectation;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// One check: SQL with an expectation, or a test Job.
///
/// In SQL the view `backfill.written` (in the run's ledger schema) has the keys of the rows that the run wrote.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.sql) != has(self.job)").message("verify: set exactly one of sql and job"))]
#[x_kube(validation = Rule::new("has(self.sql) == has(self.expect)").message("verify: sql and expect go together"))]
pub struct VerifyCheck {
    /// Name of the check.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// One SELECT with one column and one row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 8192))]
    pub sql: Option<String>,
    /// What the value must be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Expectation>,
    /// A test Job: exit code 0 passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<TeamJob>,
}
