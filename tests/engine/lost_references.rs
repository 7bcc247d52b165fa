//! Deletes of rows that others refer to with `ON DELETE SET NULL` and `SET DEFAULT`: what is left behind is planned, written and
//! put back like the deleted row itself.

use crate::harness::{Bench, Direct};
use backfill_operator::engine::apply::Ending;
use backfill_operator::engine::model::ModelError;
use backfill_operator::engine::undo;
use std::time::Duration;

/// People of whom 20 of 60 have left; what they wrote stays, but for their comments. Person 0 stands for nobody.
const TABLES: &str = "
    CREATE TABLE people (id int PRIMARY KEY, gone date, mentor int REFERENCES people ON DELETE SET NULL);
    CREATE TABLE posts (id int PRIMARY KEY, author int REFERENCES people ON DELETE SET NULL,
        editor int DEFAULT 0 REFERENCES people ON DELETE SET DEFAULT, title text, edits int NOT NULL DEFAULT 0);
    CREATE TABLE comments (id int PRIMARY KEY, person int REFERENCES people ON DELETE CASCADE,
        reply_to int REFERENCES comments ON DELETE SET NULL, body text);
    CREATE TABLE likes (id int PRIMARY KEY, person int REFERENCES people ON DELETE CASCADE, comment int REFERENCES comments ON DELETE SET NULL);
    CREATE TABLE messages (id int PRIMARY KEY, sender int REFERENCES people ON DELETE SET NULL, recipient int REFERENCES people ON DELETE SET NULL);
    CREATE FUNCTION count_edits() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.edits := OLD.edits + 1; RETURN NEW; END';
    INSERT INTO people SELECT n, CASE WHEN n % 3 = 1 THEN date '2020-01-01' END, NULL FROM generate_series(0, 59) n;
    UPDATE people SET mentor = CASE WHEN id = 1 THEN 1 ELSE (id + 1) % 60 END WHERE id % 3 <> 1 OR id = 1;
    INSERT INTO posts SELECT n, n % 60, (n * 7) % 60, 'post ' || n FROM generate_series(1, 150) n;
    INSERT INTO comments SELECT n, n % 60, NULL, 'comment ' || n FROM generate_series(1, 180) n;
    UPDATE comments SET reply_to = CASE WHEN id % 2 = 0 THEN id % 60 + 60 ELSE 3 * (id / 4) + 1 END WHERE id > 120 AND (id % 2 = 0 OR id % 3 <> 1);
    INSERT INTO likes SELECT n, n % 60, CASE WHEN n % 3 = 1 THEN n % 60 + 60 ELSE 1 + n % 180 END FROM generate_series(1, 120) n;
    INSERT INTO messages SELECT n, n % 60, (n * n) % 60 FROM generate_series(1, 120) n;
    CREATE TRIGGER edits BEFORE UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION count_edits();";

const SPEC: &str = "
source: {table: people, where: s.gone < '2021-01-01'}
writes: [{action: Delete, cascades: Capture}]
audit: {table: entries}
batch: {size: 12}";

const SUM: &str = "SELECT md5(concat((SELECT string_agg(x::text, '' ORDER BY id) FROM people x), (SELECT string_agg(x::text, '' ORDER BY id) FROM posts x),
    (SELECT string_agg(x::text, '' ORDER BY id) FROM comments x), (SELECT string_agg(x::text, '' ORDER BY id) FROM likes x),
    (SELECT string_agg(x::text, '' ORDER BY id) FROM messages x)))";

/// The same without the column that a trigger counts up on the way there and on the way back.
fn sum() -> String {
    SUM.replace(
        "string_agg(x::text, '' ORDER BY id) FROM posts",
        "string_agg((id, author, editor, title)::text, '' ORDER BY id) FROM posts",
    )
}

#[tokio::test]
async fn references_are_planned_lost_and_put_back_to_the_bit() {
    let mut bench = Bench::new(TABLES, SPEC).await;
    let one = Bench::new(TABLES, SPEC).await;
    let before = bench.text(&sum()).await;
    let gone = "(SELECT id FROM people WHERE gone < '2021-01-01')";
    let losing = |table: &str, column: &str| format!("SELECT count(*) FROM {table} WHERE {column} IN {gone}");
    let authors = bench.number(&losing("posts", "author")).await + bench.number(&losing("posts", "editor")).await;
    let messages = bench.number(&losing("messages", "sender")).await + bench.number(&losing("messages", "recipient")).await;
    let mentors = bench.number(&format!("{} AND id NOT IN {gone}", losing("people", "mentor"))).await;
    let both = "SELECT count(*) FROM messages WHERE sender <> recipient AND";
    assert!(bench.number(&format!("{both} sender IN {gone} AND recipient IN {gone}")).await > 0, "lost by two runs of the pen");
    assert!(bench.number(&format!("SELECT count(*) FROM messages WHERE sender = recipient AND sender IN {gone}")).await > 0);
    assert!(
        bench
            .number(&format!(
                "SELECT count(*) FROM comments c JOIN comments r ON c.reply_to = r.id AND c.person = r.person WHERE c.person IN {gone}"
            ))
            .await
            > 0
    );
    one.sql("DELETE FROM people WHERE gone < '2021-01-01'").await;

    let plan = bench.plan_by(3).await.unwrap();
    assert_eq!((plan.will_write, plan.rows_digest.clone()), (20, bench.plan_by(1000).await.unwrap().rows_digest));
    let updates = |table: &str| plan.writes.iter().filter(|write| write.table == table).map(|write| write.updates).sum::<i64>();
    assert_eq!((updates("posts"), updates("messages"), updates("people")), (authors, messages, mentors));
    for remark in [
        "rows of posts that stay lose their reference to deleted ones (ON DELETE SET NULL or SET DEFAULT of editor)",
        "posts has BEFORE triggers (edits)",
    ] {
        assert!(plan.remarks.iter().any(|found| found.contains(remark)), "{remark}: {:?}", plan.remarks);
    }
    let plan = bench.plan_by(3).await.unwrap();
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    assert_eq!(bench.text(SUM).await, one.text(SUM).await, "as one statement would, triggers and all");
    let result = bench.result().await;
    assert_eq!((result.written, result.drifted, result.quarantined, &result.rows_digest), (20, 0, 0, &plan.rows_digest));
    assert!(result.batches > 5, "{} batches: what is left behind counts", result.batches);
    let entries = "SELECT count(*) FROM entries WHERE table_name LIKE '%messages%' AND action = 'Update'";
    assert_eq!(bench.number(entries).await, bench.number("SELECT count(*) FROM messages WHERE sender IS NULL OR recipient IS NULL").await);
    let uid = bench.run.uid.clone();
    bench.run.uid = uid.replace("4000", "4001");
    assert_eq!(bench.plan().await.will_write, 0);
    bench.run.uid = uid;
    let undone = bench.undo().await;
    assert_eq!((undone.undone, undone.skipped), (20, 0), "{:?}", undone.skipped_keys);
    assert_eq!(bench.text(&sum()).await, before);
}

#[tokio::test]
async fn a_deleted_row_stays_whole_where_others_refer_to_it_than_planned_and_other_columns_of_those_may_change() {
    let mut bench = Bench::new(TABLES, SPEC).await;
    bench.spec.drift.max_percent = 30;
    let plan = bench.plan_by(9).await.unwrap();
    bench.claim().await;
    bench
        .sql(
            "UPDATE posts SET author = 2 WHERE id = 1; INSERT INTO posts (id, author) VALUES (1000, 4); DELETE FROM posts WHERE id = 7;
             UPDATE posts SET title = 'edited' WHERE id = 10; UPDATE posts SET author = NULL WHERE id = 13",
        )
        .await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let result = bench.result().await;
    // Post 7 was edited by person 49.
    assert_eq!((result.drifted_keys, result.written), (["1", "4", "7", "13", "49"].map(str::to_owned).to_vec(), 15));
    assert_eq!(bench.number("SELECT count(*) FROM posts WHERE author IN (4, 7)").await, 3 + 1 + 2);
    assert_eq!(bench.text("SELECT title FROM posts WHERE id = 10 AND author IS NULL").await.as_deref(), Some("edited"));
    assert_eq!(bench.undo().await.undone, 15);
    assert_eq!(bench.text("SELECT author || title FROM posts WHERE id = 10").await.as_deref(), Some("10edited"));
}

#[tokio::test]
async fn too_many_other_references_are_seen_before_the_first_write() {
    let bench = Bench::new(TABLES, SPEC).await;
    let plan = bench.plan_by(9).await.unwrap();
    bench.claim().await;
    bench.sql("UPDATE posts SET author = 2 WHERE id % 3 = 1").await;
    let before = bench.text(SUM).await;
    let error = bench.apply(&plan).await.unwrap_err().to_string();
    assert!(error.contains("20 of 20 planned rows changed since the plan"), "{error}");
    assert_eq!(bench.text(SUM).await, before);
}

#[tokio::test]
async fn a_reference_that_comes_while_the_row_is_deleted_keeps_it() {
    for write in ["{action: Delete, cascades: Capture}", "{table: people, match: t.id = s.id, action: Delete, cascades: Capture}"] {
        let mut bench = Bench::new(TABLES, &SPEC.replace("{action: Delete, cascades: Capture}", write)).await;
        bench.spec.drift.max_percent = 20;
        let plan = bench.plan().await;
        bench.claim().await;
        let mut application = bench.connect().await;
        for sql in [
            "BEGIN",
            "INSERT INTO posts (id, author) VALUES (1000, 40)",
            "UPDATE posts SET author = 2 WHERE id = 31",
            "UPDATE posts SET title = 'x' WHERE id = 22",
        ] {
            sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut application).await.unwrap();
        }
        let commit = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            sqlx::query("COMMIT").execute(&mut application).await.unwrap();
        };
        let (ending, ()) = tokio::join!(bench.apply(&plan), commit);
        ending.unwrap();
        let result = bench.result().await;
        assert_eq!((result.written, result.drifted_keys), (18, vec!["31".to_owned(), "40".to_owned()]), "{write}");
        assert_eq!(
            bench.number("SELECT count(*) FROM posts WHERE id = 1000 AND author = 40 OR id = 22 AND author IS NULL AND title = 'x'").await,
            2
        );
        assert_eq!(bench.undo().await.undone, 18);
    }
}

#[tokio::test]
async fn a_reference_that_the_application_set_since_is_not_taken_back_and_all_else_is() {
    let bench = Bench::new(TABLES, SPEC).await;
    let others = "SELECT string_agg((id, author, editor)::text, '' ORDER BY id) FROM posts WHERE id NOT IN (10, 13)";
    let before = bench.text(others).await;
    let rest = sum().replace("FROM posts x", "FROM posts x WHERE false");
    let before_of_rest = bench.text(&rest).await;
    bench.through().await;
    bench.sql("UPDATE posts SET author = 5 WHERE id = 10; DELETE FROM posts WHERE id = 13").await;
    let undone = bench.undo().await;
    let mut named = undone.skipped_keys.clone();
    named.sort();
    assert_eq!(
        (undone.undone, undone.skipped, named),
        (17, 3, ["10 (author)", "13 (row is gone)", "31 (row is gone)"].map(str::to_owned).to_vec())
    );
    assert_eq!(bench.number("SELECT author FROM posts WHERE id = 10").await, 5);
    assert_eq!(bench.text(others).await, before);
    assert_eq!(bench.text(&rest).await, before_of_rest, "people, and what went with them");
    let not_as_before = undo::not_as_before(&Direct(bench.credentials.clone()), &bench.ledger()).await.unwrap();
    // The trigger counts up what the way back writes, too; that column was none of the run's.
    assert_eq!(not_as_before, 0);
}

#[tokio::test]
async fn a_row_that_loses_its_reference_to_one_and_goes_itself_fails_the_plan_with_both_keys() {
    let bench = Bench::new(TABLES, SPEC).await;
    bench.sql("UPDATE people SET mentor = 7 WHERE id = 13").await;
    let error = bench.plan_by(10).await.unwrap_err().to_string();
    assert!(error.contains("the source rows 7 and 13 would write the same row"), "{error}");
}

#[tokio::test]
async fn what_cannot_lose_its_reference_stands_in_the_way() {
    let setup = "CREATE TABLE people (id int PRIMARY KEY); INSERT INTO people SELECT generate_series(1, 9);";
    let spec = "{source: {table: people, where: s.id > 2}, writes: [{action: Delete, cascades: Capture}]}";
    let cases = [
        "(id int PRIMARY KEY, person int NOT NULL REFERENCES people ON DELETE SET NULL)",
        "(person int PRIMARY KEY DEFAULT 1 REFERENCES people ON DELETE SET DEFAULT)",
        "(id int PRIMARY KEY, person int DEFAULT 5 REFERENCES people ON DELETE SET DEFAULT)",
    ];
    for case in cases {
        let child = format!(
            "CREATE TABLE pets {case}; INSERT INTO pets (person{}) SELECT 5{};",
            if case.contains("id int") { ", id" } else { "" },
            if case.contains("id int") { ", 1" } else { "" }
        );
        let bench = Bench::new(&format!("{setup}{child}"), spec).await;
        let error = bench.plan_by(10).await.unwrap_err().to_string();
        assert!(error.contains("the row 5 of people cannot be deleted: rows of pets refer to it"), "{case}: {error}");
    }
    let child = "CREATE SEQUENCE n; CREATE TABLE pets (id int PRIMARY KEY, person int DEFAULT nextval('n') REFERENCES people ON DELETE SET DEFAULT)";
    let error = Bench::new(&format!("{setup}{child}"), spec).await.model().await.unwrap_err();
    assert!(matches!(error, ModelError::ExpressionRefused { .. }) && error.to_string().contains("SET DEFAULT of pets.person"), "{error}");
    // Each of two that go refers to the other: neither can be first.
    let circle = "
        CREATE TABLE a (id int PRIMARY KEY, person int REFERENCES people ON DELETE CASCADE, b int);
        CREATE TABLE b (id int PRIMARY KEY, person int REFERENCES people ON DELETE CASCADE, a int REFERENCES a ON DELETE SET NULL);
        ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b ON DELETE SET NULL;";
    let error = Bench::new(&format!("{setup}{circle}"), spec).await.model().await.unwrap_err();
    assert_eq!(error.reason(), "CascadeInACircle", "{error}");
}

#[tokio::test]
async fn a_key_of_several_columns_loses_those_that_it_says() {
    let setup = "
        CREATE TABLE people (org int, id int, PRIMARY KEY (org, id));
        CREATE TABLE posts (id int PRIMARY KEY, org int NOT NULL, author int, FOREIGN KEY (org, author) REFERENCES people ON DELETE SET NULL (author));
        CREATE TABLE notes (id int PRIMARY KEY, org int DEFAULT 1, author int DEFAULT 1, FOREIGN KEY (org, author) REFERENCES people ON DELETE SET DEFAULT);
        INSERT INTO people SELECT 1 + n % 2, n FROM generate_series(1, 30) n; INSERT INTO people VALUES (1, 1);
        INSERT INTO posts SELECT n, 1 + n % 2, n FROM generate_series(1, 30) n; INSERT INTO notes SELECT * FROM posts;";
    let spec = "{source: {table: people, where: s.id > 10}, writes: [{action: Delete, cascades: Capture}], batch: {size: 4}}";
    let bench = Bench::new("", spec).await;
    if bench.number("SELECT current_setting('server_version_num')::int").await < 150_000 {
        return;
    }
    bench.sql(setup).await;
    let sum = "SELECT md5(concat((SELECT string_agg(x::text, '' ORDER BY id) FROM posts x), (SELECT string_agg(x::text, '' ORDER BY id) FROM notes x)))";
    let before = bench.text(sum).await;
    let one = Bench::new(setup, spec).await;
    one.sql("DELETE FROM people WHERE id > 10").await;
    bench.through().await;
    assert_eq!(bench.text(sum).await, one.text(sum).await);
    assert_eq!(bench.undo().await.undone, 20);
    assert_eq!(bench.text(sum).await, before);
}

#[tokio::test]
async fn the_rights_that_it_takes_are_named_with_their_grants_and_are_enough() {
    let bench = Bench::new(TABLES, SPEC).await;
    let (bench, granted) = crate::cascades::as_a_role_with_what_is_named(bench).await;
    assert!(granted.iter().any(|grant| grant.contains("UPDATE ON") && grant.contains("posts")), "{granted:?}");
    bench.through().await;
    assert_eq!(bench.undo().await.undone, 20);
}
