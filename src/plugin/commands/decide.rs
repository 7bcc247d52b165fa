//! `approve NAME` and `deny NAME`: the caller's own entry, for the digest that was shown and for no other.

use crate::api::spec::Approval;
use crate::api::status::AwaitingStatus;
use crate::api::{BackfillRun, BackfillRunSpec};
use crate::plugin::arguments::Decision;
use crate::plugin::cluster::Cluster;
use crate::plugin::{DONE, OTHERWISE, PluginError, output, render, terminal};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The operator and other approvers write the run, too: so often is it read again where what was shown still holds.
const TRIES: u32 = 5;
/// So often, with this pause, is it read until the operator has looked at its latest change: it takes a second at most.
const LOOKS: (u32, Duration) = (40, Duration::from_millis(250));

/// Says yes.
pub(in crate::plugin) async fn approve(cluster: &Cluster, decision: Decision) -> Result<u8, PluginError> {
    Box::pin(decide(cluster, decision, Approval::Approve)).await
}

/// Says no.
pub(in crate::plugin) async fn deny(cluster: &Cluster, decision: Decision) -> Result<u8, PluginError> {
    Box::pin(decide(cluster, decision, Approval::Deny)).await
}

async fn decide(cluster: &Cluster, asked: Decision, decision: Approval) -> Result<u8, PluginError> {
    let Decision { name, message, digest, output: format } = asked;
    let run = cluster.run(&name).await?;
    let awaiting = awaiting(&run, &name)?.clone();
    match &digest {
        Some(digest) if *digest != awaiting.digest => {
            return Err(PluginError::NotNow(format!(
                "{name} asks about {}, and not about {digest} any more: review it again",
                awaiting.digest
            )));
        }
        None if !terminal::somebody_is_there() => {
            return Err(PluginError::Usage("nobody is there to look at it: review it, and name what you saw with --digest".into()));
        }
        Some(_) | None => {}
    }
    let user = cluster.user().await?;
    if digest.is_none() {
        terminal::print(&(render::review::page(&run, Timestamp::now(), terminal::style()) + "\n"))?;
        let word = match decision {
            Approval::Approve => "Approve",
            Approval::Deny => "Deny",
        };
        if !terminal::confirmed(&format!("{word} this as {}?", render::text::line(&user)))? {
            eprintln!("nothing was sent");
            return Ok(OTHERWISE);
        }
    }
    let after = Box::pin(send(cluster, &name, run, &user, decision, message.as_deref())).await?;
    let word = match decision {
        Approval::Approve => "approves",
        Approval::Deny => "denies",
    };
    output::changed(&after, format, &format!("{} {word} {} of {name}", render::text::line(&user), awaiting.digest))?;
    Ok(DONE)
}

fn awaiting<'a>(run: &'a BackfillRun, name: &str) -> Result<&'a AwaitingStatus, PluginError> {
    let status = run.status.as_ref();
    status.and_then(|status| status.awaiting.as_ref()).ok_or_else(|| {
        let phase = super::phase(run);
        let message = status.map_or("", |status| status.message.as_str());
        PluginError::NotNow(format!("{name} asks nothing now ({phase}: {message})"))
    })
}

/// Sends the entry with the version of the run that was shown, so that it is refused where anything has changed since. Where
/// question and spec are still the same, it was somebody else's word or the operator's note, and it is sent again.
async fn send(
    cluster: &Cluster,
    name: &str,
    shown: BackfillRun,
    user: &str,
    decision: Approval,
    message: Option<&str>,
) -> Result<BackfillRun, PluginError> {
    let mut now = shown.clone();
    for _ in 0..TRIES {
        // A denial is about whatever comes of it.
        if decision == Approval::Approve {
            // A status is large: on the heap it is not part of every future that waits for this one.
            now = Box::pin(looked_at(cluster, name, &shown, now)).await?;
        }
        if !same_question(&shown, &now) {
            return Err(PluginError::NotNow(format!("{name} has changed since it was shown: nothing was sent, review it again")));
        }
        match cluster.patch(name, &entry(&now, user, decision, awaiting(&shown, name)?, message)).await {
            Err(PluginError::Conflict) => now = cluster.run(name).await?,
            answer => return answer,
        }
    }
    Err(PluginError::Conflict)
}

/// The run, once the operator has looked at what it is now (the API server refuses an approval before), or once it is not what
/// was shown any more.
async fn looked_at(cluster: &Cluster, name: &str, shown: &BackfillRun, mut run: BackfillRun) -> Result<BackfillRun, PluginError> {
    let (looks, pause) = LOOKS;
    for _ in 0..looks {
        let seen = run.status.as_ref().and_then(|status| status.observed_generation) == run.metadata.generation;
        if seen || !same_question(shown, &run) {
            return Ok(run);
        }
        tokio::time::sleep(pause).await;
        run = cluster.run(name).await?;
    }
    Err(PluginError::NotNow(format!(
        "the operator has not looked at the latest change of {name} yet: nothing was sent. Review it again in a moment; if this stays, see whether the operator runs"
    )))
}

/// The merge patch. A message of an earlier entry goes where none is given now.
fn entry(run: &BackfillRun, user: &str, decision: Approval, awaiting: &AwaitingStatus, message: Option<&str>) -> Value {
    json!({
        "metadata": {"resourceVersion": run.metadata.resource_version},
        "spec": {"approvals": {user: {"decision": decision, "digest": awaiting.digest, "message": message}}},
    })
}

/// The same run asks the same about the same spec.
fn same_question(shown: &BackfillRun, now: &BackfillRun) -> bool {
    let asked = |run: &BackfillRun| {
        let awaiting = run.status.as_ref().and_then(|status| status.awaiting.as_ref());
        awaiting.map(|awaiting| (awaiting.subject, awaiting.digest.clone()))
    };
    let spec = |run: &BackfillRun| BackfillRunSpec { approvals: BTreeMap::new(), ..run.spec.clone() };
    shown.metadata.uid == now.metadata.uid && asked(shown) == asked(now) && spec(shown) == spec(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::render::fixture;

    #[test]
    fn an_entry_is_ones_own_for_the_digest_and_the_version_that_were_shown() {
        let mut run = fixture::awaiting();
        run.metadata.resource_version = Some("7".into());
        let awaiting = awaiting(&run, "r").unwrap();
        assert_eq!(
            entry(&run, "maria@example.org", Approval::Deny, awaiting, Some("no")),
            json!({
                "metadata": {"resourceVersion": "7"},
                "spec": {"approvals": {"maria@example.org": {"decision": "Deny", "digest": fixture::DIGEST, "message": "no"}}},
            })
        );
        // `null`: what was said with an earlier entry does not stand under this one.
        assert_eq!(entry(&run, "m", Approval::Approve, awaiting, None)["spec"]["approvals"]["m"]["message"], Value::Null);
    }

    #[test]
    fn another_approvers_entry_changes_nothing_and_everything_else_does() {
        let shown = fixture::awaiting();
        let mut now = shown.clone();
        now.spec.approvals.insert(
            "paul@example.org".into(),
            crate::api::spec::ApprovalEntry { decision: Approval::Approve, digest: fixture::DIGEST.into(), message: None },
        );
        now.status.as_mut().unwrap().message = "one is missing".into();
        assert!(same_question(&shown, &now));
        let mut other = now.clone();
        other.spec.approval.required = 5;
        assert!(!same_question(&shown, &other));
        let mut other = now.clone();
        other.status.as_mut().unwrap().awaiting.as_mut().unwrap().digest = "sha256:0".into();
        assert!(!same_question(&shown, &other));
        let mut other = now.clone();
        other.status.as_mut().unwrap().awaiting = None;
        assert!(!same_question(&shown, &other));
        now.metadata.uid = Some("another".into());
        assert!(!same_question(&shown, &now));
    }

    #[test]
    fn a_run_that_asks_nothing_is_not_decided() {
        let error = awaiting(&fixture::applying(), "r").unwrap_err();
        assert!(error.to_string().starts_with("r asks nothing now (Applying: "), "{error}");
        assert_eq!(error.exit_code(), OTHERWISE);
    }
}
