//! The step `loss-account`: what a restore would take away that is not the run's own doing.
//!
//! By transactions where their ids mean what they meant when the backup was taken ([`versions`]): how many rows others wrote,
//! changed and deleted, table by table. Else by sums ([`sums`]), which is said, and errs to the safe side. In script mode nobody
//! knows which transactions are the script's, so what is there when it has ended passes for its own.

mod own;
mod sums;
mod versions;

use super::applied_sums;
use super::backup_store::{BackupStore, Manifest, StoreError};
use super::moments::{self, Moments};
use super::session::{Role, Session, SessionError};
use super::{StepContext, StepEnd, capture, run_tables};
use crate::api::spec::Scope;
use crate::api::status::LossStatus;
use crate::destination::DestinationError;
use crate::engine::ledger::Ledger;
use crate::postgres::table_sums::{self, TableSum};
use crate::postgres::transactions::{self, NEXT, SeenTransactions, Storage, TIMELINE};
use crate::postgres::{database_id, describe, facts, is_connection_loss};
use crate::protocol::{LossReport, Outcome, StepReport};
use own::Own;
use sha2::{Digest as _, Sha256};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use sums::Baseline;
use thiserror::Error;
use versions::Around;

/// At most this many are named; the digest covers all.
const NAMED: usize = 50;

/// Why there is no account.
#[derive(Debug, Error)]
pub(super) enum LossError {
    #[error("{0}")]
    Session(#[from] SessionError),
    #[error("while measuring the tables: {}", describe(.0))]
    SumsFailed(#[from] sqlx::Error),
    #[error("{0}")]
    Store(StoreError),
    #[error("the manifest beside the dump cannot be read ({0}): bring it back, or set spec.rollback.method: Undo or spec.abandon: true")]
    ManifestMissing(StoreError),
}

impl From<StoreError> for LossError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Destination(DestinationError::BackupMissing { .. } | DestinationError::BackupUnreadable(_)) => {
                Self::ManifestMissing(error)
            }
            other => Self::Store(other),
        }
    }
}

impl LossError {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Session(error) => error.reason(),
            Self::SumsFailed(error) if is_connection_loss(error) => "ConnectionLost",
            Self::SumsFailed(_) => "SumsFailed",
            Self::Store(error) => error.reason(),
            Self::ManifestMissing(_) => "ManifestMissing",
        }
    }

    pub(super) fn outcome(&self) -> Outcome {
        match self {
            Self::Session(error) => error.outcome(),
            Self::SumsFailed(error) if is_connection_loss(error) => Outcome::Lost,
            Self::Store(error) => error.outcome(),
            Self::SumsFailed(_) | Self::ManifestMissing(_) => Outcome::Stalled,
        }
    }
}

/// Draws up the account.
pub async fn run(context: &StepContext) -> StepEnd {
    if let Err(end) = capture::over(context).await {
        return end;
    }
    let account = tokio::select! {
        account = account(context) => account,
        () = context.stop.cancelled() => return StepEnd::bare(Outcome::Stopped, "Stopped", "stopped; nothing was changed"),
    };
    match account {
        Ok((report, _)) if report.losses.is_empty() => StepEnd::reported(
            Outcome::Passed,
            "NothingLost",
            "a restore would take nothing but the run's own changes",
            StepReport::Loss(report),
        ),
        Ok((report, _)) => {
            let message = format!("a restore would also take changes in {} tables that the run did not make", report.losses.len());
            StepEnd::reported(Outcome::Passed, "LossesFound", message, StepReport::Loss(report))
        }
        Err(error) => StepEnd::bare(error.outcome(), error.reason(), error.to_string()),
    }
}

/// The account as of now, and what the tables held that it is of.
pub(super) async fn account(context: &StepContext) -> Result<(LossReport, Vec<TableSum>), LossError> {
    of(context, &Session::of(context, Role::Main)?).await
}

/// The account of the database that a session leads to.
pub(super) async fn of(context: &StepContext, session: &Session) -> Result<(LossReport, Vec<TableSum>), LossError> {
    let manifest = BackupStore::proved_manifest(context).await?;
    let ledger = &context.input.spec.database.ledger_schema;
    let mut connection = session.connect().await?;
    applied_sums::begin(&mut connection, "READ ONLY").await?;
    let mut tables = table_sums::tables(&mut connection, ledger).await?;
    if manifest.scope == Scope::Tables {
        // All others stay as they are.
        tables.retain(|table| manifest.tables.iter().any(|sum| sum.table == table.quoted));
    }
    let now = table_sums::measure(&mut connection, &tables).await?;
    if manifest.is_unmeasured() {
        return Ok((unmeasured(&manifest, &now), now));
    }
    let account = Account::begin(context, &mut connection, &manifest).await?;
    Ok((account.draw_up(&mut connection, &now).await?, now))
}

/// The moment of the account.
#[derive(Clone, Debug)]
struct Moment {
    /// The next full transaction id.
    next: i64,
    /// The server keeps when transactions were committed.
    commit_timestamps: bool,
}

impl Moment {
    async fn read(connection: &mut PgConnection) -> Result<(Self, String), sqlx::Error> {
        let (next, commit_timestamps, timeline) =
            sqlx::query_as(AssertSqlSafe(format!("SELECT {NEXT}, current_setting('track_commit_timestamp')::bool, {TIMELINE}")))
                .fetch_one(connection)
                .await?;
        Ok((Self { next, commit_timestamps }, timeline))
    }
}

/// All that an account is drawn up from.
struct Account<'a> {
    manifest: &'a Manifest,
    /// What the tables held when the run had applied its changes.
    applied: Option<Vec<TableSum>>,
    moments: Moments,
    /// The tables that the run names; `None` in script mode.
    named: Option<BTreeSet<String>>,
    own: Own,
    moment: Moment,
    /// Why transaction ids mean nothing here; `None`: they mean what they meant.
    meaningless: Option<&'static str>,
}

impl<'a> Account<'a> {
    async fn begin(context: &StepContext, connection: &mut PgConnection, manifest: &'a Manifest) -> Result<Self, LossError> {
        let input = &context.input;
        let (schema, uid) = (&input.spec.database.ledger_schema, &input.run.uid);
        let applied = table_sums::recorded(connection, schema, uid, applied_sums::APPLIED).await?;
        let moments = moments::read(connection, schema, uid).await?;
        let named = own_tables(context, connection).await?;
        let (moment, timeline) = Moment::read(connection).await?;
        let server = facts(connection).await?;
        let is = database_id(connection, &server).await?;
        let after_script = moments.applied.as_ref().filter(|_| named.is_none() && applied.is_some());
        let meaningless = match after_script.or(manifest.transactions.as_ref()) {
            None => Some("the backup does not say which transactions its snapshot saw"),
            Some(_) if manifest.database.id != is => {
                Some("the database is not the one that was dumped, but has been restored or moved since")
            }
            // After a failover ids go on from where the standby was.
            Some(seen) if seen.timeline != timeline && !moments.go_on_from(seen) => {
                Some("the server has been recovered, or another one has taken its place, since")
            }
            Some(seen) if moment.next < seen.next => Some("the server has been set back since"),
            Some(_) => None,
        };
        let ledger = Ledger::of(schema, &input.run);
        let own = if input.spec.backfill.sql.is_some() {
            Own::read(connection, &ledger, moment.next).await?
        } else {
            Own { unknown: true, ..Own::default() }
        };
        Ok(Self { manifest, applied, moments, named, own, moment, meaningless })
    }

    /// The snapshot that a table is compared with: what a script left, else the dump's.
    fn then(&self, table: &str) -> Option<(&TableSum, &SeenTransactions, String)> {
        let of = |sums: &'a [TableSum]| sums.iter().find(|sum| sum.table == table);
        if let Some(applied) = self.applied.as_ref().filter(|_| self.named.is_none()) {
            // A former release did not record which transactions had ended.
            let seen = self.moments.applied.as_ref()?;
            let sum = applied.iter().find(|sum| sum.table == table)?;
            return Some((sum, seen, "since the script had ended".into()));
        }
        let taken_at = self.manifest.taken_at.as_second();
        let taken_at = jiff::Timestamp::from_second(taken_at).unwrap_or(self.manifest.taken_at);
        Some((of(&self.manifest.tables)?, self.manifest.transactions.as_ref()?, format!("since the snapshot of {taken_at}")))
    }

    async fn draw_up(&self, connection: &mut PgConnection, now: &[TableSum]) -> Result<LossReport, LossError> {
        let baseline = Baseline::new(self.manifest, self.applied.as_deref(), self.named.as_ref());
        let names: Vec<&str> = now.iter().map(|sum| sum.table.as_str()).collect();
        let storage = transactions::storage(connection, &names).await?;
        let mut hasher = Sha256::new();
        let mut losses = Vec::new();
        let mut sorted: Vec<&TableSum> = now.iter().collect();
        sorted.sort_by(|a, b| a.table.cmp(&b.table));
        for sum in sorted {
            let Some(loss) = self.loss(connection, &baseline, sum, &storage).await? else { continue };
            // When it was committed is forgotten by the server in time, and is no other loss then.
            let what =
                loss.written.map_or_else(|| loss.message.clone(), |written| format!("{written} {:?} {:?}", loss.gone, loss.written_over));
            hasher.update(format!("{}\n{}\n{}\n{what}\n", sum.table, sum.rows, sum.digest));
            losses.push(loss);
        }
        if losses.len() > NAMED {
            let more = losses.len() - NAMED;
            losses.truncate(NAMED);
            losses.push(LossStatus { table: "…".into(), message: format!("and {more} more tables"), ..LossStatus::default() });
        }
        Ok(LossReport { losses, digest: format!("sha256:{}", hex::encode(hasher.finalize())) })
    }

    async fn loss(
        &self,
        connection: &mut PgConnection,
        baseline: &Baseline<'_>,
        now: &TableSum,
        storage: &BTreeMap<String, Storage>,
    ) -> Result<Option<LossStatus>, LossError> {
        if baseline.is_as_dumped(now) {
            return Ok(None);
        }
        let Some((then, seen, since)) = self.then(&now.table) else {
            return Ok(baseline.loss(now, self.meaningless));
        };
        if then == now && self.named.is_none() {
            return Ok(None);
        }
        let mut why = self.meaningless;
        if why.is_none() {
            let found = versions::count(connection, &now.table, seen, &self.own, &self.moment).await?;
            let (was, is) = (seen.storage.get(&now.table), storage.get(&now.table));
            why = versions::incomparable(then, was, is, found.as_ref());
            if let (None, Some(found), Some(is)) = (why, found, is) {
                let around = Around { own: &self.own, oids: (is.oid, root(connection, is.oid).await?), since: &since };
                return Ok(versions::loss(then, now, &found, &around));
            }
        }
        Ok(baseline.loss(now, why))
    }
}

/// The partitioned table that a partition belongs to, at last; a table that is none is its own.
async fn root(connection: &mut PgConnection, oid: i64) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT coalesce(pg_partition_root($1::oid), $1::oid)::oid::int8").bind(oid).fetch_one(connection).await
}

/// Of a dump that was made elsewhere nobody knows what it holds; so all that there is now counts, and any write changes it.
fn unmeasured(manifest: &Manifest, now: &[TableSum]) -> LossReport {
    let mut hasher = Sha256::new();
    for sum in now {
        hasher.update(format!("{}\n{}\n{}\n", sum.table, sum.rows, sum.digest));
    }
    let message = format!(
        "the dump was made elsewhere, and nobody measured its tables: everything that was written since {} is lost, and how much that is cannot be said",
        manifest.taken_at
    );
    let losses = vec![LossStatus { table: "every table".into(), message, ..LossStatus::default() }];
    LossReport { losses, digest: format!("sha256:{}", hex::encode(hasher.finalize())) }
}

/// The tables that the run names, as SQL writes them; `None` in script mode.
async fn own_tables(context: &StepContext, connection: &mut PgConnection) -> Result<Option<BTreeSet<String>>, sqlx::Error> {
    let names = run_tables::named(&context.input.spec);
    if names.is_empty() {
        return Ok(None);
    }
    let mut own = BTreeSet::new();
    for name in names {
        own.extend(run_tables::resolve(connection, name).await?.into_iter().map(|t| t.quoted));
    }
    Ok(Some(own))
}
