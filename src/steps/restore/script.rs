//! The SQL around the dump's own: what goes before it, and what goes between it and the COMMIT.

use super::accounted::CHANGED;
use super::fence::Fence;
use crate::engine::sql::quote;
use crate::postgres::table_sums::{self, TableSum};

/// All that the SQL depends on.
pub(super) struct Script<'a> {
    /// The ledger's schema, which stays.
    pub ledger: &'a str,
    /// The run.
    pub run_uid: &'a str,
    /// Schemas that the dump has.
    pub schemas: &'a [String],
    /// Which tables the ledger has.
    pub fence: &'a Fence,
    /// Tables to measure before the COMMIT.
    pub sums_of: &'a [TableSum],
}

/// Begins a restore's transaction. Each statement has to see what was committed before it: locks are waited for in between.
pub(super) const BEGIN: &str = r"
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL lock_timeout = '5s';
SET LOCAL statement_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
SET LOCAL client_min_messages = error;
";

/// The application's tables, as the rest of a SELECT. `@LEDGER@` is a literal.
const TABLES: &str = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> @LEDGER@ AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
      AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')";

/// Keeps everybody else away. `@TABLES@` is [`TABLES`].
const LOCK: &str = r"
DO $backfill$
DECLARE
  tables text;
BEGIN
  SELECT string_agg(format('ONLY %I.%I', n.nspname, c.relname), ', ' ORDER BY n.nspname, c.relname) INTO tables @TABLES@;
  IF tables IS NOT NULL THEN
    EXECUTE 'LOCK TABLE ' || tables || ' IN ACCESS EXCLUSIVE MODE';
  END IF;
END
$backfill$;
";

/// Drops what is there. `@LEDGER@` and `@SCHEMAS@` are literals, `@TABLES@` is [`TABLES`].
///
/// All objects are dropped, not only what the dump has: what was made since (tables, columns, types of the migrations)
/// would else stay behind, and `pg_restore --clean` fails where a migration dropped a column that has a default.
/// CASCADE could reach into the ledger, if anything there depended on a table of the application; so the ledger's
/// columns, functions and types are counted before and after. What depends internally on another object (the sequence
/// of an identity column) goes with that one; a partitioned table depends so on itself. The view `written` speaks of rows
/// that will be gone, with types of the application: it goes first.
///
/// A dump's grants are written against PostgreSQL's own defaults. Default privileges of the role would be added to them,
/// and a table would come back open to more roles than before; so they are taken back, and come again with the dump.
const DROP: &str = r"
DO $backfill$
DECLARE
  ledger constant text := @LEDGER@;
  dumped constant text[] := @SCHEMAS@;
  statements text[];
  statement text;
  unlocked text;
  held bigint;
  holds constant text := $count$
    SELECT (SELECT count(*) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname = $1 AND NOT a.attisdropped)
         + (SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = $1)
         + (SELECT count(*) FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace WHERE n.nspname = $1)
         + (SELECT count(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1)
         + (SELECT count(*) FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = $1)
  $count$;
  holding bigint;
BEGIN
  EXECUTE format('DROP VIEW IF EXISTS %I.written', ledger);
  EXECUTE holds INTO held USING ledger;
  SELECT coalesce(array_agg(s ORDER BY rank), '{}') INTO statements FROM (
    SELECT 1 AS rank, format('DROP EVENT TRIGGER IF EXISTS %I CASCADE', evtname) AS s FROM pg_event_trigger t
      WHERE NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_event_trigger'::regclass AND e.objid = t.oid AND e.deptype = 'e')
    UNION ALL
    SELECT 2, format('DROP CAST IF EXISTS (%s AS %s) CASCADE', format_type(castsource, NULL), format_type(casttarget, NULL)) FROM pg_cast c
      WHERE c.oid >= 16384
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_cast'::regclass AND e.objid = c.oid AND e.deptype = 'e')
    UNION ALL
    SELECT 3, format('DROP %s IF EXISTS %s CASCADE', CASE i.type WHEN 'statistics object' THEN 'statistics' ELSE i.type END, i.identity)
      FROM pg_depend d
      JOIN pg_namespace n ON d.refclassid = 'pg_namespace'::regclass AND d.refobjid = n.oid
      CROSS JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
      WHERE d.deptype = 'n' AND n.nspname <> ledger AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        AND i.type IN ('table', 'foreign table', 'view', 'materialized view', 'sequence', 'function', 'procedure', 'aggregate', 'type',
          'operator', 'operator class', 'operator family', 'collation', 'conversion', 'statistics object', 'text search configuration',
          'text search dictionary', 'text search parser', 'text search template')
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = d.classid AND e.objid = d.objid
          AND (e.deptype = 'e' OR e.deptype = 'i' AND e.refobjid <> d.objid))
    UNION ALL
    SELECT 4, format('DROP SCHEMA IF EXISTS %I CASCADE', n.nspname) FROM pg_namespace n
      WHERE n.nspname NOT IN (ledger, 'public', 'information_schema') AND n.nspname !~ '^pg_' AND NOT n.nspname = ANY (dumped)
        AND NOT EXISTS (SELECT FROM pg_extension x WHERE x.extnamespace = n.oid)
        AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid AND e.deptype = 'e')
  ) all_of_them;
  -- A table that was made after the locks had been taken, and is in no account.
  SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ' ORDER BY n.nspname, c.relname) INTO unlocked @TABLES@
      AND NOT EXISTS (SELECT FROM pg_locks l WHERE l.pid = pg_backend_pid() AND l.locktype = 'relation' AND l.relation = c.oid AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()));
  IF unlocked IS NOT NULL THEN
    RAISE EXCEPTION '%', unlocked USING ERRCODE = '@CHANGED@';
  END IF;
  FOREACH statement IN ARRAY statements LOOP
    EXECUTE statement;
  END LOOP;
  PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
  WITH defaults AS (
    SELECT CASE WHEN n.oid IS NULL THEN '' ELSE format(' IN SCHEMA %I', n.nspname) END AS place,
           CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS' WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' END AS kind,
           CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS grantee, a.grantee = d.defaclrole AS owned
    FROM pg_default_acl d LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace CROSS JOIN LATERAL aclexplode(d.defaclacl) a
    WHERE d.defaclrole = (SELECT oid FROM pg_roles WHERE rolname = current_user) AND d.defaclobjtype IN ('r', 'S', 'f', 'T', 'n')
      AND n.nspname IS DISTINCT FROM ledger)
  SELECT coalesce(array_agg(s ORDER BY rank), '{}') INTO statements FROM (
    SELECT 1 AS rank, format('ALTER DEFAULT PRIVILEGES%s REVOKE ALL ON %s FROM %s', place, kind, grantee) AS s FROM defaults
      WHERE NOT (place = '' AND (owned OR grantee = 'PUBLIC' AND kind IN ('FUNCTIONS', 'TYPES')))
    UNION
    SELECT 2, format('ALTER DEFAULT PRIVILEGES GRANT ALL ON %s TO %I', kind, current_user) FROM defaults WHERE place = ''
    UNION
    SELECT 3, format('ALTER DEFAULT PRIVILEGES GRANT ALL ON %s TO PUBLIC', kind) FROM defaults WHERE place = '' AND kind IN ('FUNCTIONS', 'TYPES')
  ) resets;
  FOREACH statement IN ARRAY statements LOOP
    EXECUTE statement;
  END LOOP;
  EXECUTE holds INTO holding USING ledger;
  IF holding <> held THEN
    RAISE EXCEPTION 'objects in the schema % depend on what would be restored: drop them, or make them independent of the application''s tables and types', ledger
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
END
$backfill$;
";

impl Script<'_> {
    /// Begins the transaction, with everybody else kept away.
    pub(super) fn lock(&self) -> String {
        format!("{BEGIN}{}", LOCK.replace("@TABLES@", TABLES).replace("@LEDGER@", &literal(self.ledger)))
    }

    /// What goes between the locks and the dump.
    pub(super) fn before(&self) -> String {
        let schemas: Vec<String> = self.schemas.iter().map(|s| literal(s)).collect();
        DROP.replace("@TABLES@", TABLES)
            .replace("@LEDGER@", &literal(self.ledger))
            .replace("@CHANGED@", CHANGED)
            .replace("@SCHEMAS@", &format!("ARRAY[{}]::text[]", schemas.join(", ")))
    }

    /// What goes between the dump and its COMMIT: what is there now, and that it happened.
    pub(super) fn after(&self) -> String {
        let mut statements = vec![String::new(), format!("{};", table_sums::SETTINGS)];
        statements.extend(noted(self.ledger, self.run_uid, *self.fence, self.sums_of));
        statements.push(String::new());
        statements.join("\n")
    }
}

/// What the ledger is told: what is there now, and that it happened.
pub(super) fn noted(ledger: &str, run_uid: &str, fence: Fence, sums_of: &[TableSum]) -> Vec<String> {
    let (ledger, uid) = (quote(ledger), literal(run_uid));
    let mut statements = Vec::new();
    if !sums_of.is_empty() {
        statements.push(format!("DELETE FROM {ledger}.table_sums WHERE run_uid = {uid} AND moment = 'Restored';"));
    }
    statements.extend(sums_of.iter().map(|sum| {
        format!(
            "INSERT INTO {ledger}.table_sums (run_uid, moment, table_name, rows, digest) SELECT {uid}, 'Restored', {}, m.rows, m.digest FROM ({}) m;",
            literal(&sum.table),
            table_sums::select(&sum.table)
        )
    }));
    if fence.runs {
        statements.push(format!("UPDATE {ledger}.runs SET state = 'Restored' WHERE uid::text = {uid};"));
    }
    if fence.claim {
        statements.push(format!("DELETE FROM {ledger}.claim WHERE run_uid::text = {uid};"));
    }
    statements
}

/// A string literal that means the same whatever `standard_conforming_strings` says.
pub(super) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::literal;

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(literal("a'; DROP TABLE t; --\\"), "E'a''; DROP TABLE t; --\\\\'");
    }
}
