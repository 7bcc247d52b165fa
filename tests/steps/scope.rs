//! Backups of scope `Tables`: what is in them, and what comes back of them and what stays, on a real server.

use crate::restore::{ledger, restored_when_the_application_commits};
use crate::support::pod::{End, Pod, TABLES, spec};
use crate::support::postgres::{Database, path_with_programs};
use backfill_operator::api::spec::{BackfillRunSpec, DumpFormat, RestoreMode, Scope};
use backfill_operator::api::status::{BackupStatus, CheckResult, Step};
use backfill_operator::protocol::{Outcome, RehearsalReport, StepReport};
use serde_json::{Value, json};
use std::process::Command;

/// Rows of the run's written table, with all that a restore must leave as it is.
const WRITTEN: &str = "(SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM scenarios t)";

/// What stands around the written table: keys in both directions, a trigger, a view, a type, rights, a table that is no business of the run.
const MORE: &str = "
    CREATE TYPE mood AS ENUM ('calm', 'odd'); CREATE DOMAIN positive AS int CHECK (value > 0);
    CREATE TABLE owners (id int PRIMARY KEY, name text); INSERT INTO owners SELECT n, 'owner ' || n FROM generate_series(1, 5) n;
    ALTER TABLE scenarios ADD COLUMN owner int DEFAULT 1 REFERENCES owners, ADD COLUMN m mood DEFAULT 'calm', ADD COLUMN p positive DEFAULT 1,
      ADD COLUMN parent bigint REFERENCES scenarios, ADD COLUMN doubled int GENERATED ALWAYS AS (p * 2) STORED, ADD COLUMN slug text UNIQUE DEFERRABLE INITIALLY DEFERRED;
    UPDATE scenarios SET parent = id - 1, slug = 's' || id WHERE id > 1;
    COMMENT ON CONSTRAINT scenarios_owner_fkey ON scenarios IS 'whose it is';
    CREATE TABLE said (id bigserial PRIMARY KEY, what text);
    CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.said (what) VALUES (TG_OP); RETURN NULL; END';
    CREATE TRIGGER say AFTER INSERT OR UPDATE OR DELETE ON scenarios FOR EACH ROW EXECUTE FUNCTION say();
    CREATE TRIGGER rests BEFORE UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger();
    ALTER TABLE scenarios DISABLE TRIGGER rests; ALTER TABLE scenarios ENABLE ALWAYS TRIGGER say;
    CREATE VIEW filled AS SELECT id FROM scenarios WHERE accepted_prompt IS NOT NULL;
    CREATE MATERIALIZED VIEW counted AS SELECT count(*) AS n FROM owners;
    CREATE SCHEMA \"Other Shop\"; CREATE TABLE \"Other Shop\".\"my table\" (id int PRIMARY KEY, v text); INSERT INTO \"Other Shop\".\"my table\" VALUES (1, 'theirs');
    CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100); INSERT INTO parted VALUES (7);";

/// Keys, triggers and rights around the written table, as the catalogue has them.
const AROUND: &str = "(SELECT string_agg(x, '; ' ORDER BY x) FROM (
      SELECT conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) || ' ' || convalidated || ' ' || coalesce(obj_description(oid), '') AS x FROM pg_constraint WHERE contype IN ('f', 'u', 'p') AND connamespace = 'public'::regnamespace
      UNION ALL SELECT tgrelid::regclass || ' ' || tgname || ' ' || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
      UNION ALL SELECT oid::regclass || ' ' || coalesce(relacl::text, '') FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relname <> 'since') all_of_it (x))";

fn of_tables(more: &str) -> BackfillRunSpec {
    let mut spec = spec(more);
    spec.backup.scope = Scope::Tables;
    spec
}

async fn backed_up(sql: &str, spec: BackfillRunSpec) -> (Database, Pod) {
    let database = Database::new(&format!("{TABLES}{MORE}{sql}")).await;
    ledger(&database).await;
    let mut pod = Pod::new(&database, spec);
    let backup = backup(&mut pod);
    pod.input.backup = Some(backup);
    (database, pod)
}

fn backup(pod: &mut Pod) -> BackupStatus {
    let end = pod.run(Step::Backup);
    match end.report {
        Some(StepReport::Backup(report)) => report.backup,
        _ => panic!("{} {}", end.verdict.message, end.stderr),
    }
}

fn listed(pod: &Pod) -> String {
    let file = pod.paths.backup.join(&pod.input.backup.as_ref().unwrap().file);
    let list = Command::new("pg_restore").env("PATH", path_with_programs()).arg("--list").arg(file).output().unwrap();
    assert!(list.status.success());
    String::from_utf8(list.stdout).unwrap()
}

fn manifest(pod: &Pod) -> Value {
    let file = pod.paths.backup.join(&pod.input.backup.as_ref().unwrap().file);
    serde_json::from_slice(&std::fs::read(file.with_extension("manifest.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_tables_has_their_rows_and_every_definition_and_says_so() {
    let (_database, pod) = backed_up("", of_tables("")).await;
    let backup = pod.input.backup.clone().unwrap();
    assert_eq!((backup.scope.as_str(), backup.tables.as_slice()), ("Tables", &["public.scenarios".to_owned()][..]));
    let list = listed(&pod);
    let with_rows: Vec<&str> = list.lines().filter(|line| line.contains(" TABLE DATA ")).collect();
    assert_eq!(with_rows.len(), 1, "{with_rows:?}");
    assert!(with_rows[0].contains("TABLE DATA public scenarios "), "{with_rows:?}");
    for definition in [
        "TYPE public mood",
        "DOMAIN public positive",
        "TABLE public owners",
        "SEQUENCE public scenarios_id_seq",
        "SCHEMA - Other Shop",
        "FUNCTION public say",
    ] {
        assert!(list.contains(definition), "{definition}: {list}");
    }
    let manifest = manifest(&pod);
    assert_eq!(manifest["scope"], json!("Tables"));
    assert_eq!(manifest["tables"].as_array().unwrap().len(), 1);
    let keys = manifest["leadsOut"].as_array().unwrap();
    assert_eq!(keys.len(), 2, "a key and its comment; the key to itself leads nowhere else: {keys:?}");
    assert!(keys[0].as_str().unwrap().starts_with("FK CONSTRAINT public scenarios scenarios_owner_fkey "), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_of_tables_puts_their_rows_back_and_leaves_everything_else() {
    for format in [DumpFormat::Custom, DumpFormat::Directory] {
        let mut spec = of_tables("");
        spec.backup.format = format;
        let (database, mut pod) = backed_up("", spec).await;
        let (before, around) = (database.text(WRITTEN).await, database.text(AROUND).await);
        database
            .execute(
                "UPDATE scenarios SET accepted_prompt = 'run', slug = 's' || (502 - id) WHERE id > 1; DELETE FROM scenarios s WHERE id = 500 AND NOT EXISTS (SELECT FROM scenario_generations g WHERE g.scenario_id = s.id);
                 INSERT INTO scenarios (id) VALUES (9001); UPDATE owners SET name = 'renamed'; INSERT INTO owners VALUES (77, 'new');
                 CREATE TABLE since (id int); INSERT INTO since VALUES (1); INSERT INTO \"Other Shop\".\"my table\" VALUES (2, 'later');
                 SELECT setval('scenarios_id_seq', 20000)",
            )
            .await;
        let said = database.text("SELECT count(*) FROM said").await;
        let losses = pod.account();
        assert_eq!(
            losses.losses.iter().map(|l| l.table.as_str()).collect::<Vec<_>>(),
            ["public.scenarios"],
            "nothing else would be touched: {losses:?}"
        );
        pod.input.loss_digest = Some(losses.digest);
        pod.input.restore = Some(RestoreMode::InPlace);
        let report = pod.run(Step::Restore).restored();
        assert!(report.checks.iter().all(|c| c.result == CheckResult::Passed) && report.old_database.is_none(), "{:?}", report.checks);
        assert_eq!(database.text(WRITTEN).await, before, "{format:?}");
        assert!(database.text(AROUND).await == around, "keys, triggers and rights are as they were, {format:?}");
        assert_eq!(database.text("SELECT count(*) FROM said").await, said, "no trigger of the application fired");
        assert_eq!(database.text("SELECT count(*) FROM owners WHERE name = 'renamed' OR id = 77").await, "6", "other tables stay");
        assert_eq!(database.text("SELECT (SELECT count(*) FROM since) + (SELECT count(*) FROM \"Other Shop\".\"my table\")").await, "3");
        assert_eq!(database.text("SELECT last_value FROM scenarios_id_seq").await, "20000", "sequences never go back");
        assert_eq!(database.text("SELECT state || epoch FROM backfill.runs").await, "Restored1");
        assert_eq!(database.text("SELECT count(*) FROM backfill.claim").await, "0");
        // The second attempt of a step that died after its COMMIT takes nothing of the application's later writes away.
        database.execute("UPDATE scenarios SET accepted_prompt = 'after' WHERE id = 3").await;
        pod.run(Step::Restore).restored();
        assert_eq!(database.text("SELECT accepted_prompt FROM scenarios WHERE id = 3").await, "after");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_between_the_account_and_the_locks_is_not_put_back_over() {
    let (database, mut pod) = backed_up("", of_tables("")).await;
    database.execute("UPDATE scenarios SET accepted_prompt = 'since' WHERE id = 2").await;
    let around = database.text(&format!("SELECT {AROUND}")).await;
    let end =
        restored_when_the_application_commits(&database, &mut pod, "UPDATE scenarios SET accepted_prompt = 'held' WHERE id = 1").await;
    let verdict = &end.verdict;
    assert_eq!((verdict.outcome, verdict.reason.as_str()), (Outcome::Failed, "LossChanged"), "{} {}", verdict.message, end.stderr);
    assert!(verdict.message.contains("something else was written (public.scenarios)"), "{}", verdict.message);
    assert_eq!(database.text("SELECT accepted_prompt FROM scenarios WHERE id = 1").await, "held");
    assert_eq!(database.text(&format!("SELECT {AROUND}")).await, around, "keys and triggers are on again");
    // Tables that are not put back may be written to.
    let end = restored_when_the_application_commits(
        &database,
        &mut pod,
        "SELECT count(*) FROM scenarios; INSERT INTO owners VALUES (9, 'nine'); CREATE TABLE since (n int)",
    )
    .await;
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{} {}", end.verdict.message, end.stderr);
    assert_eq!(database.text("SELECT name FROM owners WHERE id = 9").await, "nine");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_and_what_a_delete_takes_along_are_in_it() {
    let more = "
        CREATE TABLE events (id int, at date, v text, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
        CREATE TABLE events_25 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
        CREATE TABLE events_26 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
        INSERT INTO events SELECT n, date '2025-06-01' + n, 'v' || n FROM generate_series(1, 400) n;
        CREATE TABLE about (id int PRIMARY KEY, event int, at date, FOREIGN KEY (event, at) REFERENCES events ON DELETE CASCADE);
        INSERT INTO about SELECT id, id, at FROM events;
        CREATE TABLE notes (about int REFERENCES about ON DELETE CASCADE); INSERT INTO notes SELECT id FROM about;";
    let mut spec = of_tables("");
    let sql = spec.backfill.sql.as_mut().unwrap();
    sql.writes = vec![
        serde_json::from_value(json!({"table": "events", "action": "Delete", "match": "t.id = s.id", "cascades": "Capture"})).unwrap(),
    ];
    let (database, mut pod) = backed_up(more, spec).await;
    let backup = pod.input.backup.clone().unwrap();
    assert_eq!(backup.tables, ["public.about", "public.events_25", "public.events_26", "public.notes"]);
    let all = "(SELECT count(*) FROM events) || '/' || (SELECT count(*) FROM about) || '/' || (SELECT count(*) FROM notes) || '/' || (SELECT md5(string_agg(e::text, '|' ORDER BY id)) FROM events e)";
    let before = database.text(all).await;
    let keys = database.text(AROUND).await;
    database
        .execute("DELETE FROM events WHERE id % 2 = 0; DELETE FROM about WHERE id = 1; UPDATE events SET at = '2026-12-31' WHERE id = 1")
        .await;
    assert_ne!(database.text(all).await, before);
    pod.run(Step::Restore).restored();
    assert_eq!(database.text(all).await, before);
    assert!(database.text(AROUND).await == keys);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_not_hold_afterwards_is_not_done_at_all() {
    // Rows of another table refer to what the restore would take away.
    let (database, mut pod) = backed_up("", of_tables("")).await;
    database.execute("INSERT INTO scenarios (id) VALUES (9001); INSERT INTO scenario_generations (scenario_id) VALUES (9001); UPDATE scenarios SET accepted_prompt = 'x'").await;
    let before = database.text(WRITTEN).await;
    let around = database.text(AROUND).await;
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "RestoreRefused"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("scenario_generations_scenario_id_fkey"), "{}", end.verdict.message);
    assert!((database.text(WRITTEN).await, database.text(AROUND).await) == (before, around));

    // Columns that came since would lose what is in them.
    let (database, mut pod) = backed_up("", of_tables("")).await;
    database.execute("ALTER TABLE scenarios ADD COLUMN extra int DEFAULT 7; UPDATE scenarios SET extra = id").await;
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "RestoreRefused"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("public.scenarios") && end.verdict.message.contains("columns"), "{}", end.verdict.message);
    assert_eq!(database.text("SELECT count(DISTINCT extra) FROM scenarios").await, "500");

    // A table that is gone has to be made by a person.
    let (database, mut pod) = backed_up("", of_tables("")).await;
    database.execute("DROP TABLE scenarios CASCADE").await;
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "TableGone"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("public.scenarios"), "{}", end.verdict.message);

    // Which tables it is of, only the manifest says.
    std::fs::remove_file(pod.paths.backup.join(&pod.input.backup.as_ref().unwrap().file).with_extension("manifest.json")).unwrap();
    assert_eq!(pod.run(Step::Restore).verdict.reason, "ManifestMissing");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ways_back_of_a_run_with_such_a_backup_have_no_swap_and_say_why() {
    let database = Database::new(&format!("{TABLES}{MORE}")).await;
    database
        .execute_as_superuser(&format!(
            "ALTER ROLE {} CREATEDB; CREATE TABLE foreign_table (id int); GRANT SELECT ON foreign_table TO {0}",
            database.owner
        ))
        .await;
    let mut pod = Pod::new(&database, of_tables(""));
    let found = |end: &End| match &end.report {
        Some(StepReport::Preflight(report)) => {
            let check = report.checks.iter().find(|check| check.name == "ways-back").unwrap();
            (report.way_back.clone(), check.message.clone(), report.dump_estimate_bytes)
        }
        other => panic!("{other:?} {}", end.verdict.message),
    };
    let (ways, message, of_tables) = found(&pod.run(Step::Preflight));
    assert_eq!(ways, ["Undo", "RestoreTables"], "a table that is not the role's is no obstacle: {message}");
    assert!(message.contains("backup.scope: Tables"), "{message}");
    pod.input.spec.backup.scope = Scope::Database;
    let (ways, _, of_all) = found(&pod.run(Step::Preflight));
    assert_eq!(ways, ["Undo"]);
    assert!(of_tables * 2 < of_all, "{of_tables} {of_all}");

    // Keys of a table that is somebody else's cannot be taken off.
    pod.input.spec.backup.scope = Scope::Tables;
    database.execute_as_superuser("CREATE TABLE theirs (id bigint REFERENCES scenarios); GRANT SELECT ON theirs TO PUBLIC").await;
    let (ways, message, _) = found(&pod.run(Step::Preflight));
    assert_eq!(ways, ["Undo"]);
    assert!(message.contains("theirs"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_tables_is_rehearsed_as_far_as_it_reaches() {
    let (_database, mut pod) = backed_up("", of_tables("")).await;
    let end = pod.run(Step::Plan);
    let Some(StepReport::Plan(report)) = end.report else { panic!("{} {}", end.verdict.message, end.stderr) };
    pod.input.plan = Some(report.plan);
    let end = pod.rehearse();
    assert_eq!(
        (end.verdict.outcome, end.verdict.reason.as_str()),
        (Outcome::Passed, "BackupRestored"),
        "{} {}",
        end.verdict.message,
        end.stderr
    );
    let Some(StepReport::Rehearsal(RehearsalReport { rehearsal, checks })) = end.report else { panic!() };
    assert_eq!((rehearsal.tables, rehearsal.rows), (1, 500));
    assert!(rehearsal.counts.is_empty() && checks.len() == 1 && checks[0].result == CheckResult::Passed, "{rehearsal:?} {checks:?}");
    for words in ["rows of 1 tables only", "2 foreign keys and materialized views", "the plan was not applied"] {
        assert!(rehearsal.remarks.iter().any(|remark| remark.contains(words)), "{words}: {:?}", rehearsal.remarks);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_tables_makes_no_backup_of_the_database_go() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(""));
    let mut taken = Vec::new();
    for (uid, scope) in [("aaaaaaaa", Scope::Database), ("bbbbbbbb", Scope::Tables), ("cccccccc", Scope::Tables)] {
        pod.input.run.uid = format!("{uid}-0d7e-4b52-9d8e-0123456789ab");
        pod.input.spec.backup.scope = scope;
        pod.input.spec.backup.retain = Some(serde_json::from_value(json!({"last": 1})).unwrap());
        taken.push(backup(&mut pod));
    }
    let there: Vec<bool> = taken.iter().map(|backup| pod.paths.backup.join(&backup.file).exists()).collect();
    assert_eq!(there, [true, false, true], "the last of each kind stays");
}
