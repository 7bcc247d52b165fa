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
