//! Tables and values of every kind: planned, written as one statement would write them, found done, and put back.

use crate::harness::Bench;
use crate::server::Server;
use backfill_operator::engine::apply::Ending;
use backfill_operator::engine::ledger::Claimed;
use sqlx::{AssertSqlSafe, Connection as _};

/// Every row as a text, in an order of its own.
pub fn hash(table: &str) -> String {
    format!("SELECT md5(coalesce(string_agg(md5(x::text), '' ORDER BY x::text COLLATE \"C\"), '')) FROM {table} x")
}

/// What the one statement would leave behind, without leaving it behind.
async fn after(bench: &Bench, statement: &str, look: &str) -> String {
    let mut connection = bench.connect().await;
    let mut transaction = connection.begin().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut *transaction).await.unwrap();
    let seen = sqlx::query_scalar(AssertSqlSafe(look.to_owned())).fetch_one(&mut *transaction).await.unwrap();
    transaction.rollback().await.unwrap();
    seen
}

/// Plans `rows` rows, writes what `statement` would, finds nothing to do then, and puts everything back.
async fn proves(bench: &Bench, table: &str, statement: &str, rows: i64) {
    let look = hash(table);
    let before = bench.text(&look).await.unwrap();
    let wanted = after(bench, statement, &look).await;
    assert_ne!(wanted, before, "the statement changes something");
    let plan = bench.plan().await;
    assert_eq!(plan.will_write, rows, "planned");
    assert_eq!(bench.claim().await, Claimed::Ours);
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    assert_eq!(bench.result().await.written, rows, "written");
    assert_eq!(bench.text(&look).await.unwrap(), wanted, "as one statement would");
    assert_eq!(bench.plan().await.will_write, 0, "a second plan");
    assert_eq!(bench.undo().await.undone, rows, "undone");
    assert_eq!(bench.text(&look).await.unwrap(), before, "as before");
}

async fn case(setup: &str, spec: &str, table: &str, statement: &str, rows: i64) {
    proves(&Bench::new(setup, spec).await, table, statement, rows).await;
}

/// Each value becomes each other one, and NULL, and comes from NULL. A value that reads otherwise is another value.
async fn of_type(name: &str, values: &[&str]) {
    let list: Vec<String> = values.iter().map(|value| format!("('{}'::{name})", value.replace('\'', "''"))).collect();
    let setup = format!(
        "CREATE TABLE v (id int PRIMARY KEY, a {name}, b {name});
         WITH all_values(x) AS (VALUES (NULL::{name}), {}) INSERT INTO v SELECT row_number() OVER (), l.x, r.x FROM all_values l, all_values r",
        list.join(", ")
    );
    let bench = Bench::new(&setup, "{source: {table: v}, writes: [{set: {a: s.b}}], batch: {size: 7}}").await;
    let rows = bench.number("SELECT count(*) FROM v WHERE a::text IS DISTINCT FROM b::text").await;
    proves(&bench, "v", "UPDATE v SET a = b WHERE a::text IS DISTINCT FROM b::text", rows).await;
}

macro_rules! types {
    ($($name:ident: $type:literal, $values:expr;)+) => { $(
        #[tokio::test]
        async fn $name() {
            of_type($type, &$values).await;
        }
    )+ };
}

types! {
    timestamps_at_infinity_before_christ_and_to_the_microsecond_come_through:
        "timestamptz", ["infinity", "-infinity", "2026-01-01 00:00:00.000001+02", "0044-03-15 12:00:00+00 BC", "294276-12-31 23:59:59.999999+00"];
    timestamps_without_zone_come_through: "timestamp(3)", ["infinity", "2026-03-29 02:30:00.123", "0001-01-01 00:00:00 BC"];
    dates_and_times_at_their_ends_come_through: "date", ["infinity", "-infinity", "4713-01-01 BC", "2026-02-28"];
    times_with_a_zone_come_through: "timetz", ["24:00:00+00", "00:00:00-15:59", "12:00:00.000001+02"];
    intervals_that_are_equal_but_written_otherwise_come_through: "interval", ["1 mon", "30 days", "720 hours", "-1 year 2 days 03:04:05.678", "00:00:00"];
    numerics_with_nan_infinity_scale_and_many_digits_come_through:
        "numeric", ["NaN", "Infinity", "-Infinity", "1.0", "1.00", "0.00000000000000000001", "-99999999999999999999999999999999999999.5"];
    numerics_of_a_fixed_scale_come_through: "numeric(8,3)", ["NaN", "1.000", "-99999.999", "0.0005"];
    floats_at_their_extremes_come_through_to_the_bit:
        "float8", ["NaN", "Infinity", "-Infinity", "1.7976931348623157e308", "5e-324", "-0", "0", "0.30000000000000004", "0.3"];
    short_floats_come_through_to_the_bit: "float4", ["NaN", "3.4028235e38", "1e-45", "-0", "0", "0.1", "16777217"];
    integers_at_their_ends_come_through: "int8", ["-9223372036854775808", "9223372036854775807", "0"];
    bytes_of_every_value_come_through: "bytea", ["", "\\x00", "\\x00ff5c27", "\\x6e756c6c"];
    texts_that_look_like_something_else_come_through:
        "text", ["", "NULL", "null", "\\N", "\\x00", "{}", "{a,b}", "'", "\"", "a\nb\r\n\t", "\u{202e}abc", "日本 \u{1f980}", "e\u{301}", "\u{e9}", " x ", "$1", "%s"];
    short_texts_keep_their_blanks: "char(5)", ["", "a", "abcde", " b"];
    limited_texts_come_through: "varchar(5)", ["", "äöüßé", " a  "];
    a_single_byte_character_comes_through: "\"char\"", ["a", "", "\\"];
    json_keeps_its_spelling_and_its_escaped_nul: "json", ["{\"a\": \"\\u0000\"}", "{\"a\":1, \"a\":2}", "null", "\"\"", "[ ]", "1.0", "1.00"];
    jsonb_null_is_a_value_and_numbers_keep_their_scale: "jsonb", ["null", "{}", "{\"a\": null}", "[1, 1.0, 1e2]", "\"\\u00e9\"", "{\"a\":{\"b\":[\"x'y\"]}}"];
    uuids_come_through: "uuid", ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"];
    booleans_come_through: "boolean", ["true", "false"];
    arrays_with_bounds_nulls_and_quotes_come_through:
        "text[]", ["{}", "{NULL}", "{\"NULL\",\"\",\"a,b\",\"c\\\"d\\\\e\"}", "[2:3]={x,y}", "{{a,b},{c,NULL}}"];
    arrays_of_numbers_come_through: "numeric[]", ["{}", "{NaN,1.0,1.00,NULL}", "{{1,2},{3,4}}"];
    ranges_empty_open_and_infinite_come_through: "tstzrange", ["empty", "(,)", "[2026-01-01 00:00:00+00,infinity)", "(,\"2026-01-01 00:00:00+00\"]"];
    ranges_of_integers_come_through_as_they_are_stored: "int4range", ["[1,3]", "(1,4)", "empty", "(,5)"];
    multiranges_come_through: "nummultirange", ["{}", "{[1,2),[3.5,)}", "{(,)}"];
    network_addresses_come_through: "inet", ["192.168.0.1/24", "192.168.0.1", "::1", "::ffff:1.2.3.4/128"];
    bits_come_through: "varbit", ["", "0", "00", "1010101"];
    points_that_no_operator_compares_come_through: "point", ["(0,0)", "(-0,1e-300)", "(NaN,Infinity)"];
    boxes_of_equal_area_are_different_values: "box", ["(1,1),(0,0)", "(2,0.5),(0,0)"];
    money_comes_through: "money", ["0", "-92233720368547758.08", "12.34"];
    text_search_values_come_through: "tsvector", ["", "'a':1A,2 'it''s':3", "'a'"];
    pages_of_the_log_come_through: "pg_lsn", ["0/0", "FFFFFFFF/FFFFFFFF"];
    names_come_through: "name", ["", "a b", "ä\"b"];
}

#[tokio::test]
async fn xml_comes_through_where_the_server_was_built_with_it() {
    let bench = Bench::new("", "{source: {table: v}, writes: [{set: {a: s.b}}]}").await;
    let mut connection = bench.connect().await;
    match sqlx::query("SELECT '<a/>'::xml").execute(&mut connection).await {
        Ok(_) => of_type("xml", &["<a/>", "<a></a>", "&amp;", "<?x y?><a b=\"c'd\">\u{e9}</a>"]).await,
        Err(error) => println!("skipped: this server has no xml: {error}"),
    }
}

const EXTENDED: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'ÜBER', 'a,b');
    CREATE DOMAIN short AS text CHECK (length(VALUE) < 9) DEFAULT 'x'; CREATE DOMAIN shorts AS short[]; CREATE DOMAIN positive AS numeric(6,2) CHECK (VALUE > 0);
    CREATE TYPE pair AS (x int, \"Y z\" text); CREATE TYPE deep AS (p pair, list mood[]); CREATE TYPE span AS RANGE (subtype = float8);
    CREATE TABLE k (id int PRIMARY KEY, e mood, es mood[], d short, ds shorts, n positive, p pair, q deep, ps pair[], r span);
    INSERT INTO k SELECT n, CASE WHEN n % 3 > 0 THEN 'sad'::mood END FROM generate_series(1, 20) n";

#[tokio::test]
async fn enums_domains_composites_and_ranges_of_the_user_come_through() {
    let set = [
        ("e", "CASE s.id % 4 WHEN 0 THEN ''a,b'' WHEN 1 THEN ''ÜBER'' WHEN 2 THEN ''it''''s ok'' ELSE ''sad'' END::mood"),
        ("es", "ARRAY[''a,b'', NULL, CASE WHEN s.id > 5 THEN ''sad'' END]::mood[]"),
        ("d", "''d'' || s.id"),
        ("ds", "ARRAY[''a'', NULL]::short[]"),
        ("n", "s.id / 3.0 + 1"),
        ("p", "ROW(s.id, CASE WHEN s.id > 9 THEN ''a,(\"b'' END)::pair"),
        ("q", "ROW(ROW(NULL, '''')::pair, ARRAY[''sad'', NULL]::mood[])::deep"),
        ("ps", "ARRAY[ROW(1, ''x'')::pair, NULL]"),
        ("r", "span(0, s.id, ''[]'')"),
    ];
    let spec: Vec<String> = set.iter().map(|(column, value)| format!("{column}: '{value}'")).collect();
    let spec = format!("{{source: {{table: k}}, writes: [{{set: {{{}}}}}], batch: {{size: 6}}}}", spec.join(", "));
    let sql: Vec<String> = set.iter().map(|(column, value)| format!("{column} = {}", value.replace("''", "'"))).collect();
    case(EXTENDED, &spec, "k", &format!("UPDATE k s SET {}", sql.join(", ")), 20).await;
}

#[tokio::test]
async fn what_a_domain_refuses_is_refused_before_anything_is_written() {
    let bench = Bench::new(EXTENDED, "{source: {table: k}, writes: [{set: {n: 3 - s.id}}]}").await;
    let before = bench.text(&hash("k")).await;
    let refused = match bench.plan_by(1000).await {
        Err(error) => error.to_string(),
        Ok(plan) => {
            bench.claim().await;
            bench.apply(&plan).await.unwrap_err().to_string()
        }
    };
    assert!(refused.contains("positive"), "{refused}");
    assert_eq!(bench.text(&hash("k")).await, before);
}

#[tokio::test]
async fn citext_that_differs_only_in_case_is_written_and_put_back() {
    let bench = Bench::new("", "{source: {table: c}, writes: [{set: {v: upper(s.v::text)}}], batch: {size: 3}}").await;
    let mut connection = bench.connect().await;
    if let Err(error) = sqlx::query("CREATE EXTENSION citext").execute(&mut connection).await {
        println!("skipped: citext cannot be installed: {error}");
        return;
    }
    bench.sql("CREATE TABLE c (k citext PRIMARY KEY, v citext); INSERT INTO c SELECT 'Key' || n, CASE WHEN n % 2 = 0 THEN 'abc' ELSE 'ABC' END FROM generate_series(1, 10) n").await;
    proves(&bench, "c", "UPDATE c SET v = upper(v::text)", 5).await;
}

#[tokio::test]
async fn blanks_that_a_limited_text_has_no_room_for_are_no_part_of_it() {
    let setup = "CREATE DOMAIN code AS varchar(3); CREATE TABLE b (id int PRIMARY KEY, v varchar(3), c char(3), big varchar(300), d code); INSERT INTO b SELECT n FROM generate_series(1, 20) n;
        UPDATE b SET v = 'n' || id || '     ', c = 'n' || id || '     ', d = 'n' || id || '     ', big = repeat('ä', 299) || '     ' WHERE id % 4 = 0";
    let spec = "{source: {table: b}, batch: {size: 6}, writes: [{set: {v: \"'n' || s.id || '     '\", c: \"'n' || s.id || '     '\", d: \"'n' || s.id || '     '\", big: \"repeat('ä', 299) || '     '\"}}]}";
    let statement =
        "UPDATE b SET v = 'n' || id || '     ', c = 'n' || id || '     ', d = 'n' || id || '     ', big = repeat('ä', 299) || '     '";
    case(setup, spec, "b", statement, 15).await;
    // As a key, too, of rows that are there and of those that are not.
    let setup = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (k varchar(3) PRIMARY KEY, n int); INSERT INTO a SELECT n FROM generate_series(1, 20) n;
        INSERT INTO b SELECT rpad('n' || id, 3), 7 FROM a WHERE id % 4 = 0";
    let spec = "{source: {table: a}, batch: {size: 6}, writes: [{table: b, action: Insert, onConflict: {key: [k], mode: Update}, set: {k: \"'n' || s.id || '     '\", n: s.id}}]}";
    let statement = "INSERT INTO b SELECT 'n' || id || '     ', id FROM a ON CONFLICT (k) DO UPDATE SET n = excluded.n";
    case(setup, spec, "b", statement, 20).await;
}

#[tokio::test]
async fn a_value_of_the_moment_is_another_one_in_each_row_of_a_limited_text() {
    let setup = "CREATE DOMAIN token AS varchar(36); CREATE TABLE b (id int PRIMARY KEY, a varchar(36) UNIQUE, d token UNIQUE, v text); INSERT INTO b SELECT n FROM generate_series(1, 50) n";
    let spec = "{source: {table: b}, batch: {size: 20}, writes: [{set: {a: gen_random_uuid(), d: md5(random()::text), v: lower('x')}}]}";
    let bench = Bench::new(setup, spec).await;
    let plan = bench.through().await;
    assert_eq!((plan.will_write, bench.result().await.written), (50, 50));
    assert_eq!(bench.number("SELECT count(DISTINCT a) + count(DISTINCT d) FROM b").await, 100);
    assert_eq!(bench.batches().0, 0, "they were read");
}

#[tokio::test]
async fn a_table_partitioned_by_list_and_range_is_written_in_every_partition() {
    case(
        "CREATE TABLE p (tenant text, at date, id int, v text, PRIMARY KEY (tenant, at, id)) PARTITION BY LIST (tenant);
         CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('a') PARTITION BY RANGE (at);
         CREATE TABLE p_a_old PARTITION OF p_a FOR VALUES FROM (MINVALUE) TO ('2026-01-01'); CREATE TABLE p_a_new PARTITION OF p_a FOR VALUES FROM ('2026-01-01') TO (MAXVALUE);
         CREATE TABLE p_rest (v text, id int NOT NULL, at date NOT NULL, tenant text NOT NULL); ALTER TABLE p ATTACH PARTITION p_rest DEFAULT;
         INSERT INTO p SELECT t, date '2025-12-25' + n, n FROM unnest(ARRAY['a', 'b', 'c']) t, generate_series(1, 15) n",
        "{source: {table: p}, writes: [{set: {v: \"s.tenant || s.id\"}}], batch: {size: 8}}",
        "p",
        "UPDATE p SET v = tenant || id",
        45,
    )
    .await;
}

#[tokio::test]
async fn a_write_that_would_move_a_row_to_another_partition_is_refused() {
    let bench = Bench::new(
        "CREATE TABLE p (id int, at date, v int, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (MINVALUE) TO (MAXVALUE); INSERT INTO p VALUES (1, '2026-01-01')",
        "{source: {table: p}, writes: [{set: {at: \"s.at + 1\"}}]}",
    )
    .await;
    assert_eq!(bench.model().await.unwrap_err().reason(), "KeyColumnWritten", "a partitioned table's keys hold its partition key");
}

/// Keys of a type: rows of these keys are read in order, locked, written and found again.
async fn keyed_by(name: &str, values: &[&str]) {
    let list: Vec<String> = values.iter().map(|value| format!("('{}'::{name})", value.replace('\'', "''"))).collect();
    let setup = format!("CREATE TABLE k (id {name} PRIMARY KEY, v int); INSERT INTO k SELECT x FROM (VALUES {}) AS y(x)", list.join(", "));
    let rows = i64::try_from(values.len()).unwrap();
    case(&setup, "{source: {table: k}, writes: [{set: {v: '7'}}], batch: {size: 2}}", "k", "UPDATE k SET v = 7", rows).await;
}

macro_rules! keys {
    ($($name:ident: $type:literal, $values:expr;)+) => { $(
        #[tokio::test]
        async fn $name() {
            keyed_by($type, &$values).await;
        }
    )+ };
}

keys! {
    rows_keyed_by_uuid_are_found_again: "uuid", ["00000000-0000-0000-0000-000000000001", "ffffffff-ffff-4fff-bfff-ffffffffffff", "a0000000-0000-4000-8000-000000000000"];
    rows_keyed_by_text_are_found_again_in_the_order_of_bytes: "text COLLATE \"C\"", ["", "a", "B", "ä", "Z", "\u{1f980}", "a b", "NULL", "{", "\\"];
    rows_keyed_by_text_are_found_again_in_german_order: "text COLLATE \"de-x-icu\"", ["", "a", "B", "ä", "Z", "z", "ß", "ss", "a b", "a-b"];
    rows_keyed_by_text_are_found_again_in_the_order_of_unicode: "text COLLATE \"und-x-icu\"", ["", "a", "A", "á", "b", "\u{1f980}", "日本", "_"];
    rows_keyed_by_numeric_are_found_again: "numeric", ["-1.50", "0", "2.000", "NaN", "99999999999999999999.1"];
    rows_keyed_by_timestamp_are_found_again: "timestamptz", ["-infinity", "2026-01-01 00:00:00.000001+00", "infinity", "0044-03-15 00:00:00+00 BC"];
    rows_keyed_by_bytes_are_found_again: "bytea", ["", "\\x00", "\\xff00", "\\x5c"];
    rows_keyed_by_short_text_are_found_again: "char(4)", ["", "a", "ab", "abcd"];
    rows_keyed_by_floats_are_found_again: "float8", ["-Infinity", "0.1", "5e-324", "NaN", "1e308"];
    rows_keyed_by_arrays_are_found_again: "int[]", ["{}", "{1}", "{1,NULL}", "[0:1]={1,2}"];
    rows_keyed_by_ranges_are_found_again: "int4range", ["empty", "[1,5)", "(,)"];
    rows_keyed_by_intervals_are_found_again: "interval", ["1 day", "2 mons", "-00:00:01"];
    rows_keyed_by_addresses_are_found_again: "inet", ["10.0.0.1", "10.0.0.0/8", "::1"];
    rows_keyed_by_booleans_are_found_again: "boolean", ["true", "false"];
}

#[tokio::test]
async fn rows_keyed_by_text_whose_collation_takes_case_for_nothing_are_found_again() {
    case(
        "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
         CREATE TABLE k (id text COLLATE blind PRIMARY KEY, part int, v text COLLATE blind); INSERT INTO k VALUES ('Ab', 1, 'x'), ('b', 2, 'X'), ('Ä', 3, NULL)",
        "{source: {table: k}, writes: [{set: {v: \"'X'\"}}], batch: {size: 1}}",
        "k",
        "UPDATE k SET v = 'X'",
        2,
    )
    .await;
}

#[tokio::test]
async fn rows_keyed_by_an_enum_a_domain_and_a_number_are_found_again() {
    case(
        "CREATE TYPE size AS ENUM ('small', 'LARGE', 'in between'); CREATE DOMAIN code AS varchar(4);
         CREATE TABLE k (s size, c code, n int, v text, PRIMARY KEY (n, c, s));
         INSERT INTO k SELECT s, c, n FROM unnest(enum_range(NULL::size)) s, unnest(ARRAY['a', 'Ä,']) c, generate_series(-2, 2) n",
        "{source: {table: k}, writes: [{set: {v: \"s.s::text || s.c || s.n\"}}], batch: {size: 4}}",
        "k",
        "UPDATE k SET v = s::text || c || n",
        30,
    )
    .await;
}

#[tokio::test]
async fn generated_columns_follow_forth_and_back_and_cannot_be_set() {
    let setup = "CREATE TABLE g (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, a int, twice int GENERATED ALWAYS AS (a * 2) STORED, label text GENERATED ALWAYS AS ('n' || a::text) STORED);
        INSERT INTO g (a) SELECT n FROM generate_series(1, 20) n";
    let setup = setup.replace("('n' || a::text)", "(CASE WHEN a > 10 THEN 'big' ELSE 'small' END)");
    let bench = Bench::new(&setup, "{source: {table: g}, writes: [{set: {a: s.id + 3}}], batch: {size: 7}}").await;
    proves(&bench, "g", "UPDATE g SET a = id + 3", 20).await;
    let bench = Bench::new(&setup, "{source: {table: g}, writes: [{set: {twice: '1'}}]}").await;
    assert_eq!(bench.model().await.unwrap_err().reason(), "ColumnGenerated");
}

#[tokio::test]
async fn triggers_that_leave_planned_values_alone_do_their_work_and_undo_fires_them_too() {
    let bench = Bench::new(
        "CREATE TABLE g (id int PRIMARY KEY, v text, touched int NOT NULL DEFAULT 0); CREATE TABLE log (id int, v text);
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.touched := OLD.touched + 1; RETURN NEW; END $$;
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (NEW.id, NEW.v); RETURN NULL; END $$;
         CREATE TRIGGER touch BEFORE UPDATE ON g FOR EACH ROW EXECUTE FUNCTION touch(); CREATE TRIGGER note AFTER UPDATE ON g FOR EACH ROW EXECUTE FUNCTION note();
         INSERT INTO g SELECT n, 'old' FROM generate_series(1, 20) n",
        "{source: {table: g}, writes: [{set: {v: \"'new ' || s.id\"}}], batch: {size: 6}}",
    )
    .await;
    proves(&bench, "(SELECT id, v FROM g)", "UPDATE g SET v = 'new ' || id", 20).await;
    assert_eq!(bench.number("SELECT count(*) FROM g WHERE touched = 2").await, 20, "once forth, once back");
    assert_eq!(bench.number("SELECT count(*) FROM log").await, 40);
}

#[tokio::test]
async fn rows_that_a_policy_hides_are_neither_planned_nor_written() {
    let mut bench = Bench::new(
        "CREATE TABLE r (id int PRIMARY KEY, tenant text, v int); INSERT INTO r SELECT n, CASE WHEN n % 2 = 0 THEN 'ours' ELSE 'theirs' END, 0 FROM generate_series(1, 20) n;
         ALTER TABLE r ENABLE ROW LEVEL SECURITY; CREATE POLICY ours ON r USING (tenant = 'ours') WITH CHECK (v < 100)",
        "{source: {table: r}, writes: [{set: {v: s.id}}], batch: {size: 4}}",
    )
    .await;
    let role = Server::fresh_name("tenant");
    bench
        .sql(&format!(
            "CREATE ROLE {role} LOGIN; GRANT SELECT, UPDATE ON r TO {role}; GRANT CREATE ON DATABASE {} TO {role}",
            bench.credentials.database
        ))
        .await;
    let all = bench.text(&hash("r")).await;
    let owner = std::mem::replace(&mut bench.credentials.username, role.clone());
    proves(&bench, "r", "UPDATE r SET v = id", 10).await;
    bench.credentials.username = owner;
    assert_eq!(bench.text(&hash("r")).await, all, "what was hidden, too");
}

#[tokio::test]
async fn a_value_that_a_policy_refuses_fails_with_its_words_and_writes_nothing() {
    let mut bench = Bench::new(
        "CREATE TABLE r (id int PRIMARY KEY, v int); INSERT INTO r SELECT n FROM generate_series(1, 5) n;
         ALTER TABLE r ENABLE ROW LEVEL SECURITY; CREATE POLICY small ON r USING (true) WITH CHECK (v < 100)",
        "{source: {table: r}, writes: [{set: {v: '200'}}]}",
    )
    .await;
    let role = Server::fresh_name("tenant");
    bench
        .sql(&format!(
            "CREATE ROLE {role} LOGIN; GRANT SELECT, UPDATE ON r TO {role}; GRANT CREATE ON DATABASE {} TO {role}",
            bench.credentials.database
        ))
        .await;
    bench.credentials.username = role;
    let plan = bench.plan().await;
    bench.claim().await;
    let error = bench.apply(&plan).await.unwrap_err().to_string();
    assert!(error.contains("row-level security"), "{error}");
    assert_eq!(bench.number("SELECT count(*) FROM r WHERE v IS NOT NULL").await, 0);
}

#[tokio::test]
async fn names_with_blanks_quotes_and_letters_of_any_script_come_through() {
    case(
        r#"CREATE SCHEMA "my ""app"" ü"; CREATE TABLE "my ""app"" ü"."select" ("Key 1" int, "日本" text, "a""b" int, "ALL" text, ";--" int, PRIMARY KEY ("Key 1", "日本"));
           INSERT INTO "my ""app"" ü"."select" SELECT n, 'x' || n FROM generate_series(1, 12) n"#,
        r#"{source: {table: '"my ""app"" ü"."select"'}, writes: [{set: {'"a""b"': 's."Key 1" * 2', '"ALL"': 's."日本"', '";--"': '1'}}], batch: {size: 5}}"#,
        r#""my ""app"" ü"."select""#,
        r#"UPDATE "my ""app"" ü"."select" SET "a""b" = "Key 1" * 2, "ALL" = "日本", ";--" = 1"#,
        12,
    )
    .await;
}

#[tokio::test]
async fn json_of_a_megabyte_comes_through() {
    case(
        "CREATE TABLE big (id int PRIMARY KEY, doc jsonb, note text);
         INSERT INTO big SELECT n, jsonb_build_object('n', n, 'text', (SELECT string_agg(md5(i::text || n), '') FROM generate_series(1, 32768) i)) FROM generate_series(1, 6) n",
        "{source: {table: big}, writes: [{set: {doc: \"s.doc || '{\\\"seen\\\": true}'\", note: \"s.doc->>'text'\"}}], batch: {size: 4}}",
        "big",
        "UPDATE big SET doc = doc || '{\"seen\": true}', note = doc->>'text'",
        6,
    )
    .await;
}

#[tokio::test]
async fn json_whose_escaped_nul_jsonb_cannot_hold_is_refused_and_nothing_is_written() {
    let bench = Bench::new(
        r#"CREATE TABLE j (id int PRIMARY KEY, raw json, doc jsonb); INSERT INTO j VALUES (1, '{"a": 1}'), (2, '{"a": "\u0000"}'), (3, '{"a": 3}')"#,
        "{source: {table: j}, writes: [{set: {doc: 's.raw::jsonb'}}]}",
    )
    .await;
    let error = bench.plan_by(1000).await.unwrap_err().to_string();
    assert!(error.contains("22P05"), "the server's text would quote the row: {error}");
    assert_eq!(bench.number("SELECT count(*) FROM j WHERE doc IS NOT NULL").await, 0);
}
