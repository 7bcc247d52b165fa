//! The commands, a file each: they ask [`super::cluster`], show what [`super::render`] makes of it, and answer with an exit code.

pub(super) mod completion;
pub(super) mod decide;
pub(super) mod logs;
mod patience;
pub(super) mod review;
pub(super) mod rollback;
pub(super) mod status;
pub(super) mod steer;
pub(super) mod wait;
pub(super) mod withdraw;

use super::PluginError;
use crate::api::{BackfillRun, Phase};

fn phase(run: &BackfillRun) -> Phase {
    run.status.as_ref().map(|status| status.phase).unwrap_or_default()
}

/// Nothing can be decided or steered any more.
fn not_ended(run: &BackfillRun, name: &str) -> Result<(), PluginError> {
    let phase = phase(run);
    if phase.is_terminal() { Err(PluginError::NotNow(format!("{name} has ended: {phase}"))) } else { Ok(()) }
}
