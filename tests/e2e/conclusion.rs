//! What every run that has ended leaves.

use crate::run::Run;
use crate::wait::until;
use std::time::Duration;

/// The report is written, and no finalizer holds the run any more.
pub async fn lets_go_and_reports(run: &Run<'_>) {
    until("the report is there and the finalizer gone", Duration::from_secs(30), async || {
        let now = run.get().await;
        let finalizers = now.metadata.finalizers.unwrap_or_default();
        let report = now.status.and_then(|status| status.report);
        if finalizers.is_empty() && report.is_some() { Ok(()) } else { Err(format!("finalizers {finalizers:?}, report {report:?}")) }
    })
    .await;
}
