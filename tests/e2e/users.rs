//! People: real identities of the cluster, by client certificates that it signed.

use crate::cluster::Cluster;
use crate::program::{output, run, scratch};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Makes runs and steers them; approves none.
pub const DANA: &str = "dana@example.org";
/// May approve.
pub const MARIA: &str = "maria@example.org";
/// May approve, too.
pub const PAUL: &str = "paul@example.org";

/// How long the cluster may take to sign.
const SIGNING: Duration = Duration::from_secs(30);

/// A person with a kubeconfig.
pub struct User {
    /// As the API server calls them.
    pub name: &'static str,
    kubeconfig: PathBuf,
}

impl User {
    /// Makes a key, has it signed for the name, and writes a kubeconfig.
    pub fn make(cluster: &Cluster, name: &'static str) -> Result<Self, String> {
        let folder = scratch();
        let (key, kubeconfig) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.kubeconfig")));
        let certificate = sign(cluster, name, &request(name, &key)?)?;
        let mut config: Value =
            serde_json::from_str(&cluster.try_kubectl(&["config", "view", "--raw", "--minify", "--flatten", "--output", "json"], "")?)
                .map_err(|error| error.to_string())?;
        let key = std::fs::read(&key).map_err(|error| error.to_string())?;
        config["users"][0]["user"] = json!({"client-certificate-data": certificate, "client-key-data": STANDARD.encode(key)});
        std::fs::write(&kubeconfig, config.to_string()).map_err(|error| error.to_string())?;
        Ok(Self { name, kubeconfig })
    }

    /// kubectl of this person, with a text on its input.
    pub fn kubectl(&self, cluster: &Cluster, arguments: &[&str], stdin: &str) -> Result<String, String> {
        output(cluster.command("kubectl").env("KUBECONFIG", &self.kubeconfig).args(arguments), stdin)
    }

    /// What a shell of this person makes of a command.
    pub fn shell(&self, cluster: &Cluster, command: &str) -> Output {
        run(cluster.command("sh").env("KUBECONFIG", &self.kubeconfig).args(["-c", command]), "")
    }
}

fn request(name: &str, key: &Path) -> Result<String, String> {
    let subject = format!("/CN={name}");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", &subject, "-keyout"]).arg(key);
    output(&mut openssl, "")
}

fn sign(cluster: &Cluster, name: &str, request: &str) -> Result<String, String> {
    let object = format!("e2e-{}", name.replace('@', "."));
    let csr = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest", "metadata": {"name": object},
        "spec": {
            "request": STANDARD.encode(request), "signerName": "kubernetes.io/kube-apiserver-client",
            "expirationSeconds": 86_400, "usages": ["client auth"],
        },
    });
    cluster.try_kubectl(&["delete", "csr", &object, "--ignore-not-found"], "")?;
    cluster.try_kubectl(&["create", "--filename", "-"], &csr.to_string())?;
    cluster.try_kubectl(&["certificate", "approve", &object], "")?;
    let begun = Instant::now();
    while begun.elapsed() < SIGNING {
        let certificate = cluster.try_kubectl(&["get", "csr", &object, "--output", "jsonpath={.status.certificate}"], "")?;
        if !certificate.is_empty() {
            return Ok(certificate);
        }
    }
    Err(format!("the cluster did not sign the certificate of {name} within {} s", SIGNING.as_secs()))
}
