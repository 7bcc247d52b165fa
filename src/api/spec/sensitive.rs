//! What happens to written values that look like secrets.

use super::references::ConfigMapKeyRef;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// New values of these columns are searched for what looks like a secret. Findings (table, column, key and rule, never the
/// value) are in the plan, for the people who approve it.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SensitiveData {
    /// Columns that the writes set, as `set` names them. One to 32.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 128)))]
    pub columns: Vec<String>,
    /// What happens to a value with a finding. Default: `Redact`.
    #[serde(default)]
    pub on_match: OnMatch,
    /// Rules whose findings are none here, by their names (`jwt`). At most 64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 63)))]
    pub allow: Vec<String>,
    /// Findings that are none here: regular expressions that match all of what was found. At most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 1024)))]
    pub allow_values: Vec<String>,
    /// Rules of your own, beside the standard ones. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extra_rules: Option<ExtraRules>,
}

/// What happens to a value with a finding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnMatch {
    /// Each finding is written as `[redacted: RULE]`; JSON stays JSON.
    #[default]
    Redact,
    /// The row is not written, and counted.
    Skip,
    /// The plan fails.
    Fail,
}

/// Where rules of your own are written: exactly one of `inline` and `configMapKeyRef`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.inline) != has(self.configMapKeyRef)").message("extraRules: set exactly one of inline (a list of rules) and configMapKeyRef (a key with such a list, as YAML)"))]
pub struct ExtraRules {
    /// The rules themselves. At most 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub inline: Option<Vec<SecretRule>>,
    /// A key with a YAML list of rules (`name`, `regex`, `keywords`), at most 256 of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKeyRef>,
}

/// A rule of your own.
#[derive(JsonSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretRule {
    /// Its name, which findings show: small letters, digits and hyphens.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9-]+$"))]
    pub name: String,
    /// What it looks like: a regular expression without look-around. The first group that takes part is the secret; without
    /// groups all of the match is.
    #[schemars(length(min = 1, max = 1024))]
    pub regex: String,
    /// Words of which one must occur, whatever their case; the rule is tried only then. At most 8. Default: it is tried on every value.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), inner(length(min = 1, max = 64)))]
    pub keywords: Vec<String>,
}
