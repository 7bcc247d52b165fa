//! The Kubernetes shell around the pure core: gather, decide, commit, act.
//!
//! Knows every other room; nothing but the binary knows this one.

mod act;
mod commit;
mod context;
mod error;
mod events;
mod gather;
mod jobs;
mod reconcile;
mod serve;
mod watch;

pub use context::Context;
pub use error::ControllerError;
pub use serve::serve;
