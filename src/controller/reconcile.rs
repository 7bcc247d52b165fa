//! One pass over one run: validate, gather, decide, commit, act.

use super::context::Context;
use super::error::{ControllerError, call};
use super::{act, commit, events, gather, policy};
use crate::api::{BackfillRun, BackfillRunStatus};
use crate::lifecycle::{self, Decision, RunMeta};
use jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt as _};
use std::sync::Arc;
use std::time::Duration;

/// What the API server refused is tried again after this.
const REFUSED_RETRY: Duration = Duration::from_secs(20);

/// Takes a run as far as it goes in one pass. There is no read after `decide`, and no decision after it.
///
/// # Errors
/// [`ControllerError`]: the pass is tried again.
pub(super) async fn reconcile(cached: Arc<BackfillRun>, context: Arc<Context>) -> Result<Action, ControllerError> {
    let namespace = cached.namespace().unwrap_or_default();
    let runs: Api<BackfillRun> = Api::namespaced(context.client.clone(), &namespace);
    // The cache may be behind the last commit; a pass never acts on what it believes from memory.
    let Some(run) = call("reading the run", runs.get_opt(&cached.name_any())).await? else {
        return Ok(Action::await_change());
    };
    let policy = policy::of(&context.config);
    let status = run.status.clone().unwrap_or_default();

    // 1. validate (no client)
    let valid = lifecycle::validate(&run, &policy);
    // 2. gather (all reads) and 3. decide (pure)
    let decision = match &valid {
        Ok(valid) => {
            let observed = gather::observe(&context, &run, valid, &status).await?;
            lifecycle::decide(valid, &status, &observed, Timestamp::now())
        }
        Err(invalid) => lifecycle::refuse(&RunMeta::of(&run), run.spec.abandon, invalid, &status, Timestamp::now()),
    };
    let Decision { status: next, effect, events: notes, requeue } = decision;
    // 4. commit (one compare-and-set write)
    let run = Box::pin(commit::status(&runs, run, &status, next)).await?;
    count(&context, &status, run.status.as_ref());
    events::publish(&context, &run, &notes).await;
    // 5. act (at most one effect)
    if let Some(effect) = effect {
        tracing::info!(namespace, run = run.name_any(), phase = %run.status.as_ref().map(|s| s.phase).unwrap_or_default(), effect = act::name(&effect), "acts");
        if let Err(error) = act::act(&context, &run, valid.as_ref().ok(), effect).await {
            return Box::pin(refused(&runs, run, error)).await;
        }
    }
    Ok(requeue.map_or_else(Action::await_change, Action::requeue))
}

/// What the API server refuses for good is for a person to see; the pass is repeated all the same.
async fn refused(runs: &Api<BackfillRun>, run: BackfillRun, error: ControllerError) -> Result<Action, ControllerError> {
    let Some(refusal) = error.refusal() else { return Err(error) };
    tracing::warn!(run = run.name_any(), refusal, "the API server refuses");
    let before = run.status.clone().unwrap_or_default();
    let next = lifecycle::effect_refused(&RunMeta::of(&run), &before, &refusal, Timestamp::now());
    Box::pin(commit::status(runs, run, &before, next)).await?;
    Ok(Action::requeue(REFUSED_RETRY))
}

/// Counts what this commit, and no other, has written down.
fn count(context: &Context, before: &BackfillRunStatus, after: Option<&BackfillRunStatus>) {
    let Some(after) = after else { return };
    for entry in &after.steps {
        let known = before.steps.iter().any(|s| s.step == entry.step && s.attempt == entry.attempt && s.result == entry.result);
        if let Some(result) = entry.result.filter(|_| !known) {
            context.metrics.step_ended(entry.step, result);
        }
    }
    let written = |status: &BackfillRunStatus| status.result.as_ref().map_or(0, |r| r.written);
    context.metrics.rows_written((written(after) - written(before)).max(0));
    context.metrics.throttled(after.throttled_seconds - before.throttled_seconds);
}
