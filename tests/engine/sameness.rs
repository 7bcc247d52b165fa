//! One plan, wherever it is made: the digest is the same whatever server, locale, collation, time zone and settings.

use crate::harness::Bench;
use crate::harness::admin;
use crate::server::Server;
use backfill_operator::engine::apply::Ending;

const SETUP: &str = r#"
    CREATE TABLE readings (code text, nr int, at timestamptz, span interval, x float8, y float4, raw bytea, n numeric(8,3), d date,
        tags text[], doc jsonb, price money, note text, seen timestamptz, PRIMARY KEY (code, nr));
    CREATE TABLE names (id text PRIMARY KEY, name text);
    INSERT INTO names SELECT c, 'Name von ' || c FROM unnest(ARRAY['a', 'B', 'ä', 'Z', 'é']) c;
    INSERT INTO readings (code, nr, at, span, x, y, raw, n, d, tags, doc)
        SELECT c, n, timestamptz '2026-03-29 00:30:00+00' + n * interval '17 min', n * interval '1 mon 3 days 04:05:06.5', n / 3.0::float8, n / 7.0::float4,
               decode(lpad(to_hex(n * 257), 4, '0'), 'hex'), n / 8.0, date '2026-02-27' + n, ARRAY[c, NULL, 'x,"y'], jsonb_build_object('n', n / 4.0, 'c', c)
        FROM unnest(ARRAY['a', 'B', 'ä', 'Z', 'é', '_', '日本', 'ß']) c, generate_series(1, 40) n"#;

const SPEC: &str = r#"
source:
  table: readings
  where: "s.code <> '_' AND s.nr % 5 <> 0"
  joins: [{as: j, type: Left, table: names, match: j.id = s.code}]
  pick: {per: [s.code, s.nr % 7], order: "s.at DESC"}
writes:
  - set:
      note: "concat_ws('|', s.code, s.at, s.span, s.x, s.y, s.raw, s.n, s.d, s.tags, s.doc, j.name)"
      n: "s.n + s.nr * 0.001"
      x: "s.x * 1.1"
      span: "s.span + interval '1 day'"
      seen: "s.at AT TIME ZONE 'UTC' AT TIME ZONE 'UTC'"
      tags: "s.tags || s.code"
      raw: "s.raw || '\\x00'::bytea"
      doc: "s.doc || jsonb_build_object('d', s.d)"
batch: {size: 11}"#;

/// Whatever server made it: by `make test-servers` on PostgreSQL 14 to 18.
const DIGEST: &str = "sha256:a3bc583998e1eb502c173c55bf551d98014f4edf7365e2bce53c6674d5f60353";

#[tokio::test]
async fn the_digest_is_the_same_whatever_the_locale_the_time_zone_and_the_settings_of_database_and_role() {
    let mut bench = Bench::new("SELECT 1", SPEC).await;
    let mut digests = Vec::new();
    let icu = if bench.number("current_setting('server_version_num')::int").await >= 150_000 {
        "TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de-DE' LOCALE 'C.UTF-8' ENCODING 'UTF8'"
    } else {
        "TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'"
    };
    for (made, settings) in [
        ("TEMPLATE template0 LOCALE 'C' ENCODING 'UTF8'", &[][..]),
        (
            "TEMPLATE template0 LOCALE 'C.UTF-8' ENCODING 'UTF8'",
            &["TimeZone = 'America/St_Johns'", "DateStyle = 'German, DMY'", "IntervalStyle = 'iso_8601'"][..],
        ),
        (
            icu,
            &[
                "TimeZone = 'Asia/Tokyo'",
                "bytea_output = 'escape'",
                "extra_float_digits = -15",
                "search_path = 'pg_catalog'",
                "xmloption = 'document'",
            ][..],
        ),
        (
            "TEMPLATE template0 LOCALE 'C.UTF-8' ENCODING 'UTF8'",
            &[
                "DateStyle = 'SQL, DMY'",
                "IntervalStyle = 'sql_standard'",
                "default_transaction_isolation = 'serializable'",
                "enable_hashjoin = off",
                "enable_nestloop = off",
                "enable_sort = off",
                "jit = off",
            ][..],
        ),
    ] {
        let database = Server::fresh_name("same");
        admin(Server::shared(), &format!("CREATE DATABASE {database} {made}")).await;
        for setting in settings {
            admin(Server::shared(), &format!("ALTER DATABASE {database} SET {setting}")).await;
        }
        bench.credentials.database = database;
        bench.sql(SETUP).await;
        for range in [3, 100_000] {
            let plan = bench.plan_by(range).await.unwrap();
            assert!(plan.will_write > 40 && plan.lost > 0, "{plan:?}");
            assert!(plan.remarks.iter().all(|remark| !remark.contains("depend on the server")), "{:?}", plan.remarks);
            digests.push(plan.rows_digest);
        }
        let plan = bench.plan_by(13).await.unwrap();
        bench.claim().await;
        assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
        digests.push(bench.result().await.rows_digest);
    }
    digests.dedup();
    assert_eq!(digests.len(), 1, "{digests:?}");
    assert_eq!(digests[0], DIGEST, "another server than those that this was made on");
}

#[tokio::test]
async fn what_depends_on_the_server_is_marked_in_the_plan() {
    let bench = Bench::new(
        "CREATE TABLE w (id int PRIMARY KEY, a text, b text); INSERT INTO w VALUES (1, 'Ä')",
        "{source: {table: w, where: \"s.a < 'z' COLLATE \\\"de-x-icu\\\"\"}, writes: [{set: {b: lower(s.a)}}]}",
    )
    .await;
    let plan = bench.plan().await;
    let marked = plan.remarks.iter().find(|remark| remark.contains("depend on the server")).unwrap();
    assert!(marked.contains("lower") && marked.contains("COLLATE \"de-x-icu\""), "{marked}");
}
