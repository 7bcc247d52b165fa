//! The ledger's tables, made once, in a schema of their own in the user's database.

use super::LedgerError;
use crate::engine::sql::{quote, quote_literal};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// The comment by which tables of ours are known.
pub const MARK: &str = "backfill.dev ledger v1";
/// Two runs that start together make the schema one after the other: the key is arbitrary, but always the same.
const LOCK: i64 = 0x6261_636b_6669_6c6c;

/// Names and columns. `undo` describes itself: a person can put rows back with nothing but this table.
const TABLES: &[(&str, &str)] = &[
    (
        "runs",
        "uid text PRIMARY KEY, namespace text NOT NULL, name text NOT NULL, spec_hash text NOT NULL,
         plan_digest text NOT NULL DEFAULT '', rows_digest text NOT NULL DEFAULT '', plan_file_sha256 text NOT NULL DEFAULT '',
         state text NOT NULL CHECK (state IN ('Claimed', 'Applying', 'Applied', 'Undoing', 'Undone', 'Restored', 'Closed')),
         epoch int8 NOT NULL DEFAULT 0, cursor int8 NOT NULL DEFAULT 0, planned int8 NOT NULL DEFAULT 0,
         written int8 NOT NULL DEFAULT 0, drifted int8 NOT NULL DEFAULT 0, batches int8 NOT NULL DEFAULT 0,
         drift_checked boolean NOT NULL DEFAULT false,
         created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()",
    ),
    (
        "claim",
        "only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one), run_uid text NOT NULL, namespace text NOT NULL,
         name text NOT NULL, since timestamptz NOT NULL DEFAULT now()",
    ),
    (
        "planned",
        "run_uid text NOT NULL, ordinal int8 NOT NULL, key jsonb NOT NULL, fingerprint int8 NOT NULL, PRIMARY KEY (run_uid, ordinal)",
    ),
    (
        "batches",
        "run_uid text NOT NULL, batch int8 NOT NULL, epoch int8 NOT NULL, first_ordinal int8 NOT NULL, last_ordinal int8 NOT NULL,
         written int8 NOT NULL, drifted int8 NOT NULL, committed_at timestamptz NOT NULL DEFAULT now(), undone_at timestamptz,
         PRIMARY KEY (run_uid, batch)",
    ),
    (
        "undo",
        "run_uid text NOT NULL, batch int8 NOT NULL, ordinal int8 NOT NULL, seq int4 NOT NULL, source_key jsonb NOT NULL,
         table_name text NOT NULL, key jsonb NOT NULL, before jsonb NOT NULL, after jsonb NOT NULL, compare text[] NOT NULL,
         path text[], entry text, undone_at timestamptz, result text CHECK (result IN ('Undone', 'Skipped')),
         PRIMARY KEY (run_uid, batch, ordinal, seq)",
    ),
    ("drifted", "run_uid text NOT NULL, ordinal int8 NOT NULL, key jsonb NOT NULL, PRIMARY KEY (run_uid, ordinal)"),
    (
        "table_sums",
        "run_uid uuid NOT NULL, moment text NOT NULL CHECK (moment IN ('Backup', 'Applied', 'Restored')), table_name text NOT NULL,
         rows int8 NOT NULL, digest text NOT NULL, PRIMARY KEY (run_uid, moment, table_name)",
    ),
];

/// Remarks in the catalogue, for the person who finds the tables.
const REMARKS: &[(&str, &str)] = &[
    ("undo", "before: old values by column, as text. after: hashtextextended(new::text, 0) by column. path, entry: of an audit entry."),
    ("planned", "fingerprint: 64 bits over key, old and new values; not readable back."),
];

/// Makes schema and tables where they are missing.
///
/// # Errors
/// [`LedgerError::CreateDenied`] with the statements to run, [`LedgerError::NotALedger`].
pub async fn ensure(connection: &mut PgConnection, schema: &str) -> Result<(), LedgerError> {
    if is_complete(connection, schema).await? {
        return Ok(());
    }
    let made = make(connection, schema).await;
    match made {
        Err(LedgerError::Database(error)) if crate::postgres::sqlstate(&error).as_deref() == Some("42501") => {
            let row: (String, String, bool) =
                sqlx::query_as("SELECT quote_ident(current_user), quote_ident(current_database()), to_regnamespace($1) IS NOT NULL")
                    .persistent(false)
                    .bind(quote(schema))
                    .fetch_one(connection)
                    .await?;
            Err(denied(schema, &row))
        }
        other => other,
    }
}

fn denied(schema: &str, (role, database, exists): &(String, String, bool)) -> LedgerError {
    let schema = quote(schema);
    LedgerError::CreateDenied {
        statements: if *exists {
            format!("GRANT USAGE, CREATE ON SCHEMA {schema} TO {role};")
        } else {
            format!("CREATE SCHEMA {schema} AUTHORIZATION {role};  or  GRANT CREATE ON DATABASE {database} TO {role};")
        },
    }
}

/// True where all tables are there, by name and mark. Tables of that name without the mark are never touched.
async fn is_complete(connection: &mut PgConnection, schema: &str) -> Result<bool, LedgerError> {
    let found: Vec<(String, bool)> = sqlx::query_as(
        "SELECT c.relname::text, coalesce(obj_description(c.oid, 'pg_class'), '') LIKE $2 || '%'
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
    )
    .persistent(false)
    .bind(schema)
    .bind(MARK)
    .fetch_all(connection)
    .await?;
    let mut complete = true;
    for (name, _) in TABLES {
        match found.iter().find(|(n, _)| n == name) {
            None => complete = false,
            Some((_, true)) => {}
            Some((_, false)) => return Err(LedgerError::NotALedger { table: format!("{schema}.{name}") }),
        }
    }
    Ok(complete)
}

async fn make(connection: &mut PgConnection, schema: &str) -> Result<(), LedgerError> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").persistent(false).bind(LOCK).execute(&mut *transaction).await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
        .persistent(false)
        .bind(schema)
        .fetch_one(&mut *transaction)
        .await?;
    let schema = quote(schema);
    let mut statements = if exists { Vec::new() } else { vec![format!("CREATE SCHEMA {schema}")] };
    for (name, columns) in TABLES {
        let remark = REMARKS.iter().find(|(table, _)| table == name).map_or("", |(_, remark)| remark);
        statements.push(format!("CREATE TABLE IF NOT EXISTS {schema}.{name} ({columns})"));
        statements.push(format!("COMMENT ON TABLE {schema}.{name} IS {}", quote_literal(format!("{MARK}. {remark}").trim_end())));
    }
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).persistent(false).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Schemas that hold a ledger, by its mark: the claim counts for the whole database, whatever a run calls its schema.
pub(super) async fn ledgers(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "SELECT n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relname = 'claim' AND c.relkind = 'r' AND obj_description(c.oid, 'pg_class') LIKE $1 || '%'
           AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1",
    )
    .persistent(false)
    .bind(MARK)
    .fetch_all(connection)
    .await
}

/// Serialises claims over all ledgers of the database, until the transaction ends.
pub(super) async fn lock_claims(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").persistent(false).bind(LOCK).execute(connection).await?;
    Ok(())
}
