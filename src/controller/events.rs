//! Kubernetes events: told after the commit, and never waited for by a run.

use super::context::Context;
use crate::api::BackfillRun;
use crate::lifecycle::EventNote;
use kube::Resource as _;
use kube::runtime::events::{Event, EventType};
use std::time::Duration;

/// An event that takes longer is given up: the history in the status has it all the same.
const PUBLISH: Duration = Duration::from_secs(5);

/// Publishes what the pass has to tell.
pub(super) async fn publish(context: &Context, run: &BackfillRun, notes: &[EventNote]) {
    let reference = run.object_ref(&());
    for note in notes {
        let event = Event {
            type_: if note.warning { EventType::Warning } else { EventType::Normal },
            reason: note.reason.clone(),
            note: Some(note.message.chars().take(1000).collect()),
            action: "Reconcile".into(),
            secondary: None,
        };
        match tokio::time::timeout(PUBLISH, context.recorder.publish(&event, &reference)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, reason = note.reason, "an event could not be published"),
            Err(_) => tracing::warn!(reason = note.reason, "an event could not be published in time"),
        }
    }
}
