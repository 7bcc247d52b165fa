//! The digest that people approve: over all that will run.

use super::valid::canonical_spec;
use crate::api::spec::BackfillRunSpec;
use crate::api::status::{ConfigMapStatus, PlanStatus, ReleaseStatus};
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

/// What stands for the rows digest in script mode: the hash of the dry run's output, and the image that ran it.
pub(super) fn script_digest(output_sha256: &str, image: &str) -> String {
    hex::encode(Sha256::digest(json!({"output": output_sha256, "image": image}).to_string()))
}
