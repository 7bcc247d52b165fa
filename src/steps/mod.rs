//! What runs inside a Job: one function a step.
//!
//! A step reads its [`StepInput`] and the files that [`Paths`] names, works under a stop signal, prints progress and
//! details on stdout and leaves a verdict behind. It may not know the controller, and has no Kubernetes API token
//! (only `monitor` has one). Logs go to stderr, so that stdout stays the protocol's.

pub mod applied_sums;
mod apply;
mod backup;
pub mod backup_store;
mod capture;
mod checks_again;
mod claim;
mod close;
mod engine_ends;
mod loss_account;
mod moments;
mod monitor;
mod plan;
mod preflight;
mod rehearse;
mod reporter;
mod restore;
pub mod run_tables;
pub mod session;
mod silence;
mod undo;
mod verify;

pub use reporter::Reporter;

use crate::api::status::Step;
use crate::protocol::{Details, Outcome, Paths, StepInput, StepReport, Verdict};
use std::io::Write as _;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

/// All that a step works with.
#[derive(Debug)]
pub struct StepContext {
    /// What the controller told it.
    pub input: StepInput,
    /// Where its files are.
    pub paths: Paths,
    /// Cancelled on SIGTERM: end the batch in hand, then answer `Stopped`.
    pub stop: CancellationToken,
    /// Where progress goes.
    pub reporter: Reporter,
}

/// How a step ended, and what it found.
#[derive(Clone, Debug, PartialEq)]
pub struct StepEnd {
    /// The verdict; its details hash is filled in when the end is written.
    pub verdict: Verdict,
    /// The details; the team's Jobs have none, and an early end may have none.
    pub report: Option<StepReport>,
}

impl StepEnd {
    /// An end with details.
    #[must_use]
    pub fn reported(outcome: Outcome, reason: &str, message: impl Into<String>, report: StepReport) -> Self {
        Self { verdict: Verdict::new(outcome, reason, message), report: Some(report) }
    }

    /// An end without details.
    #[must_use]
    pub fn bare(outcome: Outcome, reason: &str, message: impl Into<String>) -> Self {
        Self { verdict: Verdict::new(outcome, reason, message), report: None }
    }
}

/// Why a step could not even begin, or not say how it ended. The controller sees a lost step.
#[derive(Debug, Error)]
pub enum StepError {
    /// The input is not there or not readable.
    #[error("cannot read the input {path}: {source}")]
    Input {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The input is not what this release reads.
    #[error("the input is not a step input: {0}")]
    Malformed(#[from] serde_json::Error),
    /// The verdict could not be written.
    #[error("cannot write the verdict: {0}")]
    Output(#[source] std::io::Error),
}

/// Runs the step that the input names, from its input to its verdict.
///
/// # Errors
/// [`StepError`] where no verdict could be left behind.
pub async fn run(step: Step, paths: Paths, cancelled: CancellationToken) -> Result<Outcome, StepError> {
    let text =
        std::fs::read_to_string(&paths.input).map_err(|source| StepError::Input { path: paths.input.display().to_string(), source })?;
    let input: StepInput = serde_json::from_str(&text)?;
    let context = StepContext { input, paths, stop: cancelled, reporter: Reporter::default() };
    let end = tokio::select! {
        end = Box::pin(dispatch(step, &context)) => end,
        end = Box::pin(silence::silent(step, &context)) => end,
    };
    finish(end, &context.paths)
}

async fn dispatch(step: Step, context: &StepContext) -> StepEnd {
    match step {
        Step::Preflight => preflight::run(context).await,
        Step::Backup => Box::pin(backup::run(context)).await,
        Step::Monitor => monitor::run(context).await,
        Step::Plan | Step::Replan => plan::run(context).await,
        Step::Rehearse => rehearse::run(context).await,
        Step::Claim => claim::run(context).await,
        Step::Capture => capture::run(context).await,
        Step::Apply => apply::run(context).await,
        Step::Verify => verify::run(context).await,
        Step::Undo => undo::run(context).await,
        Step::LossAccount => loss_account::run(context).await,
        Step::Restore => Box::pin(restore::run(context)).await,
        Step::Close => close::run(context).await,
        other @ (Step::DryRun | Step::Migrate | Step::Script | Step::Test) => {
            StepEnd::bare(Outcome::Stalled, "UnknownStep", format!("{} is a Job of the team, not a step of ours", other.slug()))
        }
    }
}

/// Prints the details, then writes the verdict that names them.
fn finish(end: StepEnd, paths: &Paths) -> Result<Outcome, StepError> {
    let StepEnd { mut verdict, report } = end;
    if let Some(report) = report {
        match Details::new(serde_json::to_string(&report)?) {
            Ok(details) => {
                let mut out = std::io::stdout().lock();
                writeln!(out, "{}", details.to_line()).and_then(|()| out.flush()).map_err(StepError::Output)?;
                verdict.details_sha256 = Some(details.sha256);
            }
            Err(error) => verdict = Verdict::new(Outcome::Stalled, "DetailsTooLong", error.to_string()),
        }
    }
    tracing::info!(outcome = ?verdict.outcome, reason = verdict.reason, message = verdict.message, "step ended");
    std::fs::write(&paths.termination, verdict.to_message()).map_err(StepError::Output)?;
    Ok(verdict.outcome)
}
