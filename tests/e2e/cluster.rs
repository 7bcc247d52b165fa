//! The cluster of `tests/cluster`, and the programs and clients that work on it.

use crate::program::{output, root};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

/// A running cluster.
pub struct Cluster {
    kubeconfig: PathBuf,
    path: OsString,
    /// Who runs it: `native`, `kind` or `context`.
    pub provider: String,
}

impl Cluster {
    /// Starts it, or takes the one that runs.
    pub fn up() -> Result<Self, String> {
        let script = |argument: &str| {
            let text = output(Command::new(root().join("tests/cluster/cluster")).arg(argument), "")?;
            Ok::<_, String>(text.trim().to_owned())
        };
        script("up")?;
        let binaries = output(&mut Command::new(root().join("tests/cluster/binaries.sh")), "")?;
        let mut path = OsString::from(binaries.trim());
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        Ok(Self { kubeconfig: script("kubeconfig")?.into(), path, provider: script("provider")? })
    }

    /// A program that finds the cluster and its tools.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", &self.kubeconfig).env("PATH", &self.path);
        command
    }

    /// What `kubectl` printed, or what it complained about.
    pub fn try_kubectl(&self, arguments: &[&str], stdin: &str) -> Result<String, String> {
        output(self.command("kubectl").args(arguments), stdin)
    }

    /// What `kubectl` printed.
    pub fn kubectl(&self, arguments: &[&str], stdin: &str) -> String {
        self.try_kubectl(arguments, stdin).unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// A client; one for each case, since a client lives in the runtime that made it.
    pub async fn client(&self) -> Client {
        // A second case of the same process finds it installed.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig).expect("the cluster's kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a usable kubeconfig");
        Client::try_from(config).expect("a client")
    }
}
