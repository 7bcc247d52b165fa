//! An Argo CD Application of a case's own: that of the examples, with the case's repository and namespace.

use crate::argocd::{self, argocd, try_argocd};
use crate::lab::lab;
use crate::manifest;
use crate::repository::Repository;
use crate::scene::Scene;
use crate::wait::until;
use serde_json::{Value, json};
use std::time::Duration;

/// For Argo CD to see, compare and write, on a machine that compiles and runs other cases.
const WITHIN: Duration = Duration::from_mins(3);

/// An Application and its repository.
pub struct Application<'s> {
    /// Applications end before their stage goes.
    _scene: &'s Scene,
    /// Its name.
    pub name: String,
    /// What it deploys.
    pub repository: Repository,
}

impl<'s> Application<'s> {
    /// Made from the example with these manifests in its repository; `change` may alter it before.
    pub fn new(scene: &'s Scene, files: &[(&str, &Value)], change: impl FnOnce(&mut Value)) -> Self {
        argocd::is_up();
        let name = scene.namespace.clone();
        let repository = Repository::new(&name);
        let files: Vec<_> = files.iter().map(|(file, manifest)| (*file, Some(*manifest))).collect();
        repository.commit("first", &files);
        let mut application = manifest::read("examples/argocd/application.yaml");
        application["metadata"]["name"] = json!(name);
        application["spec"]["source"]["repoURL"] = json!(repository.url());
        application["spec"]["destination"] = json!({"name": "tests", "namespace": scene.namespace});
        change(&mut application);
        lab().cluster.kubectl(&["--namespace", "argocd", "apply", "--filename", "-"], &application.to_string());
        Self { _scene: scene, name, repository }
    }

    /// Commits, and has Argo CD look at once, as a webhook would.
    pub fn commit(&self, message: &str, files: &[(&str, Option<&Value>)]) {
        self.repository.commit(message, files);
        self.refresh("--refresh");
    }

    /// `--refresh`, or `--hard-refresh`, which forgets what it has kept of the repository, too.
    pub fn refresh(&self, how: &str) {
        argocd(&["app", "get", &self.name, how]);
    }

    /// A sync by hand; an operation that is under way is waited for.
    pub async fn sync(&self, options: &[&str]) -> Result<String, String> {
        until("no other operation is under way", WITHIN, async || {
            match try_argocd(&[&["app", "sync", &self.name, "--timeout", "120"], options].concat()) {
                Err(complaint) if complaint.contains("another operation is already in progress") => Err(complaint),
                end => Ok(end),
            }
        })
        .await
    }

    /// Ends the sync that is under way: one that fails is tried again for minutes, and a later commit waits for its end.
    pub fn give_up_sync(&self) {
        argocd(&["app", "terminate-op", &self.name]);
    }

    /// What Argo CD says in its status.
    pub fn status(&self) -> Value {
        let text = lab().cluster.kubectl(&["--namespace", "argocd", "get", "applications.argoproj.io", &self.name, "--output=json"], "");
        serde_json::from_str::<Value>(&text).expect("kubectl prints JSON")["status"].clone()
    }

    /// Synced or not, and healthy or not.
    pub fn state(&self) -> (String, String) {
        let status = self.status();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (word(&status["sync"]["status"]), word(&status["health"]["status"]))
    }

    /// Waits for both.
    pub async fn is(&self, sync: &str, health: &str) {
        until(&format!("the Application is {sync} and {health}"), WITHIN, async || {
            let state = self.state();
            if (state.0.as_str(), state.1.as_str()) == (sync, health) { Ok(()) } else { Err(format!("{state:?}: {}", self.operation())) }
        })
        .await;
    }

    /// Phase and message of the latest sync.
    pub fn operation(&self) -> String {
        let operation = &self.status()["operationState"];
        format!("{}: {}", operation["phase"].as_str().unwrap_or_default(), operation["message"].as_str().unwrap_or_default())
    }

    /// Health and message of a run, as Argo CD shows them.
    pub fn health_of(&self, run: &str) -> (String, String) {
        let text = argocd(&["app", "get", &self.name, "--output", "json"]);
        let application: Value = serde_json::from_str(&text).expect("argocd prints JSON");
        let resources = application["status"]["resources"].as_array().cloned().unwrap_or_default();
        let health = resources.into_iter().find(|r| r["kind"] == "BackfillRun" && r["name"] == run).map(|r| r["health"].clone());
        let word = |name: &str| health.as_ref().and_then(|h| h[name].as_str()).unwrap_or_default().to_owned();
        (word("status"), word("message"))
    }

    /// Presses a button of a run.
    pub fn action(&self, run: &str, action: &str) {
        argocd(&["app", "actions", "run", &self.name, action, "--kind", "BackfillRun", "--resource-name", run]);
    }

    /// The buttons of a run that can be pressed.
    pub fn actions(&self, run: &str) -> Vec<String> {
        let text = argocd(&["app", "actions", "list", &self.name, "--kind", "BackfillRun", "--resource-name", run, "--out", "json"]);
        let actions: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let enabled = actions.iter().filter(|a| a["Disabled"] != true && a["disabled"] != true);
        let mut names: Vec<_> = enabled.map(|a| a["Action"].as_str().or(a["action"].as_str()).unwrap_or_default().to_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Application<'_> {
    /// The Application only: what it deployed goes with the namespace.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("== Application {}: {:#}", self.name, self.status());
        }
        drop(lab().cluster.try_kubectl(&["--namespace", "argocd", "delete", "applications.argoproj.io", &self.name, "--wait=false"], ""));
    }
}
