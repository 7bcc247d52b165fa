//! What cannot be captured is refused before the script begins, and what was not captured is told.

use super::{BOTH, TABLES, arm, back, bench, client, complaint, hash, left_over, of, run_script, script, settle};
use crate::harness::{Direct, admin};
use crate::server::Server;
use backfill_operator::api::spec::Capture;
use backfill_operator::engine::capture::{self, CaptureError};
use backfill_operator::engine::ledger::State;

#[tokio::test(flavor = "multi_thread")]
async fn tables_whose_rows_cannot_be_seen_or_found_again_are_refused_with_what_to_change() {
    let bench = bench(
        "CREATE TABLE plain (id int PRIMARY KEY); CREATE TABLE keyless (id int); CREATE VIEW seen AS SELECT 1;
         CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE part PARTITION OF parts DEFAULT;
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent);
         CREATE TABLE identified (id int NOT NULL UNIQUE); ALTER TABLE identified REPLICA IDENTITY USING INDEX identified_id_key",
    )
    .await;
    for (table, reason, words) in [
        ("missing", "TableMissing", "there is no table missing"),
        ("keyless", "KeyMissing", "ADD PRIMARY KEY"),
        ("seen", "NotCapturable", "a view"),
        ("parts", "NotCapturable", "a partitioned table"),
        ("part", "NotCapturable", "a partition"),
        ("parent", "NotCapturable", "by inheritance"),
        ("a b", "NameRefused", "a table"),
    ] {
        let error = arm(&bench, &of(&["plain", table])).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{table}: {error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let error = arm(&bench, &of(&["plain", "public.plain"])).await.unwrap_err();
    assert_eq!(error.reason(), "TableTwice");
    assert_eq!(left_over(&bench).await, 0, "nothing was put on");
    arm(&bench, &of(&["plain", "identified"])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_may_capture_and_a_role_that_others_use_tells_nothing() {
    let bench = bench(TABLES).await;
    let (role, script_role) = (Server::fresh_name("capture_writer"), Server::fresh_name("capture_script"));
    admin(Server::shared(), &format!("CREATE ROLE {role} LOGIN")).await;
    bench.sql(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")).await;
    let mut credentials = bench.credentials.clone();
    credentials.username.clone_from(&role);
    let mut connection = backfill_operator::engine::connector::Connector::connect(&Direct(credentials)).await.unwrap();
    let error = capture::find(&mut connection, "orders").await.unwrap_err();
    assert_eq!(error.reason(), "NotOwner");
    assert!(error.to_string().contains(&format!("GRANT postgres TO {role};")), "{error}");

    let with = |role: &str| Capture { role: Some(role.to_owned()), ..of(&BOTH) };
    assert_eq!(arm(&bench, &with("nobody_at_all")).await.unwrap_err().reason(), "RoleMissing");
    let error = arm(&bench, &with("postgres")).await.unwrap_err();
    assert!(matches!(error, CaptureError::RoleShared { .. }), "{error}");
    // A session of the role is there already.
    let error = arm(&bench, &with(&role)).await.unwrap_err();
    assert!(matches!(error, CaptureError::RoleShared { .. }) && error.to_string().contains("backfill/test"), "{error}");
    drop(connection);

    admin(Server::shared(), &format!("CREATE ROLE {script_role} LOGIN")).await;
    bench.sql(&format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {script_role}")).await;
    let before = hash(&bench, &BOTH).await;
    arm(&bench, &with(&script_role)).await.unwrap();
    let update = "SET DateStyle = German; UPDATE orders SET title = 'by the role' WHERE id < 10";
    let unmarked = client(&bench, &script_role, update).spawn().unwrap();
    assert_eq!(complaint(unmarked), "", "a role without any right to the ledger");
    assert_eq!(complaint(script(&bench, "UPDATE orders SET title = 'of another role' WHERE id = 11")), "");
    let undone = back(&bench).await;
    assert_eq!((undone.undone, undone.skipped), (9, 0), "{undone:?}");
    bench.sql("UPDATE orders SET title = 'Größe 11' WHERE id = 11").await;
    assert_eq!(hash(&bench, &BOTH).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncate_and_changed_definitions_are_told_and_do_not_stop_the_script() {
    let bench = bench(&format!("{TABLES}; CREATE TABLE log (id int PRIMARY KEY); INSERT INTO log VALUES (1)")).await;
    arm(&bench, &of(&["orders", "lines", "log"])).await.unwrap();
    run_script(
        &bench,
        "TRUNCATE log; INSERT INTO log VALUES (2); ALTER TABLE lines ADD COLUMN note text; UPDATE lines SET note = 'x' WHERE id < 10;
         ALTER TABLE lines DROP COLUMN amount CASCADE; ALTER TABLE orders DISABLE TRIGGER ALL; UPDATE orders SET title = 'in the dark'; ALTER TABLE orders ENABLE TRIGGER ALL",
    );
    let account = settle(&bench, State::Applied).await;
    let faults = account.faults();
    assert_eq!(faults.len(), 3, "{faults:?}");
    assert!(faults[0].starts_with("public.orders: its definition, or the triggers"), "{faults:?}");
    assert!(faults[1].starts_with("public.lines: its definition"), "{faults:?}");
    assert_eq!(faults[2], "public.log: the script emptied it by TRUNCATE");
    assert_eq!(account.tables[1].updated, 9, "what was seen is counted all the same: {account:?}");
    assert_eq!(settle(&bench, State::Applied).await, account, "the first look counts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_whose_driver_goes_past_the_mark_is_noticed() {
    let bench = bench(TABLES).await;
    arm(&bench, &of(&BOTH)).await.unwrap();
    assert_eq!(complaint(client(&bench, "postgres", "UPDATE orders SET title = 'unmarked' WHERE id < 10").spawn().unwrap()), "");
    let account = settle(&bench, State::Applied).await;
    assert!(account.unseen, "{account:?}");
    assert_eq!(account.tables[0].others, 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_finds_nothing_to_do_was_seen() {
    let bench = bench(TABLES).await;
    arm(&bench, &of(&BOTH)).await.unwrap();
    assert_eq!(complaint(client(&bench, "postgres", "UPDATE orders SET title = 'of the application' WHERE id < 10").spawn().unwrap()), "");
    run_script(&bench, "UPDATE orders SET title = 'x' WHERE id = -1");
    let account = settle(&bench, State::Applied).await;
    assert!(!account.unseen && account.rows() == 0, "{account:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_comes_after_the_end_is_refused_and_leftovers_go_with_the_next_claim() {
    let bench = bench(TABLES).await;
    arm(&bench, &of(&BOTH)).await.unwrap();
    settle(&bench, State::Applied).await;
    let said = complaint(script(&bench, "UPDATE orders SET title = 'late' WHERE id = 1"));
    assert!(said.contains("is over, or on its way back"), "{said}");
    assert_eq!(
        complaint(client(&bench, "postgres", "UPDATE orders SET title = 'app' WHERE id = 2").spawn().unwrap()),
        "",
        "the application is not"
    );

    // Nobody came to take the triggers off: another run does.
    assert!(left_over(&bench).await > 0);
    let mut other = bench.run.clone();
    other.uid = "another".into();
    let ledger = backfill_operator::engine::ledger::Ledger::of("backfill", &other);
    let mut connection = bench.connect().await;
    assert_eq!(capture::sweep(&mut connection, &bench.ledger()).await.unwrap(), None, "its own are no leftovers");
    assert_eq!(capture::sweep(&mut connection, &ledger).await.unwrap().as_deref(), Some(bench.run.uid.as_str()));
    assert_eq!(left_over(&bench).await, 0);
    let undone = back(&bench).await;
    assert_eq!(undone.undone, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_that_cannot_be_set_back_is_told() {
    let bench = bench(TABLES).await;
    arm(&bench, &of(&BOTH)).await.unwrap();
    run_script(&bench, "UPDATE orders SET id = DEFAULT, title = 'renumbered' WHERE id IN (298, 299)");
    let account = settle(&bench, State::Applied).await;
    assert_eq!(
        account.faults(),
        ["public.orders: the script gave rows another id, which is GENERATED ALWAYS AS IDENTITY"],
        "a child follows by itself: {account:?}"
    );
}
