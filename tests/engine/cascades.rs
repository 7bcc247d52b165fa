//! Deletes whose foreign keys cascade: planned, approved, written and put back row by row, or refused.

use crate::harness::{Bench, admin, credentials};
use crate::server::Server;
use backfill_operator::api::spec::Cascades;
use backfill_operator::engine::apply::Ending;
use std::time::Duration;

/// Projects with tasks, tasks with notes and hours: 3 of 5 projects are old.
const TABLES: &str = r#"
    CREATE TABLE projects (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, closed date);
    CREATE TABLE tasks (project int NOT NULL REFERENCES projects ON DELETE CASCADE, nr int, title text, PRIMARY KEY (project, nr));
    CREATE TABLE "Notes" (id bigint PRIMARY KEY, project int, task int, body text, size int GENERATED ALWAYS AS (length(body)) STORED,
        FOREIGN KEY (project, task) REFERENCES tasks (project, nr) ON DELETE CASCADE);
    CREATE TABLE hours (id int PRIMARY KEY, project int REFERENCES projects ON DELETE CASCADE, task int, n numeric,
        FOREIGN KEY (project, task) REFERENCES tasks (project, nr) ON DELETE CASCADE);
    INSERT INTO projects (name, closed) SELECT 'p' || n, CASE WHEN n % 5 < 3 THEN date '2020-01-01' END FROM generate_series(1, 100) n;
    INSERT INTO tasks SELECT p, n, E'töne, "q" \\ ' || n FROM generate_series(1, 100) p, generate_series(1, p % 4) n;
    INSERT INTO "Notes" (id, project, task, body) SELECT row_number() OVER (), project, nr, CASE WHEN nr % 2 = 0 THEN 'n' || nr END FROM tasks, generate_series(1, 2);
    INSERT INTO hours SELECT row_number() OVER (), project, nr, 1.50 FROM tasks;
    INSERT INTO hours SELECT 10000 + id, id, NULL, 2 FROM projects;"#;

const SPEC: &str = "
source: {table: projects, where: s.closed < '2021-01-01'}
writes: [{action: Delete, cascades: Capture}]
audit: {table: entries}
batch: {size: 10}";

const SUM: &str = r#"SELECT md5(concat((SELECT string_agg(x::text, '' ORDER BY id) FROM projects x), (SELECT string_agg(x::text, '' ORDER BY project, nr) FROM tasks x),
    (SELECT string_agg(x::text, '' ORDER BY id) FROM "Notes" x), (SELECT string_agg(x::text, '' ORDER BY id) FROM hours x)))"#;

#[tokio::test]
async fn rows_that_go_with_a_deleted_one_are_planned_deleted_and_put_back_to_the_bit() {
    let mut bench = Bench::new(TABLES, SPEC).await;
    let one = Bench::new(TABLES, SPEC).await;
    one.sql("DELETE FROM projects WHERE closed < '2021-01-01'").await;
    let before = bench.text(SUM).await;
    let gone =
        |table: &str, of: &str| format!("SELECT count(*) FROM {table} WHERE {of} IN (SELECT id FROM projects WHERE closed < '2021-01-01')");
    let mut wanted = Vec::new();
    for (table, of) in [("\"Notes\"", "project"), ("hours", "project"), ("tasks", "project"), ("projects", "id")] {
        wanted.push((table.trim_matches('"').to_owned(), bench.number(&gone(table, of)).await));
    }
    let plan = bench.plan_by(7).await.unwrap();
    assert_eq!(plan.will_write, 60);
    assert_eq!(plan.rows_digest, bench.plan_by(1000).await.unwrap().rows_digest);
    // Hours are reached on two ways: by the project, and by its tasks.
    let mut planned: std::collections::BTreeMap<String, i64> = std::collections::BTreeMap::new();
    for write in &plan.writes {
        assert_eq!((write.updates, write.inserts), (0, 0));
        *planned.entry(write.table.clone()).or_default() += write.deletes;
    }
    assert_eq!(planned, wanted.iter().cloned().collect());
    assert!(
        plan.remarks.iter().any(|remark| remark.contains("rows of tasks are deleted with those of projects (ON DELETE CASCADE)")),
        "{:?}",
        plan.remarks
    );
    let plan = bench.plan_by(7).await.unwrap();
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    assert_eq!(bench.text(SUM).await, one.text(SUM).await, "as one statement would");
    let result = bench.result().await;
    assert_eq!((result.written, result.drifted, result.quarantined), (60, 0, 0));
    assert_eq!(result.rows_digest, plan.rows_digest);
    assert!(result.batches > 10, "{} batches: what goes with a row counts", result.batches);
    for (table, rows) in &wanted {
        let entries = format!(
            "SELECT count(DISTINCT key) FROM entries WHERE action = 'Delete' AND table_name = 'public.' || quote_ident('{table}') OR table_name = '\"public\".\"{table}\"'"
        );
        assert_eq!(bench.number(&entries).await, *rows, "{table}");
    }
    let model = bench.model().await.unwrap();
    backfill_operator::engine::verify::publish(&mut bench.connect().await, &bench.ledger(), &model, None).await.unwrap();
    assert_eq!(bench.number("SELECT count(id) FROM backfill.written").await, 60, "the view has the rows of the write that the spec names");
    let uid = bench.run.uid.clone();
    bench.run.uid = uid.replace("4000", "4001");
    assert_eq!(bench.plan().await.will_write, 0);
    bench.run.uid = uid;
    let undone = bench.undo().await;
    assert_eq!((undone.undone, undone.skipped), (60, 0), "{:?}", undone.skipped_keys);
    assert_eq!(bench.text(SUM).await, before);
}

#[tokio::test]
async fn a_deleted_row_with_other_companions_than_planned_stays_whole() {
    let mut bench = Bench::new(TABLES, SPEC).await;
    bench.spec.drift.max_percent = 20;
    let plan = bench.plan_by(9).await.unwrap();
    bench.claim().await;
    bench
        .sql(
            "INSERT INTO tasks VALUES (1, 9, 'new'); UPDATE tasks SET title = 'edited' WHERE project = 2 AND nr = 1;
             DELETE FROM hours WHERE id = 10005; UPDATE hours SET n = 3 WHERE id = 10006;",
        )
        .await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let result = bench.result().await;
    assert_eq!((result.drifted_keys, result.written), (["1", "2", "5", "6"].map(str::to_owned).to_vec(), 56));
    assert_eq!(bench.number("SELECT count(*) FROM tasks WHERE project IN (1, 2, 5, 6)").await, 1 + 1 + 2 + 1 + 2);
    assert_eq!(bench.undo().await.undone, 56);
}

#[tokio::test]
async fn drift_of_companions_counts_before_the_first_write() {
    let bench = Bench::new(TABLES, SPEC).await;
    let plan = bench.plan_by(9).await.unwrap();
    bench.claim().await;
    bench.sql("INSERT INTO tasks SELECT id, 9, 'new' FROM projects WHERE id < 8").await;
    let before = bench.text(SUM).await;
    let error = bench.apply(&plan).await.unwrap_err().to_string();
    assert!(error.contains("changed since the plan"), "{error}");
    assert_eq!(bench.text(SUM).await, before);
}

#[tokio::test]
async fn a_companion_that_comes_while_the_row_is_deleted_keeps_it() {
    for write in ["{action: Delete, cascades: Capture}", "{table: projects, match: t.id = s.id, action: Delete, cascades: Capture}"] {
        let mut bench = Bench::new(TABLES, &SPEC.replace("{action: Delete, cascades: Capture}", write)).await;
        bench.spec.drift.max_percent = 20;
        let plan = bench.plan().await;
        bench.claim().await;
        let mut application = bench.connect().await;
        for sql in ["BEGIN", "INSERT INTO tasks VALUES (40, 9, 'just now')", "UPDATE \"Notes\" SET body = 'x' WHERE project = 31"] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut application).await.unwrap();
        }
        let commit = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            sqlx::query("COMMIT").execute(&mut application).await.unwrap();
        };
        let (ending, ()) = tokio::join!(bench.apply(&plan), commit);
        ending.unwrap();
        let result = bench.result().await;
        assert_eq!((result.written, result.drifted_keys), (58, vec!["31".to_owned(), "40".to_owned()]), "{write}");
        assert_eq!(bench.number("SELECT count(*) FROM tasks WHERE project = 40").await, 1);
        assert_eq!(bench.number("SELECT count(*) FROM \"Notes\" WHERE project = 31 AND body = 'x'").await, 6);
        assert_eq!(bench.undo().await.undone, 58);
    }
}

#[tokio::test]
async fn without_capture_a_row_that_others_go_with_fails_the_plan_and_so_does_one_that_something_else_refers_to() {
    let mut bench = Bench::new(TABLES, SPEC).await;
    bench.spec.writes[0].cascades = Cascades::Refuse;
    let error = bench.plan_by(10).await.unwrap_err().to_string();
    assert!(error.contains("of projects cannot be deleted: rows of"), "{error}");
    bench.spec.writes[0].cascades = Cascades::Capture;
    bench.sql("CREATE TABLE reviews (id int PRIMARY KEY, note bigint REFERENCES \"Notes\"); INSERT INTO reviews SELECT 1, min(id) FROM \"Notes\" WHERE project = 5").await;
    let error = bench.plan_by(10).await.unwrap_err().to_string();
    assert!(error.contains("of Notes cannot be deleted: rows of reviews refer to it"), "{error}");
}

#[tokio::test]
async fn keys_that_cascade_in_a_circle_are_refused_and_named() {
    let setup = "CREATE TABLE tree (id int PRIMARY KEY, above int REFERENCES tree ON DELETE CASCADE)";
    let bench = Bench::new(setup, "{source: {table: tree}, writes: [{action: Delete, cascades: Capture}]}").await;
    let error = bench.model().await.unwrap_err();
    assert_eq!(error.reason(), "CascadeInACircle");
    assert!(error.to_string().contains("the foreign keys to tree"), "{error}");
}

#[tokio::test]
async fn the_rights_that_a_delete_takes_are_named_with_their_grants_and_are_enough() {
    let bench = Bench::new(TABLES, SPEC).await;
    // Before 15 everybody may create there.
    bench.sql("REVOKE CREATE ON SCHEMA public FROM PUBLIC").await;
    let (bench, granted) = as_a_role_with_what_is_named(bench).await;
    assert!(granted.iter().any(|grant| grant.contains("CREATE ON SCHEMA public")), "for the table of entries: {granted:?}");
    let plan = bench.through().await;
    assert_eq!((bench.result().await.written, plan.will_write), (60, 60));
    assert_eq!(bench.undo().await.undone, 60);
}

/// The run as a role that has been granted what the run says that it lacks, and nothing else.
pub async fn as_a_role_with_what_is_named(mut bench: Bench) -> (Bench, Vec<String>) {
    let role = Server::fresh_name("deleter");
    admin(Server::shared(), &format!("CREATE ROLE {role} LOGIN")).await;
    let database = bench.credentials.database.clone();
    bench.sql(&format!("GRANT CREATE ON DATABASE {database} TO {role}")).await;
    let owner = std::mem::replace(&mut bench.credentials, credentials(Server::shared(), &database, &role));
    // What is named is granted, until nothing is missing.
    let mut granted = Vec::new();
    loop {
        let found = match bench.model().await {
            Ok(model) => model.require_writable(&mut bench.connect().await).await.map(|()| drop(model)),
            Err(error) => Err(error),
        };
        let Err(error) = found else { break };
        let text = error.to_string();
        let (_, grants) = text.split_once("run: ").unwrap_or_else(|| panic!("{text}"));
        assert!(granted.len() < 25 && !granted.contains(&grants.to_owned()), "{text}");
        granted.push(grants.to_owned());
        let writer = std::mem::replace(&mut bench.credentials, owner.clone());
        bench.sql(grants).await;
        bench.credentials = writer;
    }
    (bench, granted)
}

#[tokio::test]
async fn rows_that_the_role_does_not_see_are_not_taken_along() {
    let mut bench = Bench::new(TABLES, SPEC).await;
    let role = Server::fresh_name("tenant");
    bench.sql(&format!("CREATE ROLE {role} LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; ALTER TABLE hours ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON hours USING (n < 2)")).await;
    bench.credentials.username = role;
    let error = bench.model().await.unwrap_err();
    assert_eq!(error.reason(), "ReferringRowsHidden");
    assert!(error.to_string().contains("rows of hours"), "{error}");
}
