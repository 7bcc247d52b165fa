//! An operator of a case's own, as a process of this machine: one that can be killed with SIGKILL on any cluster, while
//! the other cases go on. The installed one leaves its namespace alone.

use crate::lab::lab;
use crate::operator::{DEPLOYMENT, NAMESPACE};
use crate::program::scratch;
use crate::scene::Scene;
use serde_json::json;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Stdio};

const LEASE: &str = "private-operator";

/// The namespace that the installed operator leaves to one of this kind.
pub fn namespace(suffix: &str) -> String {
    format!("e2e-operator-{suffix}")
}

/// A running operator.
pub struct PrivateOperator<'s> {
    scene: &'s Scene,
    config: PathBuf,
    log: File,
    process: Child,
}

impl<'s> PrivateOperator<'s> {
    /// Starts one that serves the scene's namespace with the image of the installed one.
    pub fn start(scene: &'s Scene) -> Self {
        let deployed = ["--namespace", NAMESPACE, "get", DEPLOYMENT, "--output=jsonpath={.spec.template.spec.containers[0].image}"];
        let (_, name) = DEPLOYMENT.split_once('/').expect("kind and name");
        let settings = json!({
            "stepImage": lab().cluster.kubectl(&deployed, ""),
            "monitorClusterRole": format!("{name}-monitor"),
            "lease": LEASE,
            "watchNamespaces": [scene.namespace],
            // The installed one's policies leave this namespace out, as it does.
            "approval": {"requireAdmission": false},
            "steps": {"imagePullPolicy": "IfNotPresent", "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}}},
        });
        let path = |end: &str| scratch().join(format!("{}.{end}", scene.namespace));
        let (config, log) = (path("yaml"), File::create(path("log")).expect("a file for its log"));
        std::fs::write(&config, settings.to_string()).expect("a file for its configuration");
        let process = spawn(scene, &config, &log);
        Self { scene, config, log, process }
    }

    /// Kills it where it stands, and starts another. A dead process' Lease runs out after 15 s; with `at_once` this is not
    /// waited for.
    pub fn is_killed_and_replaced(&mut self, at_once: bool) {
        self.process.kill().expect("SIGKILL to the operator");
        let end = self.process.wait().expect("its end");
        assert_eq!(end.code(), None, "it did not end by itself before, but by a signal");
        if at_once {
            self.scene.kubectl(&["delete", "lease", LEASE, "--ignore-not-found"]);
        }
        self.process = spawn(self.scene, &self.config, &self.log);
    }
}

fn spawn(scene: &Scene, config: &PathBuf, log: &File) -> Child {
    let mut command = lab().cluster.command(env!("CARGO_BIN_EXE_backfill-operator"));
    command.args(["controller", "--address=127.0.0.1:0", "--config"]).arg(config);
    command.env("POD_NAME", "private-operator").env("POD_NAMESPACE", &scene.namespace);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.try_clone().expect("the log"));
    command.spawn().expect("the operator as a process")
}

impl Drop for PrivateOperator<'_> {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
