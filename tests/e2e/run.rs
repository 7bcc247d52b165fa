//! A run: applied, steered and watched as people do it.

use crate::lab::lab;
use crate::scene::Scene;
use crate::users::User;
use crate::wait::until;
use backfill_operator::api::conditions::{self, ConditionType};
use backfill_operator::api::status::AwaitingStatus;
use backfill_operator::api::{BackfillRun, BackfillRunStatus, Phase};
use kube::Api;
use serde_json::Value;
use std::time::{Duration, Instant};

/// A phase is reached, or a run ends, within this: pods start on a machine that compiles and runs three other cases.
const WITHIN: Duration = Duration::from_mins(3);

/// A run that waits for a change for so long waits for one that the case does not make.
const STALLED: Duration = Duration::from_mins(1);

/// A run in the namespace of a case.
pub struct Run<'s> {
    /// Runs end before their stage goes.
    scene: &'s Scene,
    /// Its name.
    pub name: String,
    api: Api<BackfillRun>,
}

impl<'s> Run<'s> {
    /// Dana applies it with kubectl.
    pub fn apply(scene: &'s Scene, manifest: &Value) -> Self {
        let arguments = ["--namespace", &scene.namespace, "apply", "--filename", "-"];
        lab().dana.kubectl(&lab().cluster, &arguments, &manifest.to_string()).unwrap_or_else(|complaint| panic!("{complaint}"));
        let name = manifest["metadata"]["name"].as_str().expect("a name").to_owned();
        Self { scene, name, api: Api::namespaced(scene.client.clone(), &scene.namespace) }
    }

    /// One that somebody else has applied, or soon will.
    pub async fn appears(scene: &'s Scene, name: &str) -> Self {
        let run = Self { scene, name: name.into(), api: Api::namespaced(scene.client.clone(), &scene.namespace) };
        until(&format!("the run {name} is there"), WITHIN, async || match run.api.get_opt(name).await {
            Ok(Some(_)) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        run
    }

    /// The resource as it is now.
    pub async fn get(&self) -> BackfillRun {
        self.api.get(&self.name).await.unwrap_or_else(|error| panic!("reading the run {}: {error}", self.name))
    }

    /// The resource as it is now, where it is there.
    pub async fn try_get(&self) -> Result<BackfillRun, String> {
        self.api.get(&self.name).await.map_err(|error| error.to_string())
    }

    /// Its status as it is now.
    pub async fn status(&self) -> BackfillRunStatus {
        self.get().await.status.unwrap_or_default()
    }

    /// A merge patch of Dana, who made the run.
    pub fn patch(&self, patch: &Value) {
        self.patched_by(&lab().dana, patch).unwrap_or_else(|complaint| panic!("{complaint}"));
    }

    /// A merge patch of somebody, or what the API server answers.
    pub fn patched_by(&self, user: &User, patch: &Value) -> Result<String, String> {
        let namespace = &self.scene.namespace;
        let arguments = ["--namespace", namespace, "patch", "backfillrun", &self.name, "--type=merge", "--patch-file=/dev/stdin"];
        user.kubectl(&lab().cluster, &arguments, &patch.to_string())
    }

    /// Waits for what a look at the status finds.
    pub async fn until<T>(&self, what: &str, mut look: impl FnMut(&BackfillRunStatus) -> Option<T>) -> T {
        until(what, WITHIN, async || {
            let status = self.status().await;
            look(&status).ok_or_else(|| format!("{}: {}", status.phase, status.message))
        })
        .await
    }

    /// Waits until the run has come to a phase; one that ends elsewhere never will.
    pub async fn reaches(&self, phase: Phase) -> BackfillRunStatus {
        let mut goes_on = Instant::now();
        let status = self
            .until(&format!("{} comes to {phase}", self.name), |status| {
                if !conditions::is_true(&status.conditions, ConditionType::Stalled) {
                    goes_on = Instant::now();
                }
                let there = status.phase == phase || status.history.iter().any(|step| step.to == phase);
                (there || status.phase.is_terminal() || goes_on.elapsed() > STALLED).then(|| status.clone())
            })
            .await;
        let there = status.phase == phase || !phase.is_terminal() && status.history.iter().any(|step| step.to == phase);
        assert!(there, "{} should have come to {phase}; it is {}: {}", self.name, status.phase, status.message);
        status
    }

    /// Waits until the run cannot go on for this reason, and returns what it tells people.
    pub async fn stalls(&self, reason: &str) -> String {
        let status = self
            .until(&format!("{} stalls with {reason}", self.name), |status| {
                let stalled = status.conditions.iter().any(|c| c.type_ == "Stalled" && c.status == "True" && c.reason == reason);
                (stalled || status.phase.is_terminal()).then(|| status.clone())
            })
            .await;
        assert!(!status.phase.is_terminal(), "{} should wait for a change, but it is {}: {}", self.name, status.phase, status.message);
        assert!(conditions::is_true(&status.conditions, ConditionType::Stalled), "{:?}", status.conditions);
        status.message
    }

    /// Waits until the operator has looked at the spec as it is now.
    pub async fn settles(&self) -> BackfillRunStatus {
        until(&format!("{} is looked at", self.name), WITHIN, async || {
            let run = self.get().await;
            let status = run.status.unwrap_or_default();
            if status.observed_generation == run.metadata.generation { Ok(status) } else { Err(status.message) }
        })
        .await
    }

    /// Waits until people are asked, and returns what.
    pub async fn asks(&self) -> AwaitingStatus {
        self.reaches(Phase::AwaitingApproval).await;
        self.until(&format!("{} asks for approval", self.name), |status| status.awaiting.clone()).await
    }

    /// Has a person paste the command that the status shows into their own shell.
    pub async fn approved_by(&self, user: &User) -> AwaitingStatus {
        let awaiting = self.asks().await;
        // What was changed a moment ago, be it by another's approval, the operator looks at first.
        self.settles().await;
        let end = user.shell(&lab().cluster, &awaiting.command);
        assert!(end.status.success(), "{} approves by {:?}: {}", user.name, awaiting.command, String::from_utf8_lossy(&end.stderr));
        awaiting
    }

    /// Approved by as many as are asked for: two, where nobody says who wants the run.
    pub async fn approved(&self) -> AwaitingStatus {
        let awaiting = self.approved_by(&lab().maria).await;
        if awaiting.required > 1 {
            self.approved_by(&lab().paul).await;
        }
        awaiting
    }

    /// Approved by Maria as soon as somebody is asked, and waited for to its end.
    pub async fn succeeds(&self) -> BackfillRunStatus {
        self.approved_by(&lab().maria).await;
        self.reaches(Phase::Succeeded).await
    }
}
