//! The definition of `BackfillRun` on a real API server: what it takes, what it refuses, and in which words.
//!
//! Each test installs the definition under an API group of its own and takes it away again, so that tests neither
//! disturb one another nor what is installed in the cluster.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

#[path = "cluster/client.rs"]
mod client;

use futures::FutureExt as _;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

const SMALLEST: &str = include_str!("../examples/smallest/backfillrun.yaml");
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

struct Cluster {
    client: kube::Client,
    group: String,
    runs: Api<DynamicObject>,
}

/// Runs `test` against the definition under the group `NAME.backfill.dev`.
async fn with_definition<F: AsyncFnOnce(&Cluster)>(name: &str, test: F) {
    let client = client::client().await;
    let group = format!("{name}.backfill.dev");
    let crd_name = format!("backfillruns.{group}");
    let mut definition = backfill_operator::api::crd::definition().unwrap();
    definition["metadata"]["name"] = json!(crd_name);
    definition["spec"]["group"] = json!(group);
    // Short names and categories belong to the real one.
    definition["spec"]["names"] = json!({"kind": "BackfillRun", "plural": "backfillruns", "singular": "backfillrun"});
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let apply = PatchParams::apply("resource-test").force();
    crds.patch(&crd_name, &apply, &Patch::Apply(&definition)).await.expect("the API server takes the definition");
    let established = await_condition(crds.clone(), &crd_name, conditions::is_crd_established());
    tokio::time::timeout(Duration::from_secs(30), established).await.expect("established within 30 s").unwrap();

    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(&group, "v1alpha1", "BackfillRun"), "backfillruns");
    let runs = Api::namespaced_with(client.clone(), "default", &resource);
    let cluster = Cluster { client, group, runs };
    for _ in 0..100 {
        if cluster.runs.list(&kube::api::ListParams::default()).await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let end = AssertUnwindSafe(test(&cluster)).catch_unwind().await;
    let _ = crds.delete(&crd_name, &DeleteParams::default()).await;
    if let Err(panic) = end {
        std::panic::resume_unwind(panic);
    }
}

impl Cluster {
    fn smallest(&self) -> Value {
        let mut run: Value = serde_yaml_ng::from_str(SMALLEST).unwrap();
        run["apiVersion"] = json!(format!("{}/v1alpha1", self.group));
        run
    }

    /// The server's answer to the smallest run with `patch` merged in; nothing is stored.
    async fn dry_create(&self, patch: &Value) -> Result<(), String> {
        let mut run = self.smallest();
        merge(&mut run, patch);
        let object = serde_json::from_value(run).unwrap();
        let params = PostParams { dry_run: true, field_manager: None };
        self.runs.create(&params, &object).await.map(drop).map_err(message)
    }

    async fn patch(&self, patch: &Value) -> Result<(), String> {
        self.runs.patch("import-generation", &PatchParams::default(), &Patch::Merge(patch)).await.map(drop).map_err(message)
    }

    /// An update of a stored run; the answer only, nothing is changed.
    async fn dry_patch(&self, patch: &Value) -> Result<(), String> {
        self.runs.patch("import-generation", &PatchParams::default().dry_run(), &Patch::Merge(patch)).await.map(drop).map_err(message)
    }
}

fn message(error: kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => panic!("no answer of the API server: {other}"),
    }
}

/// A JSON merge patch.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().shift_remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn job() -> Value {
    json!({"template": {"spec": {"containers": [{"name": "app", "image": "app:1"}]}}})
}

#[tokio::test]
async fn the_smallest_run_is_at_most_25_lines_and_accepted_with_safe_defaults() {
    assert!(SMALLEST.lines().count() <= 25);
    with_definition("smallest", async |cluster| {
        let object = serde_json::from_value(cluster.smallest()).unwrap();
        let stored = cluster.runs.create(&PostParams { dry_run: true, field_manager: None }, &object).await.unwrap();
        let spec = &stored.data["spec"];
        assert_eq!(spec["approval"], json!({"required": 1, "timeout": "72h"}));
        assert_eq!(spec["rollback"], json!({"trigger": "Failure", "method": "Auto", "keepUndo": "168h"}));
        assert_eq!(spec["backfill"]["sql"]["drift"], json!({"mode": "Skip", "maxPercent": 1}));
        assert_eq!(spec["backfill"]["sql"]["batch"], json!({"size": "Auto", "target": "500ms", "max": 5000, "pause": "0s"}));
        assert_eq!(spec["backfill"]["sql"]["throttle"], json!({"maxReplicationLag": "10s", "hold": "10s"}));
    })
    .await;
}

/// Where something that was given is not stored as it was given; defaults may stand beside it.
fn lost(stored: &Value, given: &Value, path: &str) -> Option<String> {
    match (stored, given) {
        (Value::Object(stored), Value::Object(given)) => {
            given.iter().find_map(|(key, value)| lost(stored.get(key).unwrap_or(&Value::Null), value, &format!("{path}.{key}")))
        }
        (Value::Array(stored), Value::Array(given)) if stored.len() == given.len() => {
            stored.iter().zip(given).enumerate().find_map(|(n, (stored, given))| lost(stored, given, &format!("{path}[{n}]")))
        }
        (stored, given) => (stored != given).then(|| path.to_owned()),
    }
}

#[tokio::test]
async fn every_example_is_accepted_and_nothing_of_it_is_dropped() {
    with_definition("examples", async |cluster| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().join("backfillrun.yaml"));
        let files: Vec<_> = files.filter(|file| file.is_file()).collect();
        assert!(files.len() > 10, "{files:?}");
        for file in files {
            let mut run: Value = serde_yaml_ng::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            run["apiVersion"] = json!(format!("{}/v1alpha1", cluster.group));
            let object = serde_json::from_value(run.clone()).unwrap();
            let params = PostParams { dry_run: true, field_manager: None };
            let stored =
                cluster.runs.create(&params, &object).await.unwrap_or_else(|error| panic!("{}: {}", file.display(), message(error)));
            assert_eq!(lost(&stored.data["spec"], &run["spec"], "spec"), None, "{}", file.display());
        }
    })
    .await;
}

#[tokio::test]
async fn backups_that_do_not_go_with_the_rest_of_a_run_are_refused_in_words() {
    let cases = [
        (
            json!({"spec": {"backup": {"rehearsal": {"applyPlan": false}}}}),
            "backup.rehearsal says how a dump is restored for its proof: set backup.proof: Restore, or take the block out",
        ),
        (
            json!({"spec": {"backup": {"proof": "Read", "rehearsal": {"applyPlan": false}}}}),
            "backup.rehearsal says how a dump is restored for its proof",
        ),
        (
            json!({"spec": {"backup": {"scope": "Tables"}, "rollback": {"restore": "Swap"}}}),
            "backup.scope: Tables holds the rows of the tables that the run writes",
        ),
        (json!({"spec": {"backup": {"existing": {}}}}), "backup.existing: set exactly one of path and cnpgBackup"),
        (json!({"spec": {"backup": {"existing": {"path": "../up.dump"}}}}), "spec.backup.existing.path"),
        (json!({"spec": {"backup": {"existing": {"path": "a.dump"}, "retain": {"last": 3}}}}), "neither deleted nor cut to some tables"),
        (json!({"spec": {"backup": {"existing": {"cnpgBackup": {"name": "n"}}, "proof": "Restore"}}}), "so none can be rehearsed"),
        (
            json!({"spec": {"backup": {"existing": {"cnpgBackup": {"name": "n"}}}, "rollback": {"method": "Restore"}}}),
            "undo must be a way back",
        ),
        (json!({"spec": {"backup": {"scope": "Tables"}, "migrations": {"job": job()}}}), "migrations change what is no row"),
        (
            json!({"spec": {"backup": {"scope": "Tables"}, "backfill": {"sql": null, "job": {"dryRun": job(), "apply": job()}}}}),
            "only a run with backfill.sql says which these are",
        ),
    ];
    with_definition("backup-rules", async |cluster| {
        for (patch, expected) in &cases {
            let answer = cluster.dry_create(patch).await.expect_err(&format!("accepted: {patch}"));
            assert!(answer.contains(expected), "{patch}\n  expected: {expected}\n  answered: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn each_rule_refuses_in_its_own_words() {
    let cases = [
        (json!({"metadata": {"name": "x".repeat(64)}}), "metadata.name: at most 63 characters"),
        (
            json!({"spec": {"approvals": {"x".repeat(257): {"decision": "Approve", "digest": DIGEST}}}}),
            "a user name has at most 256 characters",
        ),
        (json!({"spec": {"approvals": {"maria": {"decision": "Approve", "digest": "latest"}}}}), "should match '^sha256:[0-9a-f]{64}$'"),
        (
            json!({"spec": {"backfill": {"sql": {"writes": [{"table": "scenarios", "set": {"a": "1"}}]}}}}),
            "writes: set table and match together, or neither",
        ),
        (
            json!({"spec": {"backfill": {"sql": {"writes": [{"cascades": "Capture", "set": {"a": "1"}}]}}}}),
            "writes: cascades goes with action: Delete",
        ),
        (json!({"spec": {"after": [{"name": "first", "condition": "Planned"}]}}), "spec.after[0].condition"),
        (json!({"spec": {"backfill": {"job": {"dryRun": job(), "apply": job()}}}}), "backfill: set exactly one of sql"),
        (json!({"spec": {"backfill": {"sql": null}}}), "backfill: set exactly one of sql"),
        (
            json!({"spec": {"backfill": {"sql": {"validate": [{"name": "v", "value": "s.a", "schema": {}}]}}}}),
            "schema: set exactly one of inline",
        ),
        (
            json!({"spec": {"backfill": {"sql": {"sensitiveData": {"columns": ["a"], "extraRules": {"inline": [], "configMapKeyRef": {"name": "m", "key": "k"}}}}}}}),
            "extraRules: set exactly one of inline",
        ),
        (
            json!({"spec": {"backfill": {"sql": {"sensitiveData": {"columns": ["a"], "extraRules": {"inline": [{"name": "Our Rule", "regex": "x"}]}}}}}}),
            "spec.backfill.sql.sensitiveData.extraRules.inline[0].name",
        ),
        (json!({"spec": {"backfill": {"sql": {"sensitiveData": {"columns": []}}}}}), "spec.backfill.sql.sensitiveData.columns"),
        (json!({"spec": {"backfill": {"sql": {"writes": []}}}}), "should have at least 1 items"),
        (json!({"spec": {"database": {"tls": {"mode": "VerifyFull"}}}}), "tls.mode VerifyFull needs tls.caSecretRef"),
        (
            json!({"spec": {"preflight": {"environment": [{"name": "APP_ENV", "value": "staging", "matches": "database"}]}}}),
            "preflight.environment: set exactly one of value and matches",
        ),
        (
            json!({"spec": {"preflight": {"checks": [{"name": "c", "sql": "SELECT 1", "expect": {"equals": 1, "atMost": 2}}]}}}),
            "expect: set equals, or atLeast and/or atMost",
        ),
        (
            json!({"spec": {"release": {"workloadRef": {"name": "app"}, "commitFrom": {"label": "a", "annotation": "b"}}}}),
            "release.commitFrom: set exactly one of label, annotation, imageTag",
        ),
        (
            json!({"spec": {"verify": [{"name": "v", "sql": "SELECT 1", "expect": {"equals": 1}, "job": job()}]}}),
            "verify: set exactly one of sql and job",
        ),
        (json!({"spec": {"verify": [{"name": "v", "sql": "SELECT 1"}]}}), "verify: sql and expect go together"),
        (
            json!({"spec": {"verify": [{"name": "v", "job": {"template": {"spec": {}}}}]}}),
            "spec.verify[0].job.template.spec.containers: Required value",
        ),
        (
            json!({"spec": {"migrations": {"job": {"template": {"spec": {"containers": []}}}}}}),
            "spec.migrations.job.template.spec.containers",
        ),
        (json!({"spec": {"backup": {"maxAge": "soon"}}}), "spec.backup.maxAge"),
        (json!({"spec": {"backup": {"destination": {"persistentVolumeClaim": {"path": "../up"}}}}}), "persistentVolumeClaim.path"),
        (
            json!({"spec": {"backup": {"destination": {"s3": {"bucket": "dumps", "secretRef": {"name": "key"}}}}}}),
            "backup.destination: set exactly one of persistentVolumeClaim and s3",
        ),
        (
            json!({"spec": {"backup": {"destination": {"s3": {"bucket": "dumps", "endpoint": "minio:9000", "secretRef": {"name": "key"}}}}}}),
            "s3.endpoint",
        ),
        (json!({"spec": {"backup": {"compression": "Brotli"}}}), "spec.backup.compression"),
        (json!({"spec": {"backup": {"jobs": 0}}}), "spec.backup.jobs"),
        (json!({"spec": {"backup": {"retain": {"last": 0}}}}), "spec.backup.retain.last"),
        (
            json!({"spec": {"featureFlag": {"name": "f", "provider": {"configMap": {"name": "c", "key": "k", "path": "no-pointer"}}}}}),
            "spec.featureFlag.provider.configMap.path",
        ),
        (json!({"spec": {"approval": {"required": 0}}}), "spec.approval.required"),
        (json!({"spec": {"backfill": {"sql": {"batch": {"size": 0}}}}}), "spec.backfill.sql.batch.size"),
        (json!({"spec": {"backfill": {"sql": {"batch": {"size": 5001}}}}}), "spec.backfill.sql.batch.size"),
        (json!({"spec": {"backfill": {"sql": {"batch": {"size": "many"}}}}}), "spec.backfill.sql.batch.size"),
        (json!({"spec": {"backfill": {"sql": {"throttle": {"maxWalRate": "fast"}}}}}), "spec.backfill.sql.throttle.maxWalRate"),
        (json!({"spec": {"backfill": {"sql": {"throttle": {"query": {"sql": "SELECT 1"}}}}}}), "spec.backfill.sql.throttle.query.max"),
    ];
    with_definition("rules", async |cluster| {
        for (patch, expected) in &cases {
            let answer = cluster.dry_create(patch).await.expect_err(&format!("accepted: {patch}"));
            assert!(answer.contains(expected), "{patch}\n  expected: {expected}\n  answered: {answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_field_that_is_null_does_not_count_as_set() {
    with_definition("nulls", async |cluster| {
        let mut run = cluster.smallest();
        run["spec"]["verify"] = json!([{"name": "v", "sql": "SELECT 1", "expect": {"equals": null}}]);
        let object = serde_json::from_value(run).unwrap();
        let answer = cluster.runs.create(&PostParams { dry_run: true, field_manager: None }, &object).await.map(drop).map_err(message);
        let answer = answer.expect_err("an expectation that expects nothing was accepted");
        assert!(answer.contains("expect"), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn an_unknown_field_is_refused_where_it_stands() {
    with_definition("unknown", async |cluster| {
        let mut run = cluster.smallest();
        run["spec"]["backfill"]["sql"]["source"]["limit"] = json!(5);
        let path = format!("/apis/{}/v1alpha1/namespaces/default/backfillruns?dryRun=All&fieldValidation=Strict", cluster.group);
        let request =
            axum::http::Request::post(path).header("content-type", "application/json").body(serde_json::to_vec(&run).unwrap()).unwrap();
        let answer = cluster.client.request::<Value>(request).await.map(drop).map_err(message).unwrap_err();
        assert!(answer.contains("unknown field \"spec.backfill.sql.source.limit\""), "{answer}");
    })
    .await;
}

#[tokio::test]
async fn once_data_changes_only_what_steers_the_run_may_change() {
    with_definition("frozen", async |cluster| {
        let mut run = cluster.smallest();
        run["spec"]["migrations"] = json!({"job": job()});
        run["spec"]["verify"] = json!([{"name": "v", "job": job()}]);
        cluster.runs.create(&PostParams::default(), &serde_json::from_value(run).unwrap()).await.unwrap();
        cluster.patch(&json!({"spec": {"approval": {"required": 2}}})).await.expect("free before data changes");
        let status = Patch::Merge(json!({"status": {"mutationStarted": true}}));
        cluster.runs.patch_status("import-generation", &PatchParams::default(), &status).await.unwrap();

        for patch in frozen_changes() {
            let answer = cluster.dry_patch(&patch).await.expect_err(&format!("accepted: {patch}"));
            assert!(answer.contains("data has begun to change (status.mutationStarted)"), "{patch}: {answer}");
        }
        for patch in [
            json!({"metadata": {"labels": {"a": "b"}}}),
            json!({"spec": {"suspend": true}}),
            json!({"spec": {"abandon": true}}),
            json!({"spec": {"backfill": {"sql": {"batch": {"size": 10, "pause": "1s"}}}}}),
            json!({"spec": {"backfill": {"sql": {"batch": {"size": "Auto", "target": "2s", "max": 100}}}}}),
            json!({"spec": {"backfill": {"sql": {"throttle": {"maxReplicationLag": "1m", "maxActiveBackends": 7, "maxWaitingLocks": 0,
                "maxWalRate": "50Mi", "avoidAutovacuum": true, "query": {"sql": "SELECT 1", "max": 1}, "hold": "0s"}}}}}),
            json!({"spec": {"approvals": {"maria@example.org": {"decision": "Approve", "digest": DIGEST}}}}),
            json!({"spec": {"notifications": [{"channel": "team", "events": ["Failed"]}]}}),
        ] {
            cluster.dry_patch(&patch).await.unwrap_or_else(|answer| panic!("refused: {patch}: {answer}"));
        }

        cluster.patch(&json!({"spec": {"abort": true}})).await.expect("abort is always possible");
        for patch in [json!({"spec": {"abort": false}}), json!({"spec": {"abort": null}})] {
            let answer = cluster.dry_patch(&patch).await.unwrap_err();
            assert!(answer.contains("spec.abort cannot be taken back"), "{answer}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_finished_run_says_what_was_done_and_a_change_of_it_is_refused_with_what_to_do_instead() {
    with_definition("finished", async |cluster| {
        let mut run = cluster.smallest();
        run["spec"]["migrations"] = json!({"job": job()});
        run["spec"]["verify"] = json!([{"name": "v", "job": job()}]);
        cluster.runs.create(&PostParams::default(), &serde_json::from_value(run).unwrap()).await.unwrap();
        cluster.patch(&json!({"spec": {"approval": {"required": 2}}})).await.expect("free before the end");
        // Denied, for example: nothing was ever begun.
        let status = Patch::Merge(json!({"status": {"phase": "Denied", "mutationStarted": false, "finishedAt": "2026-11-23T10:00:00Z"}}));
        cluster.runs.patch_status("import-generation", &PatchParams::default(), &status).await.unwrap();

        for patch in frozen_changes() {
            let answer = cluster.dry_patch(&patch).await.expect_err(&format!("accepted: {patch}"));
            let all = ["this run has finished and is never run again", "metadata.name", "metadata.generateName"];
            assert!(all.iter().all(|words| answer.contains(words)), "{patch}: {answer}");
        }
        for patch in [json!({"metadata": {"labels": {"a": "b"}}}), json!({"spec": {"abandon": true}})] {
            cluster.dry_patch(&patch).await.unwrap_or_else(|answer| panic!("refused: {patch}: {answer}"));
        }
    })
    .await;
}

#[tokio::test]
async fn a_rollback_is_asked_for_of_a_run_that_has_succeeded_while_its_undo_is_kept_and_of_no_other() {
    with_definition("requested", async |cluster| {
        let ask = json!({"spec": {"rollback": {"requested": true}}});
        let run = cluster.smallest();
        cluster.runs.create(&PostParams::default(), &serde_json::from_value(run).unwrap()).await.unwrap();
        let is = async |status: Value| {
            let status = Patch::Merge(json!({"status": status}));
            cluster.runs.patch_status("import-generation", &PatchParams::default(), &status).await.unwrap();
        };
        for status in [
            json!({"phase": "Planning"}),
            json!({"phase": "Verifying", "mutationStarted": true}),
            json!({"phase": "RolledBack", "mutationStarted": true, "finishedAt": "2026-11-23T10:00:00Z"}),
        ] {
            is(status.clone()).await;
            let answer = cluster.dry_patch(&ask).await.expect_err(&format!("accepted: {status}"));
            assert!(answer.contains("takes back a run that has succeeded") && answer.contains("spec.abort: true"), "{answer}");
        }
        is(json!({"phase": "Succeeded"})).await;
        cluster.dry_patch(&ask).await.expect("of a run that has succeeded");
        is(json!({"closedAt": "2026-11-24T10:00:00Z"})).await;
        let answer = cluster.dry_patch(&ask).await.unwrap_err();
        assert!(answer.contains("no undo of this run is kept any more (status.closedAt)"), "{answer}");

        // What was asked for does not stand in the way of anything later, and can be taken back.
        is(json!({"closedAt": null})).await;
        cluster.patch(&ask).await.unwrap();
        is(json!({"phase": "AwaitingApproval"})).await;
        cluster.dry_patch(&json!({"spec": {"approvals": {"maria": {"decision": "Approve", "digest": DIGEST}}}})).await.unwrap();
        for gone in [json!(false), Value::Null] {
            cluster.dry_patch(&json!({"spec": {"rollback": {"requested": gone}}})).await.unwrap();
        }
        is(json!({"phase": "RolledBack"})).await;
        cluster.dry_patch(&json!({"metadata": {"labels": {"a": "b"}}})).await.unwrap();
    })
    .await;
}

/// One change of every part that was approved, unknown fields of Job templates and removals included.
fn frozen_changes() -> Vec<Value> {
    let other = json!({"template": {"spec": {"containers": [{"name": "app", "image": "app:2"}]}}});
    vec![
        json!({"spec": {"database": {"secretRef": {"name": "other"}}}}),
        json!({"spec": {"podTemplate": {"labels": {"a": "b"}}}}),
        json!({"spec": {"after": [{"name": "first"}]}}),
        json!({"spec": {"release": {"workloadRef": {"name": "other"}}}}),
        json!({"spec": {"preflight": {"minFreeSpace": "1Gi"}}}),
        json!({"spec": {"backup": {"maxAge": "1h"}}}),
        json!({"spec": {"migrations": {"job": other}}}),
        json!({"spec": {"migrations": null}}),
        json!({"spec": {"backfill": {"sql": {"source": {"where": "true"}}}}}),
        json!({"spec": {"backfill": {"sql": {"source": {"where": null}}}}}),
        json!({"spec": {"backfill": {"sql": {"validate": [{"name": "n", "value": "s.a", "schema": {"inline": {}}}]}}}}),
        json!({"spec": {"backfill": {"sql": {"writes": [{"set": {"a": "1"}}]}}}}),
        json!({"spec": {"backfill": {"sql": {"audit": {"column": "metadata", "path": ["a"]}}}}}),
        json!({"spec": {"backfill": {"sql": {"samples": {"count": 1}}}}}),
        json!({"spec": {"backfill": {"sql": {"drift": {"maxPercent": 100}}}}}),
        json!({"spec": {"backfill": {"sql": null, "job": {"dryRun": job(), "apply": job()}}}}),
        json!({"spec": {"approval": {"required": 1}}}),
        json!({"spec": {"verify": [{"name": "v", "job": other}]}}),
        json!({"spec": {"verify": null}}),
        json!({"spec": {"rollback": {"trigger": "Manual"}}}),
        json!({"spec": {"rollback": {"keepUndo": "1h"}}}),
        json!({"spec": {"featureFlag": {"name": "f", "provider": {"configMap": {"name": "c", "key": "k", "path": "/f"}}}}}),
        json!({"spec": {"monitor": {"logs": {"selector": {}, "patterns": [{"name": "p", "regex": "x"}]}}}}),
    ]
}
