//! What the checks found, and what end that makes.

use crate::api::Phase;
use crate::api::status::{CheckResult, CheckStatus};
use crate::protocol::{Outcome, PreflightReport, StepReport};
use crate::steps::StepEnd;

/// What the checks found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    checks: Vec<CheckStatus>,
    stalled: Vec<(&'static str, String)>,
}

impl Findings {
    pub fn add(&mut self, check: CheckStatus) {
        self.checks.push(check);
    }

    pub fn passed(&mut self, name: &str, message: impl Into<String>) {
        self.push(name, CheckResult::Passed, message.into());
    }

    pub fn inconclusive(&mut self, name: &str, message: impl Into<String>) {
        self.push(name, CheckResult::Inconclusive, message.into());
    }

    /// Measured, and bad: the run fails.
    pub fn failed(&mut self, name: &str, message: impl Into<String>) {
        self.push(name, CheckResult::Failed, message.into());
    }

    /// Misconfigured: the run waits until a person sets it right.
    pub fn stalled(&mut self, name: &str, reason: &'static str, message: impl Into<String>) {
        let message = message.into();
        self.stalled.push((reason, message.clone()));
        self.push(name, CheckResult::Failed, message);
    }

    fn push(&mut self, name: &str, result: CheckResult, message: String) {
        self.checks.push(CheckStatus { name: name.into(), phase: Phase::Preflight, result, message });
    }

    /// What must be set right comes before verdicts: after that the verdicts may be others.
    pub fn end(self, mut report: PreflightReport) -> StepEnd {
        let failed: Vec<&str> = self.checks.iter().filter(|c| c.result == CheckResult::Failed).map(|c| c.name.as_str()).collect();
        let inconclusive = self.checks.iter().filter(|c| c.result == CheckResult::Inconclusive).count();
        let (outcome, reason, message) = match self.stalled.first() {
            Some((reason, message)) if self.stalled.len() == 1 => (Outcome::Stalled, *reason, message.clone()),
            Some((reason, message)) => {
                let more = self.stalled.len() - 1;
                (Outcome::Stalled, *reason, format!("{message} (and {more} more: see status.checks)"))
            }
            None if !failed.is_empty() => (Outcome::Failed, "ChecksFailed", format!("these checks do not hold: {}", failed.join(", "))),
            None if inconclusive > 0 => (
                Outcome::Passed,
                "ChecksPassed",
                format!("{} checks made; {inconclusive} could not be measured, the approver sees them", self.checks.len()),
            ),
            None => (Outcome::Passed, "ChecksPassed", format!("all {} checks hold", self.checks.len())),
        };
        report.checks = self.checks;
        StepEnd::reported(outcome, reason, message, StepReport::Preflight(report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_must_be_set_right_comes_before_verdicts() {
        let mut findings = Findings::default();
        findings.failed("environment:APP_ENV", "no match");
        assert_eq!(findings_end(&findings).verdict.outcome, Outcome::Failed);
        findings.stalled("key", "KeyNotUnique", "set source.key");
        let end = findings_end(&findings);
        assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "KeyNotUnique"));
    }

    #[test]
    fn what_could_not_be_measured_does_not_stop_the_run() {
        let mut findings = Findings::default();
        findings.inconclusive("long-transactions", "GRANT pg_monitor");
        let end = findings_end(&findings);
        assert_eq!(end.verdict.outcome, Outcome::Passed);
        assert!(end.verdict.message.contains("1 could not be measured"));
    }

    fn findings_end(findings: &Findings) -> StepEnd {
        Findings { checks: findings.checks.clone(), stalled: findings.stalled.clone() }.end(PreflightReport::default())
    }
}
