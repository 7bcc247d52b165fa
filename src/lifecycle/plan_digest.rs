//! The digest that people approve: over all that will run.

use super::valid::{ValidRun, canonical_spec};
use crate::api::status::{ConfigMapStatus, ReleaseStatus};
use serde_json::json;
use sha2::{Digest, Sha256};

/// SHA-256 over the rows digest, the run's uid, the canonical spec (without what may change later; Job templates with
/// their images are part of it), the release and the ConfigMaps that workload and Jobs read. Never over `metadata.generation`: approvals raise it.
pub(super) fn plan_digest(run: &ValidRun, rows_digest: &str, release: Option<&ReleaseStatus>, config_maps: &[ConfigMapStatus]) -> String {
    let document = json!({
        "rowsDigest": rows_digest,
        "uid": run.meta.identity.uid,
        "spec": canonical_spec(&run.spec),
        "release": release,
        "configMaps": config_maps,
    });
    format!("sha256:{}", hex::encode(Sha256::digest(document.to_string())))
}

/// What stands for the rows digest in script mode: the hash of the dry run's output, and the image that ran it.
pub(super) fn script_digest(output_sha256: &str, image: &str) -> String {
    hex::encode(Sha256::digest(json!({"output": output_sha256, "image": image}).to_string()))
}
