//! A case's own stage: a namespace, a database with generations in it, the application, and who may approve.

use crate::database::Database;
use crate::evidence;
use crate::lab::{LABEL, SERVER, lab};
use crate::program::scratch;
use kube::Client;
use std::io::Write as _;
use std::process::Stdio;
use std::time::Instant;

/// What a case works on.
pub struct Scene {
    /// The case's namespace.
    pub namespace: String,
    /// A client of an administrator.
    pub client: Client,
    /// The database.
    pub database: Database,
    begun: Instant,
}

impl Scene {
    /// A stage on the server that all cases share.
    pub async fn new(case: &str, generations: u32) -> Self {
        Self::on(SERVER, case, generations).await
    }

    /// A stage on a server of the case's own, which it may stop and kill.
    pub async fn with_own_server(case: &str, generations: u32) -> Self {
        let server = format!("e2e-{case}-db-{}", lab().suffix);
        lab().server(&server).expect("a server of the case's own");
        label(&server);
        Self::on(&server, case, generations).await
    }

    async fn on(server: &str, case: &str, generations: u32) -> Self {
        let (lab, begun) = (lab(), Instant::now());
        let namespace = format!("e2e-{case}-{}", lab.suffix);
        let name = namespace.replace('-', "_");
        lab.script(&["scene", &namespace, server, &name, &generations.to_string()]).expect("a scene of the lab");
        label(&namespace);
        let subjects = [lab.maria.name, lab.paul.name].map(|name| format!("--user={name}"));
        let binding = ["--namespace", &namespace, "create", "rolebinding", "approvers", "--clusterrole=backfill-approver"];
        lab.cluster.kubectl(&[&binding[..], &[&subjects[0], &subjects[1]]].concat(), "");
        let maker = format!("--user={}", lab.dana.name);
        // What a run uses its maker may use: edit has Jobs, Secrets and ConfigMaps, and by aggregation the runs.
        lab.cluster.kubectl(&["--namespace", &namespace, "create", "rolebinding", "makers", "--clusterrole=edit", &maker], "");
        Self { namespace, client: lab.cluster.client().await, database: Database { server: server.into(), name }, begun }
    }

    /// What `kubectl` printed, in the namespace of the case.
    pub fn kubectl(&self, arguments: &[&str]) -> String {
        lab().cluster.kubectl(&[&["--namespace", self.namespace.as_str()], arguments].concat(), "")
    }

    /// Applies an object in the namespace of the case.
    pub fn apply(&self, object: &serde_json::Value) {
        lab().cluster.kubectl(&["--namespace", &self.namespace, "apply", "--filename", "-"], &object.to_string());
    }

    /// A merge patch of an object in the namespace of the case. (It goes by a file: what is secret is in no argument.)
    pub fn apply_patch(&self, kind: &str, name: &str, patch: &serde_json::Value) {
        let arguments = ["--namespace", &self.namespace, "patch", kind, name, "--type=merge", "--patch-file=/dev/stdin"];
        lab().cluster.kubectl(&arguments, &patch.to_string());
    }
}

fn label(namespace: &str) {
    lab().cluster.kubectl(&["label", "namespace", namespace, &format!("{LABEL}={}", lab().suffix)], "");
}

/// The test runner says how long all cases took; this file says it of each.
fn note_time(namespace: &str, begun: Instant) {
    let times = std::fs::OpenOptions::new().create(true).append(true).open(scratch().join("times"));
    drop(times.and_then(|mut file| writeln!(file, "{namespace} {} s", begun.elapsed().as_secs())));
}

impl Drop for Scene {
    /// A case that failed says what it saw and leaves its stage; after one that passed nobody waits for the sweepers.
    fn drop(&mut self) {
        note_time(&self.namespace, self.begun);
        if std::thread::panicking() {
            return evidence::print(&self.namespace);
        }
        let Self { namespace, database: Database { server, name }, .. } = &*self;
        let own = if server == SERVER { String::new() } else { server.clone() };
        let sweep = format!(
            "kubectl delete namespaces --wait=false {namespace} {own}
             [ -n '{own}' ] || kubectl -n {server} exec deployment/postgres -- psql -U postgres -c 'DROP DATABASE {name} WITH (FORCE)'"
        );
        let mut shell = lab().cluster.command("sh");
        drop(shell.args(["-c", &sweep]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn());
    }
}
