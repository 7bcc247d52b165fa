//! How many people must approve, and who may: the strictest of what the run asks and what the platform asks.

use super::valid::ValidRun;
use crate::api::SERVICE_ACCOUNT_PREFIX;
use crate::api::status::{FloorStatus, PlanStatus};

/// What the operator's configuration says about every run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorPolicy {
    /// At least so many approvals; a run can only ask for more.
    pub minimum_approvals: i32,
    /// Only approvals count whose names the API server has proved.
    pub require_admission: bool,
    /// Service accounts that may approve.
    pub service_accounts: Vec<String>,
    /// The policies of the platform.
    pub floors: Vec<Floor>,
    /// The operator knows an image for rehearsals.
    pub can_rehearse: bool,
}

impl Default for OperatorPolicy {
    fn default() -> Self {
        Self { minimum_approvals: 1, require_admission: true, service_accounts: Vec::new(), floors: Vec::new(), can_rehearse: false }
    }
}

/// A policy of the platform.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// As the status calls it.
    pub name: String,
    /// Where it holds; empty: everywhere.
    pub namespaces: Vec<String>,
    /// When it holds; `None`: always.
    pub when: Option<Risk>,
    /// At least so many people.
    pub minimum: Option<i32>,
    /// Whether requester and last editor may approve.
    pub requester_may_approve: Option<bool>,
    /// The images of the team's Jobs must be named by their digests. (Of a policy without `when`.)
    pub images_by_digest: bool,
}

impl Floor {
    fn is_for(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|name| name == namespace)
    }
}

impl OperatorPolicy {
    /// The policy by which images in this namespace must be named by digest.
    pub(super) fn wants_digests(&self, namespace: &str) -> Option<&str> {
        self.floors.iter().find(|floor| floor.images_by_digest && floor.is_for(namespace)).map(|floor| floor.name.as_str())
    }
}

/// Limits, each of which the plan must exceed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Risk {
    /// Rows to write.
    pub rows_above: Option<i64>,
    /// Rows to write, in percent of the source's rows.
    pub table_percent_above: Option<i64>,
    /// Sampled rows in which something looks like a secret.
    pub sensitive_above: Option<i64>,
    /// Invalid rows, in percent of those that match.
    pub invalid_percent_above: Option<i64>,
}

/// What must be for an approval to be enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Requirement {
    pub(super) required: i32,
    /// The floors that make this number.
    pub(super) floors: Vec<FloorStatus>,
    pub(super) requester_may_approve: bool,
}

/// What is required for this run and plan.
pub(super) fn requirement(run: &ValidRun, plan: Option<&PlanStatus>) -> Requirement {
    let mut floors = vec![
        floor("spec.approval.required", run.spec.approval.required, "the run asks for it".into()),
        floor("approval.minimum", run.policy.minimum_approvals, "the operator asks for it everywhere".into()),
    ];
    let (mut may, mut may_not) = (false, false);
    for policy in &run.policy.floors {
        let here = policy.namespaces.is_empty() || policy.namespaces.contains(&run.meta.identity.namespace);
        let Some(why) = policy.when.map_or_else(|| Some("it always holds here".into()), |risk| exceeded(risk, plan)).filter(|_| here)
        else {
            continue;
        };
        if let Some(minimum) = policy.minimum {
            floors.push(floor(&policy.name, minimum, why));
        }
        match policy.requester_may_approve {
            Some(true) => may = true,
            Some(false) => may_not = true,
            None => {}
        }
    }
    let requester_may_approve = may && !may_not;
    let most = floors.iter().map(|f| f.minimum).max().unwrap_or(1);
    floors.retain(|f| f.minimum == most);
    // Of two people at least one has not asked for the run.
    let unknown = !requester_may_approve && !knows_requester(run);
    Requirement { required: most + i32::from(unknown), floors, requester_may_approve }
}

/// True where a person is named who asked for the run. An account that applies what people wrote is not that person.
pub(super) fn knows_requester(run: &ValidRun) -> bool {
    run.meta.requested_by.as_ref().is_some_and(|name| !name.starts_with(SERVICE_ACCOUNT_PREFIX))
}

fn floor(name: &str, minimum: i32, why: String) -> FloorStatus {
    FloorStatus { name: name.into(), minimum, why }
}

/// Why the risk is there; `None` where it is not. What cannot be counted is taken for too much.
fn exceeded(risk: Risk, plan: Option<&PlanStatus>) -> Option<String> {
    let Some(plan) = plan.filter(|plan| !plan.file.is_empty()) else { return Some("the rows of a script cannot be counted".into()) };
    let percent = |part: i64, whole: i64, limit: i64| part.saturating_mul(100) > limit.saturating_mul(whole);
    let limits = [
        risk.rows_above.map(|limit| (plan.will_write > limit, format!("it writes {} rows, more than {limit}", plan.will_write))),
        risk.table_percent_above.map(|limit| {
            let why = format!("it writes {} of {} rows, more than {limit} %", plan.will_write, plan.scanned);
            (percent(plan.will_write, plan.scanned, limit), why)
        }),
        risk.sensitive_above.map(|limit| {
            (plan.sensitive > limit, format!("{} sampled rows look as if they held a secret, more than {limit}", plan.sensitive))
        }),
        risk.invalid_percent_above.map(|limit| {
            let why = format!("{} of {} rows are invalid, more than {limit} %", plan.invalid, plan.matching);
            (percent(plan.invalid, plan.matching, limit), why)
        }),
    ];
    let mut reasons = Vec::new();
    for (exceeded, why) in limits.into_iter().flatten() {
        if !exceeded {
            return None;
        }
        reasons.push(why);
    }
    Some(reasons.join(", "))
}
