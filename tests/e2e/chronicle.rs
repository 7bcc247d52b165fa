//! What a run and its Application were like while nobody looked: each state once.

use crate::scene::Scene;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde_json::Value;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Between two looks: a phase that lasts shorter may be missed.
const PAUSE: Duration = Duration::from_millis(100);

/// What was seen.
#[derive(Default)]
struct Seen {
    runs: Vec<Value>,
    applications: Vec<(String, String)>,
}

/// Being written.
pub struct Chronicle {
    seen: Arc<Mutex<Seen>>,
    over: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

fn resource(group: &str, kind: &str) -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, "v1alpha1", kind))
}

impl Chronicle {
    /// Begins to look at a run of the scene, and at the Application of the scene's name, where there is one.
    pub fn begin(scene: &Scene, run: &str) -> Self {
        let runs: Api<DynamicObject> =
            Api::namespaced_with(scene.client.clone(), &scene.namespace, &resource("backfill.dev", "BackfillRun"));
        let applications: Api<DynamicObject> =
            Api::namespaced_with(scene.client.clone(), "argocd", &resource("argoproj.io", "Application"));
        let (seen, over) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (notes, end, name, application) = (seen.clone(), over.clone(), run.to_owned(), scene.namespace.clone());
        let task = tokio::spawn(async move {
            loop {
                // Asked before the look: the last one is made after the end was called for.
                let last = end.load(Ordering::Relaxed);
                if let Ok(Some(run)) = runs.get_opt(&name).await {
                    note_run(&notes, serde_json::to_value(&run).expect("a run is JSON"));
                }
                if let Ok(Some(application)) = applications.get_opt(&application).await {
                    let word = |path: &str| application.data.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
                    let state = (word("/status/sync/status"), word("/status/health/status"));
                    let mut notes = notes.lock().expect("nobody panics with it");
                    if notes.applications.last() != Some(&state) {
                        notes.applications.push(state);
                    }
                }
                if last {
                    return;
                }
                tokio::time::sleep(PAUSE).await;
            }
        });
        Self { seen, over, task }
    }

    /// Ends it: the states of the run, each once, and those of the Application (sync, health), in their order.
    pub async fn end(self) -> (Vec<Value>, Vec<(String, String)>) {
        self.over.store(true, Ordering::Relaxed);
        self.task.await.expect("the chronicle was written");
        let mut seen = self.seen.lock().expect("nobody panics with it");
        (std::mem::take(&mut seen.runs), std::mem::take(&mut seen.applications))
    }
}

fn note_run(notes: &Mutex<Seen>, run: Value) {
    let state = |run: &Value| {
        let stalled =
            run["status"]["conditions"].as_array().is_some_and(|all| all.iter().any(|c| c["type"] == "Stalled" && c["status"] == "True"));
        let seen = run["status"]["observedGeneration"] == run["metadata"]["generation"];
        (run["status"]["phase"].clone(), run["status"]["awaiting"].is_object(), stalled, run["spec"]["suspend"].clone(), seen)
    };
    let mut notes = notes.lock().expect("nobody panics with it");
    if !notes.runs.iter().any(|known| state(known) == state(&run)) {
        notes.runs.push(run);
    }
}
