//! The data engine on a real PostgreSQL. Each test's name is the sentence that it proves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on shall panic"
)]

mod apply;
mod capture;
mod cascades;
mod crash;
mod definition;
mod drift;
mod equality;
mod examples;
mod extensions;
mod findings;
mod fuzz;
mod gentle;
mod guard;
mod harness;
mod ledger;
mod lost_references;
mod migration;
mod odd;
mod own_joins;
mod pace;
mod plan;
mod random;
mod retries;
mod sameness;
mod sensitive;
mod server;
mod speed;
mod standby;
mod throttle;
mod undo;
mod undo_crash;
mod undo_sessions;
mod undo_while_writing;
mod unread;
mod values;
mod verify;
mod writes;
