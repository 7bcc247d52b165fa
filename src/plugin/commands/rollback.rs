//! `rollback NAME`: asks for the rollback of a run that has succeeded.

use crate::api::{BackfillRun, EDITED_BY, Phase};
use crate::plugin::arguments::Format;
use crate::plugin::cluster::Cluster;
use crate::plugin::{DONE, OTHERWISE, PluginError, output, render, terminal};
use serde_json::{Value, json};

/// Who asks for it says so, and cannot approve it.
pub(in crate::plugin) async fn rollback(cluster: &Cluster, name: &str, yes: bool, format: Option<Format>) -> Result<u8, PluginError> {
    let run = cluster.run(name).await?;
    possible(&run, name)?;
    if !yes {
        if !terminal::somebody_is_there() {
            return Err(PluginError::Usage("nobody is there to be asked: say --yes".into()));
        }
        eprintln!("{}: people are asked, then the flag and the data go back", render::text::line(&render::status::line(&run)));
        if !terminal::confirmed(&format!("Ask for the rollback of {name}?"))? {
            eprintln!("nothing was sent");
            return Ok(OTHERWISE);
        }
    }
    let user = cluster.user().await?;
    let after = cluster.patch(name, &request(&user)).await?;
    output::changed(
        &after,
        format,
        &format!("{} asks for the rollback of {name}: somebody else must approve it", render::text::line(&user)),
    )?;
    Ok(DONE)
}

fn request(user: &str) -> Value {
    json!({"metadata": {"annotations": {EDITED_BY: user}}, "spec": {"rollback": {"requested": true}}})
}

fn possible(run: &BackfillRun, name: &str) -> Result<(), PluginError> {
    let phase = super::phase(run);
    let status = run.status.as_ref();
    if phase != Phase::Succeeded {
        return Err(PluginError::NotNow(format!(
            "{name} has not succeeded, it is {phase}: `kubectl backfill abort` takes back a run that is under way"
        )));
    }
    if let Some(at) = status.and_then(|status| status.closed_at) {
        return Err(PluginError::NotNow(format!("no undo of {name} is kept any more, since {at}")));
    }
    if let Some(refused) = status.and_then(|status| status.rollback_refused.as_ref()) {
        return Err(PluginError::NotNow(format!("{}: {}", refused.reason, refused.message)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::render::fixture;

    #[test]
    fn only_a_run_that_has_succeeded_and_keeps_its_undo_can_be_asked_back() {
        let mut run = fixture::applying();
        assert!(possible(&run, "r").unwrap_err().to_string().contains("it is Applying"));
        run.status.as_mut().unwrap().phase = Phase::Succeeded;
        possible(&run, "r").unwrap();
        run.status.as_mut().unwrap().closed_at = Some(jiff::Timestamp::UNIX_EPOCH);
        assert!(possible(&run, "r").unwrap_err().to_string().contains("since 1970-01-01"));
    }

    #[test]
    fn who_asks_is_named_as_the_one_who_edits() {
        assert_eq!(
            request("maria"),
            json!({"metadata": {"annotations": {"backfill.dev/edited-by": "maria"}}, "spec": {"rollback": {"requested": true}}})
        );
    }
}
