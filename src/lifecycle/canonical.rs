//! What of a spec is approved, in one form whatever its order.

use crate::api::spec::BackfillRunSpec;
use sha2::{Digest, Sha256};

/// SHA-256 of the canonical spec without what may change at any time.
pub(super) fn spec_hash(spec: &BackfillRunSpec) -> String {
    hex::encode(Sha256::digest(canonical_spec(spec).to_string()))
}

/// The spec as canonical JSON (keys sorted), without what may change later: such changes void nothing.
#[must_use]
pub(super) fn canonical_spec(spec: &BackfillRunSpec) -> serde_json::Value {
    let mut spec = spec.clone();
    spec.suspend = false;
    spec.abort = false;
    spec.abandon = false;
    spec.approvals.clear();
    spec.notifications.clear();
    spec.rollback.requested = false;
    if let Some(sql) = spec.backfill.sql.as_mut() {
        sql.batch = crate::api::spec::Batch::default();
        sql.workers = 1;
        sql.throttle = crate::api::spec::Throttle::default();
    }
    canonical(serde_json::to_value(spec).unwrap_or_default())
}

/// Sorts the keys of every object.
pub(super) fn canonical(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<_, _> = map.into_iter().map(|(k, v)| (k, canonical(v))).collect();
            Value::Object(sorted.into_iter().collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(canonical).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::spec_hash;
    use crate::api::spec::BackfillRunSpec;
    use serde_json::json;

    #[test]
    fn batch_and_throttle_are_no_part_of_what_is_approved() {
        let spec = |blocks: &str| -> BackfillRunSpec {
            serde_json::from_value(json!({
                "database": {"secretRef": {"name": "db"}},
                "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups"}}},
                "backfill": {"sql": serde_yaml_ng::from_str::<serde_json::Value>(&format!("{{source: {{table: a}}, writes: [{{set: {{a: '1'}}}}], {blocks}}}")).unwrap()},
            }))
            .unwrap()
        };
        let plain = spec_hash(&spec(""));
        assert_eq!(spec_hash(&spec("batch: {size: 7, max: 9}, throttle: {maxActiveBackends: 3, avoidAutovacuum: true}")), plain);
        assert_ne!(spec_hash(&spec("drift: {maxPercent: 2}")), plain);
    }
}
