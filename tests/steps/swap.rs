//! A restore beside the database, on a real server, under connections of an application that goes on writing.

use crate::restore::ledger;
use crate::support::pod::{End, Pod, RUN_UID, TABLES, spec};
use crate::support::postgres::{Database, with_icu};
use backfill_operator::api::spec::RestoreMode;
use backfill_operator::api::status::{CheckResult, Step};
use backfill_operator::protocol::{Cnpg, CnpgCluster, CnpgDatabase, Outcome, StepReport};
use sqlx::{AssertSqlSafe, Connection as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CONTENT: &str = "md5((SELECT string_agg(t::text, '|' ORDER BY id) FROM scenarios t) || (SELECT string_agg(t::text, '|' ORDER BY id) FROM scenario_generations t))";

/// What belongs to the database itself, under whatever name.
const OF_DATABASE: &str = "(SELECT ROW(datdba::regrole, encoding, datcollate, datctype, to_jsonb(d)->>'datlocprovider', coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale'), datconnlimit, (SELECT string_agg(x::text, ',' ORDER BY x::text) FROM unnest(datacl) x),
     shobj_description(oid, 'pg_database'), (SELECT string_agg(ROW(setrole::regrole, setconfig)::text, ',' ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid))::text
     FROM pg_database d WHERE datname = current_database())";

async fn backed_up(more: &str) -> (Database, Pod) {
    let database = Database::new("").await;
    let pod = back_up(&database, more).await;
    (database, pod)
}

async fn back_up(database: &Database, more: &str) -> Pod {
    database.execute(&format!("{TABLES}{more}")).await;
    let (name, owner, reader) = (&database.name, &database.owner, &database.reader);
    database
        .execute_as_superuser(&format!(
            "ALTER ROLE {owner} CREATEDB; COMMENT ON DATABASE {name} IS 'the shop''s own'; ALTER DATABASE {name} SET search_path TO \"$user\", public, \"Odd, one\";
             ALTER DATABASE {name} SET timezone TO 'Asia/Tokyo'; ALTER ROLE {owner} IN DATABASE {name} SET work_mem TO '9MB';
             ALTER DATABASE {name} CONNECTION LIMIT 50; REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC; GRANT CREATE ON DATABASE {name} TO {reader} WITH GRANT OPTION"
        ))
        .await;
    ledger(database).await;
    let mut pod = Pod::new(database, spec(""));
    let Some(StepReport::Backup(report)) = pod.run(Step::Backup).report else { panic!("a backup") };
    pod.input.backup = Some(report.backup);
    pod.input.restore = Some(RestoreMode::Swap);
    pod
}

async fn in_old(database: &Database, old: &str, sql: &str) -> String {
    database.beside(old).text(sql).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_brings_everything_back_and_carries_what_belongs_to_the_database_with_ledger_and_claim() {
    let (database, mut pod) = backed_up("").await;
    let (before, of_database) = (database.text(CONTENT).await, database.text(OF_DATABASE).await);
    database.execute("UPDATE scenarios SET accepted_prompt = 'x'; DROP TABLE scenario_generations; CREATE TABLE since (id int); INSERT INTO since VALUES (1)").await;
    let report = pod.run(Step::Restore).restored();
    assert_eq!(database.text(CONTENT).await, before);
    assert_eq!(database.text(OF_DATABASE).await, of_database, "owner, locale, rights, settings, limit, comment");
    assert_eq!(database.text("SELECT to_regclass('since') IS NULL").await, "true");
    assert_eq!(database.text("SELECT state || epoch FROM backfill.runs").await, "Restored1", "the ledger is there, its epoch was raised");
    assert_eq!(database.text("SELECT count(*) FROM backfill.claim").await, "0");
    assert_eq!(database.text("SELECT obj_description('backfill.runs'::regclass) LIKE 'backfill.dev ledger%'").await, "true");
    let old = report.old_database.expect("the old database is kept");
    assert_eq!(in_old(&database, &old, "SELECT count(*) FROM since").await, "1");
    assert!(
        in_old(&database, &old, "shobj_description((SELECT oid FROM pg_database WHERE datname = current_database()), 'pg_database')")
            .await
            .contains("as it was before the restore of the run staging/import")
    );
    let left = report.checks.iter().find(|check| check.name == "left-in-old-database").unwrap();
    assert!(left.result == CheckResult::Inconclusive && left.message.contains("public.since"), "{}", left.message);
    // A second attempt takes nothing away, and says the same.
    database.execute("INSERT INTO scenarios DEFAULT VALUES").await;
    let again = pod.run(Step::Restore).restored();
    assert_eq!(again.old_database.as_deref(), Some(old.as_str()));
    assert_eq!(database.text("SELECT count(*) FROM scenarios").await, "501");

    // Closed: the old one goes, and nothing else.
    pod.input.old_database = Some(old.clone());
    assert_eq!(pod.run(Step::Close).verdict.reason, "OldDatabaseDropped");
    assert_eq!(database.text(&format!("SELECT count(*) FROM pg_database WHERE datname = '{old}'")).await, "0");
    assert_eq!(pod.run(Step::Close).verdict.outcome, Outcome::Passed, "it can be repeated");
    pod.input.old_database = Some(database.name.clone());
    assert_eq!(pod.run(Step::Close).verdict.outcome, Outcome::Passed);
    assert_eq!(database.text("SELECT count(*) FROM scenarios").await, "501", "a database that no restore left is not dropped");
}

/// What the application has committed, by its own account.
async fn application(database: Arc<Database>, number: i64, stop: Arc<AtomicBool>) -> (Vec<i64>, u64) {
    let (mut committed, mut broken, mut n) = (Vec::new(), 0, 0);
    while !stop.load(Ordering::SeqCst) {
        let Ok(mut connection) = database.try_as_owner().await else {
            broken += 1;
            continue;
        };
        while !stop.load(Ordering::SeqCst) {
            n += 1;
            let id = number * 1_000_000 + n;
            let insert = sqlx::raw_sql(AssertSqlSafe(format!("INSERT INTO scenarios (id) VALUES ({id})"))).execute(&mut connection).await;
            if insert.is_err() {
                broken += 1;
                break;
            }
            committed.push(id);
        }
    }
    (committed, broken)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_an_application_that_writes_to_the_last_moment_every_write_is_in_the_old_database_or_in_the_new_one() {
    let many = "CREATE TABLE filler AS SELECT g AS id, repeat(md5(g::text), 20) AS v FROM generate_series(1, 20000) g;";
    let (database, mut pod) = backed_up(many).await;
    let database = Arc::new(database);
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (1..=3).map(|n| tokio::spawn(application(database.clone(), n, stop.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let report = pod.run(Step::Restore).restored();
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::SeqCst);
    let (mut committed, mut broken) = (Vec::new(), 0);
    for client in clients {
        let (ids, breaks) = client.await.unwrap();
        committed.extend(ids);
        broken += breaks;
    }
    assert!(broken > 0, "their connections were ended");
    let old = report.old_database.clone().unwrap();
    let ids = "coalesce((SELECT string_agg(id::text, ',') FROM scenarios WHERE id > 1000000), '')";
    let parse = |text: String| -> std::collections::BTreeSet<i64> { text.split(',').filter_map(|id| id.parse().ok()).collect() };
    let (in_old, in_new) = (parse(in_old(&database, &old, ids).await), parse(database.text(ids).await));
    assert!(!in_old.is_empty() && !in_new.is_empty(), "they wrote before and after: {} and {}", in_old.len(), in_new.len());
    for id in &committed {
        assert!(in_old.contains(id) || in_new.contains(id), "{id} is in neither");
    }
    let left = report.checks.iter().find(|check| check.name == "left-in-old-database").unwrap();
    assert!(
        left.message.contains(&format!("public.scenarios: {} rows inserted or changed since", in_old.len())),
        "the account is what was lost: {} rows, {}",
        in_old.len(),
        left.message
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_would_lose_something_else_than_was_approved_changes_nothing() {
    for mode in [RestoreMode::Swap, RestoreMode::InPlace] {
        let (database, mut pod) = backed_up("").await;
        pod.input.restore = Some(mode);
        database.execute("UPDATE scenarios SET accepted_prompt = 'since' WHERE id = 1").await;
        let approved = pod.account();
        assert_eq!(approved.losses.len(), 1);
        pod.input.loss_digest = Some(approved.digest);
        database.execute("UPDATE scenarios SET accepted_prompt = 'since' WHERE id = 2").await;
        let before = database.text(CONTENT).await;
        let end = pod.run(Step::Restore);
        assert_eq!(
            (end.verdict.outcome, end.verdict.reason.as_str()),
            (Outcome::Failed, "LossChanged"),
            "{mode:?} {}",
            end.verdict.message
        );
        assert!(end.verdict.message.contains("public.scenarios"), "{}", end.verdict.message);
        assert_eq!(database.text(CONTENT).await, before);
        pod.input.loss_digest = Some(pod.account().digest);
        pod.run(Step::Restore).restored();
        assert_eq!(database.text("SELECT count(accepted_prompt) FROM scenarios").await, "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_killed_on_the_way_leaves_the_live_database_and_the_next_attempt_ends_it() {
    let many = "CREATE TABLE filler AS SELECT g AS id, repeat(md5(g::text), 40) AS v FROM generate_series(1, 60000) g;";
    let (database, mut pod) = backed_up(many).await;
    database.execute("UPDATE scenarios SET accepted_prompt = 'since'").await;
    let before = database.text(CONTENT).await;
    let new = format!("SELECT count(*) FROM pg_database WHERE datname LIKE '{}_restored_%'", database.name);
    let mut child = pod.spawn(Step::Restore);
    let started = Instant::now();
    while database.text(&new).await == "0" {
        assert!(started.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none(), "the restore was seen at work");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(database.text(CONTENT).await, before, "the application has what it had");
    let end = pod.run(Step::Restore);
    end.restored();
    assert_eq!(database.text("SELECT count(accepted_prompt) FROM scenarios").await, "0");
    assert_eq!(database.text(&new).await, "0", "nothing is left of the first attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_the_way_is_said_by_preflight_and_refused_by_the_restore() {
    let (database, mut pod) = backed_up("").await;
    let ways = |end: &End| match &end.report {
        Some(StepReport::Preflight(report)) => report.way_back.clone(),
        other => panic!("{other:?}"),
    };
    let end = pod.run(Step::Preflight);
    assert_eq!(ways(&end), ["Undo", "RestoreSwap", "RestoreInPlace"]);
    let owner = &database.owner;
    database
        .execute_as_superuser(&format!(
            "ALTER ROLE {owner} NOCREATEDB; CREATE TABLE foreign_table (id int); GRANT SELECT ON foreign_table TO {owner}; CREATE PUBLICATION everything FOR ALL TABLES;
             CREATE FUNCTION on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION on_ddl()"
        ))
        .await;
    let end = pod.run(Step::Preflight);
    assert_eq!(ways(&end), ["Undo"]);
    let restored = pod.run(Step::Restore);
    assert_eq!((restored.verdict.outcome, restored.verdict.reason.as_str()), (Outcome::Stalled, "SwapImpossible"));
    let says_what_it_allows = database.text("current_setting('server_version_num')::int >= 160000").await == "true";
    let with = if says_what_it_allows { " WITH INHERIT TRUE, SET TRUE" } else { "" };
    for words in [
        format!("ALTER ROLE {owner} CREATEDB;"),
        format!("(GRANT postgres TO {owner}{with};)"),
        "the publication everything of all tables".into(),
        "the event trigger watch".into(),
    ] {
        assert!(restored.verdict.message.contains(&words), "{words}: {}", restored.verdict.message);
    }
    pod.input.spec.rollback.restore = Some(RestoreMode::Swap);
    let end = pod.run(Step::Preflight);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "NoWayBack"));
    assert!(end.verdict.message.contains(&format!("ALTER ROLE {owner} CREATEDB;")), "{}", end.verdict.message);
}

/// What the run calls the database that it fills.
fn new_name(database: &Database) -> String {
    let uid: String = RUN_UID.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    format!("{}_restored_{uid}", database.name)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_somebody_else_under_our_name_stays() {
    let (database, mut pod) = backed_up("").await;
    let new = new_name(&database);
    let in_the_way = |end: &End| {
        assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "DatabaseInTheWay"), "{}", end.verdict.message);
    };
    database.execute_as_superuser(&format!("CREATE DATABASE {new}")).await;
    in_the_way(&pod.run(Step::Restore));
    // With the owner that ours would have, too, as long as there is anything in it.
    database.execute_as_superuser(&format!("ALTER DATABASE {new} OWNER TO {}", database.owner)).await;
    database.beside(&new).execute("CREATE SCHEMA theirs").await;
    in_the_way(&pod.run(Step::Restore));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_an_attempt_killed_before_it_was_marked_has_left_is_no_obstacle() {
    let (database, mut pod) = backed_up("").await;
    let new = new_name(&database);
    database.execute_as_superuser(&format!("CREATE DATABASE {new} TEMPLATE template0 OWNER {}", database.owner)).await;
    pod.run(Step::Restore).restored();
    assert_eq!(database.text(&format!("SELECT count(*) FROM pg_database WHERE datname = '{new}'")).await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_the_role_may_not_end_hold_the_swap_and_are_named() {
    let (database, mut pod) = backed_up("").await;
    let before = database.text(CONTENT).await;
    let superuser = database.as_superuser().await;
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "SessionsRemain"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("postgres") && end.verdict.message.contains("GRANT pg_signal_backend"), "{}", end.verdict.message);
    superuser.close().await.unwrap();
    assert_eq!(database.text(CONTENT).await, before);
    let old = pod.run(Step::Restore).restored().old_database.unwrap();

    // Nor is the old one dropped under a person who looks at it.
    let superuser = database.beside(&old).as_superuser().await;
    pod.input.old_database = Some(old.clone());
    let end = pod.run(Step::Close);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "SessionsRemain"), "{}", end.verdict.message);
    assert!(end.verdict.message.starts_with(&format!("{old} was not dropped, ")), "{}", end.verdict.message);
    superuser.close().await.unwrap();
    assert_eq!(pod.run(Step::Close).verdict.reason, "OldDatabaseDropped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_gets_its_own_collation_whatever_that_of_the_template_is() {
    let major: i32 = Database::new("").await.text("current_setting('server_version_num')::int / 10000").await.parse().unwrap();
    if major < 15 {
        println!("skipped: {major} has one provider of collations");
        return;
    }
    let of_libc = Database::of(with_icu(), "").await;
    let (maintenance, name) = (of_libc.beside("postgres"), &of_libc.name);
    for statement in [
        format!("DROP DATABASE {name}"),
        format!("CREATE DATABASE {name} OWNER {} TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C.UTF-8'", of_libc.owner),
    ] {
        maintenance.execute_as_superuser(&statement).await;
    }
    for (database, provider) in [(of_libc, "c"), (Database::of(with_icu(), "").await, "i")] {
        let mut pod = back_up(&database, "").await;
        let of_database = database.text(OF_DATABASE).await;
        assert_eq!(database.text("SELECT datlocprovider FROM pg_database WHERE datname = current_database()").await, provider);
        pod.run(Step::Restore).restored();
        assert_eq!(database.text(OF_DATABASE).await, of_database);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_that_does_not_let_the_role_make_what_belongs_to_the_other_one_is_an_obstacle() {
    let (database, mut pod) = backed_up("").await;
    let (owner, other) = (&database.owner, format!("other_of_{}", database.name));
    let since_16 = database.text("current_setting('server_version_num')::int >= 160000").await == "true";
    database
        .execute_as_superuser(&format!("CREATE ROLE {other}; GRANT CREATE ON SCHEMA public TO {other}; CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO {other}"))
        .await;
    // What is granted, what is missing of it, and what is to be granted.
    let steps = if since_16 {
        vec![
            (format!("GRANT {other} TO {owner} WITH INHERIT FALSE, SET TRUE"), false),
            (format!("GRANT {other} TO {owner} WITH INHERIT TRUE, SET FALSE"), false),
            (format!("GRANT {other} TO {owner} WITH INHERIT TRUE, SET TRUE"), true),
        ]
    } else {
        vec![(format!("GRANT {other} TO {owner}; ALTER ROLE {owner} NOINHERIT"), false), (format!("ALTER ROLE {owner} INHERIT"), true)]
    };
    let says =
        if since_16 { format!("GRANT {other} TO {owner} WITH INHERIT TRUE, SET TRUE;") } else { format!("ALTER ROLE {owner} INHERIT;") };
    for (grant, enough) in steps {
        database.execute_as_superuser(&grant).await;
        let end = pod.run(Step::Preflight);
        let Some(StepReport::Preflight(report)) = &end.report else { panic!("{}", end.verdict.message) };
        assert_eq!(report.way_back.iter().any(|way| way == "RestoreSwap"), enough, "{grant}");
        let message = &report.checks.iter().find(|check| check.name == "ways-back").unwrap().message;
        assert_eq!(message.contains(&format!("the role cannot make what belongs to {other} ({says})")), !enough, "{grant}: {message}");
    }
}

/// The first attempt is held where it would exchange the names, and is taken for dead.
#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_comes_back_does_not_exchange_the_copy_that_another_one_is_filling() {
    let (database, mut pod) = backed_up("").await;
    database.execute("UPDATE scenarios SET accepted_prompt = 'since'").await;
    let before = database.text(CONTENT).await;
    let new = format!("coalesce((SELECT oid::text FROM pg_database WHERE datname = '{}'), '')", new_name(&database));
    let maintenance = database.beside("postgres");
    let until = async |condition: String| {
        let started = Instant::now();
        while maintenance.text(&condition).await != "true" {
            assert!(started.elapsed() < Duration::from_mins(1), "{condition}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    // Of a superuser, whom the restore cannot end.
    let holder = database.as_superuser().await;
    let first = pod.spawn(Step::Restore);
    let renames = format!(
        "SELECT count(*) > 0 FROM pg_stat_activity WHERE query LIKE '%ALTER DATABASE%{}% RENAME TO%' AND state = 'active' AND pid <> pg_backend_pid()",
        database.name
    );
    until(renames.clone()).await;
    let signal = |child: &std::process::Child, name: &str| {
        assert!(std::process::Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
    };
    signal(&first, "-STOP");
    let of_first = maintenance.text(&new).await;
    // Its rename gives up after five seconds.
    until(renames.replace("> 0", "= 0")).await;
    let mut second = pod.spawn(Step::Restore);
    until(format!("SELECT {new} NOT IN ('', '{of_first}')")).await;
    second.kill().unwrap();
    second.wait().unwrap();
    let of_second = maintenance.text(&new).await;
    holder.close().await.unwrap();
    signal(&first, "-CONT");
    let end = pod.end(first);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Lost, "OtherAttempt"), "{}", end.verdict.message);
    assert_eq!(database.text(CONTENT).await, before, "the application has what it had");
    assert_eq!(maintenance.text(&new).await, of_second, "and the copy is the other one's");
    pod.run(Step::Restore).restored();
    assert_eq!(database.text("SELECT count(accepted_prompt) FROM scenarios").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cloudnativepg_manages_is_not_swapped_and_the_room_for_a_second_one_is_said_as_far_as_it_is_known() {
    let (database, mut pod) = backed_up("").await;
    let found = |end: &End| match &end.report {
        Some(StepReport::Preflight(report)) => {
            let check = report.checks.iter().find(|check| check.name == "ways-back").unwrap();
            (report.way_back.clone(), check.message.clone())
        }
        other => panic!("{other:?} {}", end.verdict.message),
    };
    let (ways, message) = found(&pod.run(Step::Preflight));
    assert_eq!(ways, ["Undo", "RestoreSwap", "RestoreInPlace"]);
    for words in ["a second database takes about", "in the tablespace pg_default", "the server cannot be asked"] {
        assert!(message.contains(words), "{words}: {message}");
    }

    let system_id = database.text("SELECT system_identifier FROM pg_control_system()").await;
    let cluster = |storage: &str| CnpgCluster {
        namespace: "prod".into(),
        name: "shop".into(),
        system_id: system_id.clone(),
        storage: storage.into(),
    };
    pod.input.cnpg = Cnpg { clusters: vec![cluster("10Gi")], ..Cnpg::default() };
    let (ways, message) = found(&pod.run(Step::Preflight));
    assert!(ways.iter().any(|way| way == "RestoreSwap") && message.contains("the cluster prod/shop declares 10Gi"), "{message}");
    pod.input.cnpg.clusters = vec![cluster("9Mi")];
    let (ways, message) = found(&pod.run(Step::Preflight));
    assert_eq!(ways, ["Undo", "RestoreInPlace"]);
    assert!(message.contains("it does not fit: enlarge spec.storage.size"), "{message}");

    pod.input.cnpg.clusters = vec![cluster("10Gi")];
    let managed = CnpgDatabase { namespace: "prod".into(), name: "app-db".into(), cluster: "shop".into(), database: database.name.clone() };
    pod.input.cnpg.databases = vec![managed];
    let (ways, message) = found(&pod.run(Step::Preflight));
    assert_eq!(ways, ["Undo", "RestoreInPlace"]);
    assert!(message.contains("the CloudNativePG Database prod/app-db manages"), "{message}");
    let before = database.text(CONTENT).await;
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "SwapImpossible"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("app-db") && database.text(CONTENT).await == before, "{}", end.verdict.message);
    pod.input.spec.rollback.restore = Some(RestoreMode::Swap);
    let end = pod.run(Step::Preflight);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "NoWayBack"), "{}", end.verdict.message);

    // Of a run whose backup is CloudNativePG's own nothing but undo leads back.
    pod.input.spec.rollback.restore = None;
    pod.input.spec.backup.existing = Some(serde_json::from_value(serde_json::json!({"cnpgBackup": {"name": "nightly"}})).unwrap());
    let (ways, message) = found(&pod.run(Step::Preflight));
    assert_eq!(ways, ["Undo"]);
    assert!(message.contains("neither read nor restore"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_carries_the_audit_table_over_with_what_was_written_to_it_since_the_dump() {
    let table = "CREATE TABLE our_audit (run text, table_name text, key text, result text, PRIMARY KEY (run, table_name, key)); INSERT INTO our_audit VALUES ('old', 't', '1', 'written');
        CREATE INDEX by_key ON our_audit (key); COMMENT ON TABLE our_audit IS 'what was done';";
    let (database, mut pod) = backed_up(table).await;
    pod.input.spec.backfill.sql.as_mut().unwrap().audit = Some(serde_json::from_value(serde_json::json!({"table": "our_audit"})).unwrap());
    database.execute("UPDATE scenarios SET accepted_prompt = 'x'; INSERT INTO our_audit SELECT 'ours', 'scenarios', n::text, 'written' FROM generate_series(1, 500) n").await;
    let rows = "(SELECT md5(string_agg(a::text, '|' ORDER BY a::text)) || count(*) FROM our_audit a)";
    let before = database.text(rows).await;
    pod.run(Step::Restore).restored();
    assert_eq!(database.text("SELECT count(accepted_prompt) FROM scenarios").await, "0", "the rows are those of the dump");
    assert_eq!(database.text(rows).await, before, "and the account of what was done is that of now");
    assert!(before.ends_with("501"), "{before}");
    assert_eq!(database.text("SELECT count(*) FROM pg_indexes WHERE tablename = 'our_audit'").await, "2");
    assert_eq!(database.text("SELECT obj_description('our_audit'::regclass)").await, "what was done");
}
