//! What the operator's configuration says about every run, in the words of the core.

use crate::config::OperatorConfig;
use crate::lifecycle::{Floor, OperatorPolicy, Risk};

/// The policy that all runs are under.
pub(super) fn of(config: &OperatorConfig) -> OperatorPolicy {
    let can_rehearse = config.rehearsal.image.is_some();
    let config = &config.approval;
    let floors = config.policies.iter().map(|policy| Floor {
        name: policy.name.clone(),
        namespaces: policy.namespaces.clone(),
        when: policy.when.map(|risk| Risk {
            rows_above: risk.rows_above,
            table_percent_above: risk.table_percent_above,
            sensitive_above: risk.sensitive_above,
            invalid_percent_above: risk.invalid_percent_above,
        }),
        minimum: policy.minimum,
        requester_may_approve: policy.requester_may_approve,
        images_by_digest: policy.images_by_digest,
    });
    OperatorPolicy {
        minimum_approvals: config.minimum,
        require_admission: config.require_admission,
        service_accounts: config.service_accounts.clone(),
        floors: floors.collect(),
        can_rehearse,
    }
}
