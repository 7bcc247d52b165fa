//! Drift, looked at before the first write: would what is approved still be what is written?

use super::context::Context;
use super::retry::Patience;
use super::{ApplyError, ApplyOptions, Ending, limit};
use crate::api::spec::DriftMode;
use crate::engine::connector::Connector;
use crate::engine::definition;
use crate::engine::ledger::ClaimedRange;
use crate::engine::plan::{PlanReader, Witness};
use crate::engine::query::{self, Moment, Question, Rows};
use crate::engine::row::{RowError, show};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

const NAMED: usize = 10;

/// Compares the definitions of the written tables with those of the plan, until the rows were compared: from then on rows are
/// written. Before the spec is resolved, so that a column that went is told as what it is.
pub(super) async fn check_definitions(connection: &mut PgConnection, options: ApplyOptions<'_>) -> Result<(), ApplyError> {
    let run = options.ledger.run(connection).await?;
    if run.drift_checked >= 0 && run.plan_file_sha256 == options.plan.file_sha256 {
        return Ok(());
    }
    let tables = definition::changed(connection, &options.plan.definitions).await?;
    if tables.is_empty() { Ok(()) } else { Err(ApplyError::SchemaChanged { tables }) }
}

/// How much has changed since the plan at most, found out while the plan was loaded.
pub(super) struct Counted {
    witness: Witness,
    changed: i64,
    /// Holds the lock by which only one worker looks, until that is noted.
    _lock: PgConnection,
}

/// Counts on a connection of its own, by what the end of the plan file says: whether that is the approved file is known when it
/// is loaded. `None` where there is nothing to count, another worker does, or anything goes wrong: [`check`] finds that again.
pub(super) async fn count_ahead(connector: &impl Connector, options: ApplyOptions<'_>) -> Option<Counted> {
    let witness = PlanReader::witness_ahead(options.plan_file)?;
    let mut lock = connector.connect().await.ok()?;
    let run = options.ledger.run(&mut lock).await.ok()?;
    if run.drift_checked >= 0 && run.plan_file_sha256 == options.plan.file_sha256 {
        return None;
    }
    sqlx::raw_sql(BEGIN).execute(&mut lock).await.ok()?;
    if !ours(&mut lock, options).await.ok()? {
        return None;
    }
    let changed = witness.changed_at_most(&mut lock).await.ok()??;
    Some(Counted { witness, changed, _lock: lock })
}

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";

/// Whether this worker is the one that looks, until its transaction ends.
async fn ours(connection: &mut PgConnection, options: ApplyOptions<'_>) -> Result<bool, sqlx::Error> {
    let lock = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))").persistent(false);
    lock.bind(format!("backfill.dev drift {}", options.ledger.uid())).fetch_one(connection).await
}

/// Compares all planned rows with the database, once, before the first batch: by one worker, while the others wait.
/// `None`: go on.
pub(super) async fn check(
    connection: &mut PgConnection,
    context: &Context,
    options: ApplyOptions<'_>,
    counted: Option<Counted>,
) -> Result<Option<Ending>, ApplyError> {
    if let Some(counted) = counted {
        let run = options.ledger.run(connection).await?;
        let loaded = witness(connection, options).await?.is_some_and(|loaded| loaded == counted.witness);
        if run.drift_checked < 0 && loaded && allowed(counted.changed, run.planned, options, Vec::new()).is_ok() {
            checked(connection, options, context.epoch, 0).await?;
        }
    }
    let mut patience = Patience::new();
    loop {
        let run = options.ledger.run(connection).await?;
        if run.drift_checked >= 0 {
            return allowed(run.drift_checked, run.planned, options, Vec::new()).map(|()| None);
        }
        let mut transaction = connection.begin_with(BEGIN).await?;
        if ours(&mut transaction, options).await? {
            if little_has_changed(&mut transaction, run.planned, options).await? {
                transaction.rollback().await?;
                checked(connection, options, context.epoch, 0).await?;
                return Ok(None);
            }
            let Some((drifted, keys)) = compare(&mut transaction, context, options).await? else { return Ok(Some(Ending::Stopped)) };
            transaction.rollback().await?;
            allowed(drifted, run.planned, options, keys)?;
            checked(connection, options, context.epoch, drifted).await?;
            return Ok(None);
        }
        transaction.rollback().await?;
        tokio::select! {
            () = tokio::time::sleep(patience.pause()) => {}
            () = options.stop.cancelled() => return Ok(Some(Ending::Stopped)),
        }
    }
}

/// True where even all changes since the plan would not be too many: then they are found one by one, as the batches meet
/// them. What the plan left of what it saw tells it without reading a value.
async fn little_has_changed(connection: &mut PgConnection, planned: i64, options: ApplyOptions<'_>) -> Result<bool, ApplyError> {
    let Some(witness) = witness(connection, options).await? else { return Ok(false) };
    let changed = witness.changed_at_most(connection).await?;
    Ok(changed.is_some_and(|changed| allowed(changed, planned, options, Vec::new()).is_ok()))
}

/// What the plan left of what it saw.
pub(super) async fn witness(connection: &mut PgConnection, options: ApplyOptions<'_>) -> Result<Option<Witness>, ApplyError> {
    let sql = format!("SELECT witness::text FROM {} WHERE uid = $1", options.ledger.table("runs"));
    let witness: Option<String> =
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(options.ledger.uid()).fetch_one(&mut *connection).await?;
    Ok(witness.and_then(|text| serde_json::from_str(&text).ok()))
}

/// Says in the ledger that the rows were compared.
async fn checked(connection: &mut PgConnection, options: ApplyOptions<'_>, epoch: i64, drifted: i64) -> Result<(), ApplyError> {
    let sql = format!("UPDATE {} SET drift_checked = $3 WHERE uid = $1 AND epoch = $2", options.ledger.table("runs"));
    let update = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(options.ledger.uid()).bind(epoch).bind(drifted);
    update.execute(connection).await?;
    Ok(())
}

/// How many planned rows have changed, and the first of their keys; `None` where it was stopped.
async fn compare(
    connection: &mut PgConnection,
    context: &Context,
    options: ApplyOptions<'_>,
) -> Result<Option<(i64, Vec<String>)>, ApplyError> {
    let question = query::question(&context.model, Rows::Keys, Moment::Plan);
    let (mut after, mut drifted, mut keys) = (-1, 0, Vec::new());
    while let Some(range) = options.ledger.range(connection, after).await? {
        if options.stop.is_cancelled() {
            return Ok(None);
        }
        after = range.number;
        for place in changed(connection, context, &question, &range).await? {
            drifted += 1;
            if keys.len() < NAMED {
                keys.push(show(&range.rows.key(place, context.model.source.key.len())));
            }
        }
    }
    Ok(Some((drifted, keys)))
}

/// Places of a range whose rows are not what was planned.
async fn changed(
    connection: &mut PgConnection,
    context: &Context,
    question: &Question,
    range: &ClaimedRange,
) -> Result<Vec<usize>, ApplyError> {
    let (mut changed, mut pieces) = (Vec::new(), vec![(0..range.rows.len()).collect::<Vec<usize>>()]);
    while let Some(piece) = pieces.pop() {
        let keys = Context::keys(&range.rows.keys, &piece);
        match context.judge(connection, question, &keys, &range.rows.redact).await {
            Ok(judged) => changed.extend(piece.into_iter().filter(|place| {
                let row = judged.get(&i32::try_from(*place).unwrap_or(i32::MAX));
                !context.is_satisfied(row) && Context::as_planned(range.rows.fingerprints.get(*place), row).is_none()
            })),
            Err(RowError::Database(error)) => return Err(error.into()),
            // Not unique any more, or referred to: the row at fault is found by halves.
            Err(_) if piece.len() == 1 => changed.extend(piece),
            Err(_) => {
                let (first, second) = piece.split_at(piece.len() / 2);
                pieces.extend([second.to_vec(), first.to_vec()]);
            }
        }
    }
    changed.sort_unstable();
    Ok(changed)
}

fn allowed(drifted: i64, planned: i64, options: ApplyOptions<'_>, keys: Vec<String>) -> Result<(), ApplyError> {
    let drift = &options.spec.drift;
    let allowed = match drift.mode {
        DriftMode::Fail => drifted == 0,
        DriftMode::Skip | DriftMode::Recompute => drifted.saturating_mul(100) <= planned.saturating_mul(i64::from(drift.max_percent)),
    };
    if allowed { Ok(()) } else { Err(ApplyError::DriftAboveLimit { drifted, planned, limit: limit(options.spec), keys }) }
}
