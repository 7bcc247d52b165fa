//! The data plane: what is planned, written, proved and put back in the user's database.
//!
//! Called by `steps`, each function with a connection in its hand. May know `api` and `protocol`; knows neither
//! Kubernetes nor where a connection's password came from.

mod answer;
pub mod apply;
pub mod capture;
pub mod catalog;
pub mod connector;
pub mod definition;
mod fingerprint;
pub mod ledger;
pub mod lock_wait;
pub mod model;
pub mod plan;
pub mod query;
pub mod row;
pub mod secrets;
pub mod sensitive;
pub mod sql;
pub mod throttle;
pub mod undo;
pub mod verify;
