//! The proof `Read`: every file is as it was sent, every block of the dump unpacks, and the rows of every table are in it.

use super::error::BackupError;
use crate::api::spec::DumpFormat;
use crate::postgres::archive::{self, Archive, Entry, Header};
use crate::postgres::table_sums::TableName;
use crate::steps::backup_store::{BackupStore, ManifestFile};
use std::path::Path;

/// Proves a dump that lies in the store under its unfinished name, the second of the two. `Read` is all that it says: restorable is only what
/// was restored.
///
/// # Errors
/// [`BackupError::DumpDiffers`] where the destination gives back something else, [`BackupError::Archive`] where a block is
/// missing or broken, [`BackupError::TableNotInDump`].
pub(super) async fn prove(
    store: &BackupStore,
    (name, unfinished): (&str, &str),
    format: DumpFormat,
    files: &[ManifestFile],
    tables: &[TableName],
) -> Result<Contents, BackupError> {
    let (header, entries) = if let Some(path) = store.local(unfinished) {
        whole(&path).await?
    } else if format == DumpFormat::Directory {
        // `pg_restore` looks from file to file: they must all be at hand.
        whole(store.fetch_folder(name, unfinished, files).await?.path()).await?
    } else {
        let (reader, sum) = store.read(unfinished).await?;
        archive::read_through(Archive::Stream(reader)).await?;
        let read = sum.of(name);
        if !files.contains(&read) {
            return Err(BackupError::DumpDiffers { path: store.destination().shown(name), read: read.size });
        }
        archive::describe(Archive::Stream(store.read(unfinished).await?.0)).await?
    };
    match tables.iter().find(|t| !entries.iter().any(|e| e.is_data_of(&t.schema, &t.name, &t.owner))) {
        Some(missing) => Err(BackupError::TableNotInDump { table: missing.quoted.clone() }),
        None => Ok(Contents { header, entries }),
    }
}

/// What is in a dump.
pub(super) struct Contents {
    /// What it says of itself.
    pub header: Header,
    /// Its table of contents.
    pub entries: Vec<Entry>,
}

async fn whole(path: &Path) -> Result<(Header, Vec<Entry>), BackupError> {
    archive::read_through(Archive::File(path)).await?;
    Ok(archive::describe(Archive::File(path)).await?)
}
