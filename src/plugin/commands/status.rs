//! `status NAME`: once, or until the run ends.

use super::patience::{PAUSE, Patience};
use crate::plugin::arguments::Format;
use crate::plugin::cluster::Cluster;
use crate::plugin::{DONE, PluginError, output, render, terminal};
use jiff::Timestamp;
use serde_json::json;

/// To the upper left corner, and all below it away (ECMA-48 CUP and ED).
const CLEAR: &str = "\x1b[H\x1b[J";

/// Shows the run.
pub(in crate::plugin) async fn status(cluster: &Cluster, name: &str, watch: bool, format: Option<Format>) -> Result<u8, PluginError> {
    if watch {
        return go_on(cluster, name).await;
    }
    let run = cluster.run(name).await?;
    match format {
        Some(format) => {
            let metadata = &run.metadata;
            output::document(&json!({"namespace": metadata.namespace, "name": metadata.name, "status": run.status}), format)?;
        }
        None => terminal::print(&render::status::page(&run, Timestamp::now(), terminal::style()))?,
    }
    Ok(DONE)
}

/// On a screen the page is written over; into a pipe goes a line for each change.
async fn go_on(cluster: &Cluster, name: &str) -> Result<u8, PluginError> {
    let screen = terminal::is_screen();
    let mut patience = Patience::default();
    let mut shown = String::new();
    loop {
        if let Some(run) = patience.look(cluster, name).await? {
            if screen {
                let page = render::status::page(&run, Timestamp::now(), terminal::style());
                terminal::print(&format!("{CLEAR}{page}"))?;
            } else {
                let line = render::status::line(&run);
                if line != shown {
                    terminal::print(&format!("{line}\n"))?;
                    shown = line;
                }
            }
            if super::phase(&run).is_terminal() {
                return Ok(DONE);
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}
