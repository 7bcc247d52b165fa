//! The Kubernetes shell around the pure core: gather, decide, commit, act.
//!
//! Knows every other room; nothing but the binary knows this one.

mod act;
pub mod cnpg;
mod commit;
mod context;
mod error;
mod events;
mod gather;
pub mod health;
pub mod http;
mod jobs;
pub mod lease;
pub mod metrics;
pub mod notifier;
mod policy;
mod reconcile;
mod serve;
mod watch;

pub use error::ControllerError;
pub use serve::serve;
