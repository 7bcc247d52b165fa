//! Types and operators of extensions that are installed in a schema of their own, as many platforms do.

use crate::harness::{Bench, admin, credentials};
use crate::server::Server;
use backfill_operator::api::status::PlanStatus;
use backfill_operator::engine::query::{self, Moment, Rows};
use sqlx::AssertSqlSafe;

/// A database with citext and hstore in the schema `extensions`; `None` where this server has them not.
async fn bench(setup: &str, spec: &str) -> Option<Bench> {
    let bench = Bench::new("CREATE SCHEMA extensions", spec).await;
    for extension in ["citext", "hstore"] {
        let sql = format!("CREATE EXTENSION {extension} SCHEMA extensions");
        if let Err(error) = sqlx::query(AssertSqlSafe(sql)).execute(&mut bench.connect().await).await {
            println!("skipped: {extension} cannot be installed: {error}");
            return None;
        }
    }
    bench.sql(setup).await;
    Some(bench)
}

const PEOPLE: &str = "
    CREATE TABLE people (email extensions.citext PRIMARY KEY, n int, tags extensions.hstore);
    CREATE TABLE signups (id int PRIMARY KEY, email extensions.citext, tag text);
    INSERT INTO people SELECT 'p' || n || '@Example.org', NULL, extensions.hstore('a', n::text) FROM generate_series(1, 20000) n;
    INSERT INTO signups SELECT n, CASE WHEN n % 2 = 0 THEN 'P' ELSE 'new' END || n || '@example.ORG' FROM generate_series(1, 60) n;
    ANALYZE;";

#[tokio::test]
async fn keys_and_expressions_of_such_types_compare_by_their_own_operators() {
    let spec = "
source: {table: signups}
writes:
  - {table: people, action: Insert, onConflict: {key: [email]}, set: {email: s.email, n: s.id}}
  - joins: [{as: p, table: people, match: p.email = s.email}]
    set: {tag: p.email::text}
batch: {size: 7}";
    let Some(bench) = bench(PEOPLE, spec).await else { return };
    let plan = bench.through().await;
    let [people, signups] = plan.writes.as_slice() else { panic!("{:?}", plan.writes) };
    assert_eq!((people.inserts, signups.updates, bench.result().await.drifted), (30, 60, 0), "one that differs only in case is there");
    assert_eq!(bench.number("SELECT count(*) FROM signups WHERE tag = 'p' || id || '@Example.org'").await, 30);
    assert_eq!(bench.undo().await.undone, 60);
    assert_eq!(bench.number("SELECT count(*) FROM people").await, 20000);
}

#[tokio::test]
async fn a_row_with_such_a_key_is_found_by_its_index_and_operators_of_such_types_are_known() {
    let spec = "{source: {table: people, where: s.email > 'P19'}, writes: [{set: {n: \"(s.tags -> 'a')::int\"}}], batch: {size: 1000}}";
    let Some(bench) = bench(PEOPLE, spec).await else { return };
    let question = query::question(&bench.model().await.unwrap(), Rows::Keys, Moment::Apply);
    let sql = format!("PREPARE q AS {}; EXPLAIN (FORMAT JSON) EXECUTE q('{{0, 1}}', '{{p7@Example.org, p8@Example.org}}')", question.sql);
    let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut bench.connect().await).await.unwrap();
    let plan = format!("{:?}", sqlx::Row::try_get::<serde_json::Value, _>(rows.last().unwrap(), 0).unwrap());
    assert!(plan.contains("people_pkey") && !plan.contains("Seq Scan"), "{plan}");
    let PlanStatus { will_write, .. } = bench.through().await;
    assert_eq!(will_write, bench.number("SELECT count(*) FROM people WHERE lower(email::text) > 'p19'").await);
    assert_eq!(bench.number("SELECT count(*) FROM people WHERE n::text = substr(split_part(email::text, '@', 1), 2)").await, will_write);
    assert_eq!(bench.undo().await.undone, will_write);
}

#[tokio::test]
async fn a_role_that_may_not_use_the_schema_is_told_the_grant() {
    let Some(mut bench) = bench(PEOPLE, "{source: {table: people}, writes: [{set: {n: '1'}}]}").await else { return };
    let role = Server::fresh_name("reader");
    admin(Server::shared(), &format!("CREATE ROLE {role} LOGIN")).await;
    bench.sql(&format!("GRANT SELECT ON people TO {role}")).await;
    let database = bench.credentials.database.clone();
    let owner = std::mem::replace(&mut bench.credentials, credentials(Server::shared(), &database, &role));
    let error = bench.model().await.unwrap_err();
    assert_eq!(error.reason(), "PrivilegeMissing");
    let text = error.to_string();
    let (_, grant) = text.split_once("run: ").unwrap();
    assert!(grant.contains("USAGE ON SCHEMA") && grant.contains("extensions"), "{text}");
    let reader = std::mem::replace(&mut bench.credentials, owner);
    bench.sql(grant).await;
    bench.credentials = reader;
    bench.model().await.unwrap();
}
