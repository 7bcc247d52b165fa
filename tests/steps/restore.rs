use crate::support::pod::{End, Pod, RUN_UID, TABLES, children_showing, spec};
use crate::support::postgres::Database;
use backfill_operator::api::status::{CheckResult, Step};
use backfill_operator::engine::ledger::{Claimed, claim, ensure};
use backfill_operator::protocol::{Outcome, RestoreReport, RunIdentity, StepReport};
use sqlx::AssertSqlSafe;
use std::process::Command;
use std::time::{Duration, Instant};

/// All rows and all names outside of the ledger, as one hash.
pub const CONTENT: &str = "md5((SELECT string_agg(t::text, '|' ORDER BY id) FROM scenarios t) || (SELECT string_agg(t::text, '|' ORDER BY id) FROM scenario_generations t) || \
     (SELECT string_agg(relname || relkind::text, ',' ORDER BY relname) FROM pg_class WHERE relnamespace = 'public'::regnamespace) || \
     (SELECT coalesce(string_agg(typname, ',' ORDER BY typname), '') FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')))";

/// What a migration and an application may have done since the dump.
const SINCE: &str = "
    UPDATE scenarios SET accepted_prompt = 'x' WHERE id % 2 = 0; DELETE FROM scenario_generations WHERE id > 400;
    ALTER TABLE scenarios ADD COLUMN extra int DEFAULT 7; ALTER TABLE scenarios DROP COLUMN accepted_prompt_metadata CASCADE;
    ALTER TABLE numbered DROP COLUMN n;
    CREATE TYPE mood AS ENUM ('a', 'b'); CREATE TABLE since (id serial PRIMARY KEY, scenario_id bigint REFERENCES scenarios, m mood);
    CREATE VIEW since_view AS SELECT s.id, x.m FROM scenarios s JOIN since x ON x.scenario_id = s.id;
    CREATE FUNCTION since_function(since) RETURNS int LANGUAGE sql AS 'SELECT 1';
    CREATE SCHEMA later; CREATE TABLE later.t (id int);";

const MORE: &str = "
    CREATE TABLE numbered (id bigint PRIMARY KEY, n serial); INSERT INTO numbered (id) SELECT generate_series(1, 10);
    CREATE VIEW filled AS SELECT id FROM scenarios WHERE accepted_prompt IS NOT NULL;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.updated_at := now(); RETURN NEW; END';
    CREATE TRIGGER touch BEFORE UPDATE ON scenario_generations FOR EACH ROW EXECUTE FUNCTION touch();
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM scenarios;
    CREATE DOMAIN positive AS int CHECK (value > 0);
    CREATE TABLE parted (id int, v positive) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
    INSERT INTO parted SELECT g, g FROM generate_series(1, 50) g; SELECT lo_create(777);";

fn report_of(report: Option<StepReport>) -> RestoreReport {
    match report {
        Some(StepReport::Restore(report)) => report,
        other => panic!("{other:?}"),
    }
}

/// The engine's own ledger, with a run that holds the claim.
pub async fn ledger(database: &Database) {
    let run = RunIdentity { namespace: "staging".into(), name: "import".into(), uid: RUN_UID.into() };
    let mut owner = database.as_owner().await;
    ensure(&mut owner, "backfill").await.unwrap();
    assert_eq!(claim(&mut owner, "backfill", &run, "sha256:1", None).await.unwrap(), Claimed::Ours);
}

async fn backed_up(sql: &str) -> (Database, Pod) {
    let database = Database::new(&format!("{TABLES}{MORE}{sql}")).await;
    ledger(&database).await;
    let pod = with_backup(&database);
    (database, pod)
}

fn with_backup(database: &Database) -> Pod {
    let mut pod = Pod::new(database, spec(""));
    let end = pod.run(Step::Backup);
    let Some(StepReport::Backup(report)) = end.report else { panic!("{} {}", end.verdict.message, end.stderr) };
    pod.input.backup = Some(report.backup);
    pod
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_puts_everything_back_and_leaves_the_ledger() {
    let (database, mut pod) = backed_up("").await;
    let before = database.text(CONTENT).await;
    database.execute(SINCE).await;
    database.execute("CREATE VIEW backfill.written AS SELECT (texts[1])::positive AS id FROM backfill.undo").await;
    assert_ne!(database.text("SELECT count(*) FROM scenario_generations").await, "500");
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Passed, "Restored"), "{} {}", end.verdict.message, end.stderr);
    let report = report_of(end.report);
    assert!(report.checks.iter().all(|c| c.result == CheckResult::Passed), "{:?}", report.checks);
    assert_eq!(database.text(CONTENT).await, before);
    assert_eq!(database.text("SELECT to_regnamespace('later') IS NULL").await, "true", "a schema made since is gone");
    assert_eq!(
        database.text("SELECT state || epoch FROM backfill.runs").await,
        "Restored1",
        "the ledger is still there, and the epoch was raised"
    );
    assert_eq!(database.text("SELECT count(*) FROM backfill.claim").await, "0", "the claim is released");
    database.execute("INSERT INTO scenarios DEFAULT VALUES; INSERT INTO numbered (id) VALUES (11)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_attempt_does_not_take_later_writes_away() {
    let (database, mut pod) = backed_up("").await;
    assert_eq!(pod.run(Step::Restore).verdict.outcome, Outcome::Passed);
    database.execute("INSERT INTO scenarios DEFAULT VALUES").await;
    let end = pod.run(Step::Restore);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{}", end.verdict.message);
    assert_eq!(database.text("SELECT count(*) FROM scenarios").await, "501");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_ledger_a_restore_works_twice() {
    let (database, mut pod) = backed_up("").await;
    database.execute("DROP SCHEMA backfill CASCADE").await;
    let before = database.text(CONTENT).await;
    for _ in 0..2 {
        database.execute(SINCE).await;
        let end = pod.run(Step::Restore);
        assert_eq!(end.verdict.outcome, Outcome::Passed, "{} {}", end.verdict.message, end.stderr);
        assert_eq!(database.text(CONTENT).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_killed_on_the_way_leaves_the_database_as_it_was() {
    let many =
        "DO $$ BEGIN FOR n IN 1..300 LOOP EXECUTE format('CREATE TABLE extra_%s (id int PRIMARY KEY, v text)', n); END LOOP; END $$;";
    let (database, mut pod) = backed_up(many).await;
    database.execute("UPDATE scenarios SET accepted_prompt = 'since'").await;
    let before = database.text(CONTENT).await;
    let mut child = pod.spawn(Step::Restore);
    // Its transaction holds locks once it has begun to drop.
    let dropping = "SELECT count(*) FROM pg_stat_activity a JOIN pg_locks l USING (pid) WHERE a.application_name LIKE 'backfill/%restore' AND l.mode = 'AccessExclusiveLock'";
    let started = Instant::now();
    let mut seen = 0;
    while database.text(dropping).await.parse::<i64>().unwrap() < 20 {
        assert!(started.elapsed() < Duration::from_secs(20) && child.try_wait().unwrap().is_none(), "the restore was seen at work");
        let (found, shown) = children_showing(child.id(), &database.password);
        assert_eq!(shown, Vec::<String>::new());
        seen += found;
    }
    let (found, shown) = children_showing(child.id(), &database.password);
    assert_eq!(shown, Vec::<String>::new());
    assert!(seen + found > 0, "psql was looked at while it ran");
    child.kill().unwrap();
    child.wait().unwrap();
    let started = Instant::now();
    while database.text(dropping).await != "0" {
        assert!(started.elapsed() < Duration::from_secs(20), "its session ends");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(database.text(CONTENT).await, before);
    let end = pod.run(Step::Restore);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "the next attempt works: {}", end.verdict.message);
    assert_eq!(database.text("SELECT count(*) FROM scenarios WHERE accepted_prompt = 'since'").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_not_the_proved_one_is_not_restored() {
    let (database, mut pod) = backed_up("").await;
    let before = database.text(CONTENT).await;
    let file = pod.paths.backup.join(&pod.input.backup.as_ref().unwrap().file);
    let mut bytes = std::fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "BackupChanged"));
    std::fs::remove_file(&file).unwrap();
    assert_eq!(pod.run(Step::Restore).verdict.reason, "BackupMissing");
    assert_eq!(database.text(CONTENT).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_that_fails_at_its_end_changes_nothing() {
    let (database, mut pod) = backed_up("").await;
    // The ledger depends on a table of the application, which CASCADE would reach.
    database.execute("UPDATE scenarios SET accepted_prompt = 'since'; CREATE VIEW backfill.entangled AS SELECT id FROM scenarios").await;
    let before = database.text(CONTENT).await;
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "RestoreRefused"));
    assert!(end.verdict.message.contains("objects in the schema backfill depend"), "{}", end.verdict.message);
    assert_eq!(database.text(CONTENT).await, before);
    assert_eq!(database.text("SELECT count(*) > 0 FROM backfill.entangled").await, "true");
}

/// A restore whose first try finds a row of the application locked, and written to.
async fn restored_under_a_lock(database: &Database, pod: &mut Pod) -> End {
    let mut holder = database.as_owner().await;
    sqlx::raw_sql("BEGIN; UPDATE scenarios SET accepted_prompt = 'held' WHERE id = 1").execute(&mut holder).await.unwrap();
    let child = pod.spawn(Step::Restore);
    let waits = format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'", database.name);
    // It waits for the row's table, and gives up.
    for waiting in ["true", "false"] {
        let started = Instant::now();
        while database.text(&waits).await != waiting {
            assert!(started.elapsed() < Duration::from_mins(1), "the restore waits for a lock: {waiting}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    pod.end(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_waits_for_the_application_s_locks_and_tries_again() {
    let (database, mut pod) = backed_up("").await;
    database.execute("UPDATE scenarios SET accepted_prompt = 'since'").await;
    let end = restored_under_a_lock(&database, &mut pod).await;
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{}", end.verdict.message);
    assert!(end.stderr.contains("tried again"), "{}", end.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_application_commits_under_the_locks_that_a_restore_waits_for_is_no_approved_loss() {
    let (database, mut pod) = backed_up("").await;
    database.execute("UPDATE scenarios SET accepted_prompt = 'since' WHERE id = 2").await;
    pod.input.loss_digest = Some(pod.account().digest);
    let end = restored_under_a_lock(&database, &mut pod).await;
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Failed, "LossChanged"), "{}", end.verdict.message);
    assert_eq!(database.text("SELECT accepted_prompt FROM scenarios WHERE id = 1").await, "held");
}

/// A restore whose account is as approved, and that gets its locks at once when the application commits what it has written under them.
pub async fn restored_when_the_application_commits(database: &Database, pod: &mut Pod, write: &str) -> End {
    pod.input.loss_digest = Some(pod.account().digest);
    let mut holder = database.as_owner().await;
    sqlx::raw_sql(AssertSqlSafe(format!("BEGIN; {write}"))).execute(&mut holder).await.unwrap();
    let child = pod.spawn(Step::Restore);
    let waits = format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'", database.name);
    let started = Instant::now();
    while database.text(&waits).await != "true" {
        assert!(started.elapsed() < Duration::from_mins(1), "the restore waits for a lock");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    pod.end(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_between_the_account_and_the_locks_is_not_restored_over() {
    let (database, mut pod) = backed_up("").await;
    // Under such a default a transaction would go on seeing what there was before it waited.
    let settings = "SET default_transaction_isolation = 'repeatable read'; ALTER DATABASE @ SET timezone = 'Asia/Tokyo'; ALTER DATABASE @ SET extra_float_digits = 0";
    database.execute_as_superuser(&format!("ALTER DATABASE @ {settings}").replace('@', &database.name)).await;
    database.execute("ALTER TABLE numbered ADD COLUMN at timestamptz DEFAULT now(), ADD COLUMN f float8 DEFAULT 0.1::float8 + 0.2; UPDATE scenarios SET accepted_prompt = 'since' WHERE id = 2").await;
    let writes = [
        ("UPDATE scenarios SET accepted_prompt = 'held' WHERE id = 1", "public.scenarios"),
        ("SELECT count(*) FROM scenarios; CREATE TABLE held AS SELECT 1 AS n", "public.held"),
    ];
    for (write, table) in writes {
        let end = restored_when_the_application_commits(&database, &mut pod, write).await;
        let verdict = &end.verdict;
        assert_eq!((verdict.outcome, verdict.reason.as_str()), (Outcome::Failed, "LossChanged"), "{} {}", verdict.message, end.stderr);
        assert!(verdict.message.contains(&format!("something else was written ({table})")), "{}", verdict.message);
    }
    assert_eq!(database.text("SELECT accepted_prompt || (SELECT count(*) FROM held) FROM scenarios WHERE id = 1").await, "held1");
    let end = restored_when_the_application_commits(&database, &mut pod, "SELECT count(*) FROM scenarios").await;
    assert_eq!(end.verdict.outcome, Outcome::Passed, "who only reads changes nothing: {} {}", end.verdict.message, end.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_restore_is_rolled_back() {
    let (database, mut pod) = backed_up("").await;
    let mut holder = database.as_owner().await;
    sqlx::raw_sql("BEGIN; SELECT 1 FROM scenarios LIMIT 1").execute(&mut holder).await.unwrap();
    let child = pod.spawn(Step::Restore);
    std::thread::sleep(Duration::from_secs(1));
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(pod.end(child).verdict.outcome, Outcome::Stopped);
}

/// Who may do what, by table, column, function and default.
const RIGHTS: &str = "(SELECT string_agg(format('%s %s %s %s', c.relname, a.grantee::regrole, a.privilege_type, a.is_grantable), ',' ORDER BY c.relname, a.grantee, a.privilege_type) \
       FROM pg_class c, aclexplode(coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::\"char\" ELSE 'r' END, c.relowner))) a WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'S', 'v')) || \
     (SELECT string_agg(attname::text || attacl::text, ',' ORDER BY attname) FROM pg_attribute WHERE attacl IS NOT NULL AND attrelid = 'scenarios'::regclass) || \
     (SELECT string_agg(defaclobjtype::text || defaclacl::text, ',' ORDER BY defaclobjtype) FROM pg_default_acl) || \
     (SELECT string_agg(p.pubname::text || r.prrelid::regclass::text, ',') FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid) || \
     (SELECT string_agg(polname, ',') FROM pg_policy)";

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_special_rights_restores_beside_extensions_and_every_grant_is_as_it_was() {
    let database = Database::new("").await;
    database.execute_as_superuser("CREATE EXTENSION citext; CREATE EXTENSION pg_trgm; COMMENT ON EXTENSION citext IS 'ours'").await;
    let (owner, reader) = (&database.owner, &database.reader);
    database
        .execute(&format!(
            "{TABLES} CREATE TABLE private (id int); CREATE TABLE tagged (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name citext);
             CREATE INDEX ON tagged USING gin (name gin_trgm_ops); INSERT INTO tagged (name) VALUES ('Aa'), ('bB');
             GRANT SELECT ON scenarios TO {reader}; GRANT UPDATE (accepted_prompt) ON scenarios TO {reader} WITH GRANT OPTION;
             ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {reader};
             ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
             CREATE FUNCTION secret() RETURNS int LANGUAGE sql AS 'SELECT 1';
             CREATE PUBLICATION changes FOR TABLE scenarios;
             CREATE POLICY mine ON tagged USING (true); COMMENT ON TABLE tagged IS 'it''s a \\ table';
             CREATE CAST (tagged AS text) WITH INOUT;"
        ))
        .await;
    ledger(&database).await;
    let mut pod = with_backup(&database);
    let before = database.text(RIGHTS).await;
    assert_ne!(before, "NULL");
    database.execute("UPDATE tagged SET name = 'changed'; DROP TABLE private; ALTER TABLE scenarios DROP COLUMN accepted_prompt").await;
    let end = pod.run(Step::Restore);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{} {}", end.verdict.message, end.stderr);
    assert_eq!(database.text(RIGHTS).await, before);
    assert_eq!(
        database
            .text(&format!(
                "SELECT has_table_privilege('{reader}', 'private', 'INSERT') OR has_function_privilege('public', 'secret()', 'EXECUTE')"
            ))
            .await,
        "false"
    );
    assert_eq!(
        database.text("SELECT string_agg(name::text, ',' ORDER BY id) || obj_description('tagged'::regclass) FROM tagged").await,
        "Aa,bBit's a \\ table"
    );
    assert_eq!(database.text("SELECT string_agg(DISTINCT tableowner, ',') FROM pg_tables WHERE schemaname = 'public'").await, *owner);
    assert_eq!(database.text("SELECT count(*) FROM pg_extension WHERE extname IN ('citext', 'pg_trgm')").await, "2");
}
