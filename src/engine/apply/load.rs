//! The plan file into the ledger: once, whole, and only the approved one.

use super::{ApplyError, ApplyOptions};
use crate::engine::plan::{PlanFileError, PlanReader, PlannedRange, Trailer};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::path::Path;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// A plan file that is read and hashed on a thread of its own, beside the server's work.
struct Reading {
    /// Its ranges, in order, a few of them ahead.
    ranges: mpsc::Receiver<PlannedRange>,
    thread: JoinHandle<Result<Option<(Trailer, String)>, PlanFileError>>,
}

impl Reading {
    fn begin(path: &Path, run_uid: &str) -> Self {
        let (sender, ranges) = mpsc::channel(2);
        let (path, run_uid) = (path.to_owned(), run_uid.to_owned());
        let thread = tokio::task::spawn_blocking(move || {
            let mut reader = PlanReader::open(&path, &run_uid)?;
            while let Some(range) = reader.next_range()? {
                if sender.blocking_send(range).is_err() {
                    break;
                }
            }
            Ok(reader.end().cloned())
        });
        Self { ranges, thread }
    }

    /// The trailer and the file's SHA-256, once all ranges were taken.
    async fn end(self) -> Result<Option<(Trailer, String)>, PlanFileError> {
        // A thread that panicked has read nothing to its end.
        self.thread.await.unwrap_or(Ok(None))
    }
}

/// Loads the planned ranges, unless they are loaded. One transaction: a loaded plan is a whole one.
pub(super) async fn load(connection: &mut PgConnection, options: ApplyOptions<'_>, epoch: i64) -> Result<(), ApplyError> {
    let ApplyOptions { ledger, plan, .. } = options;
    if ledger.run(connection).await?.plan_file_sha256 == plan.file_sha256 {
        return Ok(());
    }
    let mut transaction = connection.begin().await?;
    // Other workers wait here, and find the plan loaded.
    let run = ledger.fence(&mut transaction, epoch).await?;
    if run.plan_file_sha256 == plan.file_sha256 {
        return Ok(());
    }
    if ledger.totals(&mut transaction).await?.batches > 0 {
        return Err(ApplyError::PlanReplaced);
    }
    let delete = format!("DELETE FROM {} WHERE run_uid = $1", ledger.table("ranges"));
    sqlx::query(AssertSqlSafe(delete)).persistent(false).bind(ledger.uid()).execute(&mut *transaction).await?;
    let mut file = Reading::begin(options.plan_file, ledger.uid());
    let mut number = 0;
    while let Some(range) = file.ranges.recv().await {
        number += 1;
        ledger.add_range(&mut transaction, number, &range).await?;
    }
    let end = file.end().await?;
    let trailer = end.filter(|(trailer, sha256)| *sha256 == plan.file_sha256 && trailer.rows_digest == plan.rows_digest);
    let Some((trailer, _)) = trailer else {
        return Err(PlanFileError::Damaged { path: options.plan_file.display().to_string(), what: "not the approved plan" }.into());
    };
    let update = format!(
        "UPDATE {} SET planned = $2, plan_digest = $3, rows_digest = $4, plan_file_sha256 = $5, witness = $6::jsonb, drift_checked = -1, state = 'Claimed', updated_at = now()
         WHERE uid = $1",
        ledger.table("runs")
    );
    let update = sqlx::query(AssertSqlSafe(update)).persistent(false).bind(ledger.uid()).bind(trailer.rows);
    let witness = trailer.witness.as_ref().and_then(|witness| serde_json::to_string(witness).ok());
    update.bind(&plan.digest).bind(&plan.rows_digest).bind(&plan.file_sha256).bind(witness).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}
