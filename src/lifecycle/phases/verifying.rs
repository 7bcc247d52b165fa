//! What was written is compared with what was planned; the run's checks and test Jobs are made.

use super::{enabling_flag, rolling_back};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::spec::NotificationEvent;
use crate::api::status::{CapturedStatus, CheckResult, CheckStatus, Step};
use crate::lifecycle::pass::Pass;
use crate::lifecycle::step::StepEnded;
use crate::protocol::{Outcome, StepReport, TAKEN_BACK, UNDO};
use std::time::Duration;

pub(super) fn ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report } = ended else { return super::unexpected(pass, Step::Verify, 0) };
    if verdict.reason == TAKEN_BACK {
        // What was approved is written again, from where the ledger stands; what was counted is not there any more.
        pass.status.result = None;
        pass.set(ConditionType::Applied, Truth::False, TAKEN_BACK, &verdict.message);
        return pass.enter(Phase::Applying, TAKEN_BACK, &format!("{}; what is missing is written again", verdict.message));
    }
    match report.map(|r| *r) {
        Some(StepReport::Verify(report)) => {
            pass.status.checks.retain(|c| c.phase != Phase::Verifying);
            pass.status.checks.extend(report.checks);
            note_captured(pass, report.captured);
        }
        None if verdict.outcome == Outcome::Failed => {}
        _ => return super::unexpected(pass, Step::Verify, 0),
    }
    if verdict.outcome == Outcome::Inconclusive {
        // What cannot be measured is no verdict: nothing is rolled back for it, and nothing goes on.
        let message = format!("{}; it is measured again; grant what is missing, or set spec.abort: true", verdict.message);
        pass.set(ConditionType::Verified, Truth::Unknown, &verdict.reason, &verdict.message);
        pass.stall(&verdict.reason, &message);
        return pass.wait_and_retry(Step::Verify, Duration::from_secs(30));
    }
    if verdict.outcome != Outcome::Passed {
        pass.set(ConditionType::Verified, Truth::False, &verdict.reason, &verdict.message);
        return rolling_back::begin(pass, &verdict.reason, &format!("verification: {}", verdict.message));
    }
    next_test(pass, 0);
}

/// What was captured of the script; where no row tells all of it, undo is no way back any more.
fn note_captured(pass: &mut Pass<'_>, captured: Vec<CapturedStatus>) {
    if captured.is_empty() {
        return;
    }
    let faults: Vec<String> = captured.iter().filter(|t| !t.fault.is_empty()).map(|t| format!("{}: {}", t.table, t.fault)).collect();
    let result = pass.status.result.get_or_insert_default();
    result.written = captured.iter().map(|t| t.inserted + t.updated + t.deleted).sum();
    let known = result.captured == captured;
    result.captured = captured;
    if !faults.is_empty() && !known {
        pass.status.way_back.retain(|way| way != UNDO);
        pass.event(true, "CaptureIncomplete", &format!("only a restore brings this back: {}", faults.join("; ")));
    }
}

pub(super) fn test_ended(pass: &mut Pass<'_>, index: i32, ended: StepEnded) {
    let StepEnded::Team(end) = ended else { return super::unexpected(pass, Step::Test, index) };
    let name = test_names(pass).get(usize::try_from(index).unwrap_or(0)).cloned().unwrap_or_default();
    let result = if end.passed { CheckResult::Passed } else { CheckResult::Failed };
    let message = if end.passed { "the test Job ended well".into() } else { end.message.clone() };
    pass.status.checks.push(CheckStatus { name: name.clone(), phase: Phase::Verifying, result, message });
    if !end.passed {
        pass.set(ConditionType::Verified, Truth::False, "TestFailed", &end.message);
        return rolling_back::begin(pass, "TestFailed", &format!("test {name}: {}", end.message));
    }
    next_test(pass, index + 1);
}

fn test_names(pass: &Pass<'_>) -> Vec<String> {
    pass.run.spec.verify.iter().filter(|c| c.job.is_some()).map(|c| c.name.clone()).collect()
}

fn next_test(pass: &mut Pass<'_>, index: i32) {
    let tests = i32::try_from(test_names(pass).len()).unwrap_or(0);
    if index < tests {
        return pass.begin(Step::Test, index);
    }
    let script = pass.run.spec.backfill.job.is_some();
    let written = pass.status.result.as_ref().map_or(0, |r| r.written);
    let (message, told) = if script {
        let captured = if written > 0 { format!("; {written} rows of it can be put back") } else { String::new() };
        ("every check holds", format!("the script ran, and every check holds{captured}"))
    } else {
        ("what was written is what was planned, and every check holds", format!("{written} rows written and verified"))
    };
    pass.set(ConditionType::Verified, Truth::True, "Verified", message);
    pass.tell(NotificationEvent::Applied, &told);
    enabling_flag::begin(pass);
}
