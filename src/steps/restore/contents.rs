//! What of the dump is restored: all but what belongs to the whole database and is still there.
//!
//! Extensions, schemas, publications and the like are not dropped before the restore, often need more rights than the
//! run's role has, and are no data; so they stay as they are.

use super::error::RestoreError;
use crate::postgres::archive::Entry;
use sqlx::postgres::PgConnection;

/// What `pg_restore --use-list` gets.
pub(super) struct Contents {
    /// The list.
    pub list: String,
    /// Schemas that the dump makes.
    pub schemas: Vec<String>,
}

/// Never restored: bound to roles and other servers, and untouched by the drop.
const NEVER: &[&str] = &["SUBSCRIPTION ", "SUBSCRIPTION TABLE ", "DATABASE", "USER MAPPING ", "PUBLICATION TABLES IN SCHEMA "];

/// Kind in the dump's list, and the names of that kind that the database has.
const KEPT: &[(&str, &str)] = &[
    ("SCHEMA", "SELECT nspname::text FROM pg_namespace"),
    ("EXTENSION", "SELECT extname::text FROM pg_extension"),
    ("PUBLICATION", "SELECT pubname::text FROM pg_publication"),
    ("FOREIGN DATA WRAPPER", "SELECT fdwname::text FROM pg_foreign_data_wrapper"),
    ("SERVER", "SELECT srvname::text FROM pg_foreign_server"),
    ("PROCEDURAL LANGUAGE", "SELECT lanname::text FROM pg_language"),
    ("ACCESS METHOD", "SELECT amname::text FROM pg_am"),
];

/// Entries with the content of tables and sequences that belong to extensions.
const EXTENSION_TABLES: &str = "SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE SET ' ELSE 'TABLE DATA ' END || n.nspname || ' ' || c.relname || ' ' \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_depend e ON e.objid = c.oid \
     WHERE e.classid = 'pg_class'::regclass AND e.deptype = 'e' AND c.relkind IN ('r', 'p', 'S')";

/// Chooses the entries to restore. A dump that was made elsewhere may have the ledger in it, which is never restored.
pub(super) async fn choose(connection: &mut PgConnection, entries: &[Entry], ledger: &str) -> Result<Contents, RestoreError> {
    let mut kept = Vec::new();
    for (kind, query) in KEPT {
        let names: Vec<String> = sqlx::query_scalar(*query).fetch_all(&mut *connection).await?;
        for name in names {
            kept.push(format!("{kind} - {name} "));
            // `FOREIGN SERVER` is what comments and grants call a SERVER.
            let kind = if *kind == "SERVER" { "FOREIGN SERVER" } else { kind };
            kept.extend(["ACL", "COMMENT", "SECURITY LABEL"].map(|on| format!("{on} - {kind} {name} ")));
        }
    }
    // Rows of an extension's own tables (its configuration) are still there: restoring them would double them.
    let configuration: Vec<String> = sqlx::query_scalar(EXTENSION_TABLES).fetch_all(&mut *connection).await?;
    kept.extend(configuration);
    // Default privileges of the role itself are taken back before; those of other roles stay as they are.
    let role: String = sqlx::query_scalar("SELECT ' ' || current_user").fetch_one(&mut *connection).await?;
    let stays = |what: &str| {
        if what.starts_with("DEFAULT ACL ") {
            return !what.ends_with(&role);
        }
        // An entry without an owner ends with a blank, which `--list` may leave out.
        let what = format!("{what} ");
        NEVER.iter().any(|prefix| what.starts_with(prefix)) || kept.iter().any(|prefix| what.starts_with(prefix.as_str()))
    };
    let list: Vec<&str> = entries.iter().filter(|e| !stays(&e.what) && !e.is_of_schema(ledger)).map(|e| e.line.as_str()).collect();
    let schemas =
        entries.iter().filter_map(|e| e.what.strip_prefix("SCHEMA - ")?.rsplit_once(' ')).map(|(name, _)| name.to_owned()).collect();
    Ok(Contents { list: list.join("\n"), schemas })
}
