//! The tables whose rows are captured while the script runs, and how its sessions are known.

use super::Cut;
use super::findings::Findings;
use crate::engine::capture::{self, CaptureError};
use crate::steps::{StepContext, capture as step};
use sqlx::postgres::PgConnection;

const NAME: &str = "capture";

pub(super) async fn check(context: &StepContext, connection: &mut PgConnection, findings: &mut Findings) -> Result<(), Cut> {
    let Some(spec) = step::of(context) else { return Ok(()) };
    let migrates = context.input.spec.migrations.is_some();
    let mut good = true;
    if let Some(role) = &spec.role {
        good &= accept(capture::check_role(connection, role).await, false, findings)?;
    }
    for table in &spec.tables {
        good &= accept(capture::find(connection, table).await.map(|_| ()), migrates, findings)?;
    }
    if good {
        let sessions =
            spec.role.as_ref().map_or_else(|| "sessions with the run's setting".to_owned(), |role| format!("sessions of {role}"));
        findings.passed(NAME, format!("rows of {} can be captured in {sessions}", spec.tables.join(", ")));
    }
    Ok(())
}

/// True where nothing stands in the way. A table that the migrations may make is looked for again before the script begins.
fn accept(found: Result<(), CaptureError>, migrates: bool, findings: &mut Findings) -> Result<bool, Cut> {
    match found {
        Ok(()) => Ok(true),
        Err(CaptureError::Database(error)) => Err(error.into()),
        Err(error @ CaptureError::TableMissing { .. }) if migrates => {
            findings.inconclusive(NAME, format!("{error}; it may be one that the migrations make"));
            Ok(false)
        }
        Err(error) => {
            findings.stalled(NAME, error.reason(), error.to_string());
            Ok(false)
        }
    }
}
