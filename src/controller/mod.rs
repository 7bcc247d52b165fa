//! The Kubernetes shell.
