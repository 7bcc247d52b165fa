//! The rows of some tables (a backup of scope `Tables`), put back into the tables that are there, in one transaction.
//!
//! Definitions, rights, views, sequences and all other tables stay as they are. Foreign keys of the tables, and those that lead
//! to them, are taken off and put on again, which looks at every row: where one no longer holds, all is rolled back. Triggers of
//! the application rest meanwhile: what they did when the rows were written is in the rows, or in other tables.

use super::error::RestoreError;
use super::fence::Fence;
use super::script::{BEGIN, literal, noted};
use crate::engine::sql::{TableName, quote};
use crate::postgres::archive::Entry;
use crate::postgres::table_sums::{self, TableSum};
use sqlx::postgres::PgConnection;

/// All that the SQL depends on.
pub(super) struct Script<'a> {
    /// The ledger's schema.
    pub ledger: &'a str,
    /// The run.
    pub run_uid: &'a str,
    /// The tables of the dump, and what they held.
    pub tables: &'a [TableSum],
    /// Which tables the ledger has.
    pub fence: &'a Fence,
    /// The ledger can keep sums.
    pub has_sums: bool,
}

/// Keeps everybody else away from the tables, which lie bare of keys and triggers then. `@TABLES@` is an array of names as SQL writes them. What has to be put on again travels as a setting of
/// the transaction: not every role may make a temporary table.
const LOCK: &str = r"
SET LOCAL search_path = pg_catalog;
DO $backfill$
DECLARE
  wanted constant oid[] := (SELECT array_agg(name::regclass::oid) FROM unnest(@TABLES@) AS name);
  family constant oid[] := (SELECT array_agg(o) FROM (SELECT unnest(wanted) UNION SELECT p.relid::oid FROM unnest(wanted) AS w (o), pg_partition_ancestors(w.o) AS p (relid)) AS f (o));
  keys oid[];
  names text;
  back text[] := '{}';
  kept record;
BEGIN
  SELECT coalesce(array_agg(oid ORDER BY oid), '{}') INTO keys FROM pg_constraint
    WHERE contype = 'f' AND conparentid = 0 AND (conrelid = ANY (family) OR confrelid = ANY (family));
  SELECT string_agg(format('ONLY %I.%I', n.nspname, c.relname), ', ' ORDER BY n.nspname, c.relname) INTO names
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid = ANY (family) OR c.oid IN (SELECT unnest(ARRAY[conrelid, confrelid]) FROM pg_constraint k WHERE k.oid = ANY (keys));
  EXECUTE 'LOCK TABLE ' || names || ' IN ACCESS EXCLUSIVE MODE';
  FOR kept IN
    SELECT k.oid, k.conname, n.nspname, c.relname, pg_get_constraintdef(k.oid) AS definition, obj_description(k.oid, 'pg_constraint') AS comment
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE k.oid = ANY (keys) ORDER BY k.oid
  LOOP
    EXECUTE format('ALTER TABLE %I.%I DROP CONSTRAINT %I', kept.nspname, kept.relname, kept.conname);
    back := back || format('ALTER TABLE %I.%I ADD CONSTRAINT %I %s', kept.nspname, kept.relname, kept.conname, kept.definition);
    IF kept.comment IS NOT NULL THEN
      back := back || format('COMMENT ON CONSTRAINT %I ON %I.%I IS %L', kept.conname, kept.nspname, kept.relname, kept.comment);
    END IF;
  END LOOP;
  FOR kept IN
    SELECT t.tgname, t.tgenabled, n.nspname, c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE t.tgrelid = ANY (wanted) AND NOT t.tgisinternal AND t.tgenabled <> 'D' ORDER BY t.oid
  LOOP
    EXECUTE format('ALTER TABLE ONLY %I.%I DISABLE TRIGGER %I', kept.nspname, kept.relname, kept.tgname);
    back := back || format('ALTER TABLE ONLY %I.%I ENABLE%s TRIGGER %I', kept.nspname, kept.relname,
      CASE kept.tgenabled WHEN 'R' THEN ' REPLICA' WHEN 'A' THEN ' ALWAYS' ELSE '' END, kept.tgname);
  END LOOP;
  PERFORM set_config('backfill.put_on_again', to_jsonb(back)::text, true);
END
$backfill$;
";

/// What a deferred constraint has still to look at would keep its table from being altered.
const PUT_ON_AGAIN: &str = r"
SET CONSTRAINTS ALL IMMEDIATE;
SET LOCAL search_path = pg_catalog;
DO $backfill$
DECLARE
  statement text;
BEGIN
  FOR statement IN SELECT jsonb_array_elements_text(current_setting('backfill.put_on_again')::jsonb) LOOP
    EXECUTE statement;
  END LOOP;
END
$backfill$;
";

/// Nothing of it stays where a table is not as it was dumped. `@DIFFERING@` selects the names of those.
const COMPARED: &str = r"
DO $backfill$
DECLARE
  differing text;
BEGIN
  SELECT string_agg(d.name, ', ') INTO differing FROM (@DIFFERING@) AS d;
  IF differing IS NOT NULL THEN
    RAISE EXCEPTION 'the rows that were put back are not those of the dump in %: the columns or their types have changed since', differing
      USING ERRCODE = 'object_not_in_prerequisite_state';
  END IF;
END
$backfill$;
";

impl Script<'_> {
    /// Begins the transaction, with everybody else kept away.
    pub(super) fn lock(&self) -> String {
        let names: Vec<String> = self.tables.iter().map(|sum| literal(&sum.table)).collect();
        BEGIN.to_owned() + &LOCK.replace("@TABLES@", &format!("ARRAY[{}]::text[]", names.join(", ")))
    }

    /// What goes between the locks and the rows.
    pub(super) fn empty(&self) -> String {
        let names: Vec<String> = self.tables.iter().map(|sum| format!("ONLY {}", sum.table)).collect();
        format!("TRUNCATE TABLE {};\n", names.join(", "))
    }

    /// What goes between the rows and the COMMIT.
    pub(super) fn after(&self) -> String {
        let mut statements = vec![PUT_ON_AGAIN.to_owned(), format!("{};", table_sums::SETTINGS)];
        statements.extend(noted(self.ledger, self.run_uid, *self.fence, if self.has_sums { self.tables } else { &[] }));
        statements.push(COMPARED.replace("@DIFFERING@", &self.differing()));
        statements.join("\n")
    }

    fn differing(&self) -> String {
        let tables = self.tables.iter().map(|sum| {
            let name = literal(&sum.table);
            let measured = if self.has_sums {
                format!(
                    "SELECT rows, digest FROM {}.table_sums WHERE run_uid::text = {} AND moment = 'Restored' AND table_name = {name}",
                    quote(self.ledger),
                    literal(self.run_uid)
                )
            } else {
                table_sums::select(&sum.table)
            };
            format!("SELECT {name} AS name FROM ({measured}) m WHERE m.rows <> {} OR m.digest <> {}", sum.rows, literal(&sum.digest))
        });
        tables.collect::<Vec<_>>().join(" UNION ALL ")
    }
}

/// The entries of the archive's list that hold the rows of the tables, which must all be there still.
///
/// # Errors
/// [`RestoreError::TableGone`], and those of the driver.
pub(super) async fn entries(connection: &mut PgConnection, all: &[Entry], tables: &[TableSum]) -> Result<String, RestoreError> {
    let names: Vec<&str> = tables.iter().map(|sum| sum.table.as_str()).collect();
    let gone: Option<String> = sqlx::query_scalar("SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NULL LIMIT 1")
        .bind(&names)
        .fetch_optional(connection)
        .await?;
    if let Some(table) = gone {
        return Err(RestoreError::TableGone { table });
    }
    let prefixes: Vec<String> = names.iter().filter_map(|name| prefix(name)).collect();
    let lines = all.iter().filter(|entry| prefixes.iter().any(|prefix| entry.what.starts_with(prefix))).map(|entry| entry.line.as_str());
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// How the entry of a table's rows begins. The dump has rows of no other tables, so that a name that only begins alike is one of
/// them, too.
fn prefix(table: &str) -> Option<String> {
    let TableName { schema, name } = TableName::parse(table).ok()?;
    Some(format!("TABLE DATA {} {name} ", schema?).replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::prefix;

    #[test]
    fn an_entry_is_found_by_the_name_as_sql_writes_it() {
        assert_eq!(prefix("public.scenarios").as_deref(), Some("TABLE DATA public scenarios "));
        assert_eq!(prefix("\"My Schema\".\"a \"\"b\"\"\"").as_deref(), Some("TABLE DATA My Schema a \"b\" "));
    }
}
