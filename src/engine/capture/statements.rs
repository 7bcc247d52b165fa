//! The capture's own tables, functions and triggers, as SQL.

use crate::engine::ledger::{Ledger, MARK};
use crate::engine::sql::quote_literal;

/// Sorts behind the triggers of foreign keys and, as good as always, of the application: what they do in the wake of a row is
/// recorded before the row itself, and put back after it.
pub(super) const ROW_TRIGGER: &str = "zzz_backfill_capture";
/// The fence: before each statement of the script.
pub(super) const STATEMENT_TRIGGER: &str = "backfill_capture_fence";

/// Settings of the functions: values have one text, whatever the script has set. Those of every connection of ours.
const SETTINGS: &str = "SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO, MDY' SET intervalstyle = 'postgres' \
     SET extra_float_digits = '1' SET bytea_output = 'hex' SET timezone = 'UTC'";

/// Makes tables and functions where they are missing. Beside the ledger's tables: most ledgers never have them.
pub(super) fn make(ledger: &Ledger) -> Vec<String> {
    let (armed, recorded, clock, runs) =
        (ledger.table("captures"), ledger.table("captured"), ledger.table("capture_clock"), ledger.table("runs"));
    let (row, statement) = (ledger.table("capture_row()"), ledger.table("capture_statement()"));
    let clock_text = quote_literal(&clock);
    let comment = |what: &str| quote_literal(&format!("{MARK} capture. {what}"));
    vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {armed} (run_uid text NOT NULL, seq int4 NOT NULL, table_name text NOT NULL, definition text NOT NULL,
                 writes_before int8 NOT NULL, clock_before int8 NOT NULL, truncated boolean NOT NULL DEFAULT false, fault text NOT NULL DEFAULT '',
                 inserted int8 NOT NULL DEFAULT 0, updated int8 NOT NULL DEFAULT 0, deleted int8 NOT NULL DEFAULT 0,
                 writes int8 NOT NULL DEFAULT 0, seen boolean NOT NULL DEFAULT false, readable boolean NOT NULL DEFAULT true,
                 armed_at timestamptz NOT NULL DEFAULT clock_timestamp(), settled_at timestamptz, PRIMARY KEY (run_uid, seq))"
        ),
        format!("COMMENT ON TABLE {armed} IS {}", comment("Tables whose rows a script's sessions were recorded in.")),
        format!(
            "CREATE TABLE IF NOT EXISTS {recorded} (run_uid text NOT NULL, n int8 NOT NULL, seq int4 NOT NULL, action \"char\" NOT NULL,
                 depth int4 NOT NULL, before text, after text)"
        ),
        format!(
            "COMMENT ON TABLE {recorded} IS {}",
            comment("Rows as a script found and left them, until they are in undo. before and after are rows of the table as text; depth above 1: written by a trigger.")
        ),
        format!("CREATE SEQUENCE IF NOT EXISTS {clock}"),
        format!(
            "CREATE OR REPLACE FUNCTION {row} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {SETTINGS} AS $capture$
             DECLARE before text; after text;
             BEGIN
                 IF TG_OP <> 'INSERT' THEN before := OLD::text; END IF;
                 IF TG_OP <> 'DELETE' THEN after := NEW::text; END IF;
                 IF before = after THEN RETURN NULL; END IF;
                 INSERT INTO {recorded} VALUES (TG_ARGV[0], nextval({clock_text}), TG_ARGV[2]::int4, left(TG_OP, 1)::\"char\", pg_trigger_depth(), before, after);
                 RETURN NULL;
             END $capture$"
        ),
        format!(
            "CREATE OR REPLACE FUNCTION {statement} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER {SETTINGS} AS $capture$
             BEGIN
                 PERFORM FROM {runs} WHERE uid = TG_ARGV[0] AND epoch = TG_ARGV[1]::int8 AND state = 'Claimed' FOR SHARE;
                 IF NOT FOUND THEN
                     RAISE EXCEPTION 'the backfill run % is over, or on its way back: its script writes no more', TG_ARGV[0] USING ERRCODE = 'object_not_in_prerequisite_state';
                 END IF;
                 PERFORM nextval({clock_text});
                 IF TG_OP = 'TRUNCATE' THEN
                     UPDATE {armed} SET truncated = true WHERE run_uid = TG_ARGV[0] AND seq = TG_ARGV[2]::int4;
                 END IF;
                 RETURN NULL;
             END $capture$"
        ),
        format!("REVOKE ALL ON FUNCTION {row}, {statement} FROM PUBLIC"),
    ]
}

/// Puts the triggers on a table. `ALWAYS`: in a session that is a replica's, too; and one that was switched off and on again in
/// between is not what it was.
pub(super) fn triggers(ledger: &Ledger, table: &str, condition: &str, arguments: &[String]) -> Vec<String> {
    let arguments: Vec<String> = arguments.iter().map(|argument| quote_literal(argument)).collect();
    let arguments = arguments.join(", ");
    let (row, statement) = (ledger.table("capture_row"), ledger.table("capture_statement"));
    vec![
        format!(
            "CREATE OR REPLACE TRIGGER {ROW_TRIGGER} AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {row}({arguments})"
        ),
        format!(
            "CREATE OR REPLACE TRIGGER {STATEMENT_TRIGGER} BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON {table} FOR EACH STATEMENT WHEN ({condition}) EXECUTE FUNCTION {statement}({arguments})"
        ),
        format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {ROW_TRIGGER}"),
        format!("ALTER TABLE {table} ENABLE ALWAYS TRIGGER {STATEMENT_TRIGGER}"),
    ]
}
