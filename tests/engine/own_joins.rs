//! Joins of a write's own: what they find before the run, and what they find of what is written before for the same source row.

use crate::harness::{Bench, admin, credentials};
use crate::server::Server;
use backfill_operator::api::status::PlanStatus;
use backfill_operator::engine::apply::Ending;
use backfill_operator::engine::query::{self, Moment, Rows};
use std::time::Duration;

/// Rows of these tables, as one text.
async fn rows(bench: &Bench, tables: &[&str]) -> String {
    let mut all = String::new();
    for table in tables {
        let sql = format!("SELECT coalesce(string_agg(x::text, E'\\n' ORDER BY x::text COLLATE \"C\"), '') FROM {table} AS x");
        all += &bench.text(&sql).await.unwrap();
    }
    all
}

/// The run does what the statements do, as planned; a second pass writes nothing; undo leaves nothing behind.
async fn same_as(setup: &str, spec: &str, statements: &str, tables: &[&str]) -> PlanStatus {
    let (mut bench, one) = (Bench::new(setup, spec).await, Bench::new(setup, spec).await);
    one.sql(statements).await;
    let before = rows(&bench, tables).await;
    let digest = bench.plan_by(1000).await.unwrap().rows_digest;
    let plan = bench.plan_by(11).await.unwrap();
    assert_eq!(plan.rows_digest, digest);
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    assert_eq!(rows(&bench, tables).await, rows(&one, tables).await);
    let result = bench.result().await;
    assert_eq!((result.written, result.drifted, result.rows_digest), (plan.will_write, 0, digest));
    assert!(result.batches > 3, "{} batches", result.batches);
    let uid = bench.run.uid.clone();
    bench.run.uid = uid.replace("4000", "4001");
    assert_eq!(bench.plan().await.will_write, 0);
    bench.run.uid = uid;
    let undone = bench.undo().await;
    assert_eq!((undone.undone, undone.skipped), (plan.will_write, 0), "{:?}", undone.skipped_keys);
    assert_eq!(rows(&bench, tables).await, before);
    plan
}

const PEOPLE: &str = "
    CREATE TABLE accounts (id uuid PRIMARY KEY, email text NOT NULL UNIQUE, name varchar(20), logins int NOT NULL DEFAULT 0);
    CREATE TABLE signups (id int PRIMARY KEY, email text, name text, account uuid REFERENCES accounts, account_name text);
    INSERT INTO accounts SELECT md5('old' || n)::uuid, 'e' || n, 'known ' || n FROM generate_series(1, 60, 3) n;
    INSERT INTO signups SELECT n, CASE WHEN n % 7 <> 0 THEN 'e' || n END, 'new ' || n FROM generate_series(1, 60) n;";

#[tokio::test]
async fn a_join_finds_the_row_that_was_there_or_the_one_that_is_inserted_before() {
    let spec = "
source: {table: signups, where: s.email <> ''}
writes:
  - {table: accounts, action: Insert, onConflict: {key: [email]}, set: {id: md5(s.email)::uuid, email: s.email, name: s.name}}
  - joins: [{as: a, table: accounts, match: a.email = s.email}]
    set: {account: a.id, account_name: a.name}
batch: {size: 7}";
    let statements = "
        INSERT INTO accounts (id, email, name) SELECT md5(email)::uuid, email, name FROM signups WHERE email <> '' ON CONFLICT (email) DO NOTHING;
        UPDATE signups s SET account = a.id, account_name = a.name FROM accounts a WHERE a.email = s.email";
    let plan = same_as(PEOPLE, spec, statements, &["accounts", "signups"]).await;
    let [accounts, signups] = plan.writes.as_slice() else { panic!("{:?}", plan.writes) };
    assert_eq!((plan.will_write, accounts.inserts, signups.updates), (52, 35, 52));
}

#[tokio::test]
async fn a_join_finds_the_row_as_an_insert_before_leaves_it_where_that_one_updates() {
    let setup = "
        CREATE TABLE accounts (email text PRIMARY KEY, name varchar(20), logins int);
        CREATE TABLE signups (id int PRIMARY KEY, email text, name text, account_name text);
        INSERT INTO accounts SELECT 'e' || n, 'known ' || n, CASE WHEN n % 2 = 0 THEN n END FROM generate_series(1, 60, 3) n;
        INSERT INTO signups SELECT n, 'e' || n, 'new ' || n FROM generate_series(1, 60) n;";
    let spec = "
source: {table: signups}
writes:
  - table: accounts
    action: Insert
    onConflict: {key: [email], mode: Update}
    onlyIf: s.id <> 5 AND t.logins IS NULL
    set: {email: s.email, name: s.name, logins: s.id + 1000}
  - joins: [{as: a, table: accounts, match: a.email = s.email AND a.logins > 3}]
    set: {account_name: a.name || '/' || a.logins}
batch: {size: 7}";
    let statements = "
        INSERT INTO accounts AS t (email, name, logins) SELECT email, name, id + 1000 FROM signups WHERE id <> 5
            ON CONFLICT (email) DO UPDATE SET name = excluded.name, logins = excluded.logins WHERE t.logins IS NULL;
        UPDATE signups s SET account_name = a.name || '/' || a.logins FROM accounts a WHERE a.email = s.email AND a.logins > 3";
    let plan = same_as(setup, spec, statements, &["accounts", "signups"]).await;
    let [accounts, signups] = plan.writes.as_slice() else { panic!("{:?}", plan.writes) };
    assert_eq!((accounts.inserts, accounts.updates, signups.updates), (39, 10, 59));
}

#[tokio::test]
async fn a_join_finds_a_row_as_an_update_before_leaves_it_and_not_one_that_a_delete_before_removes() {
    let setup = "
        CREATE TABLE stock (sku text PRIMARY KEY, n int, at timestamptz DEFAULT '2026-01-01');
        CREATE TABLE moves (id int PRIMARY KEY, sku text UNIQUE, delta int, leaves int);
        CREATE TABLE drafts (id int PRIMARY KEY, move int, stale boolean);
        INSERT INTO stock SELECT 'k' || n, n FROM generate_series(1, 50) n;
        INSERT INTO moves SELECT n, 'k' || n, 1 + n % 5, CASE WHEN n % 10 = 0 THEN 7 END FROM generate_series(1, 55) n;
        INSERT INTO drafts SELECT n, 1 + n % 50, n <= 50 AND n % 3 > 0 FROM generate_series(1, 65) n;
        ALTER TABLE moves ADD COLUMN clean boolean, ADD COLUMN before int;";
    let spec = "
source: {table: moves, where: s.leaves IS NULL, joins: [{as: was, type: Left, table: stock, match: was.sku = s.sku}]}
writes:
  - {table: stock, match: t.sku = s.sku, onlyIf: s.delta <> 3, set: {n: t.n - s.delta, at: now()}}
  - {table: drafts, match: t.move = s.id AND t.stale, action: Delete}
  - joins:
      - {as: k, table: stock, match: k.sku = s.sku}
      - {as: d, type: Left, query: SELECT k.n - s.delta AS n}
      - {as: none, type: Anti, table: drafts, match: none.move = s.id}
    set: {leaves: k.n + d.n - d.n, before: was.n, clean: 'true'}
batch: {size: 7}";
    let statements = "
        CREATE TEMP TABLE old AS SELECT * FROM stock;
        UPDATE stock t SET n = t.n - s.delta, at = now() FROM moves s WHERE t.sku = s.sku AND s.leaves IS NULL AND s.delta <> 3;
        DELETE FROM drafts t USING moves s WHERE t.move = s.id AND t.stale AND s.leaves IS NULL;
        UPDATE moves s SET leaves = k.n, before = old.n, clean = true FROM stock k JOIN old USING (sku)
            WHERE k.sku = s.sku AND s.leaves IS NULL AND NOT EXISTS (SELECT FROM drafts d WHERE d.move = s.id)";
    let (bench, one) = (Bench::new(setup, spec).await, Bench::new(setup, spec).await);
    one.sql(statements).await;
    let tables = ["(SELECT sku, n FROM stock)", "moves", "drafts"];
    let before = rows(&bench, &["stock", "moves", "drafts"]).await;
    let plan = bench.plan_by(9).await.unwrap();
    assert_eq!(plan.rows_digest, bench.plan().await.rows_digest);
    let plan = PlanStatus { file_sha256: bench.plan_by(9).await.unwrap().file_sha256, ..plan };
    bench.claim().await;
    bench.apply(&plan).await.unwrap();
    assert_eq!(rows(&bench, &tables).await, rows(&one, &tables).await);
    let result = bench.result().await;
    assert_eq!((result.drifted, &result.rows_digest), (0, &plan.rows_digest));
    assert!(bench.number("SELECT count(*) FROM moves WHERE clean AND leaves <> before").await > 10);
    assert!(bench.number("SELECT count(*) FROM moves WHERE clean AND leaves = before").await > 3, "onlyIf of the update does not hold");
    assert!(bench.number("SELECT count(*) FROM moves WHERE clean IS NULL").await > 5, "a draft is left, or there is no stock");
    assert_eq!(bench.undo().await.skipped, 0);
    assert_eq!(rows(&bench, &["stock", "moves", "drafts"]).await, before);
}

#[tokio::test]
async fn such_a_join_finds_the_indexes_of_its_table() {
    let spec = "
source: {table: signups, where: s.email <> ''}
writes:
  - {table: accounts, action: Insert, onConflict: {key: [email], mode: Update}, set: {email: s.email, name: s.name}}
  - joins: [{as: a, table: accounts, match: a.email = s.email}]
    set: {account_name: a.name}";
    let setup = PEOPLE
        .replace("id uuid PRIMARY KEY, email text NOT NULL UNIQUE", "email text PRIMARY KEY, id uuid UNIQUE")
        .replace("REFERENCES accounts", "REFERENCES accounts (id)");
    let setup = setup.replace("SELECT md5('old' || n)::uuid, 'e' || n,", "SELECT 'e' || n, md5('old' || n)::uuid,");
    let bench =
        Bench::new(&format!("{setup} INSERT INTO accounts SELECT 'more ' || n FROM generate_series(1, 20000) n; ANALYZE;"), spec).await;
    let question = query::question(&bench.model().await.unwrap(), Rows::All, Moment::Plan);
    let sql = sqlx::AssertSqlSafe(query::explain(&question));
    let plan: serde_json::Value = sqlx::query_scalar(sql).fetch_one(&mut bench.connect().await).await.unwrap();
    let mut scans = Vec::new();
    nodes(&plan[0]["Plan"], &mut scans);
    let of_join: Vec<&(String, String)> =
        scans.iter().filter(|(alias, _)| alias.starts_with("a_") || alias == "a" || alias == "x").collect();
    assert!(of_join.len() >= 2 && of_join.iter().all(|(_, kind)| kind.starts_with("Index")), "{scans:?}");
}

/// Alias and kind of each scan of a table.
fn nodes(node: &serde_json::Value, scans: &mut Vec<(String, String)>) {
    if let (Some(alias), Some(kind)) = (node["Alias"].as_str(), node["Node Type"].as_str()) {
        scans.push((alias.to_owned(), kind.to_owned()));
    }
    for below in node["Plans"].as_array().into_iter().flatten() {
        nodes(below, scans);
    }
}

const ORDERS: &str = "
    CREATE TABLE rates (currency text, day date, rate numeric, PRIMARY KEY (currency, day));
    CREATE TABLE closed (day date PRIMARY KEY);
    CREATE TABLE orders (id int PRIMARY KEY, currency text, day date, amount numeric, euro numeric, note text);
    CREATE TABLE invoices (id int PRIMARY KEY, day date, euro numeric, rate numeric);
    INSERT INTO rates SELECT c, date '2026-01-01' + d, d + length(c) FROM unnest(ARRAY['a', 'bb']) c, generate_series(0, 9) d;
    INSERT INTO closed SELECT date '2026-01-01' + d FROM generate_series(0, 9, 4) d;
    INSERT INTO orders SELECT n, (ARRAY['a', 'bb', 'none'])[1 + n % 3], date '2026-01-01' + n % 10, n FROM generate_series(1, 90) n;
    INSERT INTO invoices SELECT n, date '2026-01-01' + n % 10 FROM generate_series(1, 90) n;";

const ORDERS_SPEC: &str = "
source: {table: orders}
writes:
  - joins:
      - {as: r, table: rates, match: '(r.currency, r.day) = (s.currency, s.day)'}
    set: {euro: s.amount / r.rate}
  - table: invoices
    joins:
      - {as: r, type: Left, query: 'SELECT max(x.rate) AS rate FROM rates x WHERE x.currency = s.currency'}
      - {as: open, type: Anti, table: closed, match: open.day = s.day}
      - {as: known, type: Semi, query: 'SELECT FROM rates x WHERE x.currency = s.currency OR s.id % 2 = 0'}
    match: t.id = s.id AND (r.rate IS NULL OR r.rate > 3)
    onlyIf: r.rate IS DISTINCT FROM 4
    set: {rate: 'coalesce(r.rate, -1)'}
audit: {table: entries}
batch: {size: 7}";

const ORDERS_SQL: &str = "
    UPDATE orders s SET euro = s.amount / r.rate FROM rates r WHERE (r.currency, r.day) = (s.currency, s.day);
    UPDATE invoices t SET rate = coalesce(m.rate, -1) FROM orders s, LATERAL (SELECT max(x.rate) AS rate FROM rates x WHERE x.currency = s.currency) m
        WHERE t.id = s.id AND NOT EXISTS (SELECT FROM closed c WHERE c.day = s.day) AND (s.currency <> 'none' OR s.id % 2 = 0)";

#[tokio::test]
async fn a_join_of_a_write_decides_for_that_write_alone() {
    let plan = same_as(ORDERS, ORDERS_SPEC, ORDERS_SQL, &["orders", "invoices", "rates"]).await;
    let [orders, invoices] = plan.writes.as_slice() else { panic!("{:?}", plan.writes) };
    assert_eq!((orders.updates, invoices.updates), (60, 48));
    assert!(plan.remarks.iter().any(|remark| remark.contains("the join known is a query")), "{:?}", plan.remarks);
}

#[tokio::test]
async fn a_join_that_finds_two_rows_fails_the_plan_with_key_and_name() {
    let bench = Bench::new(
        ORDERS,
        &ORDERS_SPEC.replace(
            "(r.currency, r.day) = (s.currency, s.day)",
            "r.currency = s.currency AND (r.day = s.day OR s.id = 12 AND r.rate = 1)",
        ),
    )
    .await;
    let error = bench.plan_by(10).await.unwrap_err().to_string();
    assert!(error.contains("for the source row 12 where at most one may be") && error.contains("the join r (narrow its match"), "{error}");
}

#[tokio::test]
async fn what_a_join_reads_is_held_against_the_plan() {
    let mut bench = Bench::new(ORDERS, ORDERS_SPEC).await;
    bench.spec.drift.max_percent = 50;
    let plan = bench.plan_by(10).await.unwrap();
    bench.claim().await;
    bench.sql("UPDATE rates SET rate = 77 WHERE currency = 'bb' AND day = '2026-01-02'; DELETE FROM rates WHERE currency = 'a' AND day = '2026-01-01'").await;
    bench.apply(&plan).await.unwrap();
    let result = bench.result().await;
    assert_eq!(result.drifted, bench.number("SELECT count(*) FROM orders s WHERE currency = 'a' AND day = '2026-01-01' OR currency = 'bb'").await - bench
        .number("SELECT count(*) FROM orders s WHERE currency = 'bb' AND day <> '2026-01-02' AND EXISTS (SELECT FROM closed c WHERE c.day = s.day)").await);
    assert_eq!(bench.number("SELECT count(*) FROM orders WHERE euro = amount / 77").await, 0);
}

#[tokio::test]
async fn a_row_that_is_written_meanwhile_is_judged_again_with_its_joins_under_a_lock() {
    let setup = PEOPLE;
    let spec = "
source: {table: signups, where: s.email <> ''}
writes:
  - {table: accounts, action: Insert, onConflict: {key: [email]}, set: {email: s.email, name: s.name, id: md5(s.email)::uuid}}
  - joins: [{as: a, table: accounts, match: a.email = s.email}]
    set: {account: a.id}
  - table: invoices
    joins: [{as: a, table: accounts, match: a.email = s.email}]
    match: t.account = a.name
    set: {n: s.id}";
    let mut bench = Bench::new(&format!("{setup} CREATE TABLE invoices (id int PRIMARY KEY, account text, n int); INSERT INTO invoices SELECT n, 'new ' || n FROM generate_series(1, 60) n;"), spec).await;
    bench.spec.drift.max_percent = 20;
    let plan = bench.plan_by(10).await.unwrap();
    bench.claim().await;
    let mut application = bench.connect().await;
    for sql in [
        "BEGIN",
        "UPDATE signups SET name = name WHERE id = 5",
        "UPDATE invoices SET account = 'other' WHERE id = 6",
        "UPDATE invoices SET account = account WHERE id = 9",
    ] {
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut application).await.unwrap();
    }
    let commit = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        sqlx::query("COMMIT").execute(&mut application).await.unwrap();
    };
    let (ending, ()) = tokio::join!(bench.apply(&plan), commit);
    ending.unwrap();
    let result = bench.result().await;
    assert_eq!((result.drifted_keys, result.written), (vec!["6".to_owned()], plan.will_write - 1));
    assert_eq!(
        bench.number("SELECT count(*) FROM signups s JOIN accounts a ON a.id = s.account AND a.email = s.email").await,
        plan.will_write - 1
    );
    assert_eq!(
        bench.number("SELECT count(*) FROM invoices WHERE n IS NOT NULL").await,
        bench.number("SELECT count(*) FROM signups s JOIN accounts a ON a.id = s.account AND a.name LIKE 'new%'").await
    );
    assert_eq!(bench.undo().await.skipped, 0);
}

#[tokio::test]
async fn what_cannot_be_planned_of_an_earlier_write_is_refused_with_the_reason() {
    let setup = format!(
        "{PEOPLE}
         CREATE TABLE notes (id int PRIMARY KEY, account uuid REFERENCES accounts ON DELETE CASCADE);
         CREATE TABLE whole (id int, part int, n int, PRIMARY KEY (id, part)) PARTITION BY LIST (part);
         CREATE TABLE whole_1 PARTITION OF whole FOR VALUES IN (1);
         CREATE TABLE touched (id int PRIMARY KEY, n int);
         CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.n := 1; RETURN NEW; END';
         CREATE TRIGGER t BEFORE UPDATE ON touched FOR EACH ROW EXECUTE FUNCTION touch();"
    );
    let insert = "{table: accounts, action: Insert, onConflict: {key: [email]}, set: {email: s.email, name: now()::text}}";
    let own = |join: &str, value: &str| format!("{{joins: [{join}], set: {{account_name: '{value}'}}}}");
    let accounts = "{as: a, table: accounts, match: a.email = s.email}";
    let cases = [
        (
            "",
            insert,
            own(accounts, "a.id::text"),
            "ValueNotPlannable",
            "a.id is not known when the run is planned, since backfill.sql.writes[0] writes rows of accounts",
        ),
        ("", insert, own(accounts, "a.name"), "ValueNotPlannable", "writes[1].set.account_name: a.name is not known"),
        (
            "",
            insert,
            own("{as: a, table: accounts, match: a.id = s.account}", "x"),
            "ValueNotPlannable",
            "writes[1].joins[0].match: a.id is not known",
        ),
        ("sensitiveData: {columns: [email]}", insert, own(accounts, "a.email"), "ValueNotPlannable", "a.email is not known"),
        (
            "",
            insert,
            own("{as: a, query: SELECT x.name FROM accounts x WHERE x.email = s.email}", "a.name"),
            "JoinNotPlannable",
            "writes[1].joins[0]: backfill.sql.writes[0] writes accounts before, and the query",
        ),
        (
            "",
            "{table: accounts, match: t.email = s.email, action: Delete, cascades: Capture}",
            own("{as: n, type: Left, table: notes, match: n.id = s.id}", "n.id::text"),
            "JoinNotPlannable",
            "writes notes before, and its rows go with deleted ones",
        ),
        (
            "",
            "{table: whole, match: t.id = s.id, set: {n: '1'}}",
            own("{as: p, table: whole_1, match: p.id = s.id}", "p.n::text"),
            "JoinNotPlannable",
            "the two tables share rows",
        ),
        (
            "",
            "{table: touched, match: t.id = s.id, set: {n: '2'}}",
            own("{as: p, table: touched, match: p.id = s.id}", "p.n::text"),
            "JoinNotPlannable",
            "a BEFORE trigger may change",
        ),
        (
            "",
            insert,
            own("{as: a, table: accounts, match: a.email = s.email}, {as: a, table: notes, match: a.id = s.id}", "x"),
            "AliasTwice",
            "writes[1].joins: the alias a is given twice",
        ),
        (
            "",
            insert,
            own("{as: a, table: accounts, match: a.nothing = s.email}", "x"),
            "ExpressionInvalid",
            "writes[1].joins[0].match: the server says",
        ),
        (
            "",
            insert,
            own("{as: a, table: notes, match: a.id = t.id}", "x"),
            "ExpressionInvalid",
            "writes[1].joins[0].match: the server says",
        ),
    ];
    for (more, first, second, reason, text) in cases {
        let spec = format!("{{source: {{table: signups}}, writes: [{first}, {second}], {more}}}");
        let bench = Bench::new(&setup, &spec).await;
        let error = bench.model().await.err().unwrap_or_else(|| panic!("{spec} is taken"));
        assert_eq!(error.reason(), reason, "{spec}: {error}");
        assert!(error.to_string().contains(text), "{spec}: {error}");
    }
    let many = "{source: {table: signups, joins: [{as: m, rows: Many, key: [n], query: 'SELECT n FROM generate_series(1, 2) n'}]}, writes: [WRITE, OWN]}";
    let bench = Bench::new(&setup, &many.replace("WRITE", insert).replace("OWN", &own(accounts, "a.email"))).await;
    let error = bench.model().await.unwrap_err().to_string();
    assert!(error.contains("a source row writes several rows, as a join has rows: Many"), "{error}");
}

#[tokio::test]
async fn the_table_of_a_join_must_be_readable() {
    let mut bench = Bench::new(ORDERS, ORDERS_SPEC).await;
    let role = Server::fresh_name("reader");
    admin(Server::shared(), &format!("CREATE ROLE {role} LOGIN")).await;
    bench.sql(&format!("GRANT SELECT ON orders, invoices, closed TO {role}")).await;
    bench.credentials = credentials(Server::shared(), &bench.credentials.database.clone(), &role);
    let error = bench.model().await.unwrap_err();
    assert_eq!(error.reason(), "PrivilegeMissing");
    assert!(
        error.to_string().contains("GRANT SELECT ON \"public\".\"rates\"") || error.to_string().contains("GRANT SELECT ON public.rates"),
        "{error}"
    );
}
