//! The pure core: what happens next.
//!
//! `decide` takes what the run asks for, what its status says and what was observed, and answers with the next status
//! and at most one effect. No client, clock, randomness or environment in here: the same arguments give the same answer.
//! Knows `api` and `protocol`; called by `controller`, and for an estimate by `plugin`.

mod after;
mod approval;
mod canonical;
mod decide;
mod decision;
mod estimate;
mod input;
mod invalid;
mod observed;
mod pass;
mod phases;
mod plan_digest;
mod references;
mod requirement;
mod step;
#[cfg(test)]
mod tests;
mod throttled;
mod valid;
mod voided;

pub use decide::{decide, effect_refused, refuse};
pub use decision::{Decision, Effect, EventNote, StartStep};
pub use estimate::estimate;
pub use invalid::Invalid;
pub use observed::{
    AdmissionObservation, AfterObservation, CnpgBackup, FlagObservation, HolderObservation, Observed, Problem, ReleaseFound, SecretKey,
    StepObservation, TeamEnd,
};
pub use phases::terminal::{report_name, report_of};
pub use references::{Contents, Resolved, are_needed, kept, references, resolve};
pub use requirement::{Floor, OperatorPolicy, Risk};
pub use valid::{RunMeta, ValidRun, validate};
pub use voided::before_the_first_write;
