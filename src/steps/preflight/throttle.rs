//! The readings of the throttle, taken once by the role that writes: what it may not see is found out before rows are
//! written, not while.

use super::Cut;
use super::findings::Findings;
use crate::engine::sql::CheckQuery;
use crate::engine::throttle::Throttle;
use crate::steps::StepContext;
use sqlx::postgres::PgConnection;

const NAME: &str = "throttle";

/// A reading above its limit is no finding against the run: it would wait.
pub(super) async fn check(context: &StepContext, connection: &mut PgConnection, findings: &mut Findings) -> Result<(), Cut> {
    let Some(settings) = context.input.spec.backfill.sql.as_ref().map(|sql| &sql.throttle) else { return Ok(()) };
    if let Some(Err(error)) = settings.query.as_ref().map(|query| CheckQuery::parse(&query.sql)) {
        findings.stalled(NAME, "CheckRefused", format!("spec.backfill.sql.throttle.query: {error}"));
        return Ok(());
    }
    let mut throttle = Throttle::new(settings, &[]);
    let held = throttle.held(connection).await?;
    for remark in throttle.remarks() {
        findings.inconclusive(&format!("{NAME}:{}", remark.reading), format!("{}; it will not hold the worker", remark.message));
    }
    match held {
        Some(held) => findings.passed(NAME, format!("at this moment {} would hold the worker: {}", held.reading, held.message)),
        None if throttle.remarks().is_empty() => findings.passed(NAME, "every reading can be taken, and none is above its limit"),
        None => {}
    }
    Ok(())
}
