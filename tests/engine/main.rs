//! The data engine on a real PostgreSQL. Each test's name is the sentence that it proves.

mod apply;
mod crash;
mod guard;
mod harness;
mod ledger;
mod plan;
mod server;
mod undo;
mod verify;
