//! End to end: real pods on a real cluster, installed by the chart as people install it.
//!
//! Each case has a namespace and a database of its own and runs beside the others; the cluster, the images, the operator and
//! one PostgreSQL server are set up once. A case that fails says what it saw: run, events, pods, logs.
//!
//! `cargo test --test e2e -- --test-threads 4`; the cluster is that of `tests/cluster/README.md`.
//! On a cluster that others use at the same time `E2E_SUFFIX` says how the names of the namespaces end (only those of an earlier
//! suite with the same end are deleted), and `E2E_VALUES` names a file of values for the chart, with `watchNamespaces`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "tests say what they expect by failing"
)]

mod application;
mod argocd;
mod bucket;
mod cases;
mod channel;
mod chaos;
mod chronicle;
mod cluster;
mod conclusion;
mod database;
mod evidence;
mod lab;
mod manifest;
mod operator;
mod prediction;
mod private_operator;
mod processes;
mod program;
mod repository;
mod run;
#[path = "../support/s3.rs"]
#[allow(dead_code, reason = "the cases need no faults of a store")]
mod s3;
mod scene;
mod users;
mod wait;
