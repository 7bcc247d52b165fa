//! A Git repository of a case's own, that Argo CD reads.

use crate::program::{output, scratch};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// The folder that the Application of the examples names.
const FOLDER: &str = "staging";

/// A bare repository, and a working copy of it.
pub struct Repository {
    bare: PathBuf,
    work: PathBuf,
}

impl Repository {
    /// An empty one; what an earlier suite left there is removed.
    pub fn new(name: &str) -> Self {
        let folder = scratch().join("repositories").join(name);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("a folder for the repository");
        let (bare, work) = (folder.join("bare.git"), folder.join("work"));
        git(Command::new("git").args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&bare));
        git(Command::new("git").args(["clone", "--quiet"]).arg(&bare).arg(&work));
        std::fs::create_dir_all(work.join(FOLDER)).expect("a folder for manifests");
        Self { bare, work }
    }

    /// As Argo CD calls it.
    pub fn url(&self) -> String {
        format!("file://{}", self.bare.display())
    }

    /// Commits these manifests, each under its file's name, and takes away those that are `None`.
    pub fn commit(&self, message: &str, files: &[(&str, Option<&Value>)]) {
        for (name, manifest) in files {
            let path = self.work.join(FOLDER).join(format!("{name}.yaml"));
            match manifest {
                Some(manifest) => std::fs::write(path, manifest.to_string()).expect("a manifest"),
                None => std::fs::remove_file(path).expect("the manifest was there"),
            }
        }
        for arguments in [&["add", "--all"][..], &["commit", "--quiet", "--message", message], &["push", "--quiet", "origin", "HEAD:main"]]
        {
            git(Command::new("git").arg("-C").arg(&self.work).args(arguments));
        }
    }
}

/// Whoever runs the tests, and however their git is set up.
fn git(command: &mut Command) {
    for (name, value) in [("NAME", "dana"), ("EMAIL", "dana@example.org")] {
        command.env(format!("GIT_AUTHOR_{name}"), value).env(format!("GIT_COMMITTER_{name}"), value);
    }
    output(command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null"), "").expect("git");
}
