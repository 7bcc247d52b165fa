//! A dump that was made elsewhere (`backup.existing.path`), proved as far as it can be: read to its last block, of this
//! database by its name, whole, and young enough. Where one of our own manifests lies beside it, by that, too.
//!
//! The run writes a manifest of its own, under its own name: what others have made is not touched.

use super::error::BackupError;
use super::proof::{self, Contents};
use crate::api::duration;
use crate::api::spec::{Compression, DumpFormat, Scope};
use crate::api::status::BackupStatus;
use crate::destination::DestinationError;
use crate::postgres::origin::Origin;
use crate::postgres::table_sums;
use crate::postgres::{ServerFacts, database_id, facts};
use crate::steps::StepContext;
use crate::steps::backup_store::{BackupStore, Manifest, ManifestDatabase, ManifestFile, manifest};
use crate::steps::run_tables;
use crate::steps::session::Session;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sqlx::PgConnection;
use std::time::Duration;

/// What the database has beside tables, as an archive's list begins to name it. What belongs to extensions comes with them.
const OBJECTS: &str = "
    WITH own AS (SELECT oid, nspname FROM pg_namespace WHERE nspname <> $1 AND nspname <> 'information_schema' AND nspname !~ '^pg_')
    SELECT CASE c.relkind WHEN 'v' THEN 'VIEW ' WHEN 'm' THEN 'MATERIALIZED VIEW ' WHEN 'S' THEN 'SEQUENCE ' WHEN 'f' THEN 'FOREIGN TABLE ' ELSE 'TABLE ' END || nspname || ' ' || relname || ' '
      FROM pg_class c JOIN own ON own.oid = relnamespace WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relpersistence <> 't'
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
    UNION ALL
    SELECT CASE p.prokind WHEN 'p' THEN 'PROCEDURE ' WHEN 'a' THEN 'AGGREGATE ' ELSE 'FUNCTION ' END || nspname || ' ' || proname || '('
      FROM pg_proc p JOIN own ON own.oid = pronamespace
        WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype IN ('e', 'i'))
    UNION ALL
    SELECT CASE t.typtype WHEN 'd' THEN 'DOMAIN ' ELSE 'TYPE ' END || nspname || ' ' || typname || ' '
      FROM pg_type t JOIN own ON own.oid = typnamespace WHERE typtype IN ('d', 'e', 'r')
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid AND e.deptype = 'e')
    ORDER BY 1";

/// The database as it is now.
struct Live {
    server: ServerFacts,
    id: String,
    origin: Origin,
    tables: Vec<table_sums::TableName>,
    objects: Vec<String>,
}

/// Proves the dump at `path` in the destination's folder.
///
/// # Errors
/// [`BackupError`].
pub(super) async fn prove(context: &StepContext, store: &BackupStore, session: &Session, path: &str) -> Result<BackupStatus, BackupError> {
    let live = live(context, &mut session.connect().await?).await?;
    let destination = store.destination();
    let folder = destination.folder();
    let name = if folder.is_empty() { path.to_owned() } else { format!("{folder}/{path}") };
    let shown = destination.shown(&name);
    let (format, files) = files(store, path, &name).await?;
    let contents = proof::prove(store, (&name, &name), format, &files, &[]).await?;
    let sha256 = manifest::sha256_of(&files);
    let ours = match store.manifest(&name).await {
        Ok(ours) if ours.sha256 == sha256 => Some(ours),
        Ok(_) => return Err(BackupError::ExistingChanged { path: shown }),
        // None, or one of another tool.
        Err(DestinationError::BackupMissing { .. } | DestinationError::BackupUnreadable(_)) => None,
        Err(error) => return Err(error.into()),
    };
    of_this_database(&contents, ours.as_ref(), &live, &shown)?;
    whole(&contents, &live, &shown)?;
    let written = destination.modified(&files.last().map_or(name.clone(), |file| file.name.clone())).await?;
    let taken_at = ours.as_ref().map_or_else(|| began(&contents, written), |ours| ours.taken_at);
    young_enough(context, taken_at, &shown)?;
    let manifest = described(context, store, &contents, ours, &live, (format, files, sha256, taken_at));
    // Under the run's own name.
    let own = store.name(Timestamp::now());
    store.put_manifest(&own, &manifest).await?;
    Ok(status(&manifest, &contents, (name, shown, manifest::name(&own))))
}

async fn live(context: &StepContext, connection: &mut PgConnection) -> Result<Live, BackupError> {
    let ledger = &context.input.spec.database.ledger_schema;
    let server = facts(connection).await?;
    let id = database_id(connection, &server).await?;
    let origin = Origin::read(connection).await?;
    for table in run_tables::named(&context.input.spec) {
        if run_tables::resolve(connection, table).await?.is_empty() {
            return Err(BackupError::TableMissing { table: table.to_owned() });
        }
    }
    let tables = table_sums::tables(connection, ledger).await?;
    let objects = sqlx::query_scalar(OBJECTS).bind(ledger).fetch_all(connection).await?;
    Ok(Live { server, id, origin, tables, objects })
}

/// One file, or a folder with a table of contents.
async fn files(store: &BackupStore, path: &str, name: &str) -> Result<(DumpFormat, Vec<ManifestFile>), BackupError> {
    let destination = store.destination();
    if destination.size(&format!("{name}/toc.dat")).await?.is_none() {
        return Ok((DumpFormat::Custom, vec![store.sum(name).await?]));
    }
    let mut files = Vec::new();
    for file in destination.list(&format!("{path}/")).await? {
        files.push(store.sum(&file.name).await?);
    }
    Ok((DumpFormat::Directory, files))
}

fn of_this_database(contents: &Contents, ours: Option<&Manifest>, live: &Live, path: &str) -> Result<(), BackupError> {
    let other =
        |of: &str| BackupError::ExistingOfAnotherDatabase { path: path.into(), of: of.into(), database: live.server.database.clone() };
    let header = &contents.header;
    if !matches!(header.format.as_str(), "CUSTOM" | "DIRECTORY") {
        return Err(BackupError::ExistingFormat { path: path.into(), format: header.format.clone() });
    }
    match ours {
        Some(ours) if ours.database.id != live.id => Err(other(&format!("{} of another server", ours.database.name))),
        Some(ours) if ours.scope == Scope::Tables => Err(BackupError::ExistingIncomplete {
            path: path.into(),
            missing: "all but the rows of some tables (it is of scope Tables)".into(),
        }),
        None if header.database != live.server.database => Err(other(&header.database)),
        Some(_) | None => Ok(()),
    }
}

/// A restore drops what is there: what is not in the dump would be gone.
fn whole(contents: &Contents, live: &Live, path: &str) -> Result<(), BackupError> {
    let without_rows = live.tables.iter().find(|t| !contents.entries.iter().any(|e| e.is_data_of(&t.schema, &t.name, &t.owner)));
    let missing = live.objects.iter().find(|object| {
        let object = object.replace(['\n', '\r'], " ");
        !contents.entries.iter().any(|entry| entry.what.starts_with(&object))
    });
    let missing = match (without_rows, missing) {
        (Some(table), _) => format!("the content of {}", table.quoted),
        (None, Some(object)) => object.trim_end_matches(['(', ' ']).to_lowercase(),
        (None, None) => return Ok(()),
    };
    Err(BackupError::ExistingIncomplete { path: path.into(), missing })
}

/// The earlier of two: what the archive says, taken for UTC, and when the destination got it. A copy is younger than its dump,
/// and a clock east of Greenwich is ahead.
fn began(contents: &Contents, written: Timestamp) -> Timestamp {
    let says = contents.header.began.and_then(|began| TimeZone::UTC.to_timestamp(began).ok());
    says.map_or(written, |says| says.min(written))
}

fn young_enough(context: &StepContext, taken_at: Timestamp, path: &str) -> Result<(), BackupError> {
    let max_age = &context.input.spec.backup.max_age;
    let most = duration::parse(max_age).unwrap_or(Duration::from_hours(4));
    let age = Duration::try_from(Timestamp::now().duration_since(taken_at)).unwrap_or_default();
    if age > most {
        return Err(BackupError::ExistingTooOld { path: path.into(), taken_at: taken_at.to_string(), max_age: max_age.clone() });
    }
    Ok(())
}

fn described(
    context: &StepContext,
    store: &BackupStore,
    contents: &Contents,
    ours: Option<Manifest>,
    live: &Live,
    (format, files, sha256, taken_at): (DumpFormat, Vec<ManifestFile>, String, Timestamp),
) -> Manifest {
    let run_uid = context.input.run.uid.clone();
    if let Some(ours) = ours {
        return Manifest { run_uid, existing: true, files, ..ours };
    }
    let header = &contents.header;
    let client = header.client_version.split('.').next().unwrap_or_default();
    // What a server must be like, but for the version, is taken from the database of that name as it is now.
    let major: i32 = header.server_version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(live.server.major());
    let origin = Origin { version_number: major.saturating_mul(10_000), ..live.origin.clone() };
    Manifest {
        run_uid,
        sha256,
        format,
        scope: Scope::Database,
        leads_out: Vec::new(),
        compression: Compression::Default,
        encrypted_for: store.encrypted_for(),
        restore_with: format!("pg_restore >= {client}"),
        files,
        database: ManifestDatabase {
            name: header.database.clone(),
            server_version: header.server_version.clone(),
            ..ManifestDatabase::default()
        },
        lsn: String::new(),
        taken_at,
        existing: true,
        tables: Vec::new(),
        transactions: None,
        origin: Some(origin),
    }
}

fn status(manifest: &Manifest, contents: &Contents, (file, path, own): (String, String, String)) -> BackupStatus {
    let unproved = if manifest.is_unmeasured() {
        vec![
            format!("that it is of this server: only the name of the database ({}) is known", manifest.database.name),
            "what its tables held then: what a restore would lose cannot be counted".to_owned(),
            format!(
                "when exactly it was begun: {} is the earlier of what it says, taken for UTC, and of when its file was written",
                manifest.taken_at
            ),
        ]
    } else {
        Vec::new()
    };
    BackupStatus {
        path,
        file,
        manifest: own,
        existing: "Dump".into(),
        unproved,
        client: format!("made elsewhere by pg_dump {}", contents.header.client_version),
        ..super::read_back(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::proof::Contents;
    use super::began;
    use crate::postgres::archive::Header;

    #[test]
    fn the_earlier_of_two_moments_counts() {
        let contents = |began: Option<&str>| Contents {
            header: Header { began: began.map(|text| text.parse().unwrap()), ..Header::default() },
            entries: Vec::new(),
        };
        let written = "2026-11-27T12:00:00Z".parse().unwrap();
        assert_eq!(began(&contents(Some("2026-11-27T11:00:00")), written).to_string(), "2026-11-27T11:00:00Z");
        assert_eq!(began(&contents(Some("2026-11-27T21:00:00")), written), written, "a clock in Sydney");
        assert_eq!(began(&contents(None), written), written);
    }
}
