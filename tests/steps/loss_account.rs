//! What a restore would lose, against what it then loses: on a real server, with an application that does everything there is.

use crate::support::pod::{Pod, RUN_UID, TABLES, spec};
use crate::support::postgres::{Database, Server, replicated, standby};
use backfill_operator::api::spec::BackfillRunSpec;
use backfill_operator::api::status::{LossStatus, Step};
use backfill_operator::protocol::LossReport;
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const ORDERS: &str = "CREATE TABLE \"Orders\" (id int PRIMARY KEY, note text); INSERT INTO \"Orders\" SELECT n, 'order ' || n FROM generate_series(1, 100) n;
    CREATE TABLE quiet (id int PRIMARY KEY); INSERT INTO quiet SELECT generate_series(1, 10);";

async fn run(connection: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

fn of<'a>(account: &'a LossReport, table: &str) -> &'a LossStatus {
    account.losses.iter().find(|loss| loss.table == table).unwrap_or_else(|| panic!("{table} in {:?}", account.losses))
}

fn tables(account: &LossReport) -> Vec<&str> {
    account.losses.iter().map(|loss| loss.table.as_str()).collect()
}

/// Each row by its key, as text.
async fn rows(database: &Database, table: &str) -> BTreeMap<String, String> {
    let mut connection = database.as_superuser().await;
    let sql = format!("SELECT id::text, t::text FROM {table} AS t");
    let rows: Vec<(String, String)> = sqlx::query_as(AssertSqlSafe(sql)).fetch_all(&mut connection).await.unwrap();
    rows.into_iter().collect()
}

/// How many rows of the one are not in the other.
fn not_in(rows: &BTreeMap<String, String>, others: &BTreeMap<String, String>) -> i64 {
    i64::try_from(rows.iter().filter(|(key, row)| others.get(*key) != Some(*row)).count()).unwrap()
}

fn script() -> BackfillRunSpec {
    let mut spec = spec("");
    let template = json!({"spec": {"containers": [{"name": "script"}]}});
    spec.backfill = serde_json::from_value(json!({"job": {"dryRun": {"template": template}, "apply": {"template": template}}})).unwrap();
    spec
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_what_a_restore_then_loses() {
    let database = Database::new(&format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&database, spec(""));
    // Open when the snapshot is taken, and committed later: at its top, and in a subtransaction, which no snapshot lists.
    let (mut open, mut aborted) = (database.as_owner().await, database.as_owner().await);
    run(&mut open, "BEGIN; INSERT INTO \"Orders\" VALUES (201, 'open'); SAVEPOINT s; INSERT INTO \"Orders\" VALUES (202, 'open, below'); UPDATE \"Orders\" SET note = 'open' WHERE id = 50; RELEASE s").await;
    run(&mut aborted, "BEGIN; INSERT INTO \"Orders\" VALUES (301, 'never'); SAVEPOINT s; DELETE FROM \"Orders\" WHERE id = 60").await;
    // One that is over before the snapshot, and younger than both.
    database.execute("INSERT INTO \"Orders\" VALUES (203, 'before')").await;
    pod.passes(&[Step::Backup]);
    run(&mut open, "COMMIT").await;
    run(&mut aborted, "ROLLBACK").await;
    database.execute("UPDATE scenarios SET updated_at = '2027-05-05' WHERE id = 10").await;
    database
        .execute("INSERT INTO scenarios (id) VALUES (8001), (8002); INSERT INTO scenario_generations (scenario_id, metadata) SELECT g, metadata FROM scenario_generations, generate_series(8001, 8002) g WHERE id = 7")
        .await;
    pod.passes(&[Step::Plan, Step::Claim, Step::Apply, Step::Verify]);
    assert_eq!(tables(&pod.account()), ["public.\"Orders\"", "public.scenario_generations", "public.scenarios"]);
    database
        .execute(
            "INSERT INTO \"Orders\" SELECT n, 'new' FROM generate_series(401, 407) n; UPDATE \"Orders\" SET note = 'changed' WHERE id BETWEEN 1 AND 5; DELETE FROM \"Orders\" WHERE id BETWEEN 11 AND 13",
        )
        .await;
    database
        .execute("UPDATE \"Orders\" SET note = 'again' WHERE id IN (1, 401); INSERT INTO \"Orders\" VALUES (900, 'gone'); DELETE FROM \"Orders\" WHERE id = 900")
        .await;
    database
        .execute("UPDATE scenarios SET accepted_prompt = 'own' WHERE id = 20; INSERT INTO scenarios (id) VALUES (9000); DELETE FROM scenario_generations WHERE scenario_id = 30; DELETE FROM scenarios WHERE id = 30; CREATE TABLE made (id int PRIMARY KEY)")
        .await;
    let mut failing = database.as_owner().await;
    run(&mut failing, "BEGIN; DELETE FROM \"Orders\"; UPDATE scenarios SET updated_at = now(); ROLLBACK").await;
    let before = pod.account();
    database.execute_as_superuser("VACUUM (FREEZE)").await;
    let account = pod.account();
    assert_eq!(account, before, "freezing changes nothing");
    assert_eq!(tables(&account), ["public.\"Orders\"", "public.made", "public.scenario_generations", "public.scenarios"]);

    // What is lost is what is there before and not after, but for what the run itself wrote.
    let (orders, scenarios, generations) =
        (rows(&database, "\"Orders\"").await, rows(&database, "scenarios").await, rows(&database, "scenario_generations").await);
    pod.input.loss_digest = Some(account.digest.clone());
    pod.run(Step::Restore).restored();
    let (orders_then, scenarios_then, generations_then) =
        (rows(&database, "\"Orders\"").await, rows(&database, "scenarios").await, rows(&database, "scenario_generations").await);
    let loss = of(&account, "public.\"Orders\"");
    assert_eq!((loss.written, loss.gone), (Some(not_in(&orders, &orders_then)), Some(not_in(&orders_then, &orders))), "{}", loss.message);
    assert_eq!((loss.written, loss.gone, loss.written_over, loss.by_run), (Some(15), Some(9), None, None), "{}", loss.message);
    let loss = of(&account, "public.scenario_generations");
    assert_eq!((loss.written, loss.gone), (Some(not_in(&generations, &generations_then)), Some(not_in(&generations_then, &generations))));
    let loss = of(&account, "public.scenarios");
    let by_run = loss.by_run.unwrap();
    // Of the rows that the run wrote over, two were inserted since, and the third is one of those that are gone.
    assert_eq!(
        (loss.written.unwrap() + by_run, loss.gone.unwrap() + by_run - 2 - 1),
        (not_in(&scenarios, &scenarios_then), not_in(&scenarios_then, &scenarios)),
        "{}",
        loss.message
    );
    assert_eq!((loss.written, loss.gone, loss.written_over, by_run), (Some(2), Some(3), Some(3), 500), "{}", loss.message);
    assert!(loss.message.contains("3 more that others had written when the run wrote over them"), "{}", loss.message);
    assert_eq!(
        scenarios_then["10"],
        scenarios["10"].replace("2027-05-05 00:00:00+00", "2026-01-01 00:10:00+00").replace(&prompt(&scenarios["10"]), "")
    );
    // This server keeps when transactions were committed.
    let (first, last) = (loss.first_at.unwrap(), loss.last_at.unwrap());
    assert!(
        first <= last && last.duration_since(first).as_secs() < 300 && loss.message.contains(&format!("committed from {first} to {last}")),
        "{}",
        loss.message
    );
}

/// The second field of a row.
fn prompt(row: &str) -> String {
    row.trim_matches(['(', ')']).split(',').nth(1).unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_run_wrote_is_no_loss_and_what_others_wrote_is_another_one_each_time() {
    let database = Database::new(&format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&database, spec(""));
    pod.passes(&[Step::Backup]);
    assert!(pod.account().losses.is_empty(), "nothing has happened");
    pod.passes(&[Step::Plan, Step::Claim, Step::Apply, Step::Verify]);
    let empty = pod.account();
    assert!(empty.losses.is_empty(), "{:?}", empty.losses);
    assert!(empty.digest.starts_with("sha256:"));
    assert_eq!(
        database.text(&format!("SELECT count(*) FROM backfill.table_sums WHERE run_uid = '{RUN_UID}' AND moment = 'Applied'")).await,
        "4"
    );
    database.execute("UPDATE \"Orders\" SET note = 'x' WHERE id = 1").await;
    let first = pod.account();
    assert_eq!(tables(&first), ["public.\"Orders\""]);
    assert_eq!(pod.account().digest, first.digest, "the same losses have the same digest");
    // As many rows, other ones.
    database.execute("UPDATE \"Orders\" SET note = 'y' WHERE id = 1").await;
    assert_ne!(pod.account().digest, first.digest);
    database.execute("UPDATE \"Orders\" SET note = 'order 1' WHERE id = 1; DROP TABLE quiet").await;
    assert!(pod.account().losses.is_empty(), "as it was again; and what was dropped comes back");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_script_the_account_has_what_was_written_since_it_ended() {
    let database = Database::new(&format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&database, script());
    pod.passes(&[Step::Backup, Step::Claim]);
    database.execute("UPDATE scenarios SET accepted_prompt = 'filled'; INSERT INTO \"Orders\" VALUES (500, 'the script')").await;
    let unfinished = pod.account();
    let loss = of(&unfinished, "public.scenarios");
    assert_eq!((loss.written, loss.gone), (Some(500), Some(500)));
    assert!(loss.message.contains("by anybody"), "{}", loss.message);
    pod.passes(&[Step::Verify]);
    assert!(pod.account().losses.is_empty());
    database.execute("DELETE FROM \"Orders\" WHERE id = 500; UPDATE scenarios SET accepted_prompt = 'own' WHERE id < 3").await;
    let account = pod.account();
    let loss = of(&account, "public.scenarios");
    assert_eq!((loss.written, loss.gone), (Some(2), Some(2)));
    assert!(
        loss.message.starts_with("2 rows inserted or changed since the script had ended, 2 rows of then changed or deleted"),
        "{}",
        loss.message
    );
    assert_eq!(tables(&account), ["public.scenarios"], "orders are as they were dumped");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_transaction_ids_mean_nothing_the_account_goes_by_sums_and_says_why() {
    let database = Database::new(&format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&database, spec(""));
    pod.passes(&[Step::Backup, Step::Plan, Step::Claim, Step::Apply, Step::Verify]);
    // All rows of a table anew, and a table anew.
    database
        .execute("CREATE TABLE kept AS TABLE \"Orders\"; TRUNCATE \"Orders\"; INSERT INTO \"Orders\" TABLE kept; DELETE FROM \"Orders\" WHERE id > 98; DROP TABLE kept; DROP TABLE quiet; CREATE TABLE quiet (id int PRIMARY KEY); INSERT INTO quiet VALUES (1)")
        .await;
    let account = pod.account();
    assert_eq!(tables(&account), ["public.\"Orders\"", "public.quiet"]);
    let orders = of(&account, "public.\"Orders\"");
    assert_eq!(
        (orders.written, orders.message.as_str()),
        (None, "100 rows in the dump, 98 now (by sums alone, for all of its rows were stored anew since)")
    );
    assert_eq!(of(&account, "public.quiet").message, "10 rows in the dump, 1 now (by sums alone, for it was dropped and made anew since)");
    // All of the database anew, under its name: as somebody leaves it who has restored it by hand.
    let other = format!("{}_copy", database.name);
    let mut admin = database.beside("postgres").as_superuser().await;
    for sql in [
        format!("CREATE DATABASE {other} TEMPLATE {} OWNER {}", database.name, database.owner),
        format!("DROP DATABASE {}", database.name),
        format!("ALTER DATABASE {other} RENAME TO {}", database.name),
    ] {
        run(&mut admin, &sql).await;
    }
    admin.close().await.unwrap();
    let account = pod.account();
    assert_eq!(tables(&account), ["public.\"Orders\"", "public.quiet", "public.scenarios"]);
    let why = "(by sums alone, for the database is not the one that was dumped, but has been restored or moved since)";
    for loss in &account.losses {
        assert!(loss.written.is_none() && loss.message.ends_with(why), "{}", loss.message);
    }
    assert!(of(&account, "public.scenarios").message.starts_with("as the run left it; what others wrote"), "{:?}", account.losses);
}

#[tokio::test(flavor = "multi_thread")]
async fn notes_of_what_was_written_over_that_are_not_all_there_is_do_not_pass_for_all() {
    let database = Database::new(&format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&database, spec(""));
    pod.passes(&[Step::Backup]);
    database.execute("UPDATE scenarios SET updated_at = '2027-05-05' WHERE id = 490").await;
    pod.passes(&[Step::Plan, Step::Claim]);
    let batch = |size: i32, pause: &str| serde_json::from_value(json!({"size": size, "pause": pause})).unwrap();
    pod.input.spec.backfill.sql.as_mut().unwrap().batch = batch(20, "200ms");
    let mut first = pod.spawn(Step::Apply);
    let until = Instant::now() + Duration::from_mins(1);
    while database.text("coalesce((SELECT sum(batches) FROM backfill.ranges), 0)").await.parse::<i64>().unwrap() < 3 {
        assert!(Instant::now() < until && first.try_wait().unwrap().is_none(), "it is at work");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.kill().unwrap();
    first.wait().unwrap();
    // The second attempt cannot read what the snapshot saw, and takes no note.
    let folder = pod.paths.backup.join("staging");
    let manifest = std::fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path());
    let manifest = manifest.into_iter().find(|path| path.to_string_lossy().ends_with(".manifest.json")).unwrap();
    let aside = folder.join("aside");
    std::fs::rename(&manifest, &aside).unwrap();
    pod.input.spec.backfill.sql.as_mut().unwrap().batch = batch(20, "0s");
    pod.passes(&[Step::Apply]);
    std::fs::rename(&aside, &manifest).unwrap();
    pod.passes(&[Step::Verify]);
    let account = pod.account();
    let scenarios = of(&account, "public.scenarios");
    assert!(scenarios.message.contains("before the run wrote over it is not known"), "{}", scenarios.message);
}

/// Promotes a standby once it has all that its primary has, and leads the run to it.
async fn fail_over(pod: &Pod, database: &Database, standby: &Server) -> Database {
    let has_all = format!("pg_last_wal_replay_lsn() >= '{}'::pg_lsn", database.text("pg_current_wal_insert_lsn()").await);
    let promoted = database.on(standby.port);
    let until = Instant::now() + Duration::from_mins(1);
    while promoted.text(&has_all).await != "true" {
        assert!(Instant::now() < until, "the standby follows its primary");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(promoted.text("pg_promote()").await, "true");
    pod.secret("port", &promoted.port.to_string());
    promoted
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_ids_that_two_transactions_have_had_deceive_nobody() {
    let old = Database::of(replicated(), &format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&old, spec(""));
    let standby = standby();
    pod.passes(&[Step::Backup, Step::Plan, Step::Claim, Step::Apply]);
    old.execute("UPDATE \"Orders\" SET note = 'kept' WHERE id <= 10; UPDATE scenarios SET updated_at = now() WHERE id <= 4").await;
    let new = fail_over(&pod, &old, &standby).await;
    // Lost with the primary; what the application writes to the new one has the same ids.
    let id = "pg_current_xact_id()::text";
    let mut doomed = old.as_owner().await;
    for _ in 0..5 {
        run(&mut doomed, "SELECT pg_current_xact_id()").await;
    }
    run(&mut doomed, "BEGIN; UPDATE \"Orders\" SET note = 'lost'").await;
    let was: String = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {id}"))).fetch_one(&mut doomed).await.unwrap();
    run(&mut doomed, "COMMIT").await;
    let was: i64 = was.parse().unwrap();
    while new.text("pg_current_xact_id()").await.parse::<i64>().unwrap() < was - 1 {}
    new.execute("UPDATE \"Orders\" SET note = 'of the new server' WHERE id BETWEEN 6 AND 20").await;
    assert_eq!(new.text("SELECT xmin FROM \"Orders\" WHERE id = 6").await, was.to_string(), "two transactions have had this id");
    new.execute("DELETE FROM \"Orders\" WHERE id > 97").await;
    new.execute("INSERT INTO \"Orders\" VALUES (500, 'new'); UPDATE scenarios SET accepted_prompt = 'own' WHERE id = 9").await;
    pod.passes(&[Step::Verify]);

    let account = pod.account();
    assert_eq!(tables(&account), ["public.\"Orders\"", "public.scenarios"]);
    let (orders, scenarios) = (rows(&new, "\"Orders\"").await, rows(&new, "scenarios").await);
    pod.input.loss_digest = Some(account.digest.clone());
    pod.run(Step::Restore).restored();
    let (orders_then, scenarios_then) = (rows(&new, "\"Orders\"").await, rows(&new, "scenarios").await);
    let loss = of(&account, "public.\"Orders\"");
    assert_eq!((loss.written, loss.gone), (Some(not_in(&orders, &orders_then)), Some(not_in(&orders_then, &orders))), "{}", loss.message);
    assert_eq!((loss.written, loss.gone), (Some(21), Some(23)), "{}", loss.message);
    let loss = of(&account, "public.scenarios");
    let by_run = loss.by_run.unwrap();
    assert_eq!(
        (loss.written.unwrap() + by_run, loss.gone.unwrap() + by_run),
        (not_in(&scenarios, &scenarios_then), not_in(&scenarios_then, &scenarios))
    );
    assert_eq!((loss.written, by_run), (Some(5), 495), "{}", loss.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_before_the_claim_nothing_says_what_the_standby_had_and_sums_decide() {
    let old = Database::of(replicated(), &format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&old, spec(""));
    let standby = standby();
    pod.passes(&[Step::Backup, Step::Plan]);
    let new = fail_over(&pod, &old, &standby).await;
    new.execute("UPDATE \"Orders\" SET note = 'new' WHERE id = 1").await;
    pod.passes(&[Step::Claim, Step::Apply, Step::Verify]);
    let account = pod.account();
    assert_eq!(tables(&account), ["public.\"Orders\"", "public.scenarios"]);
    let why = "(by sums alone, for the server has been recovered, or another one has taken its place, since)";
    for loss in &account.losses {
        assert!(loss.written.is_none() && loss.message.ends_with(why), "{}", loss.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_s_account_goes_on_after_a_failover() {
    let old = Database::of(replicated(), &format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&old, script());
    let standby = standby();
    pod.passes(&[Step::Backup, Step::Claim]);
    old.execute("UPDATE scenarios SET accepted_prompt = 'filled'").await;
    pod.passes(&[Step::Verify]);
    let new = fail_over(&pod, &old, &standby).await;
    assert!(pod.account().losses.is_empty());
    new.execute("UPDATE scenarios SET accepted_prompt = 'own' WHERE id < 3").await;
    let account = pod.account();
    assert_eq!((of(&account, "public.scenarios").written, of(&account, "public.scenarios").gone), (Some(2), Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_before_a_script_began_is_none_of_its_account_s_affair() {
    let old = Database::of(replicated(), &format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&old, script());
    let standby = standby();
    pod.passes(&[Step::Backup]);
    let new = fail_over(&pod, &old, &standby).await;
    pod.passes(&[Step::Claim]);
    new.execute("UPDATE scenarios SET accepted_prompt = 'filled'").await;
    pod.passes(&[Step::Verify]);
    new.execute("UPDATE scenarios SET accepted_prompt = 'own' WHERE id < 3").await;
    let account = pod.account();
    assert_eq!((of(&account, "public.scenarios").written, of(&account, "public.scenarios").gone), (Some(2), Some(2)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_claim_proves_it_proves_only_where_it_was_made_and_what_was_applied_proves_as_much() {
    let old = Database::of(replicated(), &format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&old, spec(""));
    let standby = standby();
    pod.passes(&[Step::Backup, Step::Plan, Step::Claim, Step::Apply, Step::Verify]);
    // As after a release that recorded no claims.
    old.execute("CREATE TABLE kept AS TABLE backfill.moments; DELETE FROM backfill.moments WHERE moment LIKE 'Claimed%'").await;
    let new = fail_over(&pod, &old, &standby).await;
    new.execute("UPDATE \"Orders\" SET note = 'new' WHERE id = 1").await;
    assert_eq!(of(&pod.account(), "public.\"Orders\"").written, Some(1));
    // Copied there, as with a dump of the ledger: its rows are of another transaction than they say.
    new.execute("DELETE FROM backfill.moments; INSERT INTO backfill.moments SELECT * FROM kept WHERE moment LIKE 'Claimed%'").await;
    let account = pod.account();
    let orders = of(&account, "public.\"Orders\"");
    assert!(orders.written.is_none() && orders.message.contains("another one has taken its place"), "{}", orders.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_column_is_said_to_be_one_and_rows_that_were_put_back_are_none_that_others_wrote() {
    let database = Database::new(&format!("{TABLES}{ORDERS}")).await;
    let mut pod = Pod::new(&database, spec(""));
    pod.passes(&[Step::Backup, Step::Plan, Step::Claim, Step::Apply, Step::Verify]);
    database.execute("ALTER TABLE \"Orders\" ADD COLUMN more int").await;
    let account = pod.account();
    let orders = of(&account, "public.\"Orders\"");
    assert_eq!((orders.written, orders.gone), (Some(0), Some(0)));
    assert!(orders.message.ends_with("its 100 rows read otherwise than then: its columns have changed"), "{}", orders.message);
    database.execute("ALTER TABLE \"Orders\" DROP COLUMN more").await;
    database.execute("VACUUM FULL \"Orders\"").await;
    pod.passes(&[Step::Undo]);
    let account = pod.account();
    assert_eq!(tables(&account), Vec::<&str>::new(), "{:?}", account.losses);
    database.execute("UPDATE scenarios SET updated_at = now() WHERE id = 7").await;
    let account = pod.account();
    let loss = of(&account, "public.scenarios");
    assert!(loss.message.contains("up to 500 of them may be rows that undo has put back"), "{}", loss.message);
}
