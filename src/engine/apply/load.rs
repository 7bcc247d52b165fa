//! The plan file into the ledger: once, whole, and only the approved one.

use super::{ApplyError, ApplyOptions};
use crate::engine::plan::{PlanFileError, PlanReader, PlannedRow};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Rows a statement.
const CHUNK: usize = 5000;

/// Loads the planned keys, unless they are loaded. One transaction: a loaded plan is a whole one.
pub(super) async fn load(connection: &mut PgConnection, options: ApplyOptions<'_>, epoch: i64) -> Result<(), ApplyError> {
    let ApplyOptions { ledger, plan, .. } = options;
    let mut transaction = connection.begin().await?;
    let run = ledger.fence(&mut transaction, epoch).await?;
    if run.plan_file_sha256 == plan.file_sha256 {
        return Ok(());
    }
    if run.batches > 0 {
        return Err(ApplyError::PlanReplaced);
    }
    let delete = format!("DELETE FROM {} WHERE run_uid = $1", ledger.table("planned"));
    sqlx::query(AssertSqlSafe(delete)).persistent(false).bind(ledger.uid()).execute(&mut *transaction).await?;
    let mut reader = PlanReader::open(options.plan_file, ledger.uid())?;
    let mut ordinal = 0;
    loop {
        let rows = reader.rows(CHUNK)?;
        if rows.is_empty() {
            break;
        }
        ordinal = insert(&mut transaction, options, ordinal, &rows).await?;
    }
    let approved = reader.end().is_some_and(|(trailer, sha256)| *sha256 == plan.file_sha256 && trailer.rows_digest == plan.rows_digest);
    if !approved {
        return Err(PlanFileError::Damaged { path: options.plan_file.display().to_string(), what: "not the approved plan" }.into());
    }
    let update = format!(
        "UPDATE {} SET planned = $2, plan_digest = $3, rows_digest = $4, plan_file_sha256 = $5, drift_checked = false, updated_at = now()
         WHERE uid = $1",
        ledger.table("runs")
    );
    let update = sqlx::query(AssertSqlSafe(update)).persistent(false).bind(ledger.uid()).bind(ordinal);
    update.bind(&plan.digest).bind(&plan.rows_digest).bind(&plan.file_sha256).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}

async fn insert(connection: &mut PgConnection, options: ApplyOptions<'_>, after: i64, rows: &[PlannedRow]) -> Result<i64, sqlx::Error> {
    let sql = format!(
        "INSERT INTO {} (run_uid, ordinal, key, fingerprint) SELECT $1, o, k::jsonb, f FROM unnest($2::int8[], $3::text[], $4::int8[]) AS p(o, k, f)",
        options.ledger.table("planned")
    );
    let last = after + i64::try_from(rows.len()).unwrap_or(0);
    let ordinals: Vec<i64> = (after + 1..=last).collect();
    let keys: Vec<String> = rows.iter().map(|row| serde_json::json!(row.key).to_string()).collect();
    let fingerprints: Vec<i64> = rows.iter().map(|row| row.fingerprint).collect();
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(options.ledger.uid()).bind(ordinals).bind(keys).bind(fingerprints);
    query.execute(connection).await?;
    Ok(last)
}
