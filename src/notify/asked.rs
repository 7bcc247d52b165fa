//! What is asked, as a channel has it: the counts, the way back and the conditions, and no row.

use crate::api::duration;
use crate::api::status::{AwaitingStatus, BackfillRunStatus, PlannedWrites, Step, Subject};
use crate::lifecycle::estimate;
use jiff::Timestamp;
use serde::Serialize;
use std::time::Duration;

/// What there is to know before one answers: what `kubectl backfill review` shows, without the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedFacts {
    /// Of what.
    pub subject: Subject,
    /// The digest that an answer names.
    pub digest: String,
    /// How many people must approve.
    pub required: i32,
    /// Why so many, a sentence each.
    pub because: Vec<String>,
    /// Until when.
    pub until: Timestamp,
    /// What changes, a table and an action each; empty for a script and for a way back.
    pub changes: Vec<String>,
    /// Rows of the plan; absent for a script and for a way back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowFacts>,
    /// Tables that a restore loses something of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub loses: Vec<String>,
    /// How far the backup is proved; empty where there is none.
    pub proof: String,
    /// How long the step that is asked about may take, as a duration.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated: Option<String>,
}

/// Counts of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RowFacts {
    /// Rows of the source.
    pub scanned: i64,
    /// Those that the source's `where` finds.
    pub matching: i64,
    /// Those that will be written.
    pub will_write: i64,
    /// Those that fail validation.
    pub invalid: i64,
    /// Those in which something looks like a secret.
    pub sensitive: i64,
}

impl AskedFacts {
    pub(super) fn of(status: &BackfillRunStatus, awaiting: &AwaitingStatus) -> Self {
        let plan = status.plan.as_ref().filter(|plan| awaiting.subject == Subject::Plan && !plan.file.is_empty());
        let step = match awaiting.subject {
            Subject::Plan => Step::Apply,
            Subject::Restore => Step::Restore,
            Subject::Rollback => Step::Undo,
        };
        let losses = status.rollback.iter().flat_map(|rollback| &rollback.losses).filter(|_| awaiting.subject == Subject::Restore);
        Self {
            subject: awaiting.subject,
            digest: awaiting.digest.clone(),
            required: awaiting.required,
            because: awaiting.floors.iter().map(|floor| format!("{}: {}, as {}", floor.name, floor.minimum, floor.why)).collect(),
            until: awaiting.deadline,
            changes: plan.map(|plan| plan.writes.iter().flat_map(changes).collect()).unwrap_or_default(),
            rows: plan.map(|plan| RowFacts {
                scanned: plan.scanned,
                matching: plan.matching,
                will_write: plan.will_write,
                invalid: plan.invalid,
                sensitive: plan.sensitive,
            }),
            loses: losses.map(|loss| loss.table.clone()).collect(),
            proof: status.backup.as_ref().map(|backup| backup.proof.clone()).unwrap_or_default(),
            estimated: estimate(status, step).and_then(|s| u64::try_from(s).ok()).map(|s| duration::display(Duration::from_secs(s))),
        }
    }
}

fn changes(write: &PlannedWrites) -> Vec<String> {
    let PlannedWrites { table, updates, inserts, deletes } = write;
    let counted = [("updated", updates), ("inserted", inserts), ("deleted", deletes)];
    counted.into_iter().filter(|(_, count)| **count > 0).map(|(what, count)| format!("{table}: {count} rows {what}")).collect()
}
