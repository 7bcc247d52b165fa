//! The input of a step, its name and its hash.

use super::decision::StartStep;
use super::pass::Pass;
use super::valid::ValidRun;
use crate::api::Phase;
use crate::api::spec::RestoreMode;
use crate::api::status::Step;
use crate::protocol::{BackupsInUse, Cnpg, RESTORE_SWAP, RehearsalInput, StepInput, settings};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::time::Duration;

/// So many attempts of a step are kept to be looked at.
const KEPT_ATTEMPTS: i32 = 3;
/// A step of ours that looks at most a moment.
const SHORT: Duration = Duration::from_mins(10);
/// A step that reads or writes whole tables. When it passes, the attempt counts as lost and the next one goes on.
const LONG: Duration = Duration::from_hours(24);
/// What a monitor may take longer than its watch.
const MONITOR_GRACE: Duration = Duration::from_mins(10);

/// What a rehearsal may take longer than its timeout, to end.
const REHEARSAL_GRACE: Duration = Duration::from_mins(5);
/// A server without any data, its write-ahead log (`max_wal_size` and what a checkpoint takes), and room to sort.
const REHEARSAL_BASE_BYTES: i64 = 2 << 30;

/// The Job of an attempt, built from the run and its status alone, so that after a crash the same is built again.
pub(super) fn start_step(pass: &Pass<'_>, step: Step, index: i32, attempt: i32) -> StartStep {
    let run = pass.run;
    let mut spec = pass.spec().clone();
    spec.approvals.clear();
    spec.notifications.clear();
    let back = pass.status.phase == Phase::RollingBack;
    let plan = pass.status.plan.clone().map(|mut plan| {
        // A way back goes by what the ledger has, whatever the tables are by now; and after the run's own migrations they differ.
        if step == Step::Claim && (back || pass.status.steps.iter().any(|s| s.step == Step::Migrate)) {
            plan.definitions.clear();
        }
        plan.sample.clear();
        plan.invalid_sample.clear();
        plan.output.clear();
        plan.remarks.clear();
        plan
    });
    let release = pass.observed.release.as_ref().and_then(|r| r.as_ref().ok()).filter(|_| step == Step::Preflight);
    let monitor = pass.status.monitor.as_ref().filter(|_| step == Step::Monitor);
    let rollback = pass.status.rollback.as_ref();
    let input = StepInput {
        run: run.meta.identity.clone(),
        step,
        attempt,
        spec,
        spec_hash: run.spec_hash.clone(),
        backup: pass.status.backup.clone(),
        plan,
        backups_in_use: if step == Step::Backup { pass.observed.backups_in_use.clone() } else { BackupsInUse::default() },
        environment: release.map(|r| r.environment.clone()).unwrap_or_default(),
        rehearsal: (step == Step::Rehearse).then(|| space(pass)),
        take_over_from: pass.take_over_from().filter(|_| step == Step::Claim),
        monitor_since: monitor.and_then(|m| m.since),
        monitor_from: pass
            .status
            .flag
            .as_ref()
            .and_then(|f| f.enabled_at)
            .or_else(|| monitor.and_then(|m| m.started_at))
            .filter(|_| monitor.is_some()),
        monitor_until: monitor.and_then(|m| m.until),
        restore: (step == Step::Restore).then(|| restore_mode(pass)),
        loss_digest: rollback.filter(|r| step == Step::Restore && !r.loss_digest.is_empty()).map(|r| r.loss_digest.clone()),
        cnpg: if matches!(step, Step::Preflight | Step::Restore) { pass.observed.cnpg.clone() } else { Cnpg::default() },
        old_database: rollback.filter(|_| step == Step::Close).and_then(|r| r.old_database.clone()),
    };
    let input_hash = hex::encode(Sha256::digest(serde_json::to_vec(&input).unwrap_or_default()));
    StartStep {
        step,
        index,
        job_name: job_name(&run.meta.identity.name, &run.meta.identity.uid, step, attempt),
        // Test Jobs share one count of attempts: theirs are few, and all are kept.
        forget: (attempt > KEPT_ATTEMPTS && step != Step::Test)
            .then(|| job_name(&run.meta.identity.name, &run.meta.identity.uid, step, attempt - KEPT_ATTEMPTS)),
        input,
        input_hash,
        deadline: deadline(pass, step, index),
        owned: !run.meta.deleting,
        environment_secrets: release.map_or_else(BTreeMap::new, |r| r.environment_secrets.clone()),
    }
}

/// The copy is smaller than the database, which has dead rows; what apply writes comes on top, and the undo rows.
fn space(pass: &Pass<'_>) -> RehearsalInput {
    let database_bytes = pass.status.database.as_ref().map_or(0, |d| d.size_bytes);
    let auto = (database_bytes / 2).saturating_mul(3).saturating_add(REHEARSAL_BASE_BYTES);
    RehearsalInput { storage_bytes: pass.run.rehearsal_storage.unwrap_or(auto), database_bytes }
}

/// What the run asks for; else beside, where preflight found that possible: nothing is then lost for good.
fn restore_mode(pass: &Pass<'_>) -> RestoreMode {
    let beside = pass.status.way_back.iter().any(|way| way == RESTORE_SWAP);
    pass.run.spec.rollback.restore.unwrap_or(if beside { RestoreMode::Swap } else { RestoreMode::InPlace })
}

/// At most 63 characters, readable, and never the same for two runs or two attempts.
fn job_name(name: &str, uid: &str, step: Step, attempt: i32) -> String {
    let short_uid: String = uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    let tail = format!("-{short_uid}-{}-{attempt}", step.slug());
    let room = 52_usize.saturating_sub(tail.len());
    let head: String = name.chars().map(|c| if c == '.' { '-' } else { c }).take(room).collect();
    format!("{}{tail}", head.trim_end_matches('-'))
}

fn deadline(pass: &Pass<'_>, step: Step, index: i32) -> Duration {
    let run = pass.run;
    match step {
        Step::Preflight | Step::Claim | Step::Capture | Step::Close => SHORT,
        Step::Backup => run.backup_timeout,
        // It ends by itself when its time has passed, and says so.
        Step::Rehearse => run.rehearsal_timeout + REHEARSAL_GRACE,
        Step::Plan | Step::Replan | Step::Apply | Step::Verify | Step::Undo | Step::LossAccount | Step::Restore => LONG,
        Step::DryRun => run.dry_run_timeout,
        Step::Migrate => run.migrate_timeout,
        Step::Script => run.script_timeout,
        Step::Test => usize::try_from(index).ok().and_then(|i| run.test_timeouts.get(i)).copied().unwrap_or(SHORT),
        Step::Monitor => {
            let until = pass.status.monitor.as_ref().and_then(|m| m.until).unwrap_or(pass.now);
            let left = until.duration_since(pass.now);
            Duration::try_from(left).unwrap_or(Duration::ZERO) + MONITOR_GRACE
        }
    }
}

/// What may change while the run applies, as the pod is told it; `None` in script mode.
pub(super) fn settings(run: &ValidRun) -> Option<BTreeMap<String, String>> {
    run.spec.backfill.sql.as_ref().map(settings::annotations)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_names_are_short_and_differ_by_uid_step_and_attempt() {
        let long = "a".repeat(63);
        let name = job_name(&long, "0b6f1c2e-1111", Step::LossAccount, 12);
        assert!(name.len() <= 52, "{name}");
        assert!(name.ends_with("-0b6f1c2e-loss-account-12"));
        assert_ne!(job_name("a", "1", Step::Plan, 1), job_name("a", "2", Step::Plan, 1));
        assert_eq!(job_name("my.run", "0b6f1c2e-1", Step::Plan, 1), "my-run-0b6f1c2e-plan-1");
    }
}
