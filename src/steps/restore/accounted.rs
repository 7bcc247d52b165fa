//! Under the locks of a restore in place: the tables are still those of the account that people have approved. What was
//! committed after the account had been drawn up, and before the locks were there, is in no account, and nothing is restored over it.

use super::script::literal;
use crate::postgres::table_sums::{self, TableName, TableSum};

/// The SQLSTATE by which psql tells that tables have changed; its message is their names.
pub(super) const CHANGED: &str = "BF001";

/// What the tables held when the account was drawn up.
pub(super) struct Accounted {
    /// Every table that the restore would write over.
    pub sums: Vec<TableSum>,
    /// True where the restore writes over these and no others; false where tables made since would be dropped, too.
    pub only_these: bool,
}

/// Compares each table, and looks for further ones. The settings by which rows read the same as then end with the savepoint.
/// `@QUERIES@` measures the tables `@NAMES@`, which held `@ROWS@` and `@DIGESTS@`; `@FURTHER@` selects the names of tables beside them.
const COMPARED: &str = r"
SAVEPOINT backfill_accounted;
@SETTINGS@;
DO $backfill$
DECLARE
  known constant text[] := @NAMES@;
  changed text[] := '{}';
  accounted record;
  found record;
BEGIN
  FOR accounted IN SELECT * FROM unnest(known, @QUERIES@, @ROWS@, @DIGESTS@) AS a (name, query, rows, digest) LOOP
    IF to_regclass(accounted.name) IS NULL THEN
      changed := changed || accounted.name;
    ELSE
      EXECUTE accounted.query INTO found;
      IF found.rows <> accounted.rows OR found.digest <> accounted.digest THEN
        changed := changed || accounted.name;
      END IF;
    END IF;
  END LOOP;
  changed := changed || ARRAY(@FURTHER@);
  IF cardinality(changed) > 0 THEN
    RAISE EXCEPTION '%', array_to_string(changed[:20], ', ') USING ERRCODE = '@CHANGED@';
  END IF;
END
$backfill$;
ROLLBACK TO SAVEPOINT backfill_accounted;
";

impl Accounted {
    /// The SQL that goes between the locks and the first change.
    pub(super) fn unchanged(&self, ledger: &str) -> String {
        let texts = |texts: Vec<String>| format!("ARRAY[{}]::text[]", texts.join(", "));
        let names = self.sums.iter().map(|sum| literal(&sum.table)).collect();
        let queries = self.sums.iter().map(|sum| literal(&table_sums::select(&sum.table))).collect();
        let digests = self.sums.iter().map(|sum| literal(&sum.digest)).collect();
        let rows: Vec<String> = self.sums.iter().map(|sum| sum.rows.to_string()).collect();
        let further = if self.only_these {
            "SELECT NULL::text WHERE false".to_owned()
        } else {
            format!("SELECT t.quoted FROM ({}) AS t WHERE t.quoted <> ALL (known)", TableName::all(&literal(ledger)))
        };
        COMPARED
            .replace("@SETTINGS@", table_sums::SETTINGS)
            .replace("@CHANGED@", CHANGED)
            .replace("@FURTHER@", &further)
            .replace("@ROWS@", &format!("ARRAY[{}]::int8[]", rows.join(", ")))
            .replace("@DIGESTS@", &texts(digests))
            .replace("@QUERIES@", &texts(queries))
            .replace("@NAMES@", &texts(names))
    }
}
