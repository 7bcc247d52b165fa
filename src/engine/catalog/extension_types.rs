//! Types of extensions: where the role may not use their schema, their operators are out of its sight.

use super::{CatalogError, grant};
use crate::engine::sql::quote;
use sqlx::PgConnection;

/// A schema of an extension whose types the table's columns have, and which the role may not use.
const CLOSED: &str = "
    SELECT n.nspname::text FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid JOIN pg_namespace n ON n.oid = t.typnamespace
    WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped AND NOT has_schema_privilege(n.oid, 'USAGE')
      AND EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e') LIMIT 1";

/// Checks that the values of all columns are compared as their own.
///
/// # Errors
/// [`CatalogError::PrivilegeMissing`] with the GRANT to run.
pub(super) async fn require(connection: &mut PgConnection, table: i64) -> Result<(), CatalogError> {
    let closed: Option<String> = sqlx::query_scalar(CLOSED).persistent(false).bind(table).fetch_optional(&mut *connection).await?;
    match closed {
        None => Ok(()),
        Some(schema) => {
            Err(CatalogError::PrivilegeMissing { grant: grant(connection, "USAGE", &format!("SCHEMA {}", quote(&schema))).await? })
        }
    }
}
