//! The Argo CD of `tests/argocd`, used as people use it: by its command line. And the judge of Flux's rules beside it.

use crate::lab::lab;
use crate::program::{output, root, scratch};
use serde_json::Value;
use std::process::Command;
use std::sync::OnceLock;

/// What a shell needs to use it; the first caller starts it.
fn environment() -> &'static str {
    static UP: OnceLock<Result<String, String>> = OnceLock::new();
    let up = || {
        // It stands beside the cluster, which has to be there first.
        let cluster = &lab().cluster;
        output(cluster.command("tests/argocd/argocd").current_dir(root()).arg("up"), "")
    };
    UP.get_or_init(up).as_ref().unwrap_or_else(|complaint| panic!("Argo CD cannot be started: {complaint}"))
}

/// Starts it, or takes the one that runs.
pub fn is_up() {
    environment();
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = lab().cluster.command("sh");
    command.current_dir(root()).args(["-c", &format!("{}exec \"$@\"", environment()), "sh", program]).args(arguments);
    command
}

/// What `argocd` printed, or what it complained about.
pub fn try_argocd(arguments: &[&str]) -> Result<String, String> {
    output(&mut command("argocd", arguments), "")
}

/// What `argocd` printed.
pub fn argocd(arguments: &[&str]) -> String {
    try_argocd(arguments).unwrap_or_else(|complaint| panic!("{complaint}"))
}

/// What Argo CD makes of an object, by the settings of the examples: health, and its message.
pub fn health(object: &Value) -> (String, String) {
    let metadata = &object["metadata"];
    let file = scratch().join(format!(
        "{}-{}.json",
        metadata["uid"].as_str().unwrap_or("new"),
        metadata["resourceVersion"].as_str().unwrap_or("")
    ));
    std::fs::write(&file, object.to_string()).expect("a file for the object");
    let path = file.to_string_lossy().into_owned();
    let said = argocd(&["admin", "settings", "resource-overrides", "health", &path, "--argocd-cm-path", "examples/argocd/argocd-cm.yaml"]);
    drop(std::fs::remove_file(file));
    let field = |name: &str| said.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    (field("STATUS:"), field("MESSAGE:"))
}

/// What Flux makes of an object: its status by kstatus's rules, and the message.
pub fn kstatus(object: &Value) -> (String, String) {
    let said = output(&mut command("kstatus", &[]), &object.to_string()).expect("kstatus reads the object");
    let (status, message) = said.trim_end().split_once('\t').expect("a status and a message");
    (status.into(), message.into())
}
