//! What the operator reads of `CloudNativePG`, with its own definitions on a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

#[path = "cluster/client.rs"]
mod client;

use backfill_operator::controller::cnpg;
use backfill_operator::lifecycle::CnpgBackup;
use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Client, Config};
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const GROUP: &str = "postgresql.cnpg.io";

struct Stage {
    client: Client,
    namespace: String,
}

impl Stage {
    async fn put(&self, kind: &str, plural: &str, name: &str, spec: Value, status: Value) {
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", kind), plural);
        let objects: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let object = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": {"name": name}, "spec": spec});
        let apply = PatchParams::apply("cnpg-test").force();
        let begun = Instant::now();
        // A definition is served some moments after it is established.
        while let Err(error) = objects.patch(name, &apply, &Patch::Apply(&object)).await {
            assert!(begun.elapsed() < Duration::from_secs(30), "{error}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        objects.patch_status(name, &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();
    }

    async fn backup(&self, name: &str) -> Result<CnpgBackup, (String, String)> {
        let found = cnpg::backup(&self.client, &self.namespace, name).await.unwrap();
        found.map_err(|problem| (problem.reason, problem.message))
    }
}

fn definitions() -> Vec<CustomResourceDefinition> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cnpg/crds.sh");
    let output = Command::new(script).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let folder = String::from_utf8(output.stdout).unwrap();
    let read = |plural: &str| {
        let text = std::fs::read_to_string(Path::new(folder.trim()).join(format!("{GROUP}_{plural}.yaml"))).unwrap();
        serde_yaml_ng::from_str(&text).unwrap()
    };
    ["backups", "clusters", "databases"].map(read).into()
}

/// Somebody who may read nothing at all.
async fn nobody() -> Client {
    let mut config = Config::infer().await.unwrap();
    config.auth_info.impersonate = Some("nobody@example.org".into());
    Client::try_from(config).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cloudnativepg_manages_and_has_backed_up_is_read_and_where_it_is_not_there_nothing_is_wrong() {
    let client = client::client().await;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"generateName": "cnpg-test-"}})).unwrap();
    let namespace = namespaces.create(&PostParams::default(), &namespace).await.unwrap().metadata.name.unwrap();
    let stage = Stage { client: client.clone(), namespace };
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let names = |definitions: &[CustomResourceDefinition]| -> Vec<String> {
        definitions.iter().map(|d| d.metadata.name.clone().unwrap()).collect()
    };
    let definitions = definitions();
    for name in names(&definitions) {
        assert!(crds.get_opt(&name).await.unwrap().is_none(), "the cluster of the tests has no CloudNativePG");
    }
    assert!(cnpg::managed(&client, &[], &stage.namespace).await.unwrap().is_empty(), "nothing is there to be seen");
    assert_eq!(stage.backup("nightly").await.unwrap_err().0, "CnpgBackupMissing");

    let end = AssertUnwindSafe(async {
        for definition in &definitions {
            let name = definition.metadata.name.clone().unwrap();
            crds.patch(&name, &PatchParams::apply("cnpg-test").force(), &Patch::Apply(definition)).await.unwrap();
            let established = await_condition(crds.clone(), &name, conditions::is_crd_established());
            tokio::time::timeout(Duration::from_secs(30), established).await.expect("established within 30 s").unwrap();
        }
        installed(&stage).await;
    })
    .catch_unwind()
    .await;
    for name in names(&definitions) {
        let _ = crds.delete(&name, &DeleteParams::default()).await;
    }
    let _ = namespaces.delete(&stage.namespace, &DeleteParams::default()).await;
    if let Err(panic) = end {
        std::panic::resume_unwind(panic);
    }
}

async fn installed(stage: &Stage) {
    let cluster = json!({"instances": 1, "storage": {"size": "10Gi"}});
    stage.put("Cluster", "clusters", "shop", cluster.clone(), json!({"systemID": "7561064585676382226"})).await;
    stage.put("Cluster", "clusters", "young", cluster, json!({"phase": "Setting up primary"})).await;
    let database = |name: &str, ensure: &str| json!({"cluster": {"name": "shop"}, "name": name, "owner": "app", "ensure": ensure});
    stage.put("Database", "databases", "app-db", database("app", "present"), json!({"applied": true})).await;
    stage.put("Database", "databases", "gone-db", database("gone", "absent"), json!({"applied": true})).await;
    for served in [vec![], vec![stage.namespace.clone()]] {
        let seen = cnpg::managed(&stage.client, &served, &stage.namespace).await.unwrap();
        assert_eq!(seen.unseen, "");
        assert_eq!(seen.cluster_of("7561064585676382226").map(|c| (c.name.as_str(), c.storage.as_str())), Some(("shop", "10Gi")));
        let manager = seen.manager_of("app", "7561064585676382226", "10.0.0.1", "elsewhere").expect("it is managed");
        assert_eq!(
            (manager.namespace.as_str(), manager.name.as_str(), manager.cluster.as_str()),
            (stage.namespace.as_str(), "app-db", "shop")
        );
        assert!(seen.manager_of("gone", "7561064585676382226", "shop-rw", &stage.namespace).is_none(), "ensure: absent");
    }
    assert!(cnpg::managed(&stage.client, &["default".into()], "default").await.unwrap().is_empty(), "another namespace");
    let unseen = cnpg::managed(&nobody().await, &[], &stage.namespace).await.unwrap();
    assert!(unseen.unseen.contains("may not list clusters.postgresql.cnpg.io") && unseen.databases.is_empty(), "{unseen:?}");

    let of_shop = json!({"cluster": {"name": "shop"}, "method": "barmanObjectStore"});
    stage.put("Backup", "backups", "nightly", of_shop.clone(), json!({"phase": "running", "startedAt": "2026-11-27T01:00:00Z"})).await;
    let (reason, message) = stage.backup("nightly").await.unwrap_err();
    assert_eq!(reason, "CnpgBackupIncomplete");
    assert!(message.contains("nightly is running"), "{message}");
    stage.put("Backup", "backups", "broken", of_shop.clone(), json!({"phase": "failed", "error": "no space in the bucket"})).await;
    let (reason, message) = stage.backup("broken").await.unwrap_err();
    assert!(reason == "CnpgBackupIncomplete" && message.contains("failed (no space in the bucket)"), "{message}");
    let done = json!({"phase": "completed", "startedAt": "2026-11-27T01:00:00Z", "stoppedAt": "2026-11-27T01:10:00Z", "beginLSN": "0/2000028", "endLSN": "0/2000138", "method": "barmanObjectStore", "destinationPath": "s3://backups/shop"});
    stage.put("Backup", "backups", "nightly", of_shop, done).await;
    let found = stage.backup("nightly").await.unwrap();
    let expected = CnpgBackup {
        name: "nightly".into(),
        cluster: "shop".into(),
        system_id: "7561064585676382226".into(),
        stopped_at: "2026-11-27T01:10:00Z".parse().unwrap(),
        end_lsn: "0/2000138".into(),
        method: "barmanObjectStore".into(),
        destination: "s3://backups/shop".into(),
    };
    assert_eq!(found, expected);
    let of_young = json!({"cluster": {"name": "young"}});
    stage.put("Backup", "backups", "first", of_young, json!({"phase": "completed", "stoppedAt": "2026-11-27T01:10:00Z"})).await;
    assert_eq!(stage.backup("first").await.unwrap().system_id, "", "what the cluster does not say is not made up");
    let refused = cnpg::backup(&nobody().await, &stage.namespace, "nightly").await.unwrap().unwrap_err();
    assert_eq!(refused.reason, "CnpgForbidden");
}
