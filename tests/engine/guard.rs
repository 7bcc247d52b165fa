//! What only a server knows about names and expressions.

use crate::harness::Bench;
use crate::server::Server;
use backfill_operator::engine::catalog::CatalogError;
use backfill_operator::engine::model::ModelError;
use backfill_operator::engine::sql::SqlError;

const TABLES: &str = "
    CREATE SCHEMA app; CREATE TABLE app.hidden (id int PRIMARY KEY);
    CREATE TABLE a (id int PRIMARY KEY, k int, u int NOT NULL UNIQUE, n int UNIQUE, p int NOT NULL, g int GENERATED ALWAYS AS (1) STORED, v text);
    CREATE UNIQUE INDEX ON a (p) WHERE p > 0;
    CREATE TABLE keyless (id int); CREATE VIEW seen AS SELECT * FROM a;
    CREATE FUNCTION sly(int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
    CREATE FUNCTION calm(int) RETURNS int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE FUNCTION many(int) RETURNS SETOF int LANGUAGE sql STABLE AS 'SELECT 1';
    CREATE AGGREGATE product(int) (SFUNC = int4mul, STYPE = int);
    CREATE OPERATOR ### (LEFTARG = int, RIGHTARG = int, FUNCTION = sly2);
";

fn setup() -> String {
    let operator = "CREATE FUNCTION sly2(int, int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1'; CREATE OPERATOR";
    TABLES.replace("CREATE OPERATOR", operator)
}

async fn refused(bench: &mut Bench, spec: &str) -> ModelError {
    bench.spec = serde_yaml_ng::from_str(spec).unwrap();
    bench.model().await.unwrap_err()
}

#[tokio::test]
async fn names_that_do_not_serve_are_refused_with_what_to_change() {
    let mut bench = Bench::new(&setup(), "{source: {table: a}, writes: [{set: {v: \"'x'\"}}]}").await;
    bench.model().await.unwrap();
    for (source, set, reason, told) in [
        ("{table: nothing}", "v", "TableMissing", "no table \"nothing\""),
        ("{table: hidden}", "v", "TableMissing", "\"app\".\"hidden\""),
        ("{table: seen}", "v", "NotATable", "table behind it"),
        ("{table: 'a; DROP TABLE a'}", "v", "ExpressionRefused", "not a name"),
        ("{table: keyless}", "id", "KeyMissing", "source.key"),
        ("{table: a, key: [nope]}", "v", "ColumnMissing", "it has id, k"),
        ("{table: a, key: [k]}", "v", "KeyNotUnique", "(id), (u)"),
        ("{table: a, key: [n]}", "v", "KeyNotUnique", "NOT NULL"),
        ("{table: a, key: [p]}", "v", "KeyNotUnique", "not partial"),
        ("{table: a, key: [id, u]}", "v", "KeyNotUnique", "exactly these"),
        ("{table: a}", "gone", "ColumnMissing", "migrations.adds"),
        ("{table: a}", "g", "ColumnGenerated", "generated"),
        ("{table: a}", "id", "KeyColumnWritten", "way back"),
        ("{table: a}", "V: \"'1'\", v", "ColumnSetTwice", "set twice"),
    ] {
        let error = refused(&mut bench, &format!("{{source: {source}, writes: [{{set: {{{set}: \"'1'\"}}}}]}}")).await;
        assert_eq!(error.reason(), reason, "{source}: {error}");
        assert!(error.to_string().contains(told), "{error}");
    }
    bench.spec = serde_yaml_ng::from_str("{source: {table: a, key: [u]}, writes: [{set: {v: \"'x'\"}}]}").unwrap();
    bench.model().await.unwrap();
}

#[tokio::test]
async fn functions_are_judged_by_what_the_catalogue_knows_of_them() {
    let mut bench = Bench::new(&setup(), "{source: {table: a}, writes: [{set: {v: \"'x'\"}}]}").await;
    for (text, wanted) in
        [("sly(s.id)", "Volatile"), ("many(s.id)", "SetReturning"), ("product(s.id)", "Aggregate"), ("s.id ### 1", "Volatile")]
    {
        for spec in [
            format!("{{source: {{table: a, where: '{text} = 1'}}, writes: [{{set: {{v: \"'x'\"}}}}]}}"),
            format!("{{source: {{table: a}}, writes: [{{set: {{v: '{text}'}}}}]}}"),
        ] {
            let error = refused(&mut bench, &spec).await;
            let ModelError::ExpressionRefused { source, .. } = &error else { panic!("{error}") };
            let is = match source {
                SqlError::Volatile(_) => "Volatile",
                SqlError::SetReturning(_) => "SetReturning",
                SqlError::Aggregate(_) => "Aggregate",
                other => panic!("{other}"),
            };
            assert_eq!(is, wanted, "{text}");
        }
    }
    bench.spec =
        serde_yaml_ng::from_str("{source: {table: a, where: calm(s.id) = 1}, writes: [{set: {v: 'lower(s.v) || gen_random_uuid()'}}]}")
            .unwrap();
    let error = bench.model().await.unwrap_err();
    assert_eq!(error.reason(), "NothingPlannable");
    bench.spec.writes[0].set.insert("k".into(), "calm(1)".into());
    bench.model().await.unwrap();
}

#[tokio::test]
async fn names_that_could_be_functions_are_columns_and_fields_where_there_are_such() {
    let setup = "CREATE TYPE stats AS (count int, max int, version int, now text);
        CREATE TABLE a (id int PRIMARY KEY, v int, st stats, count int, name text, version text, now timestamptz, random float8, nextval int, d numeric(6,2));
        CREATE DOMAIN code AS text CHECK (VALUE ~ '^[a-z]+$' AND length(VALUE) < 9); CREATE DOMAIN codes AS code[];
        CREATE FUNCTION full_name(a) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1.name'";
    let mut bench = Bench::new(setup, "{source: {table: a}, writes: [{set: {v: '1'}}]}").await;
    for text in [
        "(s.st).count + (s.st).max + (s.st).version",
        "s.count + s.nextval",
        "length(s.name || s.version)",
        "length((s.st).now || s.now::text || s.random::text)",
        "length('abc'::code || code('abc')) + cardinality('{a}'::codes)",
        "length(s.full_name) + length(full_name(s))",
        "s.d::numeric(4,1)::int",
        "s.id BETWEEN 1 AND 2",
    ] {
        let value = if text.contains("BETWEEN") { format!("({text})::int") } else { text.to_owned() };
        bench.spec.writes[0].set = [("v".to_owned(), value)].into();
        if let Err(error) = bench.model().await {
            panic!("{text}: {error}");
        }
    }
}

#[tokio::test]
async fn a_function_of_the_moment_is_known_as_postgresql_s_or_an_extension_s_own() {
    let setup = "CREATE TABLE a (id int PRIMARY KEY, v uuid, w int, at timestamptz); CREATE SCHEMA app;
        CREATE FUNCTION app.now() RETURNS timestamptz LANGUAGE sql VOLATILE AS 'SELECT ''2026-01-01''::timestamptz'";
    let mut bench = Bench::new(setup, "{source: {table: a}, writes: [{set: {w: '1', at: now()}}]}").await;
    bench.model().await.unwrap();
    bench.spec.writes[0].set.insert("at".into(), "app.now()".into());
    let error = bench.model().await.unwrap_err();
    assert!(matches!(&error, ModelError::ExpressionRefused { source: SqlError::Volatile(name), .. } if name == "now"), "{error}");
    bench.spec.writes[0].set = [("w".to_owned(), "1".to_owned()), ("v".to_owned(), "uuid_generate_v4()".to_owned())].into();
    let mut connection = bench.connect().await;
    match sqlx::query("CREATE EXTENSION \"uuid-ossp\"").execute(&mut connection).await {
        Ok(_) => drop(bench.model().await.unwrap()),
        Err(error) => println!("skipped: uuid-ossp cannot be installed: {error}"),
    }
}

#[tokio::test]
async fn a_missing_right_is_told_as_the_grant_to_run() {
    let mut bench = Bench::new(&setup(), "{source: {table: a}, writes: [{set: {v: \"'x'\"}}]}").await;
    let role = Server::fresh_name("nobody");
    bench.sql(&format!("CREATE ROLE {role} LOGIN")).await;
    let owner = bench.credentials.clone();
    bench.credentials.username.clone_from(&role);
    let error = bench.model().await.unwrap_err();
    assert!(error.to_string().ends_with(&format!("GRANT SELECT ON \"public\".\"a\" TO {role};")), "{error}");
    bench.credentials = owner.clone();
    bench.sql(&format!("GRANT SELECT ON a TO {role}")).await;
    bench.credentials.username.clone_from(&role);
    let model = bench.model().await.unwrap();
    let error = model.require_writable(&mut bench.connect().await).await.unwrap_err();
    assert!(
        matches!(&error, ModelError::Catalog { source: CatalogError::PrivilegeMissing { grant }, .. } if grant.contains("GRANT UPDATE")),
        "{error}"
    );
    bench.credentials = owner;
    bench.sql(&format!("GRANT UPDATE (v) ON a TO {role}")).await;
    bench.credentials.username = role;
    model.require_writable(&mut bench.connect().await).await.unwrap();
}
