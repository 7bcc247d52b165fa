//! The channel that people are told by: a pod that prints what it gets.

use crate::cluster::Cluster;
use crate::lab::lab;
use crate::operator::NAMESPACE;
use crate::program::root;
use serde_json::json;

/// What the channels' Secrets hold: addresses and a key that must never be seen anywhere.
pub const SLACK_PATH: &str = "/slack/canary-b7e91f04d2c8";
/// The path of the signed webhook.
pub const WEBHOOK_PATH: &str = "/webhook/canary-51c0ffee77aa";
/// The key that its messages are signed with.
pub const WEBHOOK_KEY: &str = "canary-webhook-key-9d41c2";

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    /// The path that it was sent to.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, to the byte.
    pub body: String,
}

/// Makes the receiver, and the Secrets with which the operator finds it.
pub fn install(cluster: &Cluster) -> Result<(), String> {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
    cluster.try_kubectl(&["apply", "--filename", "-"], &namespace.to_string())?;
    let text = std::fs::read_to_string(root().join("tests/lab/application.yaml")).map_err(|error| error.to_string())?;
    for object in text.split("\n---\n").filter(|object| object.contains("metadata: {name: channel}")) {
        cluster.try_kubectl(&["--namespace", NAMESPACE, "apply", "--filename", "-"], object)?;
    }
    let address = |path: &str| format!("http://channel.{NAMESPACE}.svc:8080{path}");
    let secrets = [
        ("team-db-slack", json!({"url": address(SLACK_PATH)})),
        ("audit-webhook", json!({"url": address(WEBHOOK_PATH), "key": WEBHOOK_KEY})),
    ];
    for (name, data) in secrets {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data});
        cluster.try_kubectl(&["--namespace", NAMESPACE, "apply", "--filename", "-"], &secret.to_string())?;
    }
    Ok(())
}

/// All that came, from all cases, as it was printed.
pub fn transcript() -> String {
    lab().cluster.kubectl(&["--namespace", NAMESPACE, "logs", "deployment/channel", "--tail=-1"], "")
}

/// The messages about the runs of a namespace.
pub fn messages(namespace: &str) -> Vec<Message> {
    let about = [format!("\"{namespace}\""), format!("`{namespace}/")];
    parse(&transcript()).into_iter().filter(|message| about.iter().any(|name| message.body.contains(name.as_str()))).collect()
}

fn parse(transcript: &str) -> Vec<Message> {
    let mut messages: Vec<Message> = Vec::new();
    let mut in_body = false;
    for line in transcript.lines() {
        let line = line.trim_end_matches('\r');
        if let Some(path) = line.strip_prefix("POST ").and_then(|rest| rest.strip_suffix(" HTTP/1.1")) {
            messages.push(Message { path: path.into(), headers: Vec::new(), body: String::new() });
            in_body = false;
        } else if let Some(message) = messages.last_mut() {
            if in_body {
                message.body.push_str(line);
            } else if line.is_empty() {
                in_body = true;
            } else if let Some((name, value)) = line.split_once(": ") {
                message.headers.push((name.to_lowercase(), value.into()));
            }
        }
    }
    messages
}
