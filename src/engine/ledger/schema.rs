//! The ledger's tables, made once, in a schema of their own in the user's database.

use super::{LedgerError, migrate};
use crate::engine::sql::{quote, quote_literal};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// The comment by which tables of ours are known; the version follows it.
pub const MARK: &str = "backfill.dev ledger";
/// The version of the tables below. A change of them raises it, and brings a step in `migrate`.
pub(super) const VERSION: i32 = 2;
/// Two runs that start together make the schema one after the other: the key is arbitrary, but always the same.
const LOCK: i64 = 0x6261_636b_6669_6c6c;

/// Names and columns. `undo` describes itself: a person can put rows back with nothing but this schema.
pub(super) const TABLES: &[(&str, &str)] = &[
    (
        "runs",
        "uid text PRIMARY KEY, namespace text NOT NULL, name text NOT NULL, spec_hash text NOT NULL,
         plan_digest text NOT NULL DEFAULT '', rows_digest text NOT NULL DEFAULT '', plan_file_sha256 text NOT NULL DEFAULT '',
         state text NOT NULL CHECK (state IN ('Claimed', 'Applying', 'Applied', 'Undoing', 'Undone', 'Restored', 'Closed')),
         epoch int8 NOT NULL DEFAULT 0, attempt int4 NOT NULL DEFAULT 0, planned int8 NOT NULL DEFAULT 0,
         drift_checked int8 NOT NULL DEFAULT -1, witness jsonb, writes jsonb NOT NULL DEFAULT '[]',
         created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()",
    ),
    (
        "claim",
        "only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one), run_uid text NOT NULL, namespace text NOT NULL,
         name text NOT NULL, since timestamptz NOT NULL DEFAULT now()",
    ),
    (
        "ranges",
        "run_uid text NOT NULL, range int8 NOT NULL, rows int4 NOT NULL, keys jsonb NOT NULL, fingerprints int8[] NOT NULL,
         weights int4[], redact int4[] NOT NULL DEFAULT '{}', planned_digest bytea NOT NULL, written_digest bytea,
         worker int4, process text, epoch int8 NOT NULL DEFAULT 0, cursor int4 NOT NULL DEFAULT 0, batches int8 NOT NULL DEFAULT 0,
         written int8 NOT NULL DEFAULT 0, drifted int8 NOT NULL DEFAULT 0, quarantined int8 NOT NULL DEFAULT 0,
         redacted int8 NOT NULL DEFAULT 0, changed_by_triggers text[] NOT NULL DEFAULT '{}', touched_at timestamptz NOT NULL DEFAULT now(), done_at timestamptz,
         PRIMARY KEY (run_uid, range)",
    ),
    (
        "batches",
        "run_uid text NOT NULL, range int8 NOT NULL, batch int8 NOT NULL, epoch int8 NOT NULL, first int4 NOT NULL, last int4 NOT NULL,
         written int8 NOT NULL, drifted int8 NOT NULL, committed_at timestamptz NOT NULL DEFAULT clock_timestamp(), undone_at timestamptz,
         PRIMARY KEY (run_uid, range, batch)",
    ),
    (
        "undo",
        "run_uid text NOT NULL, range int8 NOT NULL, batch int8 NOT NULL, seq int4 NOT NULL,
         action text NOT NULL CHECK (action IN ('Update', 'Insert', 'Delete', 'Entry')),
         role text NOT NULL CHECK (role IN ('row', 'key', 'column')), name text NOT NULL, texts text[], hashes int8[],
         PRIMARY KEY (run_uid, range, batch, seq, action, role, name)",
    ),
    ("drifted", "run_uid text NOT NULL, range int8 NOT NULL, place int4 NOT NULL, key jsonb NOT NULL, PRIMARY KEY (run_uid, range, place)"),
    (
        "quarantined",
        "run_uid text NOT NULL, range int8 NOT NULL, place int4 NOT NULL, key jsonb NOT NULL, sqlstate text NOT NULL, message text NOT NULL,
         PRIMARY KEY (run_uid, range, place)",
    ),
    (
        "skipped",
        "run_uid text NOT NULL, range int8 NOT NULL, batch int8 NOT NULL, seq int4 NOT NULL, action text NOT NULL, place int4 NOT NULL,
         columns text[] NOT NULL, PRIMARY KEY (run_uid, range, batch, seq, action, place)",
    ),
    (
        "table_sums",
        "run_uid uuid NOT NULL, moment text NOT NULL CHECK (moment IN ('Backup', 'Applied', 'Restored')), table_name text NOT NULL,
         rows int8 NOT NULL, digest text NOT NULL, PRIMARY KEY (run_uid, moment, table_name)",
    ),
];

/// Remarks in the catalogue, for the person who finds the tables.
const REMARKS: &[(&str, &str)] = &[
    (
        "undo",
        "What a batch wrote, column by column: each list has an element a row. role row: hashes are places in the range's keys. \
         key: texts are the key of the written row. column: texts are the old values, hashes are hashtextextended(new::text, 0). \
         action Entry: the audit entry; texts are the old value at its path, hashes how many objects on the path were there.",
    ),
    ("ranges", "keys: a list a key column. fingerprints: 64 bits a row over key, old and new values; not readable back."),
];

/// Keys and old values compress, and fast, where the server has lz4.
const LZ4: &[(&str, &str)] = &[("undo", "texts"), ("ranges", "keys")];

/// Random bits and places do not compress.
const STORAGE: &[(&str, &str, &str)] = &[
    ("undo", "hashes", "SET STORAGE EXTERNAL"),
    ("ranges", "fingerprints", "SET STORAGE EXTERNAL"),
    ("ranges", "planned_digest", "SET STORAGE EXTERNAL"),
];

/// Makes schema and tables where they are missing.
///
/// # Errors
/// [`LedgerError::CreateDenied`] with the statements to run, [`LedgerError::NotALedger`].
pub async fn ensure(connection: &mut PgConnection, schema: &str) -> Result<(), LedgerError> {
    let made = match found(connection, schema).await? {
        Found::Complete => return belongs(connection, schema).await,
        Found::Version(version) => migrate::migrate(connection, schema, version).await,
        Found::Missing => make(connection, schema).await,
    };
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

/// A ledger that another role has made is used as that role: its views are made anew by each run.
async fn belongs(connection: &mut PgConnection, schema: &str) -> Result<(), LedgerError> {
    let owner: Option<String> = sqlx::query_scalar(
        "SELECT format('GRANT %s TO %s;', quote_ident(pg_get_userbyid(c.relowner)), quote_ident(current_user))
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relname = 'runs' AND NOT pg_has_role(c.relowner, 'USAGE')",
    )
    .persistent(false)
    .bind(schema)
    .fetch_optional(connection)
    .await?;
    owner.map_or(Ok(()), |statements| Err(LedgerError::CreateDenied { statements }))
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

/// What there is of a ledger.
pub(super) enum Found {
    /// All tables, of this version.
    Complete,
    /// Tables of an earlier version.
    Version(i32),
    /// Some tables, or none.
    Missing,
}

/// Looks for the tables by name and mark. Tables of that name without the mark are never touched.
pub(super) async fn found(connection: &mut PgConnection, schema: &str) -> Result<Found, LedgerError> {
    let found: Vec<(String, Option<i32>)> = sqlx::query_as(
        "SELECT c.relname::text, substring(obj_description(c.oid, 'pg_class') FROM '^' || $2 || ' v([0-9]{1,6})')::int4
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
    )
    .persistent(false)
    .bind(schema)
    .bind(MARK)
    .fetch_all(connection)
    .await?;
    let mut all = true;
    let mut oldest = VERSION;
    for (name, _) in TABLES {
        match found.iter().find(|(n, _)| n == name) {
            None => all = false,
            Some((_, Some(version))) => oldest = oldest.min(*version),
            Some((_, None)) => return Err(LedgerError::NotALedger { table: format!("{schema}.{name}") }),
        }
    }
    if found.iter().any(|(_, version)| version.is_some_and(|version| version > VERSION)) {
        return Err(LedgerError::Newer { schema: schema.to_owned() });
    }
    Ok(match (oldest < VERSION, all) {
        (true, _) => Found::Version(oldest),
        (false, true) => Found::Complete,
        (false, false) => Found::Missing,
    })
}

async fn make(connection: &mut PgConnection, schema: &str) -> Result<(), LedgerError> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").persistent(false).bind(LOCK).execute(&mut *transaction).await?;
    let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
        .persistent(false)
        .bind(schema)
        .fetch_one(&mut *transaction)
        .await?;
    let quoted = quote(schema);
    if !exists {
        sqlx::query(AssertSqlSafe(format!("CREATE SCHEMA {quoted}"))).persistent(false).execute(&mut *transaction).await?;
    }
    make_tables(&mut transaction, &quoted).await?;
    transaction.commit().await?;
    Ok(())
}

/// Makes what is missing; `schema` is quoted.
pub(super) async fn make_tables(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    let mut statements = Vec::new();
    for (name, columns) in TABLES {
        let remark = REMARKS.iter().find(|(table, _)| table == name).map_or("", |(_, remark)| remark);
        statements.push(format!("CREATE TABLE IF NOT EXISTS {schema}.{name} ({columns})"));
        let comment = format!("{MARK} v{VERSION}. {remark}");
        statements.push(format!("COMMENT ON TABLE {schema}.{name} IS {}", quote_literal(comment.trim_end())));
    }
    for (table, column, storage) in STORAGE {
        statements.push(format!("ALTER TABLE {schema}.{table} ALTER COLUMN {column} {storage}"));
    }
    for statement in statements {
        sqlx::query(AssertSqlSafe(statement)).persistent(false).execute(&mut *connection).await?;
    }
    make_view(connection, schema).await?;
    // Not every server is built with it.
    let lz4: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_settings WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals))")
            .persistent(false)
            .fetch_one(&mut *connection)
            .await?;
    if lz4 {
        for (table, column) in LZ4 {
            let sql = format!("ALTER TABLE {schema}.{table} ALTER COLUMN {column} SET COMPRESSION lz4");
            sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// The lists of `undo` as rows, for people: which row of which table, its key and old values, and the source row's key.
async fn make_view(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    let of = |role: &str| {
        format!(
            "(SELECT jsonb_object_agg(c.name, c.texts[p.n]) FROM {schema}.undo c WHERE c.run_uid = u.run_uid AND c.range = u.range
              AND c.batch = u.batch AND c.seq = u.seq AND c.action = u.action AND c.role = '{role}' AND c.texts IS NOT NULL)"
        )
    };
    let sql = format!(
        "CREATE OR REPLACE VIEW {schema}.undo_rows AS
         SELECT u.run_uid, u.range, u.batch, u.seq, u.action, p.place,
                (SELECT jsonb_agg(k.parts->p.place::int ORDER BY k.n) FROM {schema}.ranges g, jsonb_array_elements(g.keys) WITH ORDINALITY AS k(parts, n)
                 WHERE g.run_uid = u.run_uid AND g.range = u.range) AS source_key,
                (SELECT w->>'table' FROM jsonb_array_elements(r.writes) AS w WHERE (w->>'seq')::int = u.seq) AS table_name,
                {} AS key, {} AS before
         FROM {schema}.undo u JOIN {schema}.runs r ON r.uid = u.run_uid, unnest(u.hashes) WITH ORDINALITY AS p(place, n) WHERE u.role = 'row'",
        of("key"),
        of("column")
    );
    sqlx::query(AssertSqlSafe(sql)).persistent(false).execute(&mut *connection).await?;
    let comment =
        format!("COMMENT ON VIEW {schema}.undo_rows IS {}", quote_literal(&format!("{MARK} v{VERSION}. undo, a row a written row")));
    sqlx::query(AssertSqlSafe(comment)).persistent(false).execute(connection).await?;
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
