//! The database is claimed, the team's migrations run, and the rows are planned again.

use super::applying::SCHEMA;
use super::{applying, awaiting_approval, planning, rolling_back, terminal};
use crate::api::Phase;
use crate::api::conditions::{ConditionType, Truth};
use crate::api::status::{HolderStatus, Step};
use crate::lifecycle::approval;
use crate::lifecycle::pass::{Pass, later};
use crate::lifecycle::step::StepEnded;
use crate::protocol::{Outcome, StepReport};
use std::time::Duration;

/// Another run's claim is waited for so long.
const CLAIM_WAIT: Duration = Duration::from_hours(24);

pub(super) fn on_enter(pass: &mut Pass<'_>) {
    pass.begin(Step::Claim, 0);
}

/// The claim is the entry of both Migrating and Applying.
pub(super) fn claim_ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let (verdict, report) = match ended {
        StepEnded::Ours { verdict, report } => (verdict, report),
        StepEnded::Team(_) => return super::unexpected(pass, Step::Claim, 0),
    };
    // The database is ours, and a table in it is not what was approved.
    if verdict.outcome == Outcome::Failed && verdict.reason == SCHEMA && pass.status.phase != Phase::RollingBack {
        return applying::schema_changed(pass, &verdict.message);
    }
    let Some(StepReport::Claim(report)) = report.map(|r| *r) else { return super::unexpected(pass, Step::Claim, 0) };
    let Some(holder) = report.held_by else {
        pass.status.waiting_for = None;
        // Another run may have been waited for so long. It is taken with the database in hand, so that it is once.
        let begins = pass.status.phase != Phase::RollingBack && !rolling_back::begun(&pass.status);
        if begins && awaiting_approval::backup_too_old(pass) {
            return awaiting_approval::take_backup_again(pass);
        }
        return after_claim(pass);
    };
    let since = pass.status.waiting_for.as_ref().and_then(|w| w.waiting_since).unwrap_or(pass.now);
    let deadline = later(since, CLAIM_WAIT);
    let until = if pass.status.phase == Phase::RollingBack { String::new() } else { format!(", until {deadline}") };
    let message = format!("waits for {}/{}, which is changing the same database{until}", holder.namespace, holder.name);
    if pass.now >= deadline && pass.status.phase != Phase::RollingBack {
        return rolling_back::begin(pass, "DatabaseBusy", &format!("{}/{} held the database for too long", holder.namespace, holder.name));
    }
    if pass.status.message != message {
        pass.event(false, "DatabaseBusy", &message);
    }
    pass.status.message = message;
    pass.status.waiting_for =
        Some(HolderStatus { namespace: holder.namespace, name: holder.name, uid: holder.uid, waiting_since: Some(since) });
    // Tried again like a step that was stopped: the same step, after a while.
    pass.wait_and_retry(Step::Claim, Duration::from_secs(10));
}

fn after_claim(pass: &mut Pass<'_>) {
    match pass.status.phase {
        Phase::Migrating => pass.begin(Step::Migrate, 0),
        Phase::RollingBack => rolling_back::go_back(pass),
        _ => applying::write(pass),
    }
}

pub(super) fn ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Team(end) = ended else { return super::unexpected(pass, Step::Migrate, 0) };
    if !end.passed {
        pass.set(ConditionType::Migrated, Truth::False, "MigrationFailed", &end.message);
        return rolling_back::begin(pass, "MigrationFailed", &format!("the migrations failed: {}", end.message));
    }
    pass.set(ConditionType::Migrated, Truth::True, "Migrated", "the migrations ended well");
    if pass.run.spec.backfill.sql.is_some() {
        pass.status.message = "the migrations ended well; the rows are planned again".into();
        pass.begin(Step::Replan, 0);
    } else {
        pass.enter(Phase::Applying, "Migrated", "runs the team's script");
    }
}

/// An own migration's change of the schema is no drift: only where the rows come out otherwise, people are asked again.
pub(super) fn replan_ended(pass: &mut Pass<'_>, ended: StepEnded) {
    let StepEnded::Ours { verdict, report } = ended else { return super::unexpected(pass, Step::Replan, 0) };
    let report = match report.map(|r| *r) {
        Some(StepReport::Plan(report)) => report,
        None if verdict.outcome == Outcome::Failed => {
            return rolling_back::begin(pass, &verdict.reason, &format!("plan after the migrations: {}", verdict.message));
        }
        _ => return super::unexpected(pass, Step::Replan, 0),
    };
    if verdict.outcome == Outcome::Failed {
        return rolling_back::begin(pass, &verdict.reason, &format!("plan after the migrations: {}", verdict.message));
    }
    let approved = pass.status.plan.clone();
    let same = approved.as_ref().is_some_and(|p| p.rows_digest == report.plan.rows_digest);
    planning::accept(pass, report.plan);
    if !same && pass.status.plan.as_ref().is_some_and(|p| p.will_write == 0) {
        return terminal::end(pass, Phase::Succeeded, "NothingToDo", "the plan after the migrations has no row to write");
    }
    if same {
        // It is the plan that was approved, and was made before it was. What the run's own migrations did to the tables was
        // approved with them.
        if let (Some(plan), Some(approved)) = (pass.status.plan.as_mut(), approved) {
            plan.planned_at = approved.planned_at;
            plan.digest = approved.digest;
        }
        pass.enter(Phase::Applying, "PlanUnchanged", "writes the rows");
    } else {
        approval::void(pass, "PlanChanged", "the rows come out otherwise than approved");
        pass.set(ConditionType::Approved, Truth::Unknown, "PlanChanged", "the rows come out otherwise than approved");
        awaiting_approval::ask_for_plan(pass, "PlanChanged");
    }
}
