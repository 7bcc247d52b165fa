//! Why a spec cannot work, in words that say what to change.

use thiserror::Error;

/// Why a spec cannot work. The variant is the reason of the Stalled condition.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Invalid {
    /// A duration is not one, or zero where that makes no sense.
    #[error("{field}: {text:?} is not a duration above zero: write it as in 30s, 2h or 1h30m")]
    BadDuration {
        /// Where.
        field: String,
        /// What stands there.
        text: String,
    },
    /// A quantity is not one, or zero.
    #[error("{field}: {text:?} is not a quantity above zero: write it as in 50Mi")]
    BadQuantity {
        /// Where.
        field: String,
        /// What stands there.
        text: String,
    },
    /// A Job template is not a pod template.
    #[error("{field}: not a pod template: {message}")]
    BadTemplate {
        /// Where.
        field: String,
        /// What is wrong.
        message: String,
    },
    /// A regular expression does not compile.
    #[error("monitor.logs.patterns[{name}].regex: {message}")]
    BadRegex {
        /// Name of the pattern.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// The pods to watch are not selected.
    #[error("monitor.logs.selector: {message}")]
    BadSelector {
        /// What is wrong.
        message: String,
    },
    /// A JSON Schema does not compile.
    #[error("backfill.sql.validate[{name}].schema: {message}")]
    BadSchema {
        /// Name of the rule.
        name: String,
        /// What is wrong.
        message: String,
    },
    /// A column is to be searched for secrets that no write sets.
    #[error("backfill.sql.sensitiveData.columns: no write sets {column:?}: name columns as writes[].set does")]
    ColumnNotWritten {
        /// The column.
        column: String,
    },
    /// What a tag names can be moved after the approval.
    #[error(
        "{field}: the image {image} is named by a tag, which can be moved after the approval; the policy {policy} wants its digest: NAME@sha256:…"
    )]
    ImageByTag {
        /// Where.
        field: String,
        /// The image.
        image: String,
        /// The policy of the platform.
        policy: String,
    },
    /// The mark of the script's sessions cannot be added to options that are not in the template.
    #[error(
        "backfill.job.apply.template: the container {container} takes PGOPTIONS from elsewhere (valueFrom), and capture has to add the run's setting to it: write its value, or set capture.role"
    )]
    OptionsHidden {
        /// Which.
        container: String,
    },
    /// It would wait for itself.
    #[error("spec.after: {name} is this run itself: name the run that comes before it")]
    AfterItself {
        /// Its name.
        name: String,
    },
    /// The operator has no image with a server.
    #[error(
        "backup.proof is Restore, but the operator knows no image for rehearsals: set rehearsal.image.repository in the chart's values, or backup.proof: Read in the run"
    )]
    RehearsalImageMissing,
    /// There is nothing yet that could be taken back.
    #[error("rollback.requested takes back a run that has succeeded, and this one has not begun: leave it out")]
    RollbackTooEarly,
    /// Two things have the same name.
    #[error("{field}: the name {name:?} stands there twice: give each its own")]
    DuplicateName {
        /// Where.
        field: String,
        /// The name.
        name: String,
    },
}

impl Invalid {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::BadDuration { .. } => "BadDuration",
            Self::BadQuantity { .. } => "BadQuantity",
            Self::BadTemplate { .. } => "BadTemplate",
            Self::BadRegex { .. } => "BadRegex",
            Self::BadSelector { .. } => "BadSelector",
            Self::BadSchema { .. } => "BadSchema",
            Self::ColumnNotWritten { .. } => "ColumnNotWritten",
            Self::ImageByTag { .. } => "ImageByTag",
            Self::OptionsHidden { .. } => "OptionsHidden",
            Self::AfterItself { .. } => "AfterItself",
            Self::RehearsalImageMissing => "RehearsalImageMissing",
            Self::RollbackTooEarly => "RollbackTooEarly",
            Self::DuplicateName { .. } => "DuplicateName",
        }
    }
}
