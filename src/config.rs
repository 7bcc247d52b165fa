//! The operator's own configuration: a YAML file, given by `--config`.
//!
//! Read once, at the start. It holds no secret: addresses and keys of channels are files, mounted from Secrets, and are
//! read anew for each message, so that a rotated Secret needs no restart.

mod approval;

pub use approval::{ApprovalConfig, PolicyConfig, RiskConfig};

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What the operator is told at its start.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OperatorConfig {
    /// Image of step pods: the operator's own, so that both sides of the protocol are of one release.
    pub step_image: String,
    /// The `ClusterRole` that the monitor step's service account is bound to: pods and their logs, read-only.
    pub monitor_cluster_role: String,
    /// Name of the Lease, in the operator's own namespace, that the one operator holds that works. Default: `backfill-operator`.
    #[serde(default = "lease")]
    pub lease: String,
    /// What step pods look like where a run does not say otherwise.
    #[serde(default)]
    pub steps: StepDefaults,
    /// What backups are rehearsed with. Default: nothing, and runs that ask for a rehearsal are told so.
    #[serde(default)]
    pub rehearsal: RehearsalConfig,
    /// Where people can be told something. Default: nowhere.
    #[serde(default)]
    pub channels: Vec<ChannelConfig>,
    /// Namespaces whose runs are served. Default: all.
    #[serde(default)]
    pub watch_namespaces: Vec<String>,
    /// Namespaces whose runs are not served: another operator works there. Default: none.
    #[serde(default)]
    pub except_namespaces: Vec<String>,
    /// What approvals must be, whatever a run says.
    #[serde(default)]
    pub approval: ApprovalConfig,
}

fn lease() -> String {
    "backfill-operator".into()
}

/// What step pods look like where a run does not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StepDefaults {
    /// CPU and memory of the step's container.
    pub resources: Option<ResourceRequirements>,
    /// Names of Secrets, in the run's namespace, to pull the image with.
    pub image_pull_secrets: Vec<String>,
    /// Labels of the nodes on which step pods may run.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that step pods tolerate.
    pub tolerations: Vec<Toleration>,
    /// When the image is pulled. Default: Kubernetes' own.
    pub image_pull_policy: Option<PullPolicy>,
    /// Laid over the restricted security context of the pod.
    pub security_context: Option<Map<String, Value>>,
}

/// What backups are rehearsed with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RehearsalConfig {
    /// An image with this release of the operator and a PostgreSQL server: the target `rehearsal` of the Dockerfile.
    pub image: Option<String>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum PullPolicy {
    /// Each time.
    Always,
    /// Where the node does not have it.
    IfNotPresent,
    /// Never: it must be there.
    Never,
}

impl PullPolicy {
    /// The name as a container writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// A channel by which people are told something.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ChannelFields")]
pub struct ChannelConfig {
    /// The name by which runs call it.
    pub name: String,
    /// What it is.
    pub kind: ChannelKind,
}

/// The kinds of channels. Secrets are in files only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelKind {
    /// An incoming webhook of Slack (or of what speaks its language, as Mattermost does).
    Slack {
        /// The file that holds its address. The address is the secret.
        url_file: PathBuf,
    },
    /// A signed POST of JSON.
    Webhook {
        /// The file that holds its address.
        url_file: PathBuf,
        /// The file that holds the key of the signature.
        key_file: PathBuf,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ChannelFields {
    name: String,
    slack: Option<SlackFields>,
    webhook: Option<WebhookFields>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SlackFields {
    url_file: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WebhookFields {
    url_file: PathBuf,
    key_file: PathBuf,
}

impl TryFrom<ChannelFields> for ChannelConfig {
    type Error = String;

    fn try_from(fields: ChannelFields) -> Result<Self, String> {
        let kind = match (fields.slack, fields.webhook) {
            (Some(slack), None) => ChannelKind::Slack { url_file: slack.url_file },
            (None, Some(webhook)) => ChannelKind::Webhook { url_file: webhook.url_file, key_file: webhook.key_file },
            _ => return Err(format!("channel {}: set exactly one of slack and webhook", fields.name)),
        };
        Ok(Self { name: fields.name, kind })
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A field is missing, unknown or of another type.
    #[error("{0}")]
    Malformed(#[from] serde_yaml_ng::Error),
    /// A field has a value that makes no sense.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl OperatorConfig {
    /// Reads the file.
    ///
    /// # Errors
    /// [`ConfigError`], which names the field.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.display().to_string(), source })?;
        Self::parse(&text)
    }

    /// Reads the text of the file.
    ///
    /// # Errors
    /// [`ConfigError`], which names the field.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let config: Self = serde_yaml_ng::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let invalid = |field: String, problem: &str| Err(ConfigError::Invalid { field, problem: problem.into() });
        if self.step_image.is_empty() {
            return invalid("stepImage".into(), "is empty");
        }
        if self.monitor_cluster_role.is_empty() {
            return invalid("monitorClusterRole".into(), "is empty");
        }
        if self.rehearsal.image.as_ref().is_some_and(String::is_empty) {
            return invalid("rehearsal.image".into(), "is empty; leave it out where backups are not rehearsed");
        }
        self.approval.check().or_else(|(field, problem)| invalid(field, problem))?;
        let mut names = BTreeSet::new();
        for (index, channel) in self.channels.iter().enumerate() {
            let field = format!("channels[{index}].name");
            if channel.name.is_empty() || channel.name.len() > 63 {
                return invalid(field, "must have 1 to 63 characters");
            }
            if !names.insert(channel.name.as_str()) {
                return invalid(field, "is the name of another channel, too");
            }
        }
        if let Some(index) = self.watch_namespaces.iter().position(String::is_empty) {
            return invalid(format!("watchNamespaces[{index}]"), "is empty; for all namespaces leave the list empty");
        }
        match self.except_namespaces.iter().position(String::is_empty) {
            Some(index) => invalid(format!("exceptNamespaces[{index}]"), "is empty"),
            None => Ok(()),
        }
    }

    /// What is watched: one namespace after the other, or all of them (`None`) but those that a field selector leaves out.
    #[must_use]
    pub fn watched(&self) -> (Vec<Option<&str>>, String) {
        if self.watch_namespaces.is_empty() {
            let left_out: Vec<String> = self.except_namespaces.iter().map(|name| format!("metadata.namespace!={name}")).collect();
            return (vec![None], left_out.join(","));
        }
        let served = self.watch_namespaces.iter().filter(|name| !self.except_namespaces.contains(name));
        (served.map(|name| Some(name.as_str())).collect(), String::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALLEST: &str = "stepImage: operator:1\nmonitorClusterRole: backfill-operator-monitor\n";

    fn refusal(more: &str) -> String {
        OperatorConfig::parse(&format!("{SMALLEST}{more}")).unwrap_err().to_string()
    }

    #[test]
    fn the_smallest_file_watches_all_namespaces_asks_one_person_and_tells_nobody() {
        let config = OperatorConfig::parse(SMALLEST).unwrap();
        assert_eq!(config.approval.minimum, 1);
        assert!(config.watch_namespaces.is_empty() && config.channels.is_empty());
    }

    #[test]
    fn what_another_operator_serves_is_left_out_of_what_is_watched() {
        let watched = |more: &str| {
            let config = OperatorConfig::parse(&format!("{SMALLEST}{more}")).unwrap();
            let (namespaces, fields) = config.watched();
            (namespaces.into_iter().map(|name| name.map(str::to_owned)).collect::<Vec<_>>(), fields)
        };
        assert_eq!(watched(""), (vec![None], String::new()));
        let but_two = "metadata.namespace!=a,metadata.namespace!=b".to_owned();
        assert_eq!(watched("exceptNamespaces: [a, b]\n"), (vec![None], but_two));
        assert_eq!(watched("watchNamespaces: [a, c]\nexceptNamespaces: [a, b]\n"), (vec![Some("c".to_owned())], String::new()));
    }

    #[test]
    fn channels_are_read_with_their_files() {
        let config = OperatorConfig::parse(&format!(
            "{SMALLEST}channels:\n- {{name: team, slack: {{urlFile: /s/url}}}}\n- {{name: hook, webhook: {{urlFile: /w/url, keyFile: /w/key}}}}\n"
        ))
        .unwrap();
        assert_eq!(
            config.channels,
            [
                ChannelConfig { name: "team".into(), kind: ChannelKind::Slack { url_file: "/s/url".into() } },
                ChannelConfig { name: "hook".into(), kind: ChannelKind::Webhook { url_file: "/w/url".into(), key_file: "/w/key".into() } },
            ]
        );
    }

    #[test]
    fn step_defaults_are_read_as_kubernetes_writes_them() {
        let config = OperatorConfig::parse(&format!(
            "{SMALLEST}steps:\n  resources: {{limits: {{memory: 512Mi}}}}\n  imagePullPolicy: IfNotPresent\n  tolerations: [{{key: db, operator: Exists}}]\n"
        ))
        .unwrap();
        assert_eq!(config.steps.image_pull_policy.map(PullPolicy::as_str), Some("IfNotPresent"));
        assert_eq!(config.steps.tolerations[0].key.as_deref(), Some("db"));
        assert_eq!(config.steps.resources.unwrap().limits.unwrap()["memory"].0, "512Mi");
    }

    #[test]
    fn every_refusal_names_its_field() {
        let refusals = [
            ("chanels: []\n", "unknown field `chanels`"),
            ("steps: {cpu: 1}\n", "steps: unknown field `cpu`"),
            ("rehearsal: {image: ''}\n", "rehearsal.image"),
            ("steps: {imagePullPolicy: Sometimes}\n", "steps.imagePullPolicy"),
            ("channels: [{name: a, slack: {url: 'https://example.org'}}]\n", "channels[0]"),
            ("channels: [{name: a}]\n", "channel a: set exactly one of slack and webhook"),
            ("channels: [{name: a, slack: {urlFile: u}}, {name: a, slack: {urlFile: u}}]\n", "channels[1].name"),
            ("approval: {minimum: 0}\n", "approval.minimum"),
            ("approval: {policies: [{name: a, minimum: 11}]}\n", "approval.policies[0].minimum"),
            ("approval: {policies: [{name: a}]}\n", "approval.policies[0]: says nothing"),
            ("approval: {policies: [{name: a, minimum: 2, when: {}}]}\n", "approval.policies[0].when"),
            ("approval: {policies: [{name: a, minimum: 2, when: {rowsAbove: -1}}]}\n", "approval.policies[0].when"),
            (
                "approval: {policies: [{name: a, requesterMayApprove: true, when: {rowsAbove: 1}}]}\n",
                "approval.policies[0].requesterMayApprove",
            ),
            ("approval: {policies: [{name: a, imagesByDigest: true, when: {rowsAbove: 1}}]}\n", "approval.policies[0].imagesByDigest"),
            ("approval: {serviceAccounts: [robot]}\n", "approval.serviceAccounts[0]"),
            ("watchNamespaces: ['']\n", "watchNamespaces[0]"),
            ("exceptNamespaces: ['']\n", "exceptNamespaces[0]"),
        ];
        for (more, expected) in refusals {
            let refusal = refusal(more);
            assert!(refusal.contains(expected), "{more} -> {refusal}");
        }
        assert!(OperatorConfig::parse("monitorClusterRole: m\n").unwrap_err().to_string().contains("stepImage"));
    }
}
