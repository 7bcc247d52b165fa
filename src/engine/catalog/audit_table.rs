//! The table of audit entries: one that is there must take them, else the role must be able to make it.

use super::CatalogError;
use sqlx::PgConnection;

/// Schema, table, whether the role may write to it or make it, and which columns it lacks.
const FOUND: &str = "
    SELECT n.oid IS NOT NULL, c.oid IS NOT NULL, quote_ident(w.schema), quote_ident(current_user),
           CASE WHEN c.oid IS NULL THEN coalesce(has_schema_privilege(n.oid, 'USAGE') AND has_schema_privilege(n.oid, 'CREATE'), false)
                ELSE has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'INSERT') END,
           (SELECT string_agg(name, ', ') FROM unnest(ARRAY['run', 'run_uid', 'plan_digest', 'table_name', 'key', 'action', 'result']) AS name
            WHERE c.oid IS NOT NULL AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = name AND NOT a.attisdropped))
    FROM (SELECT (parse_ident($1))[1] AS schema, (parse_ident($1))[2] AS name) AS w
    LEFT JOIN pg_namespace n ON n.nspname = w.schema LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name";

type Row = (bool, bool, String, String, bool, Option<String>);

/// Checks that the connection's role can write audit entries to this table, named with its schema and quoted.
///
/// # Errors
/// [`CatalogError::PrivilegeMissing`] with the GRANT to run, [`CatalogError::NotAnAuditTable`], [`CatalogError::TableMissing`]
/// where even the schema is.
pub async fn require_audit_table(connection: &mut PgConnection, table: &str) -> Result<(), CatalogError> {
    let (schema_is_there, table_is_there, schema, role, may, missing): Row =
        sqlx::query_as(FOUND).persistent(false).bind(table).fetch_one(connection).await?;
    if !schema_is_there {
        let hint = format!(", and no schema for it; run: CREATE SCHEMA {schema} AUTHORIZATION {role}; (the run makes the table itself)");
        return Err(CatalogError::TableMissing { table: table.to_owned(), hint });
    }
    if let Some(missing) = missing {
        return Err(CatalogError::NotAnAuditTable { table: table.to_owned(), missing });
    }
    match (may, table_is_there) {
        (true, _) => Ok(()),
        (false, true) => Err(CatalogError::PrivilegeMissing {
            grant: format!("GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT INSERT ON {table} TO {role};"),
        }),
        (false, false) => Err(CatalogError::PrivilegeMissing { grant: format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};") }),
    }
}
