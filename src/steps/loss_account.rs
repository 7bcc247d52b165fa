//! The step `loss-account`: what a restore would take away that is not the run's own doing.
//!
//! It is crude, and errs to the safe side: whole tables are compared by rows and digest. Tables that the run names are
//! compared with what the run left; all others with what the dump holds. In script mode nobody knows which tables the
//! script writes, so all are compared with what it left.

use super::applied_sums::{self, APPLIED};
use super::backup_store::{BackupStore, Manifest, StoreError};
use super::session::{Role, Session, SessionError};
use super::{StepContext, StepEnd, capture, run_tables};
use crate::api::spec::Scope;
use crate::api::status::LossStatus;
use crate::destination::DestinationError;
use crate::postgres::table_sums::{self, TableSum};
use crate::postgres::{describe, is_connection_loss};
use crate::protocol::{LossReport, Outcome, StepReport};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnection;
use std::collections::{BTreeMap, BTreeSet};
use thiserror::Error;

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
        Ok(report) if report.losses.is_empty() => StepEnd::reported(
            Outcome::Passed,
            "NothingLost",
            "a restore would take nothing but the run's own changes",
            StepReport::Loss(report),
        ),
        Ok(report) => {
            let message = format!("a restore would also take changes in {} tables that the run did not make", report.losses.len());
            StepEnd::reported(Outcome::Passed, "LossesFound", message, StepReport::Loss(report))
        }
        Err(error) => StepEnd::bare(error.outcome(), error.reason(), error.to_string()),
    }
}

/// The account as of now.
pub(super) async fn account(context: &StepContext) -> Result<LossReport, LossError> {
    of(context, &Session::of(context, Role::Main)?).await
}

/// The account of the database that a session leads to.
pub(super) async fn of(context: &StepContext, session: &Session) -> Result<LossReport, LossError> {
    let manifest = BackupStore::proved_manifest(context).await?;
    let ledger = &context.input.spec.database.ledger_schema;
    let mut connection = session.connect().await?;
    applied_sums::begin(&mut connection, "READ ONLY").await?;
    let applied = table_sums::recorded(&mut connection, ledger, &context.input.run.uid, APPLIED).await?;
    let own = own_tables(context, &mut connection).await?;
    let mut tables = table_sums::tables(&mut connection, ledger).await?;
    if manifest.scope == Scope::Tables {
        // All others stay as they are.
        tables.retain(|table| manifest.tables.iter().any(|sum| sum.table == table.quoted));
    }
    let now = table_sums::measure(&mut connection, &tables).await?;
    if manifest.is_unmeasured() {
        return Ok(unmeasured(&manifest, &now));
    }
    let baseline = Baseline::new(&manifest, applied.as_deref(), own.as_ref());
    Ok(baseline.compare(&now))
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
    let losses = vec![LossStatus { table: "every table".into(), message }];
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

/// What tables held when nothing but the run had changed them.
struct Baseline<'a> {
    dump: BTreeMap<&'a str, &'a TableSum>,
    applied: BTreeMap<&'a str, &'a TableSum>,
    own: Option<&'a BTreeSet<String>>,
}

impl<'a> Baseline<'a> {
    fn new(manifest: &'a Manifest, applied: Option<&'a [TableSum]>, own: Option<&'a BTreeSet<String>>) -> Self {
        let by_name = |sums: &'a [TableSum]| sums.iter().map(|s| (s.table.as_str(), s)).collect();
        Self { dump: by_name(&manifest.tables), applied: by_name(applied.unwrap_or_default()), own }
    }

    fn compare(&self, now: &[TableSum]) -> LossReport {
        let mut hasher = Sha256::new();
        let mut losses = Vec::new();
        let mut sorted: Vec<&TableSum> = now.iter().collect();
        sorted.sort_by(|a, b| a.table.cmp(&b.table));
        for sum in sorted {
            let Some(message) = self.loss(sum) else { continue };
            hasher.update(format!("{}\n{}\n{}\n{message}\n", sum.table, sum.rows, sum.digest));
            losses.push(LossStatus { table: sum.table.clone(), message });
        }
        if losses.len() > NAMED {
            let more = losses.len() - NAMED;
            losses.truncate(NAMED);
            losses.push(LossStatus { table: "…".into(), message: format!("and {more} more tables") });
        }
        LossReport { losses, digest: format!("sha256:{}", hex::encode(hasher.finalize())) }
    }

    fn loss(&self, now: &TableSum) -> Option<String> {
        let table = now.table.as_str();
        let (dump, applied) = (self.dump.get(table).copied(), self.applied.get(table).copied());
        let written_by_run = self.own.is_none_or(|own| own.contains(table));
        match (dump, applied) {
            (None, Some(left)) if left == now => None,
            (None, _) => Some(format!("made since the dump, with {} rows: it would be dropped", now.rows)),
            (Some(dump), Some(left)) if written_by_run => {
                if left != now {
                    return Some(differs(left, now, "after the run had written"));
                }
                // Declared runs update only: another number of rows is the application's doing.
                (self.own.is_some() && dump.rows != left.rows).then(|| differs(dump, now, "in the dump"))
            }
            (Some(dump), _) => (dump != now).then(|| differs(dump, now, "in the dump")),
        }
    }
}

fn differs(then: &TableSum, now: &TableSum, when: &str) -> String {
    if then.rows == now.rows {
        format!("{} rows {when} and now, but their content differs", now.rows)
    } else {
        format!("{} rows {when}, {} now", then.rows, now.rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(table: &str, rows: i64, digest: &str) -> TableSum {
        TableSum { table: table.into(), rows, digest: digest.into() }
    }

    fn losses(applied: Option<&[TableSum]>, own: Option<&[&str]>, now: &[TableSum]) -> Vec<String> {
        let manifest: Manifest = serde_json::from_value(serde_json::json!({
            "runUid": "u", "sha256": "", "takenAt": "2026-01-01T00:00:00Z",
            "tables": [sum("own", 10, "1"), sum("other", 5, "1")],
        }))
        .unwrap();
        let own: Option<BTreeSet<String>> = own.map(|names| names.iter().map(ToString::to_string).collect());
        let report = Baseline::new(&manifest, applied, own.as_ref()).compare(now);
        report.losses.into_iter().map(|l| l.table).collect()
    }

    #[test]
    fn only_what_the_run_did_not_do_is_a_loss() {
        let applied = [sum("own", 10, "2"), sum("other", 5, "1")];
        let own: Option<&[&str]> = Some(&["own"]);
        assert!(losses(Some(&applied), own, &applied).is_empty(), "nothing happened since");
        assert_eq!(losses(Some(&applied), own, &[sum("own", 10, "3"), sum("other", 5, "1")]), ["own"], "written since");
        assert_eq!(losses(Some(&applied), own, &[sum("own", 10, "2"), sum("new", 0, "0")]), ["new"], "made since");
        assert!(losses(Some(&applied), own, &[sum("own", 10, "2")]).is_empty(), "what was dropped since comes back");
    }

    #[test]
    fn writes_of_the_application_before_the_run_had_applied_are_losses_too() {
        let applied = [sum("own", 11, "2"), sum("other", 6, "9")];
        assert_eq!(losses(Some(&applied), Some(&["own"]), &applied), ["other", "own"]);
        assert!(losses(Some(&applied), None, &applied).is_empty(), "in script mode they may be the script's");
    }

    #[test]
    fn without_applied_sums_everything_is_compared_with_the_dump() {
        assert_eq!(losses(None, Some(&["own"]), &[sum("own", 10, "2"), sum("other", 5, "1")]), ["own"]);
    }
}
