//! Flags in `ConfigMaps` of a real API server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

#[path = "cluster/client.rs"]
mod client;

use backfill_operator::api::spec::ConfigMapFlag;
use backfill_operator::flags::{FlagError, FlagValue, enable, read, restore};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

const DOCUMENT: &str = "{\n  \"import_generation\": {\n    \"enabled\": false\n  }\n}\n";

/// A `ConfigMap` of its own for each test, in the namespace `default`.
struct Flag {
    client: kube::Client,
    maps: Api<ConfigMap>,
    place: ConfigMapFlag,
}

async fn flag(name: &str, path: &str) -> Flag {
    let client = client::client().await;
    let maps: Api<ConfigMap> = Api::default_namespaced(client.clone());
    let name = format!("flag-test-{name}");
    let _ = maps.delete(&name, &DeleteParams::default()).await;
    let map = json!({"metadata": {"name": name}, "data": {"features.json": DOCUMENT, "other": "kept"}});
    maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await.unwrap();
    let flag = ConfigMapFlag { name, key: "features.json".into(), path: path.into() };
    Flag { client, maps, place: flag }
}

impl Flag {
    async fn enable(&self, previous: FlagValue) -> Result<FlagValue, FlagError> {
        enable(self.client.clone(), "default", &self.place, previous).await.map(|reading| reading.value)
    }

    async fn restore(&self, previous: FlagValue) -> Result<FlagValue, FlagError> {
        restore(self.client.clone(), "default", &self.place, previous).await.map(|reading| reading.value)
    }

    async fn read(&self) -> Result<FlagValue, FlagError> {
        read(self.client.clone(), "default", &self.place).await.map(|reading| reading.value)
    }

    async fn document(&self) -> String {
        self.maps.get(&self.place.name).await.unwrap().data.unwrap()["features.json"].clone()
    }

    async fn patch(&self, patch: Value) {
        self.maps.patch(&self.place.name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    async fn end(self) {
        self.maps.delete(&self.place.name, &DeleteParams::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_flag_goes_on_and_back_and_the_document_is_as_before() {
    for (name, path, previous) in
        [("there", "/import_generation/enabled", FlagValue::Off), ("absent", "/import_generation/tenants", FlagValue::Absent)]
    {
        let flag = flag(name, path).await;
        assert_eq!(flag.read().await.unwrap(), previous);
        assert_eq!(flag.enable(previous).await.unwrap(), FlagValue::On);
        assert_eq!(flag.read().await.unwrap(), FlagValue::On);
        assert_eq!(flag.enable(previous).await.unwrap(), FlagValue::On, "twice is once");
        assert_eq!(flag.restore(previous).await.unwrap(), previous);
        assert_eq!(flag.restore(previous).await.unwrap(), previous, "twice is once");
        assert_eq!(flag.document().await, DOCUMENT);
        flag.end().await;
    }
}

#[tokio::test]
async fn what_somebody_else_has_set_is_left_as_it_is() {
    let flag = flag("other", "/import_generation/enabled").await;
    flag.enable(FlagValue::Off).await.unwrap();
    flag.patch(json!({"data": {"features.json": "{\"import_generation\": {}}"}})).await;
    let error = flag.restore(FlagValue::Off).await.unwrap_err();
    assert_eq!(error.reason(), "FlagChangedByOther");
    assert!(error.is_misconfiguration());
    assert_eq!(flag.enable(FlagValue::Off).await.unwrap_err().reason(), "FlagChangedByOther");
    assert_eq!(flag.document().await, "{\"import_generation\": {}}");
    flag.end().await;
}

#[tokio::test]
async fn what_was_absent_and_lost_its_object_is_back_already() {
    let flag = flag("gone", "/import_generation/tenants").await;
    flag.enable(FlagValue::Absent).await.unwrap();
    flag.patch(json!({"data": {"features.json": "{}"}})).await;
    assert_eq!(flag.restore(FlagValue::Absent).await.unwrap(), FlagValue::Absent);
    flag.end().await;
}

#[tokio::test]
async fn what_a_person_has_to_correct_has_a_reason_of_its_own() {
    let mut flag = flag("wrong", "/import_generation/enabled").await;
    let right = flag.place.clone();
    for (wrong, reason) in [
        (ConfigMapFlag { name: "flag-test-nobody".into(), ..right.clone() }, "FlagConfigMapMissing"),
        (ConfigMapFlag { key: "nothing".into(), ..right.clone() }, "FlagKeyMissing"),
        (ConfigMapFlag { key: "other".into(), ..right.clone() }, "FlagNotJson"),
        (ConfigMapFlag { path: "/nowhere/enabled".into(), ..right.clone() }, "FlagPathMissing"),
        (ConfigMapFlag { path: "/import_generation".into(), ..right.clone() }, "FlagNotBoolean"),
    ] {
        flag.place = wrong;
        let error = flag.enable(FlagValue::Off).await.unwrap_err();
        assert_eq!(error.reason(), reason);
        assert!(error.is_misconfiguration(), "{error}");
    }
    flag.place = right;
    flag.patch(json!({"immutable": true})).await;
    assert_eq!(flag.read().await.unwrap_err().reason(), "FlagConfigMapImmutable");
    flag.end().await;
}

#[tokio::test]
async fn two_writers_at_the_same_time_lose_nothing() {
    let flag = flag("race", "/import_generation/enabled").await;
    let other = async {
        for count in 0..20 {
            flag.patch(json!({"data": {"count": count.to_string()}})).await;
        }
    };
    let ours = async {
        for _ in 0..10 {
            while let Err(error) = flag.enable(FlagValue::Off).await {
                assert_eq!(error.reason(), "FlagConflict");
                assert!(!error.is_misconfiguration());
            }
            while let Err(error) = flag.restore(FlagValue::Off).await {
                assert_eq!(error.reason(), "FlagConflict");
            }
        }
    };
    futures::join!(other, ours);
    let data = flag.maps.get(&flag.place.name).await.unwrap().data.unwrap();
    assert_eq!((data["count"].as_str(), data["features.json"].as_str()), ("19", DOCUMENT));
    flag.end().await;
}
