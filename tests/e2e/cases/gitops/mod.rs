//! Runs in Git, deployed by a real Argo CD; and what Flux would say of them.

mod again;
mod flag;
mod progress;
mod prune;
mod steering;
mod waves;

use crate::lab::lab;
use crate::manifest;
use serde_json::{Value, json};

/// As it stands in Git: without a name that the API server cannot believe, as it is Argo CD that creates it.
fn in_git(mut run: Value) -> Value {
    if let Some(annotations) = run["metadata"]["annotations"].as_object_mut() {
        annotations.remove("backfill.dev/requested-by");
    }
    run
}

/// The ConfigMap of the flags, as the lab makes it, with the flag on or off.
fn flags(on: bool) -> Value {
    let document = format!("{{\"import_generation\": {{\"enabled\": {on}}}, \"dark_mode\": {{\"enabled\": true}}}}\n");
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "app-flags"}, "data": {"features.json": document}})
}

/// An example for Argo CD, with the lab's image.
fn example(name: &str) -> Value {
    let mut object = manifest::read(&format!("examples/argocd/{name}.yaml"));
    if object["kind"] == "Deployment" {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!(lab().app_image);
    }
    object
}
