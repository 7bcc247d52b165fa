//! The Kubernetes shell.

pub mod health;
pub mod http;
pub mod lease;
pub mod metrics;
pub mod notifier;
