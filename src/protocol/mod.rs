//! What the controller and a step say to each other.
//!
//! The controller gives a step one immutable document ([`StepInput`]); the step answers with progress lines on stdout,
//! a block of details on stdout, and a [`Verdict`] as its termination message that names the details by their hash.
//! Knows `api` only. Both sides may change in one release only: the image is the same.

mod cnpg;
mod details;
mod input;
mod progress;
mod report;
pub mod settings;
mod verdict;

pub use cnpg::{Cnpg, CnpgCluster, CnpgDatabase};
pub use details::{DETAILS_MAX_BYTES, Details, DetailsError};
pub use input::{BackupsInUse, Paths, RehearsalInput, RunIdentity, StepInput};
pub use progress::Progress;
pub use report::{
    ApplyReport, BackupReport, ClaimReport, Holder, LossReport, MonitorReport, PlanReport, PreflightReport, RESTORE_IN_PLACE, RESTORE_SWAP,
    RESTORE_TABLES, RehearsalReport, RestoreReport, StepReport, TAKEN_BACK, UNDO, UndoReport, VerifyReport,
};
pub use verdict::{Outcome, VERDICT_MAX_BYTES, Verdict};

/// True for a line of a step's output that is progress or details, and no log for people.
#[must_use]
pub fn is_for_the_operator(line: &str) -> bool {
    line.starts_with(progress::MARK) || line.starts_with(details::MARK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_and_details_are_for_the_operator_and_logs_are_not() {
        assert!(is_for_the_operator(&Progress::default().to_line()));
        assert!(is_for_the_operator(&Details::new("{}".into()).unwrap().to_line()));
        assert!(!is_for_the_operator(r#"{"level":"INFO","message":"BACKFILL-PROGRESS"}"#));
    }
}
