//! The guard of the user's SQL against texts that nobody thought of: made by a grammar of harmless and hostile pieces, read by
//! the guard, judged by another reading of the same tree, and run for good on a server where a canary sings if anything is
//! called that should not be.

mod grammar;

use crate::harness::Bench;
use backfill_operator::engine::sql::{CheckQuery, Expression, Place, SelectQuery, refuse_volatile};
use grammar::{Choices, HOSTILE, expression};
use pg_query::ParserOptions;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestError, TestRunner};
use sqlx::postgres::{PgConnection, PgListener};
use sqlx::{AssertSqlSafe, Connection as _, Row as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Everything that has effects writes into `canary`, moves `seq`, notifies, locks, or makes a large object.
const ZOO: &str = "
    CREATE TABLE canary (n int); CREATE SEQUENCE seq; CREATE SCHEMA app; 
    CREATE TABLE s (id int PRIMARY KEY, a int, b text, c jsonb, d float8, e timestamptz, f int[], q text, o int);
    INSERT INTO s VALUES (1, 3, 'x', '{\"k\": [1, 2]}', 0.001, '2026-01-01', '{4,5,6}', 'seq', 7);
    CREATE TABLE t AS SELECT * FROM s;
    CREATE FUNCTION sing(int) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES ($1) RETURNING 1';
    CREATE FUNCTION sing(text) RETURNS text LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES (0) RETURNING $1';
    CREATE FUNCTION sing2(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES ($1) RETURNING 1';
    CREATE FUNCTION app.sing(int) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES ($1) RETURNING 1';
    CREATE FUNCTION app.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES (1) RETURNING ''2026-01-01''::timestamptz';
    CREATE FUNCTION random(text) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES (1) RETURNING 1';
    CREATE FUNCTION sly(s) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES (1) RETURNING 1';
    CREATE FUNCTION sly(t) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES (1) RETURNING 1';
    CREATE FUNCTION flock(int) RETURNS SETOF int LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES ($1) RETURNING 1';
    CREATE FUNCTION many(VARIADIC int[]) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES (1) RETURNING 1';
    CREATE FUNCTION named(x int DEFAULT 1, y int DEFAULT 2) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES (1) RETURNING 1';
    CREATE AGGREGATE choir(int) (SFUNC = sing2, STYPE = int, INITCOND = '0');
    CREATE DOMAIN evil AS int CHECK (sing(VALUE) = 1); CREATE DOMAIN app.evil_seq AS int CHECK (nextval('public.seq') > 0);
    CREATE DOMAIN nested AS evil; CREATE TYPE pair AS (x evil, y int); CREATE TYPE odd AS (n int);
    CREATE FUNCTION odd_int(odd) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES (1) RETURNING 1';
    CREATE FUNCTION int_odd(int) RETURNS odd LANGUAGE sql VOLATILE AS 'INSERT INTO canary VALUES (1) RETURNING ROW(1)::odd';
    CREATE CAST (odd AS int) WITH FUNCTION odd_int(odd); CREATE CAST (int AS odd) WITH FUNCTION int_odd(int);
    CREATE FUNCTION calm(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT $1';
    CREATE FUNCTION calm_evil(evil) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RETURN 1; END';
    CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = sing2); CREATE OPERATOR app.### (LEFTARG = int, RIGHTARG = int, FUNCTION = sing2);
    CREATE OPERATOR !!! (RIGHTARG = int, FUNCTION = sing);
    CREATE DOMAIN by_operator AS int CHECK ((VALUE ### 1) = 1);
    CREATE COLLATION german (provider = icu, locale = 'de');";

fn cases(short: u32) -> Config {
    let cases = std::env::var("BACKFILL_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(short);
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..48)
}

/// Kinds of nodes and names of functions, out of the tree as it is printed: not by the guard's own walk.
fn read_otherwise(sql: &str) -> (usize, String) {
    let parsed = pg_query::parse(sql, ParserOptions::DEFAULT).unwrap();
    (parsed.protobuf.stmts.len(), format!("{:?}", parsed.protobuf))
}

const FORBIDDEN_NODES: &[&str] = &[
    "SubLink",
    "InsertStmt",
    "UpdateStmt",
    "DeleteStmt",
    "MergeStmt",
    "IntoClause",
    "LockingClause",
    "CommonTableExpr",
    "ParamRef",
    "WindowDef",
    "AStar",
    "CopyStmt",
];
const FORBIDDEN_FUNCTIONS: &[&str] = &[
    "nextval",
    "setval",
    "lastval",
    "pg_notify",
    "lo_create",
    "pg_advisory_lock",
    "set_config",
    "query_to_xml",
    "pg_sleep",
    "count",
    "sum",
    "unnest",
];

#[test]
fn what_the_guard_accepts_is_one_value_without_any_node_or_function_that_does_more() {
    let counted = std::cell::Cell::new(0);
    TestRunner::new(cases(1000))
        .run(&bytes(), |bytes| {
            let text = expression(&bytes);
            let Ok(parsed) = Expression::parse(&text, Place::Sets) else { return Ok(()) };
            counted.set(counted.get() + 1);
            let (statements, tree) = read_otherwise(&format!("SELECT {} FROM s, t", parsed.in_parentheses()));
            prop_assert_eq!(statements, 1, "{}", text);
            prop_assert_eq!(tree.matches("ResTarget(").count(), 1, "{}", text);
            for node in FORBIDDEN_NODES {
                prop_assert!(!tree.contains(&format!("{node}(")) && !tree.contains(&format!("{node} {{")), "{} in {}", node, text);
            }
            for name in FORBIDDEN_FUNCTIONS {
                let call = format!("FuncCall {{ funcname: [Node {{ node: Some(String(String {{ sval: \"{name}\" }}))");
                let qualified = format!("String {{ sval: \"pg_catalog\" }})) }}, Node {{ node: Some(String(String {{ sval: \"{name}\" }}");
                prop_assert!(!tree.contains(&call) && !tree.contains(&qualified), "{} in {}", name, text);
            }
            Ok(())
        })
        .unwrap_or_else(|error: TestError<_>| panic!("{error}"));
    let accepted: u32 = counted.get();
    assert!(accepted > 100, "only {accepted} were accepted: the grammar is too hostile to prove anything");
}

#[test]
fn no_text_makes_the_guard_panic() {
    TestRunner::new(cases(1000))
        .run(&(bytes(), ".{0,40}"), |(bytes, noise)| {
            let text = expression(&bytes);
            let middle = text.char_indices().nth(text.chars().count() / 2).map_or(0, |(at, _)| at);
            for text in [text.clone(), noise.clone(), format!("{}{noise}{}", &text[..middle], &text[middle..])] {
                let _ = Expression::parse(&text, Place::Chooses);
                let _ = Expression::parse_order(&text);
                let _ = CheckQuery::parse(&format!("SELECT {text}"));
                let _ = SelectQuery::parse(&format!("SELECT {text} FROM s"));
                let _ = SelectQuery::parse(&text);
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// What tells that something was called: a connection that looks, and one that listens.
struct Canary {
    watcher: PgConnection,
    heard: Arc<AtomicU32>,
}

impl Canary {
    /// Rows, the sequence, large objects, advisory locks, messages, and a setting of the worker's session.
    async fn says(&mut self, worker: &mut PgConnection) -> String {
        let row = sqlx::query(
            "SELECT ROW((SELECT count(*) FROM canary), (SELECT last_value FROM seq), (SELECT is_called FROM seq),
                (SELECT count(*) FROM pg_largeobject_metadata),
                (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())))::text",
        )
        .fetch_one(&mut self.watcher)
        .await
        .unwrap();
        let setting: String = sqlx::query_scalar("SELECT current_setting('work_mem')").fetch_one(worker).await.unwrap();
        format!("{} {setting} {} messages", row.get::<String, _>(0), self.heard.load(Ordering::Relaxed))
    }
}

/// Evaluates one text in a READ WRITE transaction that is committed: in the select list, as a SET would, and in WHERE.
async fn evaluate(connection: &mut PgConnection, value: &str) {
    for sql in [format!("SELECT {value} FROM s, t"), format!("SELECT 1 FROM s, t WHERE {value} IS NOT NULL")] {
        let mut transaction = connection.begin().await.unwrap();
        sqlx::query("SET LOCAL statement_timeout = '1s'").execute(&mut *transaction).await.unwrap();
        match sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_all(&mut *transaction).await {
            Ok(_) => transaction.commit().await.unwrap(),
            Err(_) => transaction.rollback().await.unwrap(),
        }
    }
}

async fn zoo() -> (Bench, Canary, PgConnection) {
    let bench = Bench::new(ZOO, "{source: {table: s}, writes: [{set: {a: '1'}}]}").await;
    let url = format!("postgres://postgres@127.0.0.1:{}/{}", bench.credentials.port, bench.credentials.database);
    let mut listener = PgListener::connect(&url).await.unwrap();
    listener.listen("canary").await.unwrap();
    let heard = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&heard);
    tokio::spawn(async move {
        while listener.recv().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    let (watcher, worker) = (bench.connect().await, bench.connect().await);
    (bench, Canary { watcher, heard }, worker)
}

async fn guarded(connection: &mut PgConnection, text: &str, place: Place) -> Option<Expression> {
    let parsed = Expression::parse(text, place).ok()?;
    refuse_volatile(connection, parsed.calls(), Some(place)).await.ok()?;
    Some(parsed)
}

/// Where even unguarded the server itself says no, or does nothing that shows.
const SILENT: &[&str] = &[
    "lastval()",
    "(WITH x AS",
    "query_to_xml",
    "1); SELECT",
    "1; SELECT",
    "1) FROM s; INSERT",
    "sing(1) AS x",
    "1 FROM s ORDER BY",
    "U&\"",
    "(s.d).pg_sleep",
    "sing(1) COLLATE",
    "{} ### ANY",
    "{} OPERATOR(public.###) {}",
    "count(*) FILTER",
];

#[tokio::test]
async fn every_hostile_piece_is_refused_and_the_canary_would_have_heard_it() {
    let (_bench, mut canary, mut worker) = zoo().await;
    let mut deaf = Vec::new();
    for piece in HOSTILE {
        let text = piece.replace("{}", "s.a");
        assert!(guarded(&mut worker, &text, Place::Sets).await.is_none(), "accepted: {text}");
        assert!(guarded(&mut worker, &text, Place::Chooses).await.is_none(), "accepted: {text}");
        let before = canary.says(&mut worker).await;
        evaluate(&mut worker, &format!("(\n{text}\n)")).await;
        // `(a::text::int)` fails, and takes the row with it: what is called in it, is called all the same.
        evaluate(&mut worker, &format!("(\n{}\n)", text.replace("::text::int", ""))).await;
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        let after = canary.says(&mut worker).await;
        if before == after && !SILENT.iter().any(|silent| piece.starts_with(silent)) {
            deaf.push(text);
        }
        sqlx::query("SELECT pg_advisory_unlock_all(), set_config('work_mem', '4MB', false)").execute(&mut worker).await.unwrap();
    }
    assert!(deaf.is_empty(), "the canary heard nothing of: {deaf:#?}");
}

#[tokio::test]
async fn what_guard_and_catalogue_accept_changes_nothing_on_a_server() {
    let (_bench, mut canary, mut worker) = zoo().await;
    let (mut accepted, mut before) = (0, canary.says(&mut worker).await);
    let config = cases(400);
    let mut runner = TestRunner::new(config.clone());
    for _ in 0..config.cases {
        let tree = bytes().new_tree(&mut runner).unwrap();
        let text = expression(&tree.current());
        let place = if accepted % 2 == 0 { Place::Sets } else { Place::Chooses };
        let Some(parsed) = guarded(&mut worker, &text, place).await else { continue };
        accepted += 1;
        evaluate(&mut worker, &parsed.in_parentheses()).await;
        let after = canary.says(&mut worker).await;
        assert_eq!(after, before, "the canary sang for: {text}");
        before = after;
    }
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(canary.says(&mut worker).await, before, "messages come late");
    assert!(accepted > config.cases / 20, "only {accepted} of {} were accepted", config.cases);
}

#[tokio::test]
async fn what_the_guard_of_joins_accepts_changes_nothing_on_a_server() {
    let (_bench, mut canary, mut worker) = zoo().await;
    let (mut accepted, mut before) = (0, canary.says(&mut worker).await);
    let config = cases(200);
    let mut runner = TestRunner::new(config.clone());
    let shapes = [
        "SELECT {}",
        "SELECT {} FROM t WHERE {b}",
        "SELECT count(*) FILTER (WHERE {b}), max({}) FROM t GROUP BY {t}",
        "SELECT sum({}) OVER (PARTITION BY {t} ORDER BY {}) FROM t",
        "WITH x AS (SELECT {} AS n) SELECT * FROM x WHERE n > {}",
        "SELECT (SELECT {}), x FROM unnest(s.f) AS x ORDER BY {} LIMIT 3",
        "SELECT choir({}) FROM t",
        "SELECT * FROM flock({})",
        "SELECT DISTINCT {t} FROM t UNION ALL SELECT {t}",
        "VALUES ({}, {t})",
        "SELECT * FROM generate_series(1, 3) g WHERE g < {}",
    ];
    for _ in 0..config.cases {
        let tree = bytes().new_tree(&mut runner).unwrap();
        let bytes = tree.current();
        let mut choices = Choices(bytes.iter());
        let shape = choices.of(&shapes);
        let text = choices.fill(shape, 1);
        let Ok(parsed) = SelectQuery::parse(&text) else { continue };
        if refuse_volatile(&mut worker, parsed.calls(), Some(Place::JoinQuery)).await.is_err() {
            continue;
        }
        accepted += 1;
        let sql = format!("(SELECT count(*) FROM LATERAL {} AS q)", parsed.in_parentheses());
        evaluate(&mut worker, &sql).await;
        let after = canary.says(&mut worker).await;
        assert_eq!(after, before, "the canary sang for: {text}");
        before = after;
    }
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert_eq!(canary.says(&mut worker).await, before, "messages come late");
    assert!(accepted > config.cases / 20, "only {accepted} of {} were accepted", config.cases);
}
