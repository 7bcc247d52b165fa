//! `abort`, `suspend` and `resume`: one field of the spec each.

use crate::plugin::arguments::Format;
use crate::plugin::cluster::Cluster;
use crate::plugin::{DONE, OTHERWISE, PluginError, output, render, terminal};
use serde_json::json;

/// For good: asks first.
pub(in crate::plugin) async fn abort(cluster: &Cluster, name: &str, yes: bool, format: Option<Format>) -> Result<u8, PluginError> {
    let run = cluster.run(name).await?;
    super::not_ended(&run, name)?;
    if !yes {
        if !terminal::somebody_is_there() {
            return Err(PluginError::Usage("an abort is for good, and nobody is there to be asked: say --yes".into()));
        }
        let begun = run.status.as_ref().is_some_and(|status| status.mutation_started);
        let then = if begun { "the flag and the data go back" } else { "nothing has been written yet" };
        eprintln!("{}: {then}", render::text::line(&render::status::line(&run)));
        if !terminal::confirmed(&format!("Abort {name} for good?"))? {
            eprintln!("nothing was sent");
            return Ok(OTHERWISE);
        }
    }
    let after = cluster.patch(name, &json!({"spec": {"abort": true}})).await?;
    output::changed(&after, format, &format!("{name} is told to abort"))?;
    Ok(DONE)
}

/// After the batch in hand.
pub(in crate::plugin) async fn suspend(cluster: &Cluster, name: &str, format: Option<Format>) -> Result<u8, PluginError> {
    super::not_ended(&cluster.run(name).await?, name)?;
    let after = cluster.patch(name, &json!({"spec": {"suspend": true}})).await?;
    output::changed(&after, format, &format!("{name} is told to stand still after the batch in hand"))?;
    Ok(DONE)
}

/// The field goes, rather than becoming `false`: then the spec is as it was applied.
pub(in crate::plugin) async fn resume(cluster: &Cluster, name: &str, format: Option<Format>) -> Result<u8, PluginError> {
    super::not_ended(&cluster.run(name).await?, name)?;
    let after = cluster.patch(name, &json!({"spec": {"suspend": null}})).await?;
    output::changed(&after, format, &format!("{name} is told to go on"))?;
    Ok(DONE)
}
