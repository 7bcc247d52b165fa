//! The ten rows of the checklist.

use super::format;
use crate::api::Phase;
use crate::api::spec::{BackfillRunSpec, Place, SampleShow};
use crate::api::status::{BackfillRunStatus, CheckResult, Step, StepResult, StepStatus};
use serde::Serialize;

/// A row: what was asked, what was done, what came of it, and when.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    name: &'static str,
    asked: String,
    done: String,
    result: String,
    when: String,
}

const NOT_ASKED: &str = "not asked";
const DID_NOT_RUN: &str = "did not run";

/// The rows, in the order of the checklist.
pub(super) fn rows(spec: &BackfillRunSpec, status: &BackfillRunStatus) -> Vec<Row> {
    let facts = Facts { spec, status };
    vec![
        facts.preflight(),
        facts.dry_run(),
        facts.validation(),
        facts.apply(),
        facts.verification(),
        facts.rollback(),
        facts.flag(),
        facts.monitoring(),
        facts.privacy(),
        facts.estimates(),
    ]
}

struct Facts<'a> {
    spec: &'a BackfillRunSpec,
    status: &'a BackfillRunStatus,
}

impl Facts<'_> {
    fn preflight(&self) -> Row {
        let preflight = self.spec.preflight.as_ref();
        let (environment, checks) = preflight.map_or((0, 0), |p| (p.environment.len(), p.checks.len()));
        let place = match self.spec.backup.destination.place() {
            Some(Place::Claim(claim)) => claim.claim_name.clone(),
            Some(Place::Bucket(bucket)) => format!("the bucket {}", bucket.bucket),
            None => "no destination".into(),
        };
        let release = self.spec.release.as_ref().map_or("no release".into(), |r| format!("the release of {}", r.workload_ref.name));
        let backup = self.status.backup.as_ref();
        Row {
            name: "Preflight and backup",
            asked: format!("{release}; variables: {environment}; SQL checks: {checks}; a dump on {place}"),
            done: self.done(&[Step::Preflight, Step::Backup, Step::Rehearse]),
            result: sentence([
                self.checks(&[Phase::Preflight]),
                self.status.release.as_ref().and_then(|release| release.commit.as_ref()).map(|commit| format!("commit {commit}")),
                backup.map(|backup| format!("dump of {}, proof: {}", format::bytes(backup.size_bytes), backup.proof)),
                backup.filter(|backup| !backup.scope.is_empty()).map(|backup| format!("rows of {} only", backup.tables.join(", "))),
            ]),
            when: self.when(&[Step::Preflight, Step::Backup, Step::Rehearse]),
        }
    }

    fn dry_run(&self) -> Row {
        let script = self.spec.backfill.job.is_some();
        let plan = self.status.plan.as_ref();
        let counts = plan.filter(|_| !script).map(|plan| {
            format!(
                "{} rows would be written, {} are done already, {} lost to the winner of their group, {} find no target",
                plan.will_write, plan.already_done, plan.lost, plan.no_match
            )
        });
        let proof = plan.map(|plan| if plan.proved_read_only { "proved read-only" } else { "not proved read-only" }.to_owned());
        Row {
            name: "Dry run",
            asked: if script { "the script's own dry run" } else { "an exact plan of every write" }.into(),
            done: self.done(&[Step::Plan, Step::DryRun, Step::Replan]),
            result: sentence([counts, proof]),
            when: self.when(&[Step::Plan, Step::DryRun, Step::Replan]),
        }
    }

    fn validation(&self) -> Row {
        let rules = self.spec.backfill.sql.as_ref().map_or(0, |sql| sql.validate.len());
        let plan = self.status.plan.as_ref().filter(|_| rules > 0);
        Row {
            name: "Validation before applying",
            asked: if rules == 0 { NOT_ASKED.into() } else { format!("every planned row against JSON Schemas: {rules}") },
            done: plan.map_or(DID_NOT_RUN, |_| "with the plan").into(),
            result: sentence([plan.map(|plan| format!("{} of {} rows are invalid", plan.invalid, plan.matching))]),
            when: plan.and_then(|plan| plan.planned_at).map_or_else(nothing, format::time),
        }
    }

    fn apply(&self) -> Row {
        let result = self.status.result.as_ref();
        let migrations = if self.spec.migrations.is_some() { "migrations, then " } else { "" };
        Row {
            name: "Apply",
            asked: format!(
                "{migrations}the approved writes; approvals of this very plan: {}",
                self.status.approvals_required.max(self.spec.approval.required)
            ),
            done: self.done(&[Step::Migrate, Step::Apply, Step::Script]),
            result: sentence([
                Some(format!("decisions that counted: {}", self.status.approvals.len())),
                result
                    .filter(|result| result.captured.is_empty())
                    .map(|result| format!("{} rows written in {} batches", result.written, result.batches)),
                result.filter(|result| !result.captured.is_empty()).map(|result| {
                    format!(
                        "{} rows of the script captured, in {} tables, each of which can be put back",
                        result.written,
                        result.captured.len()
                    )
                }),
                result.map(|result| format!("{} left alone because they had changed since the plan", result.drifted)),
                result.filter(|result| result.quarantined > 0).map(|result| format!("{} refused by the database", result.quarantined)),
                result.filter(|result| result.redacted > 0).map(|result| format!("secrets redacted in {}", result.redacted)),
                Some(self.status.throttled_seconds)
                    .filter(|held| *held > 0)
                    .map(|held| format!("the throttle held it for {}", format::seconds(held))),
            ]),
            when: self.when(&[Step::Migrate, Step::Apply, Step::Script]),
        }
    }

    fn verification(&self) -> Row {
        Row {
            name: "Verification right after",
            asked: format!("what was written against the plan; checks of the run: {}", self.spec.verify.len()),
            done: self.done(&[Step::Verify, Step::Test]),
            result: sentence([self.checks(&[Phase::Verifying])]),
            when: self.when(&[Step::Verify, Step::Test]),
        }
    }

    fn rollback(&self) -> Row {
        let rollback = self.status.rollback.as_ref();
        Row {
            name: "Rollback if it fails",
            asked: format!("trigger {:?}, method {:?}", self.spec.rollback.trigger, self.spec.rollback.method),
            done: self.done(&[Step::Undo, Step::LossAccount, Step::Restore]),
            result: sentence([
                rollback.map(|rollback| format!("{} rows put back", rollback.undone)),
                rollback
                    .map(|rollback| format!("{} left because the application changed them since", rollback.skipped_because_changed_since)),
                self.checks(&[Phase::RollingBack]),
            ]),
            when: self.when(&[Step::Undo, Step::LossAccount, Step::Restore]),
        }
    }

    fn flag(&self) -> Row {
        let flag = self.status.flag.as_ref();
        let (enabled, restored) = (flag.and_then(|flag| flag.enabled_at), flag.and_then(|flag| flag.restored_at));
        let done = match (enabled, restored) {
            (_, Some(_)) => "put back",
            (Some(_), None) => "switched on",
            (None, None) => "not touched",
        };
        Row {
            name: "Feature flag, only if right",
            asked: self.spec.feature_flag.as_ref().map_or_else(|| NOT_ASKED.into(), |flag| format!("switch on {}", flag.name)),
            done: done.into(),
            result: sentence([flag.filter(|_| enabled.is_some()).map(|flag| format!("it was {} before", flag.previous))]),
            when: restored.or(enabled).map_or_else(nothing, format::time),
        }
    }

    fn monitoring(&self) -> Row {
        let asked = self.spec.monitor.as_ref().map_or_else(
            || "no watch over the logs".into(),
            |monitor| format!("the logs for {}, patterns: {}", monitor.duration, monitor.logs.patterns.len()),
        );
        let messages = &self.status.notifications;
        let delivered = messages.iter().filter(|message| message.delivered_at.is_some()).count();
        let seen = self.status.monitor.as_ref().map(|monitor| {
            let over = monitor.patterns.iter().filter(|pattern| pattern.after > i64::from(pattern.max)).count();
            format!("{} lines of {} pods read, {over} patterns over their limit", monitor.lines, monitor.pods)
        });
        Row {
            name: "Monitoring and communication",
            asked: format!("{asked}; channels to tell: {}", self.spec.notifications.len()),
            done: self.done(&[Step::Monitor]),
            result: sentence([seen, Some(format!("{delivered} of {} messages delivered", messages.len()))]),
            when: self.when(&[Step::Monitor]),
        }
    }

    fn privacy(&self) -> Row {
        let samples = self.spec.backfill.sql.as_ref().map(|sql| match sql.samples.show {
            SampleShow::Full => "values",
            SampleShow::Masked => "lengths only",
            SampleShow::None => "nothing",
        });
        let plan = self.status.plan.as_ref();
        Row {
            name: "Security and privacy",
            asked: samples.map_or_else(|| NOT_ASKED.into(), |show| format!("a scan of the samples for secrets; samples show {show}")),
            done: plan.filter(|_| samples.is_some()).map_or(DID_NOT_RUN, |_| "with the plan").into(),
            result: sentence([plan.map(|plan| format!("{} sampled rows look as if they held a secret", plan.sensitive))]),
            when: plan.and_then(|plan| plan.planned_at).map_or_else(nothing, format::time),
        }
    }

    fn estimates(&self) -> Row {
        let measured = self.status.estimates.iter().filter_map(|e| e.actual_seconds).sum::<i64>();
        let estimated = self.status.estimates.iter().filter_map(|e| e.estimated_seconds).sum::<i64>();
        let known = !self.status.estimates.is_empty();
        Row {
            name: "Estimated time",
            asked: "an estimate for every step".into(),
            done: if known { format!("steps: {}", self.status.estimates.len()) } else { DID_NOT_RUN.into() },
            result: sentence([known.then(|| format!("estimated {}, took {}", format::seconds(estimated), format::seconds(measured)))]),
            when: self.status.finished_at.map_or_else(nothing, format::time),
        }
    }

    fn steps<'a>(&'a self, wanted: &'a [Step]) -> impl Iterator<Item = &'a StepStatus> {
        self.status.steps.iter().filter(move |step| wanted.contains(&step.step))
    }

    fn done(&self, wanted: &[Step]) -> String {
        let done: Vec<String> = self.steps(wanted).map(|step| format!("{} {}", step.step.slug(), outcome(step))).collect();
        if done.is_empty() { DID_NOT_RUN.into() } else { done.join(", ") }
    }

    fn when(&self, wanted: &[Step]) -> String {
        let last = self.steps(wanted).map(|step| step.ended_at.unwrap_or(step.started_at)).max();
        last.map_or_else(nothing, format::time)
    }

    fn checks(&self, phases: &[Phase]) -> Option<String> {
        let count = |result| self.status.checks.iter().filter(|check| phases.contains(&check.phase) && check.result == result).count();
        let (passed, failed, open) = (count(CheckResult::Passed), count(CheckResult::Failed), count(CheckResult::Inconclusive));
        (passed + failed + open > 0).then(|| format!("checks: {passed} passed, {failed} failed, {open} inconclusive"))
    }
}

fn outcome(step: &StepStatus) -> &'static str {
    match step.result {
        Some(StepResult::Passed) => "passed",
        Some(StepResult::Failed) => "failed",
        Some(StepResult::Inconclusive) => "was inconclusive",
        Some(StepResult::Stalled) => "stalled",
        Some(StepResult::Lost) => "was lost",
        Some(StepResult::Stopped) => "was stopped",
        None => "has not ended",
    }
}

fn sentence<const N: usize>(parts: [Option<String>; N]) -> String {
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { nothing() } else { parts.join("; ") }
}

fn nothing() -> String {
    "-".into()
}
