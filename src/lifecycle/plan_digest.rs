//! The digest that people approve: over all that will run.

use super::canonical::canonical_spec;
use crate::api::spec::BackfillRunSpec;
use crate::api::status::{ConfigMapStatus, PlanStatus, ReleaseStatus, ResultStatus};
use serde_json::json;
use sha2::{Digest, Sha256};

/// SHA-256 over the rows digest, the values of parameters, the definitions of the written tables, the run's uid, the canonical spec (with what it refers to in its
/// place, without what may change later; Job templates with their images are part of it), the release and the ConfigMaps that workload and Jobs read. Never over
/// `metadata.generation`: approvals raise it.
pub(super) fn plan_digest(
    uid: &str,
    spec: &BackfillRunSpec,
    plan: &PlanStatus,
    release: Option<&ReleaseStatus>,
    config_maps: &[ConfigMapStatus],
) -> String {
    let document = json!({
        "rowsDigest": plan.rows_digest,
        "parameters": plan.parameters,
        "definitions": plan.definitions,
        "uid": uid,
        "spec": canonical_spec(spec),
        "release": release,
        "configMaps": config_maps,
    });
    format!("sha256:{}", hex::encode(Sha256::digest(document.to_string())))
}

/// SHA-256 over what a rollback takes back: the run, the plan that was approved and what was written for it. What the
/// application changes meanwhile is no part of it: undo leaves that alone, and a restore asks about it by itself.
pub(super) fn rollback_digest(uid: &str, plan: Option<&PlanStatus>, result: Option<&ResultStatus>) -> String {
    let document = json!({
        "subject": "Rollback",
        "uid": uid,
        "plan": plan.map(|plan| &plan.digest),
        "result": result,
    });
    format!("sha256:{}", hex::encode(Sha256::digest(document.to_string())))
}

/// What stands for the rows digest in script mode: the hash of the dry run's output, and the image that ran it.
pub(super) fn script_digest(output_sha256: &str, image: &str) -> String {
    hex::encode(Sha256::digest(json!({"output": output_sha256, "image": image}).to_string()))
}
