//! How long a step will take, in seconds; afterwards compared with what it took.

use crate::api::status::{BackfillRunStatus, EstimateStatus, RehearsalStatus, Step, WRITTEN};

/// The dump, and reading it back, by one core and on a volume that is written over a network: about 80 MB of database a second
/// (measured at 170 on a local disk; gzip alone would make it 50).
const BACKUP_BYTES_PER_SECOND: i64 = 80_000_000;
/// Restoring writes every row to the log and builds every index again.
const RESTORE_BYTES_PER_SECOND: i64 = 8_000_000;
/// A written row costs about four times a planned one: two writes, the undo row, the audit entry.
const APPLY_COST: i64 = 4;
/// A rehearsal makes a server first, and compares every table at the end.
const REHEARSAL_SECONDS: i64 = 15;
/// Undo took nine tenths of apply's time when it was measured, for a million rows: it writes as much, by two sessions.
const UNDO_COST: i64 = 4;

/// The estimate for a step, in seconds; `None` where nothing is known yet.
#[must_use]
pub fn estimate(status: &BackfillRunStatus, step: Step) -> Option<i64> {
    let size = status.database.as_ref().map(|d| d.size_bytes);
    let rehearsed = status.rehearsal.as_ref();
    let rows = status.plan.as_ref().filter(|p| p.rows_per_second > 0);
    match step {
        Step::Backup => size.map(|s| s / BACKUP_BYTES_PER_SECOND + 3),
        Step::Rehearse => size.map(|s| s / RESTORE_BYTES_PER_SECOND + REHEARSAL_SECONDS),
        Step::Restore => rehearsed.map(|r| r.restore_seconds).or_else(|| size.map(|s| s / RESTORE_BYTES_PER_SECOND + 3)),
        Step::Apply => {
            let alone = if rehearsed.is_some_and(|r| r.apply_seconds.is_some()) {
                rehearsed.and_then(apply_as_rehearsed)
            } else {
                rows.map(|p| p.will_write * APPLY_COST / p.rows_per_second + 3)
            };
            // Nobody writes beside a rehearsal.
            alone.max(rows.filter(|p| p.gentle_rows_per_second > 0).map(|p| p.will_write / p.gentle_rows_per_second + 3))
        }
        Step::Undo => rows.map(|p| p.will_write * UNDO_COST / p.rows_per_second + 3),
        Step::Replan => actual(status, Step::Plan),
        _ => None,
    }
}

/// What apply took on the copy, and as much longer as it wrote fewer rows there than are planned.
fn apply_as_rehearsed(rehearsal: &RehearsalStatus) -> Option<i64> {
    let seconds = rehearsal.apply_seconds?;
    let written = rehearsal.count(WRITTEN).filter(|written| written.rehearsed > 0);
    Some(written.map_or(seconds, |w| seconds.saturating_mul(w.predicted.max(w.rehearsed)) / w.rehearsed))
}

fn actual(status: &BackfillRunStatus, step: Step) -> Option<i64> {
    status.estimates.iter().find(|e| e.step == step).and_then(|e| e.actual_seconds)
}

/// Writes an estimate (at a step's first attempt) or an actual (at its end) down.
pub(super) fn record(status: &mut BackfillRunStatus, step: Step, estimated: Option<i64>, actual: Option<i64>) {
    if let Some(entry) = status.estimates.iter_mut().find(|e| e.step == step) {
        entry.estimated_seconds = entry.estimated_seconds.or(estimated);
        entry.actual_seconds = actual.or(entry.actual_seconds);
    } else {
        status.estimates.push(EstimateStatus { step, estimated_seconds: estimated, actual_seconds: actual });
    }
}

#[cfg(test)]
mod tests {
    use super::{estimate, record};
    use crate::api::status::{BackfillRunStatus, DatabaseStatus, PlanStatus, Step};

    #[test]
    fn estimates_come_from_the_size_of_the_database_and_the_rate_of_the_plan_and_are_compared_with_what_happened() {
        let mut status = BackfillRunStatus::default();
        assert_eq!(estimate(&status, Step::Apply), None, "nothing is known yet");
        status.database = Some(DatabaseStatus { size_bytes: 2_500_000_000, ..DatabaseStatus::default() });
        status.plan = Some(PlanStatus { will_write: 1_000_000, rows_per_second: 40_000, ..PlanStatus::default() });
        assert_eq!(estimate(&status, Step::Backup), Some(34));
        assert_eq!((estimate(&status, Step::Apply), estimate(&status, Step::Undo)), (Some(103), Some(103)));
        record(&mut status, Step::Apply, Some(103), None);
        record(&mut status, Step::Apply, Some(7), None);
        record(&mut status, Step::Apply, None, Some(96));
        let of_apply = status.estimates.iter().find(|e| e.step == Step::Apply).unwrap();
        assert_eq!(
            (of_apply.estimated_seconds, of_apply.actual_seconds),
            (Some(103), Some(96)),
            "the first estimate stands beside what it took"
        );
        status.plan.as_mut().unwrap().gentle_rows_per_second = 3000;
        assert_eq!(
            (estimate(&status, Step::Apply), estimate(&status, Step::Undo)),
            (Some(336), Some(103)),
            "undo does not wait for others"
        );
        status.plan.as_mut().unwrap().gentle_rows_per_second = 30_000;
        assert_eq!(estimate(&status, Step::Apply), Some(103), "no quicker than alone");
        record(&mut status, Step::Plan, None, Some(25));
        assert_eq!(estimate(&status, Step::Replan), Some(25));
    }
}
