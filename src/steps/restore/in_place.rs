//! In place, in one transaction.
//!
//! Everything that the dump has is dropped and made anew, what was made since is dropped, and the ledger's schema is
//! left alone. A step that dies on the way leaves the database as it was. The transaction also writes to the ledger that it
//! happened, so that a second attempt does not take the application's later writes away.

use super::accounted::Accounted;
use super::error::RestoreError;
use super::script::Script;
use super::{analyze, checks, contents, fence, measured, stream, tables};
use crate::api::spec::Scope;
use crate::api::status::CheckStatus;
use crate::postgres::archive::{self, Archive, Entry};
use crate::postgres::table_sums::TableSum;
use crate::postgres::tools::ToolLogin;
use crate::postgres::{facts, table_sums};
use crate::steps::StepContext;
use crate::steps::backup_store::{Manifest, ProvedDump, StoreError};
use crate::steps::session::{Role, Session};
use rand::Rng as _;
use sqlx::PgConnection;
use std::time::Duration;

/// Locks are waited for at most 5 s at a time: longer, and the application would queue up behind us. So there are
/// several tries, further and further apart.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_secs(2);

/// Restores the dump.
pub(super) async fn restore(context: &StepContext) -> Result<Vec<CheckStatus>, RestoreError> {
    let dump = ProvedDump::open(context).await?;
    let manifest = &dump.manifest;
    let session = Session::of(context, Role::Main)?;
    let login = ToolLogin::new(&session.credentials, &session.options, &context.paths.scratch)?;
    let mut connection = session.connect().await?;
    let (ledger, uid) = (&context.input.spec.database.ledger_schema, &context.input.run.uid);
    let has_sums = table_sums::exists(&mut connection, ledger).await?;
    if has_sums && let Some(sums) = table_sums::recorded(&mut connection, ledger, uid, "Restored").await? {
        tracing::info!("an earlier attempt has restored this dump");
        return Ok(checks(manifest.as_ref(), &sums));
    }
    let fence = fence::raise(&mut connection, ledger, uid).await?;
    let accounted = super::as_approved(context).await?;
    let server = facts(&mut connection).await?;
    let entries = archive::list(Archive::File(dump.path())).await?;
    let measured_now = match manifest.as_ref().filter(|manifest| manifest.is_unmeasured()) {
        Some(_) => in_dump(&mut connection, ledger, &entries).await?,
        None => Vec::new(),
    };
    let known = manifest.as_ref().map(|m| m.tables.as_slice()).unwrap_or_default();
    let tables = if measured_now.is_empty() { known } else { &measured_now };
    let sums_of = if has_sums { tables } else { &[] };
    let only_tables = of_tables(context, manifest.as_ref())?;
    let (contents, lock, before, after) = if only_tables {
        let list = tables::entries(&mut connection, &entries, tables).await?;
        let script = tables::Script { ledger, run_uid: uid, tables, fence: &fence, has_sums };
        (list, script.lock(), script.empty(), script.after())
    } else {
        let contents = contents::choose(&mut connection, &entries, ledger).await?;
        let script = Script { ledger, run_uid: uid, schemas: &contents.schemas, fence: &fence, sums_of };
        (contents.list, script.lock(), script.before(), script.after())
    };
    let list = context.paths.scratch.join("restore.list");
    std::fs::write(&list, &contents).map_err(RestoreError::ScratchUnwritable)?;
    let dump = dump.path();
    let stream = stream::Stream { context, login: &login, list: &list, dump, lock, before, after, server_major: server.major() };
    with_retries(&stream, accounted, only_tables).await?;
    // The application may write again: what the transaction measured counts, where the ledger could take it.
    let sums = match table_sums::recorded(&mut connection, ledger, uid, "Restored").await {
        Ok(Some(sums)) => sums,
        _ => measured(&mut session.connect().await?, ledger).await?,
    };
    analyze(&mut connection).await;
    Ok(checks(manifest.as_ref(), &sums))
}

/// The tables that are there and in the dump, where nobody knows what they held: what is restored is measured, so that a second
/// attempt finds that it was.
async fn in_dump(connection: &mut PgConnection, ledger: &str, entries: &[Entry]) -> Result<Vec<TableSum>, sqlx::Error> {
    let mut tables = table_sums::tables(connection, ledger).await?;
    tables.retain(|t| entries.iter().any(|e| e.is_data_of(&t.schema, &t.name, &t.owner)));
    Ok(tables.into_iter().map(|t| TableSum { table: t.quoted, rows: 0, digest: String::new() }).collect())
}

/// True for a dump of some tables' rows, which only its manifest names.
fn of_tables(context: &StepContext, manifest: Option<&Manifest>) -> Result<bool, StoreError> {
    let proved = context.input.backup.as_ref();
    match manifest {
        Some(manifest) => Ok(manifest.scope == Scope::Tables),
        None if proved.is_some_and(|backup| backup.scope == Scope::Tables.name()) => {
            Err(StoreError::ManifestMissing { path: proved.map(|backup| backup.path.clone()).unwrap_or_default() })
        }
        None => Ok(false),
    }
}

async fn with_retries(stream: &stream::Stream<'_>, accounted: Option<Vec<TableSum>>, only_these: bool) -> Result<(), RestoreError> {
    let ledger = &stream.context.input.spec.database.ledger_schema;
    let mut accounted = accounted;
    let mut pause = FIRST_PAUSE;
    for attempt in 1.. {
        let unchanged = accounted.take().map(|sums| Accounted { sums, only_these }.unchanged(ledger));
        match stream.run(&unchanged.unwrap_or_default()).await {
            Err(error) if error.is_contention() && attempt < TRIES => {
                tracing::warn!(attempt, %error, "the restore was rolled back and is tried again");
                let jitter = rand::rng().random_range(0.5..1.5);
                tokio::time::sleep(pause.mul_f64(jitter)).await;
                pause *= 2;
                // Who held the locks has written.
                accounted = super::as_approved(stream.context).await?;
            }
            end => return end,
        }
    }
    Ok(())
}
