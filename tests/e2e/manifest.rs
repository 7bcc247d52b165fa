//! What the cases apply: the example of the README, and a small run for what needs no more.

use crate::lab::lab;
use crate::program::root;
use crate::users::DANA;
use serde_json::{Value, json};

/// The example, with images and times of the lab.
pub fn example() -> Value {
    let mut run = read("examples/import-generation/backfillrun.yaml");
    run["spec"]["migrations"]["job"]["template"]["spec"]["containers"][0]["image"] = json!(lab().app_image);
    run["spec"]["monitor"]["duration"] = json!("5s");
    run
}

/// The example with the team's own script.
pub fn script() -> Value {
    script_of("examples/script/backfillrun.yaml")
}

/// The same, captured.
pub fn captured_script() -> Value {
    script_of("examples/script-captured/backfillrun.yaml")
}

fn script_of(example: &str) -> Value {
    let mut run = read(example);
    for job in ["dryRun", "apply"] {
        run["spec"]["backfill"]["job"][job]["template"]["spec"]["containers"][0]["image"] = json!(lab().app_image);
    }
    run
}

/// An example, read by kubectl, which knows octal numbers of YAML 1.1.
pub fn read(example: &str) -> Value {
    let path = root().join(example);
    let text = lab().cluster.kubectl(&["create", "--dry-run=client", "--output=json", "--filename", &path.to_string_lossy()], "");
    let mut run: Value = serde_json::from_str(&text).expect("kubectl prints JSON");
    run["metadata"].as_object_mut().expect("metadata").remove("namespace");
    run
}

/// Fills each scenario's missing prompt from what the application never writes: no migration, no flag, no watch.
pub fn small(name: &str) -> Value {
    json!({
        "apiVersion": "backfill.dev/v1alpha1",
        "kind": "BackfillRun",
        "metadata": {"name": name, "annotations": {"backfill.dev/requested-by": DANA}},
        "spec": {
            "database": {
                "secretRef": {"name": "scenarios-db"},
                "planSecretRef": {"name": "scenarios-db-ro"},
                "tls": {"mode": "VerifyFull", "caSecretRef": {"name": "scenarios-db-ca"}},
            },
            "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups"}}},
            "backfill": {"sql": {
                "source": {"table": "scenarios", "where": "s.accepted_prompt IS NULL"},
                // Of the id, and not of the title: the application renames scenarios all the while, and that is drift.
                "writes": [{"set": {"accepted_prompt": "'filled: ' || s.id"}}],
            }},
        },
    })
}
