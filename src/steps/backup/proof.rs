//! The proof `Read`: every block of the dump unpacks, and the rows of every table are in it.

use super::error::BackupError;
use crate::postgres::archive;
use crate::postgres::table_sums::TableName;
use std::path::Path;

/// Proves a dump. `Read` is all that it says: restorable is only what was restored.
///
/// # Errors
/// [`BackupError::Archive`] where a block is missing or broken, [`BackupError::TableNotInDump`].
pub async fn prove(dump: &Path, tables: &[TableName]) -> Result<(), BackupError> {
    archive::read_through(dump).await?;
    let entries = archive::list(dump).await?;
    match tables.iter().find(|t| !entries.iter().any(|e| e.is_data_of(&t.schema, &t.name, &t.owner))) {
        Some(missing) => Err(BackupError::TableNotInDump { table: missing.quoted.clone() }),
        None => Ok(()),
    }
}
