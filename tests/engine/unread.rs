//! Ranges that are written without being read: the same rows, digests, audit entries and undo as with reading, and whatever is
//! not as the plan saw it is read.

use crate::harness::{Bench, Direct, SPEC, TABLES, rows};
use backfill_operator::api::status::PlanStatus;
use backfill_operator::engine::apply::Ending;
use sqlx::Connection as _;
use std::time::Duration;

/// Ranges of so many rows, each one batch.
const RANGE: usize = 20;

/// A backfill, and one text over all its tables.
struct Case {
    name: &'static str,
    setup: String,
    spec: String,
    all: &'static str,
}

const ENTRIES: &str = "(SELECT coalesce(string_agg(ROW(table_name, key, action, result)::text, '' ORDER BY key::text), '') FROM entries)";

/// All that undo is given, list by list, but places and hashes of what the moment sets.
const KEPT: &str = "SELECT string_agg(ROW(seq, action, role, name, kept)::text, '' ORDER BY seq, role, name) FROM (
    SELECT seq, action, role, name, string_agg(ROW(x.t, CASE WHEN name NOT IN ('at', 'updated_at') THEN x.h END)::text, '' ORDER BY x.t COLLATE \"C\", x.h) AS kept
    FROM backfill.undo, unnest(texts, hashes) AS x(t, h) WHERE role <> 'row' GROUP BY seq, action, role, name) k";

fn cases() -> Vec<Case> {
    let own = "CREATE TABLE n (\"größe\" int, part text, v numeric(10, 3), w varchar(40), note jsonb, at timestamptz, PRIMARY KEY (part, \"größe\"));
        INSERT INTO n SELECT g, 'p''\"\\,{' || g % 3, g / 7.0, NULL, CASE g % 3 WHEN 0 THEN NULL WHEN 1 THEN '{\"run\": {\"old\": 1}}'::jsonb ELSE '{\"x\": [1]}' END
        FROM generate_series(1, 130) g; CREATE TABLE spare (id int)";
    let own_spec = "{source: {table: n}, writes: [{set: {w: \"concat('n', s.v, '\\\"', s.part)\", at: now()}}], batch: {size: 20}";
    let n =
        "(SELECT string_agg(ROW(\"größe\", part, v, w, note #- '{run,entry,at}', at IS NULL)::text, '' ORDER BY part, \"größe\") FROM n)";
    vec![
        Case {
            name: "through a foreign key, with an entry in the source row",
            setup: format!("{TABLES}; {}", rows(200)),
            spec: SPEC.replace("size: 50", "size: 20"),
            all: "(SELECT string_agg(ROW(id, title, accepted_prompt, accepted_prompt_metadata)::text, '' ORDER BY id) FROM scenarios)
                || (SELECT string_agg(ROW(id, scenario_id, metadata #- '{import_audit,at}')::text, '' ORDER BY id) FROM scenario_generations)",
        },
        Case { name: "in the row itself", setup: own.into(), spec: format!("{own_spec}}}"), all: n },
        Case {
            name: "in the row itself, with an entry in it",
            setup: own.into(),
            spec: format!("{own_spec}, audit: {{column: note, path: [run, entry]}}}}"),
            all: n,
        },
        Case { name: "with a table of entries", setup: own.into(), spec: format!("{own_spec}, audit: {{table: entries}}}}"), all: ENTRIES },
        Case {
            name: "with parameters, and a name of our own",
            setup: "CREATE TABLE a (id uuid PRIMARY KEY, name text, place int); CREATE TABLE b (id uuid PRIMARY KEY, name text, k0 text);
                INSERT INTO a SELECT md5(g::text)::uuid, 'a' || g, g FROM generate_series(1, 100) g; INSERT INTO b SELECT id, 'b' || place FROM a"
                .into(),
            spec: "{source: {table: a}, parameters: {best: {sql: '7', type: int}},
                writes: [{table: b, match: t.id = s.id, set: {k0: \"t.name || place || param.best\"}}], batch: {size: 20}}"
                .into(),
            all: "(SELECT string_agg(x::text, '' ORDER BY id) FROM b x)",
        },
    ]
}

impl Case {
    async fn bench(&self) -> Bench {
        Bench::new(&self.setup, &self.spec).await
    }

    async fn sum(&self, bench: &Bench) -> String {
        bench.text(self.all).await.unwrap()
    }
}

async fn apply(bench: &Bench, plan: &PlanStatus) {
    bench.claim().await;
    assert_eq!(bench.apply(plan).await.unwrap(), Ending::Done);
}

#[tokio::test]
async fn what_is_written_unread_is_what_is_written_when_it_is_read_and_is_undone_alike() {
    for case in cases() {
        let (unread, read) = (case.bench().await, case.bench().await);
        let before = unread
            .text(
                "SELECT string_agg(query_to_xml('SELECT * FROM ' || oid::regclass || ' x ORDER BY x::text', true, true, '')::text, '')
            FROM (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' ORDER BY relname) c",
            )
            .await;
        let plan = unread.plan_settled(RANGE).await;
        apply(&unread, &plan).await;
        // Ranges of which a batch is only a part are read.
        let other = read.plan_settled(1000).await;
        apply(&read, &other).await;
        assert_eq!(plan.rows_digest, other.rows_digest, "{}", case.name);
        let batches = unread.batches();
        assert!(batches.0 > 3 && batches.1 == 0 && read.batches().0 == 0, "{}: {batches:?} and {:?}", case.name, read.batches());
        assert_eq!(case.sum(&unread).await, case.sum(&read).await, "{}", case.name);
        let (result, expected) = (unread.result().await, read.result().await);
        assert_eq!((result.written, &result.rows_digest), (expected.written, &expected.rows_digest), "{}", case.name);
        assert_eq!((result.written, &result.rows_digest), (plan.will_write, &plan.rows_digest), "{}", case.name);
        assert_eq!(unread.text(KEPT).await, read.text(KEPT).await, "{}", case.name);
        let undone = unread.undo().await;
        assert_eq!((undone.undone, undone.skipped), (plan.will_write, 0), "{}", case.name);
        let after = unread.text("SELECT string_agg(query_to_xml('SELECT * FROM ' || oid::regclass || ' x ORDER BY x::text', true, true, '')::text, '')
            FROM (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname <> 'entries' ORDER BY relname) c").await;
        assert_eq!(after, before, "{}", case.name);
    }
}

#[tokio::test]
async fn what_changed_since_the_plan_is_read_found_and_left_alone() {
    let changes = "UPDATE scenarios SET accepted_prompt = 'by hand' WHERE id = 41;
        UPDATE scenario_generations SET metadata = jsonb_set(metadata, '{llm_response,prompt}', '\"other\"') WHERE scenario_id = 82;
        DELETE FROM scenario_generations WHERE scenario_id = 123;
        UPDATE scenario_generations SET updated_at = now() WHERE scenario_id = 150";
    let case = &cases()[0];
    let (mut unread, mut read) = (case.bench().await, case.bench().await);
    (unread.spec.drift.max_percent, read.spec.drift.max_percent) = (10, 10);
    let (plan, other) = (unread.plan_settled(RANGE).await, read.plan_settled(1000).await);
    for (bench, plan) in [(&unread, &plan), (&read, &other)] {
        bench.sql(changes).await;
        apply(bench, plan).await;
    }
    let batches = unread.batches();
    assert!(batches.0 >= 2 && batches.1 >= 3, "{batches:?}");
    let (result, expected) = (unread.result().await, read.result().await);
    assert_eq!((result.written, result.drifted, &result.drifted_keys), (expected.written, expected.drifted, &expected.drifted_keys));
    assert_eq!((result.drifted, result.rows_digest), (3, expected.rows_digest));
    assert_eq!(case.sum(&unread).await, case.sum(&read).await);
    assert_eq!(unread.text("SELECT accepted_prompt FROM scenarios WHERE id = 41").await.unwrap(), "by hand");
}

#[tokio::test]
async fn what_an_application_writes_while_the_statement_waits_for_its_lock_stays() {
    for (change, table) in [
        ("UPDATE scenarios SET accepted_prompt = 'by hand' WHERE id = 3", "scenarios"),
        ("UPDATE scenario_generations SET metadata = '{\"gone\": true}' WHERE scenario_id = 3", "scenario_generations"),
    ] {
        let bench = cases()[0].bench().await;
        let plan = bench.plan_settled(RANGE).await;
        bench.claim().await;
        let mut application = bench.connect().await;
        let mut transaction = application.begin().await.unwrap();
        sqlx::query(change).execute(&mut *transaction).await.unwrap();
        let committing = async {
            // The batch waits for the row that is locked, having seen the old version of it.
            while bench
                .number("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
                .await
                == 0
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            transaction.commit().await.unwrap();
        };
        let (applied, ()) = tokio::join!(bench.apply(&plan), committing);
        assert_eq!(applied.unwrap(), Ending::Done);
        let result = bench.result().await;
        assert_eq!((result.drifted, result.written), (1, plan.will_write - 1), "{table}");
        let (unread, read) = bench.batches();
        assert!(unread > 3 && read >= 1, "{table}: {unread} and {read}");
        let kept = "(SELECT accepted_prompt IS NOT DISTINCT FROM 'by hand' FROM scenarios WHERE id = 3)
            OR (SELECT bool_or(metadata = '{\"gone\": true}') FROM scenario_generations WHERE scenario_id = 3)";
        assert_eq!(bench.text(kept).await.unwrap(), "true", "{table}");
        assert_eq!(bench.undo().await.undone, plan.will_write - 1, "{table}");
    }
}

/// Each makes rows another way than the plan saw them, or might, with versions that look old.
#[tokio::test]
async fn rows_that_only_look_old_are_read() {
    let table = "CREATE TABLE n (id int PRIMARY KEY, v int, w int); INSERT INTO n SELECT g, g FROM generate_series(1, 100) g";
    let spec = "{source: {table: n}, writes: [{set: {w: s.v * 2}}], drift: {maxPercent: 100}, batch: {size: 20}}";
    // What happened since the plan, and how many rows drifted by that.
    let changes: [(&[&str], i64); 4] = [
        // Frozen rows have a version that is older than everything.
        (&[], 100),
        // Old rows get the default of a new column without being written.
        (&["ALTER TABLE n DROP COLUMN w; ALTER TABLE n ADD COLUMN w int DEFAULT 5"], 100),
        (&["ALTER TABLE n RENAME TO o", "CREATE TABLE n (LIKE o INCLUDING ALL); INSERT INTO n SELECT id, v + 1, w FROM o"], 100),
        // The very rows, in another file: as planned, and only not known to be.
        (&["VACUUM FULL n"], 0),
    ];
    for (statements, drifted) in changes {
        let bench = Bench::new(table, spec).await;
        let mut plan = bench.plan_settled(RANGE).await;
        // A definition that has changed ends the run before any row is looked at.
        plan.definitions.clear();
        for statement in statements {
            bench.sql(statement).await;
        }
        if statements.is_empty() {
            freeze(&bench).await;
        }
        apply(&bench, &plan).await;
        assert_eq!(bench.batches().0, 0, "{statements:?}");
        assert_eq!(bench.result().await.drifted, drifted, "{statements:?}");
    }
}

/// Other values in frozen rows: written in the transaction that has truncated the table.
async fn freeze(bench: &Bench) {
    let mut connection = bench.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    sqlx::query("TRUNCATE n").execute(&mut *transaction).await.unwrap();
    let mut copy = transaction.copy_in_raw("COPY n (id, v) FROM STDIN WITH (FREEZE)").await.unwrap();
    let lines = (1..=100).fold(String::new(), |lines, n| lines + &format!("{n}\t{}\n", 1000 + n));
    copy.send(lines.into_bytes()).await.unwrap();
    copy.finish().await.unwrap();
    transaction.commit().await.unwrap();
}

const DAYS: &str = "
    CREATE DOMAIN due AS date; CREATE TYPE pair AS (n int, day due);
    ALTER TABLE n ADD d text NOT NULL DEFAULT '2026-01-02', ADD day due, ADD days date[], ADD span daterange, ADD pair pair";

/// Which day it is is not asked where a date is one already.
#[tokio::test]
async fn dates_that_are_dates_already_are_written_unread() {
    let table = "CREATE TABLE n (id int PRIMARY KEY, at timestamptz NOT NULL DEFAULT '2026-01-02 03:04:05+00', day date, month date, days date[], last timestamptz, text text);
        INSERT INTO n SELECT g FROM generate_series(1, 100) g";
    let spec = "{source: {table: n}, batch: {size: 20}, writes: [{set: {day: s.at, month: \"date_trunc('month', s.at)\", days: \"ARRAY[t.day]\", last: now(), text: \"now()::date::text\"}}]}";
    let bench = Bench::new(table, spec).await;
    let plan = bench.plan_settled(RANGE).await;
    apply(&bench, &plan).await;
    assert_eq!(bench.batches(), (5, 0));
    assert_eq!(
        bench.number("SELECT count(*) FROM n WHERE day = '2026-01-02' AND month = '2026-01-01' AND text = current_date::text").await,
        100
    );
}

/// What the definition's digest does not have, and a row reads by.
#[tokio::test]
async fn rows_that_read_otherwise_by_a_label_that_was_renamed_are_read() {
    for (column, value) in [("mood", "'calm'"), ("mood[]", "'{calm}'"), ("moody", "'calm'")] {
        let table = format!(
            "CREATE TYPE mood AS ENUM ('calm', 'odd'); CREATE DOMAIN moody AS mood; CREATE TABLE n (id int PRIMARY KEY, m {column} NOT NULL DEFAULT {value}, v text);
             INSERT INTO n SELECT g FROM generate_series(1, 100) g"
        );
        let spec = "{source: {table: n}, writes: [{set: {v: s.m::text}}], drift: {maxPercent: 100}, batch: {size: 20}}";
        let bench = Bench::new(&table, spec).await;
        let plan = bench.plan_settled(RANGE).await;
        bench.sql("ALTER TYPE mood RENAME VALUE 'calm' TO 'quiet'").await;
        apply(&bench, &plan).await;
        assert_eq!((bench.batches().0, bench.result().await.drifted), (0, 100), "{column}");
    }
}

#[tokio::test]
async fn what_may_give_another_value_than_at_plan_is_read() {
    let table =
        "CREATE TABLE n (id int PRIMARY KEY, v int, t text, w text); INSERT INTO n SELECT g, g, 'T' || g FROM generate_series(1, 100) g;
        CREATE TABLE other (id int PRIMARY KEY, v int); INSERT INTO other SELECT g, g FROM generate_series(1, 100) g;
        CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
        CREATE FUNCTION quiet() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$";
    for (more, spec) in [
        ("", "writes: [{set: {w: twice(s.v)::text}}]"),
        ("", "writes: [{set: {w: lower(s.t)}}]"),
        ("", "writes: [{set: {w: s.t}}, {table: other, match: t.id = s.id, set: {v: s.v + 1}}]"),
        ("", "writes: [{set: {w: o.v::text}}], JOINS"),
        ("CREATE TRIGGER quiet BEFORE UPDATE ON n FOR EACH ROW EXECUTE FUNCTION quiet()", "writes: [{set: {w: s.t}}]"),
        ("CREATE TABLE child () INHERITS (n)", "writes: [{set: {w: s.t}}]"),
        // Of a row's text that is read as a date nobody knows that it is no word for one.
        (DAYS, "writes: [{set: {w: \"s.d::date::text\"}}]"),
        (DAYS, "writes: [{set: {w: \"date(s.d)::text\"}}]"),
        (DAYS, "writes: [{set: {day: s.d}}]"),
        (DAYS, "writes: [{set: {days: \"('{' || s.d || '}')::text\"}}]"),
        (DAYS, "writes: [{set: {span: \"'[' || s.d || ',)'\"}}]"),
        (DAYS, "writes: [{set: {pair: \"'(' || s.v || ',' || s.d || ')'\"}}]"),
    ] {
        let source = if spec.contains("JOINS") { "{table: n, joins: [{as: o, table: other, match: o.id = s.id}]}" } else { "{table: n}" };
        let spec = format!("{{source: {source}, {}, batch: {{size: 20}}}}", spec.replace(", JOINS", ""));
        let bench = Bench::new(&format!("{table}; {more}"), &spec).await;
        let plan = bench.plan_settled(RANGE).await;
        apply(&bench, &plan).await;
        assert_eq!(bench.batches().0, 0, "{spec} {more}");
        assert_eq!(bench.result().await.written, plan.will_write, "{spec}");
    }
}

#[tokio::test]
async fn a_row_that_the_database_refuses_is_found_in_a_range_that_was_to_be_written_unread() {
    let table =
        "CREATE TABLE n (id int PRIMARY KEY, v int, w int CHECK (w <> 86)); INSERT INTO n SELECT g, g FROM generate_series(1, 100) g";
    let spec = "{source: {table: n}, writes: [{set: {w: s.v * 2}}], quarantine: {max: 1}, batch: {size: 20}}";
    let bench = Bench::new(table, spec).await;
    let plan = bench.plan_settled(RANGE).await;
    apply(&bench, &plan).await;
    let result = bench.result().await;
    assert_eq!((result.written, result.quarantined), (99, 1));
    assert_eq!(bench.batches(), (4, 1));
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE w = v * 2").await, 99);
}

#[tokio::test]
async fn several_workers_share_ranges_that_are_written_unread() {
    let case = &cases()[0];
    let mut bench = case.bench().await;
    let alone = case.bench().await;
    let (plan, other) = (bench.plan_settled(RANGE).await, alone.plan_settled(1000).await);
    apply(&alone, &other).await;
    bench.spec.workers = 3;
    bench.claim().await;
    bench.attempt.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let connector = Direct(bench.credentials.clone());
    let (a, b, c) = tokio::join!(
        bench.work(&connector, 0, &plan, |_, _| {}),
        bench.work(&connector, 1, &plan, |_, _| {}),
        bench.work(&connector, 2, &plan, |_, _| {})
    );
    assert_eq!((a.unwrap(), b.unwrap(), c.unwrap()), (Ending::Done, Ending::Done, Ending::Done));
    assert!(bench.batches().0 > 3, "{:?}", bench.batches());
    assert_eq!(case.sum(&bench).await, case.sum(&alone).await);
    let (result, expected) = (bench.result().await, alone.result().await);
    assert_eq!((result.written, result.rows_digest), (expected.written, expected.rows_digest));
}

#[tokio::test]
async fn a_range_that_was_begun_in_smaller_batches_is_read_to_its_end_and_the_next_one_is_not() {
    let table = "CREATE TABLE n (id int PRIMARY KEY, v int, w int); INSERT INTO n SELECT g, g FROM generate_series(1, 1400) g";
    let bench = Bench::new(table, "{source: {table: n}, writes: [{set: {w: s.v * 2}}], batch: {size: 20}}").await;
    let plan = bench.plan_settled(200).await;
    bench.claim().await;
    // In the middle of the first range, batches may be larger than a range is.
    let control = bench.control();
    let larger = |_, _| std::fs::write(&control, "backfill.dev/batch-size=\"500\"\n").unwrap();
    assert_eq!(bench.apply_with(&plan, larger).await.unwrap(), Ending::Done);
    let (unread, read) = bench.batches();
    assert!(unread == 6 && read >= 2, "{unread} and {read}");
    let result = bench.result().await;
    assert_eq!((result.written, result.drifted, &result.rows_digest), (1400, 0, &plan.rows_digest));
    assert_eq!(bench.number("SELECT sum(last - first + 1) FROM backfill.batches").await, 1400);
}
