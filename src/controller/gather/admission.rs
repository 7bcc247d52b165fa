//! Whether the API server proves the names in approvals, found out by asking it for what it must refuse.
//!
//! That policies are there says little: their binding may be missing, may only warn, or may leave this namespace out. So the
//! operator sends, as a dry run, a change of this very run that the policy refuses from everybody, and looks who refuses it.

use crate::api::spec::ApprovalEntry;
use crate::api::{BackfillRun, BackfillRunStatus, Phase, REQUESTED_BY};
use crate::controller::context::Context;
use crate::controller::error::{ControllerError, call, code};
use crate::engine::secrets;
use crate::lifecycle::AdmissionObservation;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The answer is taken from memory for so long, while nobody has said anything new.
const FRESH: Duration = Duration::from_mins(1);

/// Asks where somebody has decided anew, whatever is asked then; and while people are asked, where the last good answer is
/// old. `None`: nobody needs to know.
pub(super) async fn observe(
    context: &Context,
    run: &BackfillRun,
    status: &BackfillRunStatus,
) -> Result<Option<AdmissionObservation>, ControllerError> {
    let namespace = run.namespace().unwrap_or_default();
    if !decided_since(run, status) {
        if status.phase != Phase::AwaitingApproval {
            return Ok(None);
        }
        if context.policies_seen.lock().await.get(&namespace).is_some_and(|at| at.elapsed() < FRESH) {
            return Ok(Some(AdmissionObservation::InForce));
        }
    }
    let answer = probe(context, run, &namespace).await?;
    let mut seen = context.policies_seen.lock().await;
    if answer == AdmissionObservation::InForce {
        seen.insert(namespace, Instant::now());
    } else {
        seen.remove(&namespace);
    }
    Ok(Some(answer))
}

fn decided_since(run: &BackfillRun, status: &BackfillRunStatus) -> bool {
    let known = |user: &str, entry: &ApprovalEntry| {
        status.entries.iter().any(|e| e.user == user && e.digest == entry.digest && e.decision == entry.decision)
    };
    run.spec.approvals.iter().any(|(user, entry)| !known(user, entry))
}

async fn probe(context: &Context, run: &BackfillRun, namespace: &str) -> Result<AdmissionObservation, ControllerError> {
    let policy = &context.config.approval.admission_policy;
    let runs: Api<BackfillRun> = Api::namespaced(context.client.clone(), namespace);
    let forged = json!({"metadata": {"annotations": {REQUESTED_BY: format!("probe of {policy}")}}});
    let (name, patch, dry) = (run.name_any(), Patch::Merge(&forged), PatchParams::default().dry_run());
    match call("asking whether approvals are guarded", runs.patch(&name, &dry, &patch)).await {
        Ok(_) => Ok(AdmissionObservation::Missing {
            why: format!(
                "the API server would let anybody write any name, as the policy {policy} is not in force in namespace {namespace}"
            ),
        }),
        Err(error) if code(&error) == Some(404) => Err(ControllerError::Conflict),
        Err(error) => match error.refusal() {
            Some(words) if words.contains(&format!("ValidatingAdmissionPolicy '{policy}'")) => Ok(AdmissionObservation::InForce),
            Some(words) => Ok(AdmissionObservation::Missing {
                why: format!("whether the policy {policy} is in force is not known, as something else refuses first: {words}"),
            }),
            None => Err(error),
        },
    }
}

/// What people say about their decisions, without what looks like a secret: it goes to events and channels.
pub(super) fn messages(run: &BackfillRun) -> BTreeMap<String, String> {
    let said = run.spec.approvals.iter().filter_map(|(user, entry)| Some((user.clone(), secrets::redact(entry.message.as_deref()?).0)));
    said.collect()
}
