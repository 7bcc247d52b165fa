//! The statements that put one write of one batch back, built from what the ledger says of it.

use super::UndoError;
use super::part::{Action, Part, Typed};
use crate::engine::ledger::Ledger;
use crate::engine::query::{at_path, path_array};
use crate::engine::sql::{quote, quote_literal};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// A batch of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) range: i64,
    pub(super) batch: i64,
}

/// Rows of a part, by their number in its lists, from 1.
type Rows = (i64, i64);

/// Puts the rows of one write back where they are as the run left them, and records which are not. A row that the
/// database refuses to put back (something else refers to it by now) is found by halves, and left. `left` is whether any row
/// of the batch stays as it is: as long as none does, none has to be asked for.
pub(super) async fn undo_part(
    connection: &mut PgConnection,
    ledger: &Ledger,
    batch: Batch,
    part: &Part,
    left: &mut bool,
) -> Result<(), UndoError> {
    undo_rows(connection, ledger, batch, part, (1, part.rows), left).await
}

/// Puts one row of a write back, by its place.
pub(super) async fn undo_row(
    connection: &mut PgConnection,
    ledger: &Ledger,
    batch: Batch,
    part: &Part,
    place: i32,
) -> Result<(), UndoError> {
    let sql = format!("SELECT array_position(hashes, $4::int8)::int8 FROM {} WHERE {}", ledger.table("undo"), part.of("row", ""));
    let query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(batch.range).bind(batch.batch);
    let row: Option<i64> = query.bind(i64::from(place)).fetch_one(&mut *connection).await?;
    match row {
        Some(row) => undo_rows(connection, ledger, batch, part, (row, row), &mut true).await,
        None => Ok(()),
    }
}

async fn undo_rows(
    connection: &mut PgConnection,
    ledger: &Ledger,
    batch: Batch,
    part: &Part,
    rows: Rows,
    left: &mut bool,
) -> Result<(), UndoError> {
    let mut pieces: Vec<Rows> = vec![rows];
    while let Some((first, last)) = pieces.pop() {
        let mut savepoint = connection.begin().await?;
        match part.undo(&mut savepoint, ledger, batch, (first, last), *left).await {
            Ok(all) => {
                *left |= !all;
                savepoint.commit().await?;
            }
            Err(error) => {
                let Some(code) = error.refused() else { return Err(error) };
                savepoint.rollback().await?;
                if first == last {
                    *left = true;
                    part.skip(connection, ledger, batch, first, &code).await?;
                } else {
                    let middle = first.midpoint(last);
                    pieces.extend([(middle + 1, last), (first, middle)]);
                }
            }
        }
    }
    Ok(())
}

/// Written rows that are no longer as the run left them.
pub(super) async fn count_changed(connection: &mut PgConnection, ledger: &Ledger, batch: Batch, part: &Part) -> Result<i64, UndoError> {
    let as_left = match part.action {
        Action::Delete => part.is_missing(),
        _ => format!("coalesce({}, false)", part.as_left()),
    };
    let sql =
        format!("{} SELECT count(*) FROM u LEFT JOIN {} AS t ON {} WHERE NOT {as_left}", part.rows(ledger), part.table, part.key_equals());
    let query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(batch.range).bind(batch.batch);
    query.bind(1_i64).bind(i64::MAX).fetch_one(connection).await.map_err(|error| part.gone(error))
}

/// Rows that were put back and are not as they were before the run: a trigger changed them, or somebody wrote since.
pub(super) async fn count_not_as_before(
    connection: &mut PgConnection,
    ledger: &Ledger,
    batch: Batch,
    part: &Part,
    except: &[i64],
    left: bool,
) -> Result<i64, UndoError> {
    // A script may have updated a row that it had inserted itself, under another key.
    let there = if part.captured && part.action == Action::Update { format!(" AND NOT {}", part.is_missing()) } else { String::new() };
    let sql = format!(
        "{} SELECT count(*) FROM u LEFT JOIN {} AS t ON {} WHERE {} AND NOT coalesce({}, false) AND u.place <> ALL ($6){there}",
        part.rows(ledger),
        part.table,
        part.key_before(),
        if left { wanted(ledger, part) } else { "true".to_owned() },
        part.as_before()
    );
    let query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(batch.range).bind(batch.batch);
    query.bind(1_i64).bind(i64::MAX).bind(except).fetch_one(connection).await.map_err(|error| part.gone(error))
}

/// True of a row that was not left alone. One that shall refer to a deleted row again, and does not, keeps only itself.
fn wanted(ledger: &Ledger, part: &Part) -> String {
    format!(
        "NOT EXISTS (SELECT FROM {skipped} d WHERE d.run_uid = $1 AND d.range = $2 AND d.batch = $3 AND d.place = u.place
             AND (d.seq = {seq} OR d.seq <> ALL (ARRAY(
                 SELECT (e.\"backfill write\"->>'seq')::int FROM {runs} r, jsonb_array_elements(r.writes) AS e(\"backfill write\")
                 WHERE r.uid = $1 AND e.\"backfill write\" ? 'losesReference'))))",
        skipped = ledger.table("skipped"),
        seq = part.seq,
        runs = ledger.table("runs"),
    )
}

impl Part {
    /// Puts rows back; false where some of them stay.
    async fn undo(&self, connection: &mut PgConnection, ledger: &Ledger, batch: Batch, rows: Rows, left: bool) -> Result<bool, UndoError> {
        let wanted = if left { wanted(ledger, self) } else { "true".to_owned() };
        // What the table of audit entries names a row by.
        let keys = (0..self.key.len()).filter(|_| self.audit.is_some()).fold(String::new(), |list, n| list + &format!(", u.k{n}"));
        let statement = match self.action {
            Action::Update | Action::Entry => {
                let sets = if self.action == Action::Entry { self.set_entry() } else { self.set_columns() };
                format!(
                    "UPDATE {} AS t SET {sets} FROM u WHERE {wanted} AND {} AND {} RETURNING u.n{keys}",
                    self.table,
                    self.key_equals(),
                    self.as_left()
                )
            }
            Action::Insert => {
                format!(
                    "DELETE FROM {} AS t USING u WHERE {wanted} AND {} AND {} RETURNING u.n{keys}",
                    self.table,
                    self.key_equals(),
                    self.as_left()
                )
            }
            Action::Delete => self.insert_again(&wanted),
        };
        let written = if self.action == Action::Delete {
            let on: Vec<String> = (0..self.key.len()).map(|n| format!("w.k{n} = u.k{n}")).collect();
            format!(", x AS (SELECT u.* FROM w JOIN u ON {})", on.join(" AND "))
        } else {
            ", x AS (SELECT * FROM w)".to_owned()
        };
        let sql = format!(
            "{lists}, w AS ({statement}){written}{audit} SELECT coalesce(array_agg(n), '{{}}') FROM x",
            lists = self.rows(ledger),
            audit = self.audit_entries(),
        );
        let query = sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(batch.range).bind(batch.batch);
        let done: Vec<i64> = query.bind(rows.0).bind(rows.1).fetch_one(&mut *connection).await.map_err(|error| self.gone(error))?;
        if i64::try_from(done.len()).is_ok_and(|done| done > rows.1 - rows.0) {
            return Ok(true);
        }
        self.tell(connection, ledger, batch, rows, &done, &wanted).await?;
        Ok(false)
    }

    /// Records which rows stay, beside those that are `done`, and what of them has changed since.
    async fn tell(
        &self,
        connection: &mut PgConnection,
        ledger: &Ledger,
        batch: Batch,
        rows: Rows,
        done: &[i64],
        wanted: &str,
    ) -> Result<(), UndoError> {
        let sql = format!(
            "{lists} INSERT INTO {skipped} (run_uid, range, batch, seq, action, place, columns)
             SELECT DISTINCT ON (s.place) $1, $2, $3, {seq}, '{action}', s.place, s.columns
             FROM (SELECT u.place, {changed} AS columns FROM u LEFT JOIN {table} AS t ON {key}
                   WHERE u.n NOT IN (SELECT unnest($6::int8[])){satisfied}) AS s
             ORDER BY s.place, cardinality(s.columns) DESC ON CONFLICT DO NOTHING",
            lists = self.rows(ledger),
            skipped = ledger.table("skipped"),
            seq = self.seq,
            action = self.action.as_str(),
            changed = self.changed(wanted),
            satisfied = if self.captured { format!(" AND NOT coalesce({}, false)", self.as_before()) } else { String::new() },
            table = self.table,
            key = self.key_equals(),
        );
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(batch.range).bind(batch.batch);
        query.bind(rows.0).bind(rows.1).bind(done).execute(connection).await.map_err(|error| self.gone(error))?;
        Ok(())
    }

    /// Records that a row stays as it is, since the database refuses to put it back.
    async fn skip(&self, connection: &mut PgConnection, ledger: &Ledger, batch: Batch, row: i64, sqlstate: &str) -> Result<(), UndoError> {
        let sql = format!(
            "INSERT INTO {} (run_uid, range, batch, seq, action, place, columns)
             SELECT $1, $2, $3, {}, '{}', hashes[$4]::int4, ARRAY['refused: ' || $5::text] FROM {} WHERE {}
             ON CONFLICT DO NOTHING",
            ledger.table("skipped"),
            self.seq,
            self.action.as_str(),
            ledger.table("undo"),
            self.of("row", "")
        );
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(batch.range).bind(batch.batch);
        query.bind(row).bind(sqlstate).execute(connection).await?;
        Ok(())
    }

    /// The row of the ledger with one list of this part.
    fn of(&self, role: &str, name: &str) -> String {
        format!(
            "run_uid = $1 AND range = $2 AND batch = $3 AND seq = {} AND action = '{}' AND role = '{role}' AND name = {}",
            self.seq,
            self.action.as_str(),
            quote_literal(name)
        )
    }

    /// `u`: the rows between `$4` and `$5`, from the ledger's lists: number, place, key, old values, hashes of the new ones.
    fn rows(&self, ledger: &Ledger) -> String {
        let undo = ledger.table("undo");
        let list = |what: &str, role: &str, name: &str| format!("unnest((SELECT {what} FROM {undo} WHERE {}))", self.of(role, name));
        let mut lists = vec![list("hashes", "row", "")];
        let mut names = vec!["place".to_owned()];
        for (n, column) in self.key.iter().enumerate() {
            lists.push(list("texts", "key", &column.name));
            names.push(format!("k{n}"));
        }
        for (n, column) in self.columns.iter().enumerate() {
            lists.push(list("texts", "column", &column.name));
            names.push(format!("b{n}"));
            if self.action != Action::Delete {
                lists.push(list("hashes", "column", &column.name));
                names.push(format!("h{n}"));
            }
        }
        if self.action == Action::Insert {
            lists.push(list("hashes", "column", "*"));
            names.push("h0".into());
        }
        format!(
            "WITH u AS (SELECT * FROM ROWS FROM ({}) WITH ORDINALITY AS u({}, n) WHERE n BETWEEN $4 AND $5)",
            lists.join(", "),
            names.join(", ")
        )
    }

    fn key_equals(&self) -> String {
        let pairs = self.key.iter().enumerate().map(|(n, c)| format!("t.{} = u.k{n}::{}", quote(&c.name), c.kind));
        pairs.collect::<Vec<_>>().join(" AND ")
    }

    /// The row where it was before: a script may have changed its key.
    fn key_before(&self) -> String {
        let pairs = self.key.iter().enumerate().map(|(n, c)| {
            let changed = self.columns.iter().position(|column| column.name == c.name).filter(|_| self.action == Action::Update);
            let from = changed.map_or_else(|| format!("k{n}"), |m| format!("b{m}"));
            format!("t.{} = u.{from}::{}", quote(&c.name), c.kind)
        });
        pairs.collect::<Vec<_>>().join(" AND ")
    }

    fn is_missing(&self) -> String {
        self.key.first().map_or("true".into(), |c| format!("(t.{} IS NULL)", quote(&c.name)))
    }

    fn compared(&self) -> impl Iterator<Item = (usize, &Typed)> {
        self.columns.iter().enumerate().filter(|(_, column)| self.compare.contains(&column.name))
    }

    /// True of a row that is as the run left it.
    fn as_left(&self) -> String {
        match self.action {
            Action::Insert => "hashtextextended((t.*)::text, 0) = u.h0".into(),
            Action::Entry => self.entry_is_ours(),
            Action::Update | Action::Delete => {
                let same: Vec<String> = self.compared().map(|(n, column)| same(n, column)).collect();
                if same.is_empty() { "true".into() } else { format!("({})", same.join(" AND ")) }
            }
        }
    }

    /// True of a row that is as it was before the run.
    fn as_before(&self) -> String {
        let same =
            |(n, column): (usize, &Typed)| format!("t.{}::text IS NOT DISTINCT FROM u.b{n}::{}::text", quote(&column.name), column.kind);
        match self.action {
            Action::Insert => self.is_missing(),
            Action::Update => self.compared().map(same).chain([format!("NOT {}", self.is_missing())]).collect::<Vec<_>>().join(" AND "),
            Action::Delete => self.columns.iter().enumerate().map(same).collect::<Vec<_>>().join(" AND "),
            Action::Entry => self.columns.first().map_or_else(
                || "true".into(),
                |column| {
                    let at = at_path(&format!("t.{}", quote(&column.name)), &self.path);
                    format!("{at} IS NOT DISTINCT FROM u.b0::jsonb")
                },
            ),
        }
    }

    /// Names of the columns that are not as the run left them.
    fn changed(&self, wanted: &str) -> String {
        let of = match self.action {
            Action::Insert => vec![format!("CASE WHEN t.ctid IS NOT NULL AND NOT ({}) THEN 'the row' END", self.as_left())],
            Action::Delete => vec!["'there is another row'".to_owned()],
            Action::Entry => self
                .columns
                .iter()
                .map(|c| format!("CASE WHEN NOT coalesce({}, false) THEN {} END", self.as_left(), quote_literal(&c.name)))
                .collect(),
            Action::Update => {
                self.compared().map(|(n, c)| format!("CASE WHEN NOT ({}) THEN {} END", same(n, c), quote_literal(&c.name))).collect()
            }
        };
        let there = if self.action == Action::Delete { "true".to_owned() } else { format!("NOT {}", self.is_missing()) };
        // A row that is as the run left it now was another when it was to be put back, or a trigger has kept it.
        format!(
            "CASE WHEN {there} THEN coalesce(nullif(array_remove(ARRAY[{}]::text[], NULL), '{{}}'), CASE WHEN {wanted} THEN ARRAY['written meanwhile'] ELSE '{{}}' END) ELSE '{{}}'::text[] END",
            of.join(", ")
        )
    }

    /// Columns that decide go back; values of the moment (`updated_at`) only where they, too, are as the run left them: the
    /// application may have touched them with a write to another column.
    fn set_columns(&self) -> String {
        let sets = self.columns.iter().enumerate().map(|(n, column)| {
            let (name, before) = (quote(&column.name), format!("u.b{n}::{}", column.kind));
            if self.compare.contains(&column.name) {
                format!("{name} = {before}")
            } else {
                format!("{name} = CASE WHEN {} THEN {before} ELSE t.{name} END", same(n, column))
            }
        });
        sets.collect::<Vec<_>>().join(", ")
    }

    /// Removed rows come back whole; where there is another row by now, that one stays.
    fn insert_again(&self, wanted: &str) -> String {
        let names: Vec<String> = self.columns.iter().map(|c| quote(&c.name)).collect();
        let values: Vec<String> = self.columns.iter().enumerate().map(|(n, c)| format!("u.b{n}::{}", c.kind)).collect();
        let key: Vec<String> = self.key.iter().enumerate().map(|(n, c)| format!("t.{}::text AS k{n}", quote(&c.name))).collect();
        let overriding = if self.columns.iter().any(|c| c.identity) { "OVERRIDING SYSTEM VALUE " } else { "" };
        format!(
            "INSERT INTO {} AS t ({}) {overriding}SELECT {} FROM u WHERE {wanted} ON CONFLICT DO NOTHING RETURNING {}",
            self.table,
            names.join(", "),
            values.join(", "),
            key.join(", ")
        )
    }

    fn entry_is_ours(&self) -> String {
        let Some(column) = self.columns.first() else { return "false".into() };
        let at = at_path(&format!("t.{}", quote(&column.name)), &self.path);
        format!(
            "(({at} - '{{at,result}}'::text[]) = {}::jsonb AND {at}->>'result' IN ('written', 'redacted'))",
            quote_literal(&self.entry.to_string())
        )
    }

    /// The entry goes, and with it the objects that were made for it, where nothing else is in them by now.
    fn set_entry(&self) -> String {
        let Some(column) = self.columns.first() else { return String::new() };
        let name = quote(&column.name);
        let path = path_array(&self.path);
        let mut without = format!("(t.{name} #- {path})");
        for level in (1..self.path.len()).rev() {
            let parent = path_array(self.path.get(..level).unwrap_or_default());
            without =
                format!("(CASE WHEN u.h0 <= {level} AND {without} #> {parent} = '{{}}' THEN {without} #- {parent} ELSE {without} END)");
        }
        format!(
            "{name} = CASE WHEN u.b0 IS NOT NULL THEN jsonb_set(t.{name}, {path}, u.b0::jsonb)
                      WHEN u.h0 = 0 AND {without} = '{{}}' THEN NULL ELSE {without} END"
        )
    }

    /// The table of audit entries says what was put back, too.
    fn audit_entries(&self) -> String {
        let Some((table, run, digest)) = self.audit.as_ref().filter(|_| self.action != Action::Entry) else { return String::new() };
        let key = self.key.iter().enumerate().map(|(n, c)| format!("{}, x.k{n}", quote_literal(&c.name)));
        format!(
            ", a AS (INSERT INTO {table} (run, run_uid, plan_digest, table_name, key, action, result)
                 SELECT {}, $1, {}, {}, jsonb_build_object({}), 'Undo{}', 'undone' FROM x ON CONFLICT DO NOTHING)",
            quote_literal(run),
            quote_literal(digest),
            quote_literal(&self.table),
            key.collect::<Vec<_>>().join(", "),
            self.action.as_str()
        )
    }
}

/// True where a column holds what the run wrote. The hash of NULL is NULL.
fn same(n: usize, column: &Typed) -> String {
    format!("hashtextextended(t.{}::text COLLATE \"C\", 0) IS NOT DISTINCT FROM u.h{n}", quote(&column.name))
}
