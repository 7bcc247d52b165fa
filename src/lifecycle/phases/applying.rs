//! The rows are written, by the engine or by the team's script.

use super::rolling_back;
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::spec::{Capture, OnChange};
use crate::api::status::{ResultStatus, Step, StepResult};
use crate::lifecycle::approval;
use crate::lifecycle::pass::Pass;
use crate::lifecycle::step::StepEnded;
use crate::lifecycle::valid::ValidRun;
use crate::protocol::{Outcome, StepReport};

/// The reason with which apply ends when too many rows changed since the plan, before it wrote any.
const DRIFT: &str = "DriftAboveLimit";
/// The reason with which claim and apply end when a written table is another one than was approved, before a row is written.
pub(super) const SCHEMA: &str = "SchemaChanged";

pub(super) fn on_enter(pass: &mut Pass<'_>) {
    let claimed = pass.status.steps.iter().any(|s| s.step == Step::Claim && s.result == Some(StepResult::Passed));
    if claimed {
        write(pass);
    } else {
        pass.begin(Step::Claim, 0);
    }
}

/// The first Job that writes rows.
pub(super) fn write(pass: &mut Pass<'_>) {
    let backfill = &pass.run.spec.backfill;
    let step = match (&backfill.sql, capture(pass.run)) {
        (Some(_), _) => Step::Apply,
        (None, Some(_)) => Step::Capture,
        (None, None) => Step::Script,
    };
    pass.begin(step, 0);
}

/// What is captured of the script, where that is asked for.
pub(in crate::lifecycle) fn capture(run: &ValidRun) -> Option<&Capture> {
    run.spec.backfill.job.as_ref()?.capture.as_ref()
}

/// The triggers are on: the script may begin.
pub(super) fn capture_ended(pass: &mut Pass<'_>, ended: StepEnded) {
    match ended {
        StepEnded::Ours { verdict, .. } if verdict.outcome == Outcome::Passed => {
            pass.event(false, &verdict.reason, &verdict.message);
            pass.begin(Step::Script, 0);
        }
        StepEnded::Ours { verdict, .. } => rolling_back::begin(pass, &verdict.reason, &format!("capture: {}", verdict.message)),
        StepEnded::Team(_) => super::unexpected(pass, Step::Capture, 0),
    }
}

pub(super) fn ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report } = ended else { return super::unexpected(pass, Step::Apply, 0) };
    let report = match report.map(|r| *r) {
        Some(StepReport::Apply(report)) => Some(report),
        None if verdict.outcome == Outcome::Failed => None,
        _ => return super::unexpected(pass, Step::Apply, 0),
    };
    if let Some(report) = report {
        if let Some(rehearsal) = pass.status.rehearsal.as_mut() {
            let real = &report.result;
            rehearsal.note_real(real.written, real.drifted, real.quarantined);
        }
        pass.status.result = Some(report.result);
    }
    if verdict.outcome != Outcome::Passed {
        pass.set(ConditionType::Applied, Truth::False, &verdict.reason, &verdict.message);
        let nothing_written = pass.status.result.as_ref().is_none_or(|r| r.written == 0);
        if verdict.reason == SCHEMA && nothing_written {
            return schema_changed(pass, &verdict.message);
        }
        if verdict.reason == DRIFT && nothing_written {
            // Nothing is written yet: the plan is made anew, and people are asked again.
            pass.status.message.clone_from(&verdict.message);
            pass.event(true, DRIFT, &verdict.message);
            return pass.begin(Step::Replan, 0);
        }
        return rolling_back::begin(pass, &verdict.reason, &format!("apply: {}", verdict.message));
    }
    pass.set(ConditionType::Applied, Truth::True, "Applied", &verdict.message);
    pass.enter(Phase::Verifying, "Applied", "compares what was written with what was planned");
}

/// What was approved was approved of another table: it is void, and people are asked about a plan that is made anew.
pub(super) fn schema_changed(pass: &mut Pass<'_>, message: &str) {
    approval::void(pass, SCHEMA, message);
    pass.set(ConditionType::Approved, Truth::False, SCHEMA, message);
    if pass.run.spec.approval.on_change == OnChange::Stop {
        return rolling_back::begin(pass, SCHEMA, &format!("{message}; approval.onChange is Stop: create a new run"));
    }
    pass.status.message = format!("{message}: it is planned again, and asked about again");
    // Not a replan: migrations may still be ahead, and whatever comes of it people are asked.
    pass.begin(Step::Plan, 0);
}

pub(super) fn script_ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Team(end) = ended else { return super::unexpected(pass, Step::Script, 0) };
    pass.status.result = Some(ResultStatus { output: end.output_tail, ..ResultStatus::default() });
    if !end.passed {
        pass.set(ConditionType::Applied, Truth::False, "ScriptFailed", &end.message);
        return rolling_back::begin(pass, "ScriptFailed", &format!("the script failed: {}", end.message));
    }
    pass.set(ConditionType::Applied, Truth::True, "ScriptPassed", "the script ended well");
    pass.enter(Phase::Verifying, "Applied", "makes the run's checks");
}
