//! `withdraw NAME`: the caller's own entry goes.

use crate::plugin::arguments::Format;
use crate::plugin::cluster::Cluster;
use crate::plugin::{DONE, PluginError, output, render};
use serde_json::json;

/// Takes the entry away, whatever digest it was about.
pub(in crate::plugin) async fn withdraw(cluster: &Cluster, name: &str, format: Option<Format>) -> Result<u8, PluginError> {
    let run = cluster.run(name).await?;
    let user = cluster.user().await?;
    if !run.spec.approvals.contains_key(&user) {
        return Err(PluginError::NotNow(format!("{user} has said nothing about {name}")));
    }
    let after = cluster.patch(name, &json!({"spec": {"approvals": {&user: null}}})).await?;
    output::changed(&after, format, &format!("{} takes back what was said about {name}", render::text::line(&user)))?;
    Ok(DONE)
}
