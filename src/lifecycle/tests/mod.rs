//! The pure core against a world that answers as Kubernetes and the steps would, and that forgets effects as a crash does.

mod after;
mod approvals;
mod capture;
mod existing;
mod finished;
mod fixtures;
mod paths;
mod properties;
mod references;
mod rehearsal;
mod throttled;
mod world;
