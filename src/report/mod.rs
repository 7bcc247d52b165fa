//! The evidence: the operations checklist, filled in with what really happened, as Markdown.
//!
//! Pure. Called by the controller when a run ends, and by the kubectl plugin. Knows `api`. Everything in it is taken from
//! the run; what did not happen is said. It goes to people who may not see rows: samples, keys and the output of scripts
//! are left out.

mod format;
mod rows;

use crate::api::{BackfillRun, BackfillRunStatus};
use jiff::Timestamp;
use minijinja::{Environment, UndefinedBehavior, context};

const TEMPLATE: &str = include_str!("report.md.j2");

/// The report of a run, as it stands at `now`. A run ends whether or not its report can be written: what the template
/// cannot show is said in place of the report (tests see to it that it fits).
#[must_use]
pub fn render(run: &BackfillRun, now: Timestamp) -> String {
    fill_in(run, now).unwrap_or_else(|error| {
        let run = format!("{}/{}", run.metadata.namespace.as_deref().unwrap_or_default(), run.metadata.name.as_deref().unwrap_or_default());
        format!("# Backfill {run}\n\nThe report could not be written; the status of the run has all facts. {error}\n")
    })
}

fn fill_in(run: &BackfillRun, now: Timestamp) -> Result<String, minijinja::Error> {
    let status = without_rows(run.status.clone().unwrap_or_default());
    let mut environment = Environment::new();
    // A part of the status that is not there is empty: the template says so in words.
    environment.set_undefined_behavior(UndefinedBehavior::Chainable);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_filter("cell", |text: String| format::cell(&text));
    environment.add_filter("bytes", format::bytes);
    environment.add_filter("time", |text: String| format::time_text(&text));
    environment.add_filter("seconds", format::seconds);
    environment.add_template("report.md", TEMPLATE)?;
    environment.get_template("report.md")?.render(context! {
        namespace => run.metadata.namespace,
        name => run.metadata.name,
        uid => run.metadata.uid,
        requested_by => run.metadata.annotations.as_ref().and_then(|annotations| annotations.get(crate::api::REQUESTED_BY)),
        required => status.approvals_required.max(run.spec.approval.required),
        flag_name => run.spec.feature_flag.as_ref().map(|flag| &flag.name),
        script => run.spec.backfill.job.is_some(),
        now => format::time(now),
        rows => rows::rows(&run.spec, &status),
        incidents => crate::notify::facts::incidents(&status),
        status => status,
    })
}

/// The status without anything that is, or may quote, a value or a key of a row.
fn without_rows(mut status: BackfillRunStatus) -> BackfillRunStatus {
    if let Some(plan) = &mut status.plan {
        plan.sample.clear();
        plan.invalid_sample.clear();
        plan.output.clear();
    }
    if let Some(result) = &mut status.result {
        result.drifted_keys.clear();
        result.output.clear();
    }
    if let Some(rollback) = &mut status.rollback {
        rollback.skipped_keys.clear();
    }
    status
}

#[cfg(test)]
mod tests;
