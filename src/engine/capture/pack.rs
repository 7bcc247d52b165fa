//! What was recorded row by row becomes the ledger's undo, a piece a transaction: then undo, its view for people and its release
//! are those of every run.

use super::CaptureError;
use super::segments::{Change, Parts, Recorded, parents_first, segments};
use super::table::CapturedTable;
use crate::engine::ledger::Ledger;
use crate::engine::sql::quote_literal;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

/// Numbers of recorded rows that one transaction takes.
const AT_ONCE: i64 = 2000;
/// Ranges of rows that triggers wrote lie so far below those that the script wrote itself. Undo puts them back last: by then the
/// application's triggers, which see undo as they saw the script, have mostly put them back themselves.
pub(in crate::engine) const BY_TRIGGERS: i64 = 1 << 62;
/// Numbers of the writes. Within a piece undo goes from the highest to the lowest: what was deleted comes back first, parents before
/// children; then updates; then what was inserted goes, children before parents.
const FIRST_UPDATE: i32 = 1000;
const FIRST_DELETE: i32 = 2_000_000;

/// A table with its number in the run.
#[derive(Clone, Debug)]
pub(super) struct Numbered {
    pub(super) seq: i32,
    pub(super) table: CapturedTable,
}

/// Packs all that is recorded of these tables. Can be stopped anywhere, and goes on where it was.
pub(super) async fn pack(connection: &mut PgConnection, ledger: &Ledger, tables: &[Numbered]) -> Result<(), CaptureError> {
    let index = format!("CREATE INDEX IF NOT EXISTS captured_n ON {} (run_uid, n)", ledger.table("captured"));
    sqlx::query(AssertSqlSafe(index)).persistent(false).execute(&mut *connection).await?;
    let order = order(connection, tables).await?;
    while piece(connection, ledger, tables, &order).await? {}
    Ok(())
}

/// The tables' numbers, parents first.
async fn order(connection: &mut PgConnection, tables: &[Numbered]) -> Result<Vec<i32>, sqlx::Error> {
    let names: Vec<&str> = tables.iter().map(|t| t.table.name.as_str()).collect();
    let sql =
        "SELECT c.n, p.n FROM pg_constraint f JOIN unnest($1::text[]) WITH ORDINALITY AS c(name, n) ON f.conrelid = to_regclass(c.name)
               JOIN unnest($1::text[]) WITH ORDINALITY AS p(name, n) ON f.confrelid = to_regclass(p.name) WHERE f.contype = 'f'";
    let found: Vec<(i64, i64)> = sqlx::query_as(sql).persistent(false).bind(names).fetch_all(connection).await?;
    let seq = |n: i64| usize::try_from(n - 1).ok().and_then(|n| tables.get(n)).map(|t| t.seq);
    let refers: Vec<(i32, i32)> = found.into_iter().filter_map(|(child, parent)| seq(child).zip(seq(parent))).collect();
    Ok(parents_first(&tables.iter().map(|t| t.seq).collect::<Vec<_>>(), &refers))
}

/// Packs the oldest rows; false where there are none left.
async fn piece(connection: &mut PgConnection, ledger: &Ledger, tables: &[Numbered], order: &[i32]) -> Result<bool, CaptureError> {
    let seqs: Vec<i32> = tables.iter().map(|t| t.seq).collect();
    let mut transaction = connection.begin().await?;
    // An attempt of before that is still at it is waited for, and its rows are gone then.
    let sql = format!("SELECT writes, epoch, created_at::text FROM {} WHERE uid = $1 FOR UPDATE", ledger.table("runs"));
    let (writes, epoch, created): (Value, i64, String) =
        sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).fetch_one(&mut *transaction).await?;
    let sql = format!("SELECT min(n) FROM {} WHERE run_uid = $1 AND seq = ANY ($2)", ledger.table("captured"));
    let first: Option<i64> =
        sqlx::query_scalar(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(&seqs).fetch_one(&mut *transaction).await?;
    let Some(first) = first else { return Ok(false) };
    let end = first.saturating_add(AT_ONCE);
    let mut rows = Vec::new();
    for numbered in tables {
        rows.extend(read(&mut transaction, ledger, numbered, end).await?);
    }
    rows.sort_by_key(|row| row.recorded.n);
    let mut packer = Packer { ledger, tables, order, writes: Writes::of(&writes), epoch, created };
    let (by_triggers, own): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.by_trigger);
    packer.range(&mut transaction, first, &own).await?;
    packer.range(&mut transaction, first - BY_TRIGGERS, &by_triggers).await?;
    let sql = format!("UPDATE {} SET writes = $2 WHERE uid = $1", ledger.table("runs"));
    let update = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(Value::Array(packer.writes.list));
    update.execute(&mut *transaction).await?;
    for numbered in tables {
        renumbered(&mut transaction, ledger, numbered, end).await?;
    }
    count(&mut transaction, ledger, &seqs, end).await?;
    let sql = format!("DELETE FROM {} WHERE run_uid = $1 AND seq = ANY ($2) AND n < $3", ledger.table("captured"));
    let delete = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(&seqs).bind(end);
    delete.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}

/// An identity column that PostgreSQL alone may set cannot be set back: only a restore does that.
async fn renumbered(connection: &mut PgConnection, ledger: &Ledger, numbered: &Numbered, end: i64) -> Result<(), sqlx::Error> {
    let table = &numbered.table;
    for column in table.columns.iter().filter(|column| column.always) {
        let text = |record: &str| format!("{}::text", CapturedTable::field(record, &column.name));
        let sql = format!(
            "UPDATE {} SET fault = concat_ws('; ', nullif(fault, ''), $4::text) WHERE run_uid = $1 AND seq = $2 AND position($4 IN fault) = 0
               AND EXISTS (SELECT FROM (SELECT * FROM {} WHERE run_uid = $1 AND seq = $2 AND n < $3 AND action = 'U' OFFSET 0) AS c {} WHERE {} <> {})",
            ledger.table("captures"),
            ledger.table("captured"),
            RECORDS(&table.name),
            text("o.r"),
            text("w.r")
        );
        let words = format!("the script gave rows another {}, which is GENERATED ALWAYS AS IDENTITY", column.name);
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(numbered.seq).bind(end);
        query.bind(words).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Adds what is recorded below a number to the tables' counts.
async fn count(connection: &mut PgConnection, ledger: &Ledger, seqs: &[i32], end: i64) -> Result<(), sqlx::Error> {
    let sql = format!(
        "UPDATE {} AS c SET inserted = inserted + i, updated = updated + u, deleted = deleted + d
         FROM (SELECT seq, count(*) FILTER (WHERE action = 'I') AS i, count(*) FILTER (WHERE action = 'U') AS u, count(*) FILTER (WHERE action = 'D') AS d
               FROM {} WHERE run_uid = $1 AND seq = ANY ($2) AND n < $3 GROUP BY seq) AS k
         WHERE c.run_uid = $1 AND c.seq = k.seq",
        ledger.table("captures"),
        ledger.table("captured")
    );
    let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(seqs).bind(end);
    query.execute(connection).await?;
    Ok(())
}

/// A recorded row without its values.
struct Row {
    recorded: Recorded,
    by_trigger: bool,
    /// The key by which it is found now.
    key: Vec<String>,
}

/// Number, action, by a trigger, the key before and after, the columns that changed.
type Read = (i64, String, bool, Vec<Option<String>>, Vec<Option<String>>, String);

/// `o` and `w`: the row as it was found and left, each a record `r`.
const RECORDS: fn(&str) -> String = |table| {
    format!(
        "CROSS JOIN LATERAL (SELECT c.before::{table} AS r OFFSET 0) AS o CROSS JOIN LATERAL (SELECT c.after::{table} AS r OFFSET 0) AS w"
    )
};

async fn read(connection: &mut PgConnection, ledger: &Ledger, numbered: &Numbered, end: i64) -> Result<Vec<Row>, sqlx::Error> {
    let table = &numbered.table;
    let key = |record: &str| {
        let parts: Vec<String> = table.key.iter().map(|column| format!("{}::text", CapturedTable::field(record, column))).collect();
        parts.join(", ")
    };
    let changed: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            if column.generated || column.always {
                return "'0'".to_owned();
            }
            let text = |record: &str| format!("{}::text COLLATE \"C\"", CapturedTable::field(record, &column.name));
            // A time within the script's is one of the moment, as in updated_at.
            let value = CapturedTable::field("w.r", &column.name);
            let one = column.time.map_or_else(
                || "'1'".to_owned(),
                |time| {
                    let value = time.absolute(&value);
                    format!("CASE WHEN {value} BETWEEN a.armed_at AND clock_timestamp() THEN '2' ELSE '1' END")
                },
            );
            format!("CASE WHEN {} IS DISTINCT FROM {} THEN {one} ELSE '0' END", text("o.r"), text("w.r"))
        })
        .collect();
    let sql = format!(
        "SELECT c.n, c.action::text AS action, c.depth > 1 AS by_trigger, ARRAY[{}] AS before_key, ARRAY[{}] AS after_key, {} AS changed
         FROM {} AS a, {} AS c {} WHERE a.run_uid = $1 AND a.seq = $2 AND c.run_uid = $1 AND c.seq = $2 AND c.n < $3 ORDER BY c.n",
        key("o.r"),
        key("w.r"),
        changed.join(" || "),
        ledger.table("captures"),
        ledger.table("captured"),
        RECORDS(&table.name)
    );
    let query = sqlx::query_as(AssertSqlSafe(sql)).persistent(false).bind(ledger.uid()).bind(numbered.seq).bind(end);
    let rows: Vec<Read> = query.fetch_all(connection).await?;
    Ok(rows.into_iter().filter_map(|row| judged(row, numbered.seq)).collect())
}

/// `None` of an update that left every column that can be set as it was.
fn judged((n, action, by_trigger, before, after, columns): Read, table: i32) -> Option<Row> {
    let text = |key: Vec<Option<String>>| -> Vec<String> { key.into_iter().map(Option::unwrap_or_default).collect() };
    let (before, after) = (text(before), text(after));
    let joined = |key: &[String]| key.join("\u{1f}");
    let (change, key, keys) = match action.as_str() {
        "I" => (Change::Insert, after.clone(), vec![joined(&after)]),
        "D" => (Change::Delete, before.clone(), vec![joined(&before)]),
        _ if !columns.contains(['1', '2']) => return None,
        _ if before == after => (Change::Update, after.clone(), vec![joined(&after)]),
        _ => (Change::Update, after.clone(), vec![joined(&before), joined(&after)]),
    };
    Some(Row { recorded: Recorded { n, table, change, keys, columns }, by_trigger, key })
}

/// The run's writes, as the ledger describes them to undo.
struct Writes {
    list: Vec<Value>,
}

impl Writes {
    fn of(writes: &Value) -> Self {
        Self { list: writes.as_array().cloned().unwrap_or_default() }
    }

    /// The number of this write; a new one where nothing like it was written yet.
    fn seq(&mut self, numbered: &Numbered, place: usize, change: Change, columns: &str) -> i32 {
        let place = i32::try_from(place).unwrap_or(0);
        let updates = self.list.iter().filter(|w| w.get("change").and_then(Value::as_str) == Some("Update")).count();
        let same = |w: &&Value| {
            let is = |field: &str, text: &str| w.get(field).and_then(Value::as_str) == Some(text);
            is("table", &numbered.table.name) && is("change", name(change)) && is("columns", columns)
        };
        if let Some(seq) = self.list.iter().find(same).and_then(|w| w.get("seq")?.as_i64()) {
            return i32::try_from(seq).unwrap_or(0);
        }
        let seq = match change {
            Change::Insert => 1 + place,
            Change::Update => FIRST_UPDATE + i32::try_from(updates).unwrap_or(0),
            Change::Delete => FIRST_DELETE - place,
        };
        let compare = numbered.table.decide(columns);
        let table = &numbered.table.name;
        self.list
            .push(json!({"seq": seq, "table": table, "change": name(change), "columns": columns, "compare": compare, "captured": true}));
        seq
    }
}

const fn name(change: Change) -> &'static str {
    match change {
        Change::Insert => "Insert",
        Change::Update => "Update",
        Change::Delete => "Delete",
    }
}

struct Packer<'a> {
    ledger: &'a Ledger,
    tables: &'a [Numbered],
    order: &'a [i32],
    writes: Writes,
    epoch: i64,
    created: String,
}

impl Packer<'_> {
    /// A range of the ledger with all its batches.
    async fn range(&mut self, connection: &mut PgConnection, range: i64, rows: &[Row]) -> Result<(), CaptureError> {
        if rows.is_empty() {
            return Ok(());
        }
        let changes: Vec<Recorded> = rows.iter().map(|row| row.recorded.clone()).collect();
        let pieces = segments(&changes);
        let names: Vec<&str> = rows.iter().map(|row| self.table(row.recorded.table).map_or("", |t| t.table.name.as_str())).collect();
        let keys: Vec<String> = rows.iter().map(|row| row.key.join(", ")).collect();
        let sql = format!(
            "INSERT INTO {} (run_uid, range, rows, keys, fingerprints, planned_digest, cursor, batches, written, done_at)
             VALUES ($1, $2, $3, $4, '{{}}', '', $3, $5, $3, now())",
            self.ledger.table("ranges")
        );
        let int = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(self.ledger.uid()).bind(range).bind(int(rows.len()));
        query.bind(json!([names, keys])).bind(i64::from(int(pieces.len()))).execute(&mut *connection).await?;
        for (n, parts) in pieces.iter().enumerate() {
            let batch = Batch { range, number: i64::from(int(n)) + 1 };
            self.batch(connection, batch, parts).await?;
            for ((table, change, columns), places) in parts {
                let Some(numbered) = self.table(*table).cloned() else { continue };
                let seq = self.writes.seq(&numbered, self.order.iter().position(|seq| seq == table).unwrap_or(0), *change, columns);
                self.part(connection, batch, seq, &numbered, *change, columns, (rows, places)).await?;
            }
        }
        Ok(())
    }

    fn table(&self, seq: i32) -> Option<&Numbered> {
        self.tables.iter().find(|t| t.seq == seq)
    }

    /// All batches are of one moment, so that ranges and batches alone say which is the newest.
    async fn batch(&self, connection: &mut PgConnection, batch: Batch, parts: &Parts) -> Result<(), sqlx::Error> {
        let places: Vec<i32> = parts.values().flatten().map(|place| i32::try_from(*place).unwrap_or(i32::MAX)).collect();
        let sql = format!(
            "INSERT INTO {} (run_uid, range, batch, epoch, first, last, written, drifted, committed_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8::timestamptz)",
            self.ledger.table("batches")
        );
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(self.ledger.uid()).bind(batch.range).bind(batch.number);
        let query = query.bind(self.epoch).bind(places.iter().min().copied().unwrap_or(0)).bind(places.iter().max().copied().unwrap_or(0));
        query.bind(i64::try_from(places.len()).unwrap_or(0)).bind(&self.created).execute(connection).await?;
        Ok(())
    }

    /// The lists of one part.
    #[allow(clippy::too_many_arguments, reason = "what a part is")]
    async fn part(
        &self,
        connection: &mut PgConnection,
        batch: Batch,
        seq: i32,
        numbered: &Numbered,
        change: Change,
        columns: &str,
        (rows, places): (&[Row], &[usize]),
    ) -> Result<(), sqlx::Error> {
        let table = &numbered.table;
        let found_by = if change == Change::Delete { "x.o" } else { "x.w" };
        let texts = |record: &str, column: &str| format!("array_agg({}::text ORDER BY ord)", CapturedTable::field(record, column));
        let hashes = |text: String| format!("array_agg(hashtextextended({text}, 0) ORDER BY ord)");
        let none = || "NULL".to_owned();
        let mut lists = vec![("row", "", none(), "array_agg(place ORDER BY ord)".to_owned())];
        lists.extend(table.key.iter().map(|column| ("key", column.as_str(), texts(found_by, column), none())));
        match change {
            Change::Insert => lists.push(("column", "*", none(), hashes("x.w::text".into()))),
            Change::Update => lists.extend(table.set(columns).map(|column| {
                let hash = hashes(format!("{}::text COLLATE \"C\"", CapturedTable::field("x.w", &column.name)));
                ("column", column.name.as_str(), texts("x.o", &column.name), hash)
            })),
            Change::Delete => lists.extend(table.settable().map(|c| ("column", c.name.as_str(), texts("x.o", &c.name), none()))),
        }
        let lists: Vec<String> = lists
            .iter()
            .map(|(role, name, texts, hashes)| {
                format!("SELECT '{role}', {}, {texts}::text[], {hashes}::int8[] FROM x", quote_literal(name))
            })
            .collect();
        // The records are read out once, for all lists.
        let lists = lists.join(" UNION ALL ");
        let sql = format!(
            "WITH x AS MATERIALIZED (SELECT c.ord, c.place, o.r AS o, w.r AS w FROM (SELECT i.ord, i.place, r.before, r.after
                     FROM unnest($4::int8[], $5::int8[]) WITH ORDINALITY AS i(n, place, ord) JOIN {} AS r ON r.run_uid = $1 AND r.n = i.n OFFSET 0) AS c {})
             INSERT INTO {} (run_uid, range, batch, seq, action, role, name, texts, hashes)
             SELECT $1, $2, $3, {seq}, '{}', l.* FROM ({lists}) AS l",
            self.ledger.table("captured"),
            RECORDS(&table.name),
            self.ledger.table("undo"),
            name(change)
        );
        let numbers: Vec<i64> = places.iter().filter_map(|place| rows.get(*place)).map(|row| row.recorded.n).collect();
        let places: Vec<i64> = places.iter().map(|place| i64::try_from(*place).unwrap_or(i64::MAX)).collect();
        let query = sqlx::query(AssertSqlSafe(sql)).persistent(false).bind(self.ledger.uid()).bind(batch.range).bind(batch.number);
        query.bind(numbers).bind(places).execute(connection).await?;
        Ok(())
    }
}

/// A batch of the ledger.
#[derive(Clone, Copy, Debug)]
struct Batch {
    range: i64,
    number: i64,
}
