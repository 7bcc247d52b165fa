//! The plan: exact for SQL, the dry run's output for a script.

use super::{applying, rehearsal, rolling_back, terminal};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::spec::Capture;
use crate::api::status::{PlanStatus, Step};
use crate::lifecycle::pass::Pass;
use crate::lifecycle::plan_digest::plan_digest;
use crate::lifecycle::step::StepEnded;
use crate::protocol::{Outcome, StepReport};

/// Said to everybody who approves a script.
const SCRIPT_REMARK: &str = "script mode: what the script really writes is up to the script. No exact plan, no row-by-row undo, no audit entries by the operator; the way back is a restore of the backup";

/// Said where a setting marks the script's sessions.
const PARTIAL_MARK: &str = ". A session of the script that lost the setting (RESET ALL, a pooler, a driver that drops it) passes for the application's: its rows are not undone, and only the number `others` in status.result.captured shows it; \
     a role of the script's own (capture.role) cannot be lost so";

/// What script mode gives, and what it does not.
fn remark(capture: Option<&Capture>) -> String {
    let Some(capture) = capture else { return SCRIPT_REMARK.into() };
    let sessions = capture.role.as_ref().map_or_else(
        || "sessions that begin with the setting that its containers are given".to_owned(),
        |role| format!("sessions of the role {role}"),
    );
    format!(
        "script mode: what the script really writes is up to the script. No exact plan, no audit entries by the operator. Rows that its {sessions} insert, update or delete in {} are captured, and undone row by row; \
         what it does to other tables, TRUNCATE and changed definitions only a restore of the backup takes back{}",
        capture.tables.join(", "),
        if capture.role.is_none() { PARTIAL_MARK } else { "" }
    )
}

pub(super) fn on_enter(pass: &mut Pass<'_>) {
    let step = if pass.run.spec.backfill.sql.is_some() { Step::Plan } else { Step::DryRun };
    pass.begin(step, 0);
}

pub(super) fn ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report } = ended else { return super::unexpected(pass, Step::Plan, 0) };
    let report = match report.map(|r| *r) {
        Some(StepReport::Plan(report)) => Some(report),
        None if verdict.outcome == Outcome::Failed => None,
        _ => return super::unexpected(pass, Step::Plan, 0),
    };
    if let Some(report) = report {
        accept(pass, report.plan);
    }
    if verdict.outcome == Outcome::Failed {
        pass.set(ConditionType::Validated, Truth::False, &verdict.reason, &verdict.message);
        return rolling_back::fail(pass, &verdict.reason, &format!("plan: {}", verdict.message));
    }
    pass.set(ConditionType::Planned, Truth::True, "Planned", &verdict.message);
    pass.set(ConditionType::Validated, Truth::True, "Validated", &verdict.message);
    if pass.status.plan.as_ref().is_some_and(|p| p.will_write == 0) {
        return terminal::end(pass, Phase::Succeeded, "NothingToDo", "the plan has no row to write");
    }
    rehearsal::begin(pass);
}

/// Takes a plan into the status, with the digest that people approve.
pub(super) fn accept(pass: &mut Pass<'_>, mut plan: PlanStatus) {
    let (release, config_maps) = (pass.status.release.as_ref(), &pass.status.config_maps);
    plan.digest = plan_digest(&pass.run.meta.identity.uid, pass.spec(), &plan, release, config_maps);
    plan.planned_at = Some(pass.now);
    pass.status.plan = Some(plan);
}

pub(super) fn dry_run_ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Team(end) = ended else { return super::unexpected(pass, Step::DryRun, 0) };
    let plan = PlanStatus {
        rows_digest: format!("sha256:{}", crate::lifecycle::plan_digest::script_digest(&end.output_sha256, &end.image)),
        output: end.output_tail,
        remarks: vec![remark(applying::capture(pass.run))],
        ..PlanStatus::default()
    };
    accept(pass, plan);
    if !end.passed {
        return terminal::end(pass, Phase::Failed, "DryRunFailed", &format!("the script's dry run failed: {}", end.message));
    }
    pass.set(ConditionType::Planned, Truth::True, "DryRunPassed", "the script's dry run ended well");
    rehearsal::begin(pass);
}
