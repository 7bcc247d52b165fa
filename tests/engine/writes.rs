//! Several writes of one source row, and what counts as written.

use crate::harness::Bench;
use backfill_operator::engine::plan::PlanError;

const TABLES: &str = "
    CREATE TABLE orders (id int PRIMARY KEY, customer int, total int, note text, audit jsonb);
    CREATE TABLE customers (id int PRIMARY KEY, orders int, note text);
    CREATE TABLE invoices (id int PRIMARY KEY, order_id int UNIQUE, total int);
    INSERT INTO customers SELECT n, 0 FROM generate_series(1, 40) n;
    INSERT INTO orders SELECT n, n, n * 10 FROM generate_series(1, 40) n;
    INSERT INTO invoices SELECT n + 1000, n FROM generate_series(1, 40) n WHERE n % 4 <> 0";

const SPEC: &str = "
source: {table: orders}
writes:
  - {table: customers, match: t.id = s.customer, onlyIf: s.id % 2 = 0, set: {orders: t.orders + 1}}
  - {table: invoices, match: t.order_id = s.id, set: {total: s.total}}
  - {onlyIf: s.id > 30, set: {note: \"'checked ' || s.id\"}}
audit: {column: audit, path: [run]}
batch: {size: 9}";

#[tokio::test]
async fn each_write_stands_for_itself_and_the_row_has_one_audit_entry() {
    let bench = Bench::new(TABLES, SPEC).await;
    let sum = "SELECT md5((SELECT string_agg(o::text, '' ORDER BY id) FROM orders o) || (SELECT string_agg(c::text, '' ORDER BY id) FROM customers c) || (SELECT string_agg(i::text, '' ORDER BY id) FROM invoices i))";
    let before = bench.text(sum).await;
    let plan = bench.through().await;
    assert_eq!((plan.will_write, plan.no_match), (40, 0), "4 of 4 have a customer's count or an invoice");
    assert_eq!(bench.number("SELECT sum(orders) FROM customers").await, 20);
    assert_eq!(bench.number("SELECT count(*) FROM invoices WHERE total = order_id * 10").await, 30);
    assert_eq!(bench.number("SELECT count(*) FROM orders WHERE note = 'checked ' || id").await, 10);
    assert_eq!(bench.number("SELECT count(*) FROM orders WHERE audit #>> '{run,result}' = 'written'").await, 40);
    let kept = |action: &str| format!("SELECT sum(cardinality(hashes)) FROM backfill.undo WHERE role = 'row' AND action = '{action}'");
    assert_eq!(bench.number(&kept("Update")).await, 60);
    assert_eq!(bench.number(&kept("Entry")).await, 40);
    assert_eq!(bench.undo().await.undone, 40);
    assert_eq!(bench.text(sum).await, before);
}

#[tokio::test]
async fn two_writes_that_meet_in_one_row_are_refused_across_writes_too() {
    let mut bench = Bench::new(TABLES, SPEC).await;
    bench.spec.writes[1].table = Some("customers".into());
    bench.spec.writes[1].matches = Some("t.id = s.customer".into());
    bench.spec.writes[1].set = [("note".to_owned(), "'x'".to_owned())].into();
    let error = bench.plan_by(10).await.unwrap_err();
    assert!(matches!(error, PlanError::TargetWrittenTwice { .. }), "{error}");
}

#[tokio::test]
async fn a_row_that_somebody_comes_to_refer_to_is_not_deleted_and_takes_nothing_with_it() {
    let setup = "
        CREATE TABLE parents (id int PRIMARY KEY, name text);
        CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE CASCADE);
        CREATE TABLE notes (id int PRIMARY KEY, parent int REFERENCES parents ON DELETE SET NULL);
        INSERT INTO parents SELECT n, 'p' || n FROM generate_series(1, 200) n";
    for write in ["{action: Delete}", "{action: Delete, table: parents, match: t.id = s.id}"] {
        let mut bench = Bench::new(setup, &format!("{{source: {{table: parents}}, writes: [{write}], batch: {{size: 20}}}}")).await;
        bench.spec.drift.max_percent = 10;
        let plan = bench.plan().await;
        bench.claim().await;
        let mut application = bench.connect().await;
        for sql in ["BEGIN", "INSERT INTO children VALUES (1, 150)", "INSERT INTO notes VALUES (1, 77)"] {
            sqlx::query(sql).execute(&mut application).await.unwrap();
        }
        let commit = async {
            tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
            sqlx::query("COMMIT").execute(&mut application).await.unwrap();
        };
        let (ending, ()) = tokio::join!(bench.apply(&plan), commit);
        ending.unwrap();
        let result = bench.result().await;
        assert_eq!((result.written, result.drifted_keys), (198, vec!["77".to_owned(), "150".to_owned()]), "{write}");
        assert_eq!(bench.number("SELECT count(*) FROM children WHERE parent = 150").await, 1, "{write}");
        assert_eq!(bench.number("SELECT count(*) FROM notes WHERE parent = 77").await, 1, "{write}");
        assert_eq!(bench.undo().await.undone, 198);
        assert_eq!(bench.number("SELECT count(*) FROM parents WHERE name = 'p' || id").await, 200);
    }
}

#[tokio::test]
async fn an_insert_that_finds_its_row_updates_it_or_fails_the_plan_as_it_is_told() {
    let setup = "
        CREATE TABLE customers (id int PRIMARY KEY);
        CREATE TABLE names (id int PRIMARY KEY, name text);
        CREATE TABLE vip (customer int);
        CREATE TABLE orders (id int PRIMARY KEY, customer int, amount numeric(8,2));
        CREATE TABLE totals (nr bigint GENERATED ALWAYS AS IDENTITY, customer int UNIQUE NOT NULL, name varchar(20), amount numeric(10,2), kept text, at timestamptz);
        INSERT INTO customers SELECT n FROM generate_series(1, 120) n;
        INSERT INTO names SELECT n, 'näme ' || n FROM generate_series(1, 120) n WHERE n % 3 <> 0;
        INSERT INTO vip SELECT 1 + n % 100 FROM generate_series(1, 150) n;
        INSERT INTO orders SELECT n, n % 90, n / 7.0 FROM generate_series(1, 500) n;
        INSERT INTO totals (customer, amount, kept) SELECT n, n, 'kept ' || n FROM generate_series(1, 120) n WHERE n % 4 = 0;
        INSERT INTO totals (customer, name, amount) VALUES (99, '?', 0)";
    let spec = "
source:
  table: customers
  joins:
    - {as: o, query: SELECT sum(amount) AS amount FROM orders WHERE orders.customer = s.id}
    - {as: n, type: Left, table: names, match: n.id = s.id}
    - {as: v, type: Semi, table: vip, match: v.customer = s.id}
writes:
  - table: totals
    action: Insert
    onConflict: {key: [customer], mode: Update}
    set: {customer: s.id, name: \"coalesce(n.name, '?')\", amount: \"coalesce(o.amount, 0)\", at: now()}
batch: {size: 8}";
    let mut bench = Bench::new(setup, spec).await;
    let sum = "SELECT md5(string_agg(ROW(customer, name, amount, kept)::text, '' ORDER BY customer)) FROM totals";
    let exact = "SELECT md5(string_agg(t::text, '' ORDER BY customer)) FROM totals t";
    let before = bench.text(exact).await;
    let one = Bench::new(setup, spec).await;
    one.sql(
        "INSERT INTO totals (customer, name, amount)
             SELECT c.id, coalesce(n.name, '?'), (SELECT coalesce(sum(amount), 0) FROM orders o WHERE o.customer = c.id)
             FROM customers c LEFT JOIN names n USING (id) WHERE EXISTS (SELECT FROM vip WHERE vip.customer = c.id)
         ON CONFLICT (customer) DO UPDATE SET name = excluded.name, amount = excluded.amount",
    )
    .await;
    let plan = bench.through().await;
    assert_eq!(bench.text(sum).await, one.text(sum).await);
    assert_eq!((plan.writes[0].updates, plan.writes[0].inserts, plan.already_done, plan.no_match), (25, 74, 1, 20));
    assert_eq!(bench.result().await.rows_digest, plan.rows_digest);
    assert_eq!(bench.number("SELECT count(*) FROM totals WHERE at IS NOT NULL").await, plan.will_write);
    let uid = bench.run.uid.clone();
    bench.run.uid = uid.replace("4000", "4001");
    assert_eq!(bench.plan().await.will_write, 0);
    bench.run.uid = uid;
    assert_eq!(bench.undo().await.undone, 99);
    assert_eq!(bench.text(exact).await, before);

    bench.spec.writes[0].on_conflict.as_mut().unwrap().mode = backfill_operator::api::spec::ConflictMode::Fail;
    let error = bench.plan_by(10).await.unwrap_err().to_string();
    assert!(error.contains("the row 4 of totals is there already (for the source row 4)"), "{error}");
}
