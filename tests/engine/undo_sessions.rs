//! When two sessions put batches back at once, and when only one may.

use crate::harness::{Bench, Direct, SPEC, TABLES, rows};
use backfill_operator::engine::apply::{Ending, Retries};
use backfill_operator::engine::connector::{ConnectRefused, Connector};
use backfill_operator::engine::undo::{self, Undone};
use sqlx::PgConnection;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Counts the sessions that are asked for, and gives no more than so many.
struct Counted {
    direct: Direct,
    asked: AtomicUsize,
    most: usize,
}

impl Connector for Counted {
    async fn connect(&self) -> Result<PgConnection, ConnectRefused> {
        if self.asked.fetch_add(1, Ordering::SeqCst) >= self.most {
            return Err(ConnectRefused { reason: "X", message: "no more".into(), may_pass: true });
        }
        self.direct.connect().await
    }
}

async fn undo_with(bench: &Bench, most: usize) -> (Undone, usize) {
    let connector = Counted { direct: Direct(bench.credentials.clone()), asked: AtomicUsize::new(0), most };
    let retries = Retries::new(5, Duration::from_millis(50), Duration::from_secs(1));
    let undone = undo::undo(&connector, &bench.ledger(), &bench.stop, retries, |_, _| {}).await.unwrap().unwrap();
    (undone, connector.asked.into_inner())
}

/// What all tables hold, but that of audit entries.
async fn content(bench: &Bench) -> Option<String> {
    let table = "query_to_xml(format('SELECT md5(string_agg(t::text, '','' ORDER BY t::text)) FROM %I t', table_name), true, true, '')";
    let sql = format!(
        "SELECT string_agg(table_name || {table}::text, ',' ORDER BY table_name) FROM information_schema.tables
         WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'entries'"
    );
    bench.text(&sql).await
}

/// There and back; answers how many sessions were asked for.
async fn sessions(setup: &str, spec: &str) -> usize {
    let bench = Bench::new(setup, spec).await;
    let before = content(&bench).await;
    let plan = bench.plan().await;
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    assert_ne!(content(&bench).await, before, "{spec}");
    assert!(bench.number("SELECT count(*) FROM backfill.batches").await > 1, "{spec}");
    let (undone, asked) = undo_with(&bench, 9).await;
    assert_eq!((undone.undone, undone.skipped), (plan.will_write, 0), "{spec}: {:?}", undone.skipped_keys);
    assert_eq!(content(&bench).await, before, "{spec}");
    asked
}

#[tokio::test]
async fn two_sessions_put_back_what_was_updated_once_and_nobody_sees_the_order() {
    let checklist = format!("{TABLES}; {}", rows(250));
    assert_eq!(sessions(&checklist, SPEC).await, 2);
    // Other things on the tables are in nobody's way: an index that is not unique, a foreign key, a trigger that is off.
    let more =
        "CREATE INDEX ON scenarios (accepted_prompt); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
        CREATE TRIGGER f AFTER UPDATE ON scenarios EXECUTE FUNCTION f(); ALTER TABLE scenarios DISABLE TRIGGER f";
    assert_eq!(sessions(&format!("{checklist}; {more}"), SPEC).await, 2);
    let own = "CREATE TABLE r (id int PRIMARY KEY, name text, meta jsonb); INSERT INTO r SELECT n, n FROM generate_series(1, 100) n";
    // The audit entry is in the row that is written.
    let spec =
        "{source: {table: r}, writes: [{set: {name: \"'after ' || s.id\"}}], audit: {column: meta, path: [audit]}, batch: {size: 20}}";
    assert_eq!(sessions(own, spec).await, 2);
    let audited = "{source: {table: r}, writes: [{set: {name: \"'after ' || s.id\"}}], audit: {table: entries}, batch: {size: 20}}";
    assert_eq!(sessions(own, audited).await, 2);
}

#[tokio::test]
async fn one_session_puts_back_what_has_an_order() {
    let r = "CREATE TABLE r (id int PRIMARY KEY, name text, other text, meta jsonb); INSERT INTO r SELECT n, n, n FROM generate_series(1, 100) n";
    let spec = |writes: &str, more: &str| format!("{{source: {{table: r}}, writes: [{writes}], batch: {{size: 20}}{more}}}");
    let name = "{set: {name: \"'after ' || s.id\"}}";
    let trigger = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; CREATE TRIGGER f AFTER UPDATE ON r EXECUTE FUNCTION f()";
    let insert = "{table: copies, action: Insert, onConflict: {key: [id]}, set: {id: s.id, name: s.name}}";
    for (setup, spec) in [
        (format!("{r}; {trigger}"), spec(name, "")),
        (format!("{r}; ALTER TABLE r ADD UNIQUE (name)"), spec(name, "")),
        (format!("{r}; CREATE UNIQUE INDEX ON r ((name || 'x'))"), spec(name, "")),
        (format!("{r}; CREATE UNIQUE INDEX ON r (other) WHERE name <> ''"), spec(name, "")),
        (format!("{r}; ALTER TABLE r ADD g text GENERATED ALWAYS AS (name || 'x') STORED UNIQUE"), spec(name, "")),
        (format!("{r}; CREATE TABLE copies (id int PRIMARY KEY, name text)"), spec(insert, "")),
    ] {
        assert_eq!(sessions(&setup, &spec).await, 1, "{setup}");
    }
}

#[tokio::test]
async fn where_no_second_session_can_be_had_one_does_it_all() {
    let bench = Bench::scenario(500).await;
    let before = bench.exact_hash().await;
    let plan = bench.through().await;
    let (undone, asked) = undo_with(&bench, 1).await;
    assert_eq!((undone.undone, undone.skipped, asked), (plan.will_write, 0, 2));
    assert_eq!(bench.exact_hash().await, before);
}
