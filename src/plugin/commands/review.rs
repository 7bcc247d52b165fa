//! `review NAME`: what people are asked.

use crate::api::{BackfillRun, EDITED_BY, REQUESTED_BY};
use crate::plugin::arguments::Format;
use crate::plugin::cluster::Cluster;
use crate::plugin::{DONE, PluginError, output, render, terminal};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Shows it, or prints it as a document.
pub(in crate::plugin) async fn review(cluster: &Cluster, name: &str, format: Option<Format>) -> Result<u8, PluginError> {
    let run = cluster.run(name).await?;
    match format {
        Some(format) => output::document(&document(&run), format)?,
        None => terminal::print(&render::review::page(&run, Timestamp::now(), terminal::style()))?,
    }
    Ok(DONE)
}

/// The parts of the status that a decision is about, under their own names.
fn document(run: &BackfillRun) -> Value {
    let status = run.status.clone().unwrap_or_default();
    let annotation = |name: &str| run.metadata.annotations.as_ref().and_then(|all| all.get(name));
    json!({
        "namespace": run.metadata.namespace,
        "name": run.metadata.name,
        "uid": run.metadata.uid,
        "phase": status.phase,
        "message": status.message,
        "requestedBy": annotation(REQUESTED_BY),
        "editedBy": annotation(EDITED_BY),
        "featureFlag": run.spec.feature_flag.as_ref().map(|flag| &flag.name),
        "awaiting": status.awaiting,
        "approvals": status.approvals,
        "approvalVoided": status.approval_voided,
        "plan": status.plan,
        "losses": status.rollback.map(|rollback| rollback.losses).unwrap_or_default(),
        "database": status.database,
        "release": status.release,
        "backup": status.backup,
        "wayBack": status.way_back,
        "checks": status.checks,
        "estimates": status.estimates,
    })
}
