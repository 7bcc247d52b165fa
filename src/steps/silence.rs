//! A step does not wait for a server that is gone.

use super::restore::MAINTENANCE;
use super::session::{Role, Session};
use super::{StepContext, StepEnd};
use crate::api::spec::RestoreMode;
use crate::api::status::Step;
use crate::postgres::pulse;
use crate::protocol::Outcome;

/// Ends when the server of the step has gone silent. A rehearsal has its server beside it, and monitoring connects for each look.
/// A swap exchanges databases, and nobody may be connected to them who is not needed there.
pub(super) async fn silent(step: Step, context: &StepContext) -> StepEnd {
    let session = match (step, context.input.restore) {
        (Step::Restore, Some(RestoreMode::Swap)) => Session::of(context, Role::Restore).map(|session| session.to(MAINTENANCE)),
        _ => Session::of(context, Role::Main).or_else(|_| Session::of(context, Role::Plan)),
    };
    let Some(session) = session.ok().filter(|_| !matches!(step, Step::Rehearse | Step::Monitor)) else {
        return std::future::pending().await;
    };
    pulse::silence(&session.credentials, &session.options).await;
    let (host, port) = (&session.credentials.host, session.credentials.port);
    let message = format!(
        "the server at {host}:{port} does not answer any more; what it had not committed is undone by it, and the next attempt goes on from there"
    );
    StepEnd::bare(Outcome::Lost, "ConnectionLost", message)
}
