//! Parts of the spec that are written in `ConfigMap`s: put in their places, and remembered by their hash.

use super::canonical::canonical;
use super::observed::Problem;
use crate::api::Phase;
use crate::api::spec::{BackfillRunSpec, ConfigMapKeyRef, SecretRule};
use crate::api::status::ReferenceStatus;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// All contents together: the input of a step, a ConfigMap of at most 1 MiB, has to hold them.
const MAX_BYTES: usize = 256 * 1024;
/// Reasons that this module stalls a run for, and those of contents that are there and cannot be used.
pub(super) const REASONS: &[&str] = &[
    "ReferenceMissing",
    "ReferenceMalformed",
    "ReferenceTooLarge",
    "ReferenceForbidden",
    "ReferenceChanged",
    "BadSchema",
    "BadSecretRegex",
    "BadSecretRule",
    "UnknownSecretRule",
];

/// The text of each key that was found.
pub type Contents = BTreeMap<ConfigMapKeyRef, String>;

/// The spec as steps are told it.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The spec, every reference replaced by what it leads to.
    pub spec: BackfillRunSpec,
    /// What was found, by reference; order and form of a text do not matter to its hash.
    pub found: Vec<ReferenceStatus>,
}

/// True in phases that begin steps which work by the whole spec, or wait to.
#[must_use]
pub const fn are_needed(phase: Phase) -> bool {
    match phase {
        Phase::Pending
        | Phase::Preflight
        | Phase::BackingUp
        | Phase::Planning
        | Phase::AwaitingApproval
        | Phase::Migrating
        | Phase::Applying => true,
        Phase::Verifying
        | Phase::EnablingFlag
        | Phase::Monitoring
        | Phase::RollingBack
        | Phase::Succeeded
        | Phase::Failed
        | Phase::Denied
        | Phase::Expired
        | Phase::Aborted
        | Phase::RolledBack
        | Phase::RollbackFailed => false,
    }
}

/// The keys that a spec refers to.
#[must_use]
pub fn references(spec: &BackfillRunSpec) -> BTreeSet<ConfigMapKeyRef> {
    let Some(sql) = &spec.backfill.sql else { return BTreeSet::new() };
    let schemas = sql.validate.iter().filter_map(|rule| rule.schema.config_map_key_ref.clone());
    let rules = sql.sensitive_data.iter().filter_map(|sensitive| sensitive.extra_rules.as_ref()?.config_map_key_ref.clone());
    schemas.chain(rules).collect()
}

/// Puts contents in their places.
///
/// # Errors
/// [`Problem`] says what to change. No content is quoted: who reads a run may not be allowed to read every `ConfigMap`.
pub fn resolve(spec: &BackfillRunSpec, contents: &Contents) -> Result<Resolved, Problem> {
    let mut spec = spec.clone();
    let mut found = BTreeMap::new();
    if references(&spec).iter().filter_map(|key| contents.get(key)).map(String::len).sum::<usize>() > MAX_BYTES {
        let message = format!("the contents of the run's ConfigMaps are larger than {} KiB together: make them smaller", MAX_BYTES / 1024);
        return Err(Problem { reason: "ReferenceTooLarge".into(), message });
    }
    if let Some(sql) = spec.backfill.sql.as_mut() {
        for rule in &mut sql.validate {
            let Some(key) = rule.schema.config_map_key_ref.take() else { continue };
            let field = format!("backfill.sql.validate[{}].schema", rule.name);
            let schema: Map<String, Value> = parse(&field, &key, contents, "JSON Schema (an object, as JSON or YAML)")?;
            let document = Value::Object(schema.clone());
            jsonschema::draft202012::new(&document).map_err(|error| Problem {
                reason: "BadSchema".into(),
                message: format!("{field}: ConfigMap {}, key {}: {}", key.name, key.key, error.masked()),
            })?;
            found.insert(key, hash(document));
            rule.schema.inline = Some(schema);
        }
        if let Some(extra) = sql.sensitive_data.as_mut().and_then(|sensitive| sensitive.extra_rules.as_mut())
            && let Some(key) = extra.config_map_key_ref.take()
        {
            let what = "YAML list of rules (name, regex and, if you like, keywords)";
            let rules: Vec<SecretRule> = parse("backfill.sql.sensitiveData.extraRules", &key, contents, what)?;
            found.insert(key, hash(serde_json::to_value(&rules).unwrap_or_default()));
            extra.inline = Some(rules);
        }
    }
    let found = found.into_iter().map(|(key, sha256)| ReferenceStatus { config_map: key.name, key: key.key, sha256 }).collect();
    Ok(Resolved { spec, found })
}

/// The contents that an earlier step of the run was told: they outlive a `ConfigMap` that is changed after the approval.
#[must_use]
pub fn kept(spec: &BackfillRunSpec, told: &BackfillRunSpec) -> Contents {
    let mut contents = Contents::new();
    let (Some(sql), Some(told)) = (&spec.backfill.sql, &told.backfill.sql) else { return contents };
    for (rule, told) in sql.validate.iter().zip(&told.validate) {
        if let (Some(key), Some(inline)) = (&rule.schema.config_map_key_ref, &told.schema.inline) {
            contents.insert(key.clone(), Value::Object(inline.clone()).to_string());
        }
    }
    let extra = sql.sensitive_data.as_ref().and_then(|sensitive| sensitive.extra_rules.as_ref()?.config_map_key_ref.as_ref());
    let rules = told.sensitive_data.as_ref().and_then(|sensitive| sensitive.extra_rules.as_ref()?.inline.as_ref());
    if let (Some(key), Some(rules)) = (extra, rules) {
        contents.insert(key.clone(), serde_json::to_string(rules).unwrap_or_default());
    }
    contents
}

/// Which references lead elsewhere than they did.
pub(super) fn changed(before: &[ReferenceStatus], now: &[ReferenceStatus]) -> String {
    let other = now.iter().filter(|reference| !before.contains(reference));
    let names: Vec<String> = other.map(|reference| format!("ConfigMap {}, key {}", reference.config_map, reference.key)).collect();
    if names.is_empty() { "a ConfigMap".into() } else { names.join("; ") }
}

fn parse<T: serde::de::DeserializeOwned>(field: &str, key: &ConfigMapKeyRef, contents: &Contents, what: &str) -> Result<T, Problem> {
    let Some(text) = contents.get(key) else {
        let message = format!(
            "{field}: there is no ConfigMap {} with the key {} in the run's namespace: make it, or correct the reference",
            key.name, key.key
        );
        return Err(Problem { reason: "ReferenceMissing".into(), message });
    };
    serde_yaml_ng::from_str(text).map_err(|error| {
        // The parser's message quotes the text.
        let place = error.location().map_or_else(String::new, |at| format!(": look at line {}, column {}", at.line(), at.column()));
        let message = format!("{field}: ConfigMap {}, key {}: this is no {what}{place}", key.name, key.key);
        Problem { reason: "ReferenceMalformed".into(), message }
    })
}

fn hash(value: Value) -> String {
    hex::encode(Sha256::digest(canonical(value).to_string()))
}
