//! The `BackfillRun` resource: its spec, its status and the words both use.
//!
//! Types and rules only. Everybody may use this module; it knows nobody.

pub mod conditions;
pub mod crd;
pub mod duration;
pub mod phase;
pub mod quantity;
pub mod spec;
pub mod status;

pub use phase::Phase;
pub use spec::{BackfillRun, BackfillRunSpec};
pub use status::BackfillRunStatus;

/// API group of the resource, and prefix of every label, annotation and finalizer that the operator sets.
pub const GROUP: &str = "backfill.dev";
/// Held from `mutationStarted` until the run is finished, undone or abandoned.
pub const FINALIZER: &str = "backfill.dev/way-back";
/// Label: name of the run that an object belongs to.
pub const RUN_LABEL: &str = "backfill.dev/run";
/// Label: uid of the run that an object belongs to. Objects whose uid differs are never adopted.
pub const RUN_UID_LABEL: &str = "backfill.dev/run-uid";
/// Label: the step that a Job or its input belongs to.
pub const STEP_LABEL: &str = "backfill.dev/step";
/// Annotation: who asked for the run. That person's own approval does not count.
pub const REQUESTED_BY: &str = "backfill.dev/requested-by";
/// Annotation: who edited the spec last. That person's own approval does not count either.
pub const EDITED_BY: &str = "backfill.dev/edited-by";
/// Annotation of a report: which end of the run it is about.
pub const REPORT_OF: &str = "backfill.dev/report-of";
/// With this the names of service accounts begin. They are no people.
pub const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";
