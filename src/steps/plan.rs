//! `plan` and `replan`: what would be written, found out without writing.

use super::backup_store::BackupStore;
use super::session::{Role, open};
use super::{StepContext, StepEnd, engine_ends};
use crate::api::spec::{AddedColumn, BesideWriters, SqlBackfill};
use crate::api::status::{PlanStatus, Step};
use crate::engine::apply;
use crate::engine::definition;
use crate::engine::model::Model;
use crate::engine::plan::{self, PlanOptions, WRITES_MAX};
use crate::engine::throttle::Before;
use crate::postgres::describe;
use crate::protocol::{Outcome, PlanReport, StepReport};
use jiff::Timestamp;
use sqlx::PgConnection;
use std::path::{Path, PathBuf};

/// Plans, and leaves the plan file beside the backup.
pub async fn run(context: &StepContext) -> StepEnd {
    let input = &context.input;
    let Some(spec) = &input.spec.backfill.sql else {
        return StepEnd::bare(Outcome::Stalled, "NothingDeclared", "spec.backfill.sql is missing: a script has no plan of ours");
    };
    let Some(backup) = input.backup.as_ref().filter(|backup| !backup.file.is_empty()) else {
        return StepEnd::bare(Outcome::Stalled, "BackupMissing", "there is no backup yet, and the plan lies beside it");
    };
    match made(context, spec, &file_of(Path::new(&backup.file), input.step)).await {
        Ok(plan) => {
            let message = format!("{} of {} rows would be written", plan.will_write, plan.scanned);
            let reason = if plan.will_write == 0 { "NothingToDo" } else { "PlanReady" };
            StepEnd::reported(Outcome::Passed, reason, message, StepReport::Plan(PlanReport { plan }))
        }
        Err(end) => end,
    }
}

async fn made(context: &StepContext, spec: &SqlBackfill, file: &Path) -> Result<PlanStatus, StepEnd> {
    let input = &context.input;
    let mut connection = open(context, Role::Plan).await.map_err(|error| error.end())?;
    // Before the migrations their columns are not there; after them they must be.
    let adds: &[AddedColumn] = match (input.step, &input.spec.migrations) {
        (Step::Plan, Some(migrations)) => &migrations.adds,
        _ => &[],
    };
    // Once approved, a parameter keeps its value: another moment would be another plan.
    let taken = match (input.step, &input.plan) {
        (Step::Replan, Some(plan)) => plan.parameters.as_slice(),
        _ => &[],
    };
    let model = Model::resolve(&mut connection, spec, adds, taken).await.map_err(|error| engine_ends::model(&error))?;
    let proved = proves_read_only(&mut connection).await.map_err(|error| engine_ends::database(&error))?;
    // Before the rows are read: what changes meanwhile is noticed at the first write.
    let definitions = definition::definitions(&mut connection, &model).await.map_err(|error| engine_ends::database(&error))?;
    let (store, file) = (BackupStore::open(context).map_err(|error| error.end())?, file.display().to_string());
    let draft = store.draft(&file).map_err(|error| error.end())?;
    let options = PlanOptions {
        run_uid: &input.run.uid,
        path: draft.path(),
        range: WRITES_MAX,
        samples: &spec.samples,
        sensitive: spec.sensitive_data.as_ref(),
    };
    let progress = |done, total| {
        context.reporter.progress(done, total, "rows");
        !context.stop.is_cancelled()
    };
    let before = Before::now(&mut connection).await;
    let mut plan = plan::plan(&mut connection, &model, options, progress).await.map_err(|error| engine_ends::plan(&error))?;
    plan.gentle_rows_per_second = gentle_rows_per_second(spec, before, &mut connection).await;
    plan.definitions = definitions;
    store.keep(&draft, &file).await.map_err(|error| error.end())?;
    plan.file = file;
    plan.planned_at = Some(Timestamp::now());
    plan.proved_read_only = input.spec.database.plan_secret_ref.is_some() && proved;
    if input.spec.database.plan_secret_ref.is_some() && !proved {
        plan.remarks.push("the role of planSecretRef may change data, so that the plan is not proved read-only".into());
    }
    Ok(plan)
}

/// What apply will write a second beside those that wrote while the plan was made; 0 where none did, or nobody knows.
async fn gentle_rows_per_second(spec: &SqlBackfill, before: Result<Before, sqlx::Error>, connection: &mut PgConnection) -> i64 {
    let Some(rows) = apply::gentle_rows_per_second(spec).filter(|_| spec.throttle.beside_writers == BesideWriters::Gentle) else {
        return 0;
    };
    let many = match before {
        Ok(before) => before.many_since(connection).await,
        Err(error) => Err(error),
    };
    match many {
        Ok(true) => rows * i64::from(spec.workers),
        Ok(false) => 0,
        Err(error) => {
            tracing::warn!(error = describe(&error), "whether others write is not known");
            0
        }
    }
}

/// `STEM.plan` beside the backup; a plan made again after migrations has its own name, so that the approved one stays.
fn file_of(backup: &Path, step: Step) -> PathBuf {
    backup.with_extension(if step == Step::Replan { "replan.plan" } else { "plan" })
}

/// True where the role can change nothing: no right to write on any table, and none to give itself one.
async fn proves_read_only(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT NOT (r.rolsuper OR r.rolcreatedb OR r.rolcreaterole) AND NOT EXISTS (
             SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE c.relkind IN ('r', 'p', 'v', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
               AND (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE') OR has_any_column_privilege(c.oid, 'INSERT, UPDATE')))
         FROM pg_roles r WHERE r.rolname = current_user",
    )
    .persistent(false)
    .fetch_one(connection)
    .await
}

#[cfg(test)]
mod tests {
    use super::{Path, PathBuf, Step, file_of};

    #[test]
    fn the_plan_lies_beside_the_backup_and_a_replan_does_not_replace_it() {
        let backup = Path::new("staging/a.b-20260101T000000Z.dump");
        assert_eq!(file_of(backup, Step::Plan), PathBuf::from("staging/a.b-20260101T000000Z.plan"));
        assert_eq!(file_of(backup, Step::Replan), PathBuf::from("staging/a.b-20260101T000000Z.replan.plan"));
    }
}
