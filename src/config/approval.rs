//! What approvals must be, whatever a run says. The chart renders the same values into the admission policies.

use serde::Deserialize;

/// What approvals must be.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApprovalConfig {
    /// Fewest people who must approve, whatever a run says. From 1 to 10. Default: 1.
    pub minimum: i32,
    /// True where only approvals count whose names the API server has proved. Default: true.
    pub require_admission: bool,
    /// Name of the `ValidatingAdmissionPolicy` that proves them.
    pub admission_policy: String,
    /// Service accounts that may approve, by their full names. Default: none.
    pub service_accounts: Vec<String>,
    /// Floors of the platform; the strictest that matches holds. Default: none.
    pub policies: Vec<PolicyConfig>,
}

impl Default for ApprovalConfig {
    fn default() -> Self {
        Self {
            minimum: 1,
            require_admission: true,
            admission_policy: "backfill-operator-approvals".into(),
            service_accounts: Vec::new(),
            policies: Vec::new(),
        }
    }
}

/// A floor: where it holds, when, and what it asks.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicyConfig {
    /// As the status calls it.
    pub name: String,
    /// Where it holds. Default: everywhere.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// When it holds. Default: always.
    #[serde(default)]
    pub when: Option<RiskConfig>,
    /// At least so many people. Default: it does not say.
    #[serde(default)]
    pub minimum: Option<i32>,
    /// Whether the requester and the last editor may approve. Default: it does not say; where no policy does, they may not.
    #[serde(default)]
    pub requester_may_approve: Option<bool>,
    /// The images of the team's Jobs must be named by their digests. Default: false.
    #[serde(default)]
    pub images_by_digest: bool,
}

/// When a floor holds: each limit that is set must be exceeded by the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RiskConfig {
    /// Rows to write.
    #[serde(default)]
    pub rows_above: Option<i64>,
    /// Rows to write, in percent of the source's rows.
    #[serde(default)]
    pub table_percent_above: Option<i64>,
    /// Sampled rows in which something looks like a secret.
    #[serde(default)]
    pub sensitive_above: Option<i64>,
    /// Rows that fail validation, in percent of those that match.
    #[serde(default)]
    pub invalid_percent_above: Option<i64>,
}

impl RiskConfig {
    fn limits(self) -> impl Iterator<Item = i64> {
        [self.rows_above, self.table_percent_above, self.sensitive_above, self.invalid_percent_above].into_iter().flatten()
    }
}

impl ApprovalConfig {
    /// The field that makes no sense, and why.
    pub(super) fn check(&self) -> Result<(), (String, &'static str)> {
        let from_1_to_10 = |field: String, number: i32| {
            if (1..=10).contains(&number) { Ok(()) } else { Err((field, "must be from 1 to 10")) }
        };
        from_1_to_10("approval.minimum".into(), self.minimum)?;
        if let Some(index) = self.service_accounts.iter().position(|name| !name.starts_with("system:serviceaccount:")) {
            return Err((format!("approval.serviceAccounts[{index}]"), "must be system:serviceaccount:NAMESPACE:NAME"));
        }
        for (index, policy) in self.policies.iter().enumerate() {
            let field = format!("approval.policies[{index}]");
            if let Some(minimum) = policy.minimum {
                from_1_to_10(format!("{field}.minimum"), minimum)?;
            }
            if policy.minimum.is_none() && policy.requester_may_approve.is_none() && !policy.images_by_digest {
                return Err((field, "says nothing: set minimum, requesterMayApprove or imagesByDigest"));
            }
            if policy.when.is_some() && policy.images_by_digest {
                return Err((format!("{field}.imagesByDigest"), "goes without when: the Jobs run before there is a plan"));
            }
            if policy.when.is_some_and(|risk| risk.limits().next().is_none() || risk.limits().any(|limit| limit < 0)) {
                return Err((format!("{field}.when"), "needs a limit, and none below 0"));
            }
            // What the plan says the admission policies cannot ask.
            if policy.when.is_some() && policy.requester_may_approve == Some(true) {
                return Err((format!("{field}.requesterMayApprove"), "can be true only without when"));
            }
        }
        Ok(())
    }
}
