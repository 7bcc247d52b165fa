//! The steps around the engine, run as a pod runs them, on a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod backup;
mod capture;
mod checks_again;
mod claim;
mod dumps;
mod encryption;
mod existing;
mod failover;
mod loss_account;
mod monitor;
mod plan;
mod preflight;
mod rehearse;
mod restore;
mod s3;
mod scope;
mod silence;
#[path = "../support/mod.rs"]
mod support;
mod swap;
mod tls;
