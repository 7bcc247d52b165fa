//! After a way back: the run's own SQL checks once more, those of preflight and those of `verify`.
//!
//! They are told, and decide nothing: a check of `verify` asks about what was taken back, and need not hold any more; one of
//! preflight held before the run, but the application has gone on since.

use super::StepContext;
use super::session::{Role, open};
use crate::api::phase::Phase;
use crate::api::spec::Expectation;
use crate::api::status::{CheckResult, CheckStatus};
use crate::engine::verify::run_check;

/// The checks as they come out now. One that cannot be made is told as such: the data is back all the same.
pub(super) async fn checks_again(context: &StepContext) -> Vec<CheckStatus> {
    let spec = &context.input.spec;
    let before = spec.preflight.iter().flat_map(|preflight| &preflight.checks).map(|check| (&check.name, &check.sql, &check.expect));
    let before: Vec<_> = before.map(|asked| (asked, "it held before the run")).collect();
    let after = spec.verify.iter().filter_map(|check| Some((&check.name, check.sql.as_ref()?, check.expect.as_ref()?)));
    let after = after.map(|asked| (asked, "it asks about rows that were taken back, and need not hold any more"));
    let mut checks = Vec::new();
    for ((name, sql, expect), why) in before.into_iter().chain(after) {
        checks.push(made(context, name, sql, expect, why).await);
    }
    checks
}

/// Each in a session of its own: what one breaks is not the next one's.
async fn made(context: &StepContext, name: &str, sql: &str, expect: &Expectation, why: &str) -> CheckStatus {
    let told = |result, message| CheckStatus { name: name.to_owned(), phase: Phase::RollingBack, result, message };
    let mut reader = match open(context, Role::Plan).await {
        Ok(reader) => reader,
        Err(error) => return told(CheckResult::Inconclusive, format!("could not be made again: {error}")),
    };
    match run_check(&mut reader, Phase::RollingBack, name, sql, expect).await {
        Ok(check) if check.result == CheckResult::Failed => told(CheckResult::Inconclusive, format!("{} ({why})", check.message)),
        Ok(check) => check,
        Err(error) => told(CheckResult::Inconclusive, format!("could not be made again: {}", crate::postgres::describe(&error))),
    }
}
