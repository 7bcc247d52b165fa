//! The notifier against a real API server and a real channel.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

#[path = "cluster/client.rs"]
mod client;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use backfill_operator::api::BackfillRun;
use backfill_operator::api::spec::{Notification, NotificationEvent};
use backfill_operator::api::status::{BackfillRunStatus, NotificationStatus};
use backfill_operator::config::OperatorConfig;
use backfill_operator::controller::metrics::Metrics;
use backfill_operator::controller::notifier;
use backfill_operator::notify::outbox;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use serde_json::json;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

type Deliveries = Arc<Mutex<Vec<String>>>;

/// A channel that refuses the first message and takes the rest.
async fn channel() -> (String, Deliveries) {
    let seen = Deliveries::default();
    let kept = seen.clone();
    let handler = move |headers: HeaderMap| async move {
        let mut seen = kept.lock().unwrap();
        seen.push(headers["x-backfill-delivery"].to_str().unwrap().to_owned());
        if seen.len() == 1 { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
    (address, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_message_is_tried_again_recorded_and_told_once_while_others_write_the_status() {
    let client = client::client().await;
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let definition = backfill_operator::api::crd::definition().unwrap();
    crds.patch("backfillruns.backfill.dev", &PatchParams::apply("notifier-test").force(), &Patch::Apply(&definition)).await.unwrap();
    await_condition(crds, "backfillruns.backfill.dev", conditions::is_crd_established()).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"generateName": "notifier-test-"}})).unwrap();
    let namespace = namespaces.create(&PostParams::default(), &namespace).await.unwrap().metadata.name.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let (address, deliveries) = channel().await;
    std::fs::write(folder.path().join("url"), address).unwrap();
    std::fs::write(folder.path().join("key"), "k").unwrap();
    let config = format!(
        "stepImage: i\nmonitorClusterRole: m\nwatchNamespaces: [{namespace}]\nchannels: [{{name: hook, webhook: {{urlFile: {0}/url, keyFile: {0}/key}}}}]",
        folder.path().display()
    );
    let (stop, metrics) = (CancellationToken::new(), Arc::new(Metrics::default()));
    let config = Arc::new(OperatorConfig::parse(&config).unwrap());
    let loop_ = tokio::spawn(notifier::run(client.clone(), config, metrics.clone(), stop.clone()));

    let runs: Api<BackfillRun> = Api::namespaced(client.clone(), &namespace);
    let run: BackfillRun = serde_yaml_ng::from_str(include_str!("../examples/smallest/backfillrun.yaml")).unwrap();
    runs.create(&PostParams::default(), &run).await.unwrap();
    let wanted = ["hook", "nobody"].map(|channel| Notification { channel: channel.into(), events: vec![NotificationEvent::Applied] });
    let outbox = outbox::enqueue(&wanted, NotificationEvent::Applied, "1", "117990 rows written", Timestamp::now());
    let status = BackfillRunStatus { notifications: outbox, ..BackfillRunStatus::default() };
    runs.patch_status("import-generation", &PatchParams::default(), &Patch::Merge(json!({"status": status}))).await.unwrap();

    // The run's own controller goes on writing.
    let mut count = 0;
    let messages: Vec<NotificationStatus> = loop {
        count += 1;
        let patch = Patch::Merge(json!({"status": {"message": format!("pass {count}")}}));
        let run = runs.patch_status("import-generation", &PatchParams::default(), &patch).await.unwrap();
        let messages = run.status.unwrap().notifications;
        if messages[0].delivered_at.is_some() {
            break messages;
        }
        assert!(count < 200, "not delivered: {messages:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!((messages[0].attempts, messages[0].error.as_str()), (2, ""));
    assert_eq!(messages[1].error, "there is no channel nobody; the operator has hook");
    assert!(messages[1].retry_at.is_some());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let seen = deliveries.lock().unwrap().clone();
    assert_eq!(seen.len(), 2, "told once");
    assert_eq!(seen[0], seen[1], "both attempts are one delivery");
    let text = metrics.encode().unwrap();
    assert!(text.contains("backfill_notifications_total{channel=\"hook\",result=\"ok\"} 1"), "{text}");
    assert!(!text.contains("nobody"), "a name out of a run is no label");

    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), loop_).await.unwrap().unwrap().unwrap();
    namespaces.delete(&namespace, &DeleteParams::default()).await.unwrap();
}
