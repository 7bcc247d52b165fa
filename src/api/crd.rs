//! The custom resource definition, as a cluster takes it.

use super::BackfillRun;
use kube::CustomResourceExt as _;

/// The definition as YAML: what `backfill-operator crds` prints and the chart installs.
///
/// # Errors
/// Where the definition cannot be written as YAML.
pub fn yaml() -> Result<String, serde_yaml_ng::Error> {
    // By way of a JSON value: enums and numbers then come out as plain YAML, without Rust's tags.
    serde_yaml_ng::to_value(BackfillRun::crd()).and_then(|definition| serde_yaml_ng::to_string(&definition))
}
