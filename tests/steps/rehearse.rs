use crate::support::pod::{End, Pod, TABLES, spec};
use crate::support::postgres::Database;
use backfill_operator::api::Phase;
use backfill_operator::api::spec::DumpFormat;
use backfill_operator::api::status::{CheckResult, RehearsalStatus, Step};
use backfill_operator::protocol::{Outcome, RehearsalInput, RehearsalReport, StepReport};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

/// A run's check of what it wrote.
const FILLED: &str = "verify: [{name: filled, sql: 'SELECT count(*) FROM backfill.written w JOIN scenarios t USING (id) WHERE t.accepted_prompt IS NULL', expect: {equals: 0}}]";

/// Backed up and planned, as a run is before its rehearsal; `between` is what the application does between the two.
async fn planned(sql: &str, between: &str, more: &str) -> (Database, Pod) {
    let database = Database::new(&format!("{TABLES}{sql}")).await;
    let mut pod = Pod::new(&database, spec(more));
    let end = pod.run(Step::Backup);
    let Some(StepReport::Backup(report)) = end.report else { panic!("{} {}", end.verdict.message, end.stderr) };
    pod.input.backup = Some(report.backup);
    if !between.is_empty() {
        database.execute(between).await;
    }
    let end = pod.run(Step::Plan);
    let Some(StepReport::Plan(report)) = end.report else { panic!("{} {}", end.verdict.message, end.stderr) };
    pod.input.plan = Some(report.plan);
    (database, pod)
}

fn found(end: &End) -> RehearsalReport {
    match &end.report {
        Some(StepReport::Rehearsal(report)) => report.clone(),
        other => panic!("{other:?}: {} {}", end.verdict.message, end.stderr),
    }
}

fn verdict(end: &End) -> (Outcome, &str) {
    (end.verdict.outcome, end.verdict.reason.as_str())
}

fn counts(rehearsal: &RehearsalStatus) -> Vec<(&str, i64, i64)> {
    rehearsal.counts.iter().map(|c| (c.name.as_str(), c.predicted, c.rehearsed)).collect()
}

fn dump(pod: &Pod) -> PathBuf {
    pod.paths.backup.join(&pod.input.backup.as_ref().unwrap().file)
}

/// Changes the manifest beside the dump.
fn with_manifest(pod: &Pod, change: impl FnOnce(&mut Value)) {
    let path = dump(pod).with_extension("manifest.json");
    let mut manifest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut manifest);
    std::fs::write(&path, manifest.to_string()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_restored_and_the_plan_does_on_the_copy_what_it_predicted() {
    let more = "CREATE VIEW filled AS SELECT id FROM scenarios WHERE accepted_prompt IS NOT NULL; \
         CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100); \
         INSERT INTO parted SELECT generate_series(1, 50); GRANT SELECT ON scenarios TO pg_monitor; SELECT lo_create(777);";
    let (database, mut pod) = planned(more, "", FILLED).await;
    let before = database.text("(SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM scenarios t)").await;
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Passed, "BackupRestored"), "{} {}", end.verdict.message, end.stderr);
    let RehearsalReport { rehearsal, checks } = found(&end);
    assert_eq!(counts(&rehearsal), [("Written", 500, 500), ("Drifted", 0, 0), ("Quarantined", 0, 0)]);
    assert_eq!((rehearsal.tables, rehearsal.rows), (3, 1050));
    assert!(rehearsal.restore_seconds >= 1 && rehearsal.apply_seconds.is_some_and(|s| s >= 1), "{rehearsal:?}");
    assert_eq!(rehearsal.backup_sha256, pod.input.backup.as_ref().unwrap().sha256);
    assert!(end.verdict.message.contains(&format!("PostgreSQL {}", rehearsal.server_version)), "{}", end.verdict.message);
    assert_eq!(rehearsal.remarks, Vec::<String>::new());
    let names: Vec<&str> = checks.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["restored-tables", "written-as-planned", "filled"]);
    assert!(checks.iter().all(|c| c.phase == Phase::Planning && c.result == CheckResult::Passed), "{checks:?}");
    // A line a second: a small copy has its first only.
    assert!(end.stdout.contains("\"unit\":\"bytes\""), "{}", end.stdout);
    // Of all this the database has seen nothing, and of the copy nothing is left.
    assert_eq!(database.text("(SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM scenarios t)").await, before);
    assert_eq!(database.text("SELECT count(*) FROM pg_namespace WHERE nspname = 'backfill'").await, "0");
    assert!(!pod.paths.rehearsal.join("data").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_is_damaged_in_the_middle_does_not_restore_though_its_list_reads() {
    let (_database, mut pod) = planned("", "", "").await;
    let path = dump(&pod);
    let mut bytes = std::fs::read(&path).unwrap();
    // Where the rows are: behind the table of contents, before the last block.
    let middle = bytes.len() / 2;
    for byte in &mut bytes[middle..middle + 64] {
        *byte ^= 0x5a;
    }
    std::fs::write(&path, &bytes).unwrap();
    let listed =
        Command::new("pg_restore").env("PATH", crate::support::postgres::path_with_programs()).arg("--list").arg(&path).output().unwrap();
    assert!(listed.status.success(), "the list reads");

    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Failed, "BackupChanged"), "{}", end.verdict.message);

    // Damaged before its sums were taken: only the restore finds it.
    let sum = Command::new("sha256sum").arg(&path).output().unwrap();
    let sum = String::from_utf8(sum.stdout).unwrap().split(' ').next().unwrap().to_owned();
    pod.input.backup.as_mut().unwrap().sha256.clone_from(&sum);
    with_manifest(&pod, |manifest| {
        manifest["sha256"] = json!(sum);
        manifest["files"][0]["sha256"] = json!(sum);
    });
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Failed, "RehearsalRestoreFailed"), "{} {}", end.verdict.message, end.stderr);
    assert!(end.verdict.message.contains("does not restore"), "{}", end.verdict.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_what_the_manifest_says_is_told_table_by_table() {
    let (_database, mut pod) = planned("", "", "").await;
    with_manifest(&pod, |manifest| {
        let tables = manifest["tables"].as_array_mut().unwrap();
        for table in tables {
            if table["table"] == "public.scenarios" {
                table["rows"] = json!(501);
            } else {
                table["digest"] = json!("1");
            }
        }
    });
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Failed, "RehearsalDiffers"), "{}", end.verdict.message);
    let RehearsalReport { rehearsal, checks } = found(&end);
    let messages: Vec<&str> = checks.iter().map(|c| c.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "public.scenario_generations has its 500 rows, but other content than was dumped",
            "public.scenarios has 500 rows on the copy, and had 501 when it was dumped"
        ]
    );
    assert!(rehearsal.counts.is_empty(), "the plan is not applied on what is no copy");

    std::fs::remove_file(dump(&pod).with_extension("manifest.json")).unwrap();
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Failed, "ManifestMissing"), "{}", end.verdict.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_that_fails_on_the_copy_fails_the_rehearsal() {
    let check =
        "verify: [{name: none-short, sql: 'SELECT count(*) FROM scenarios WHERE length(accepted_prompt) < 1000', expect: {equals: 0}}]";
    let (_database, mut pod) = planned("", "", check).await;
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Failed, "RehearsalChecksFailed"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("none-short: found 500, expected exactly 0"), "{}", end.verdict.message);
    assert_eq!(counts(&found(&end).rehearsal)[0], ("Written", 500, 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_application_wrote_between_dump_and_plan_is_drift_on_the_copy_and_no_verdict() {
    let between = "UPDATE scenarios SET accepted_prompt = 'by hand' WHERE id <= 7; \
         INSERT INTO scenarios (id) VALUES (900); INSERT INTO scenario_generations (scenario_id, metadata) VALUES (900, '{\"llm_response\": {\"prompt\": \"new\"}}');";
    let check = "verify: [{name: all, sql: 'SELECT count(*) FROM scenarios WHERE accepted_prompt IS NULL', expect: {equals: 0}}]\n";
    let (_database, mut pod) = planned("", between, check).await;
    // The limit is the database's, where the rows are as planned.
    pod.input.spec.backfill.sql.as_mut().unwrap().drift.max_percent = 0;
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Passed, "BackupRestored"), "{} {}", end.verdict.message, end.stderr);
    let RehearsalReport { rehearsal, checks } = found(&end);
    assert_eq!(counts(&rehearsal), [("Written", 501, 493), ("Drifted", 0, 8), ("Quarantined", 0, 0)]);
    let check = checks.iter().find(|c| c.name == "all").unwrap();
    assert_eq!(check.result, CheckResult::Inconclusive, "{check:?}");
    assert!(check.message.contains("found 7") && check.message.contains("8 planned rows changed between dump and plan"), "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_the_database_would_refuse_is_found_out_on_the_copy() {
    let refuses = "ALTER TABLE scenarios ADD CONSTRAINT short CHECK (length(accepted_prompt) < 100);";
    let (database, mut pod) = planned(refuses, "", "").await;
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Failed, "RehearsalApplyFailed"), "{} {}", end.verdict.message, end.stderr);
    assert!(end.verdict.message.contains("RowRefused") && end.verdict.message.contains("short"), "{}", end.verdict.message);
    assert_eq!(database.text("SELECT count(accepted_prompt) FROM scenarios").await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plan_is_applied_only_where_it_can_and_shall_be() {
    let (_database, mut pod) = planned("", "", FILLED).await;
    pod.input.spec.backup.rehearsal = Some(serde_json::from_value(json!({"applyPlan": false})).unwrap());
    let end = pod.rehearse();
    assert_eq!(verdict(&end).0, Outcome::Passed, "{}", end.verdict.message);
    let RehearsalReport { rehearsal, checks } = found(&end);
    assert!(rehearsal.counts.is_empty() && rehearsal.apply_seconds.is_none() && checks.len() == 1, "{rehearsal:?} {checks:?}");
    assert!(rehearsal.remarks[0].contains("applyPlan: false"), "{:?}", rehearsal.remarks);

    pod.input.spec.backup.rehearsal = None;
    let migrations = json!({"job": {"template": {}}, "adds": [{"table": "scenarios", "column": "later", "type": "text"}]});
    pod.input.spec.migrations = Some(serde_json::from_value(migrations).unwrap());
    let end = pod.rehearse();
    assert_eq!(verdict(&end).0, Outcome::Passed, "{}", end.verdict.message);
    assert!(found(&end).rehearsal.remarks[0].contains("migrations"), "{:?}", found(&end).rehearsal.remarks);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_owners_and_grants_come_back_and_what_leads_to_other_servers_does_not() {
    let database = Database::new(TABLES).await;
    let odd = format!("Odd \"{}\"", database.name);
    database
        .execute_as_superuser(&format!(
            "CREATE ROLE {role} NOLOGIN; ALTER TABLE scenario_generations OWNER TO {role}; GRANT ALL ON SCHEMA public TO {role}; GRANT {role} TO {owner};
             CREATE POLICY own ON scenarios TO {role} USING (true); ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT SELECT ON TABLES TO {reader};
             CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watch();
             CREATE EXTENSION postgres_fdw; CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1');
             CREATE USER MAPPING FOR {owner} SERVER other OPTIONS (user 'x', password 'f0reign-s3cret'); CREATE FOREIGN TABLE far (id int) SERVER other;
             CREATE PUBLICATION p FOR TABLE scenarios;",
            role = format!("\"{}\"", odd.replace('"', "\"\"")),
            owner = database.owner,
            reader = database.reader,
        ))
        .await;
    let mut pod = Pod::new(&database, spec(""));
    let end = pod.run(Step::Backup);
    let Some(StepReport::Backup(report)) = end.report else { panic!("{} {}", end.verdict.message, end.stderr) };
    pod.input.backup = Some(report.backup);
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Passed, "BackupRestored"), "{} {}", end.verdict.message, end.stderr);
    let remarks = found(&end).rehearsal.remarks;
    assert!(remarks.iter().any(|r| r.starts_with("1 subscriptions and user mappings")), "{remarks:?}");
    assert!(!format!("{}{}{}", end.stdout, end.stderr, end.verdict.message).contains("f0reign-s3cret"));
    database.execute_as_superuser("DROP EVENT TRIGGER watch").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_image_does_not_have_is_named_and_is_no_verdict_about_the_dump() {
    let database = Database::new(TABLES).await;
    // An extension that no server has: its dump asks for it all the same.
    database
        .execute_as_superuser("CREATE EXTENSION pgcrypto; UPDATE pg_extension SET extname = 'imaginary' WHERE extname = 'pgcrypto'")
        .await;
    let mut pod = Pod::new(&database, spec(""));
    let Some(StepReport::Backup(report)) = pod.run(Step::Backup).report else { panic!() };
    pod.input.backup = Some(report.backup);
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Inconclusive, "ExtensionMissing"), "{} {}", end.verdict.message, end.stderr);
    assert!(end.verdict.message.contains("(imaginary)"), "{}", end.verdict.message);

    with_manifest(&pod, |manifest| manifest["origin"]["collate"] = json!("xx_XX.UTF-8"));
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Inconclusive, "LocaleMissing"), "{} {}", end.verdict.message, end.stderr);
    assert!(end.verdict.message.contains("xx_XX.UTF-8") && end.verdict.message.contains("LOCALES"), "{}", end.verdict.message);

    with_manifest(&pod, |manifest| manifest["origin"]["versionNumber"] = json!(990_001));
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Inconclusive, "ServerMajorMissing"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("the dump is of PostgreSQL 99"), "{}", end.verdict.message);

    pod.servers = Some("/nonexistent".into());
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Inconclusive, "ServerMajorMissing"));
    assert!(end.verdict.message.contains("no PostgreSQL server"), "{}", end.verdict.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_space_and_time_end_a_rehearsal_with_their_fields() {
    let (_database, mut pod) = planned("", "", "").await;
    pod.input.rehearsal = Some(RehearsalInput { storage_bytes: 10 << 20, database_bytes: 10 << 20 });
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Inconclusive, "RehearsalVolumeFull"), "{} {}", end.verdict.message, end.stderr);
    assert!(
        end.verdict.message.contains("10.0 MiB") && end.verdict.message.contains("backup.rehearsal.storage"),
        "{}",
        end.verdict.message
    );

    pod.input.rehearsal = None;
    pod.input.spec.backup.rehearsal = Some(serde_json::from_value(json!({"timeout": "100ms"})).unwrap());
    let end = pod.rehearse();
    assert_eq!(verdict(&end), (Outcome::Inconclusive, "RehearsalTimeout"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("backup.rehearsal.timeout"), "{}", end.verdict.message);
}

/// What takes a while to be restored.
const MANY_TABLES: &str =
    "DO $$ BEGIN FOR n IN 1..1500 LOOP EXECUTE format('CREATE TABLE extra_%s (id int PRIMARY KEY, v text)', n); END LOOP; END $$;";

/// The lines that the scratch server writes about itself, once it takes connections and `so_far` holds. The first is its pid.
fn server_is_up(pod: &Pod, so_far: impl Fn() -> bool) -> Vec<String> {
    let file = pod.paths.rehearsal.join("data/postmaster.pid");
    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.contains("ready") && so_far() {
            return text.lines().map(str::to_owned).collect();
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "the server comes up");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scratch_server_listens_nowhere_and_ends_with_its_step() {
    let (_database, mut pod) = planned(MANY_TABLES, "", "").await;
    let child = pod.spawn_rehearsal();
    let lines = server_is_up(&pod, || true);
    assert!(lines[4].starts_with(pod.paths.rehearsal.to_str().unwrap()), "a socket in its own folder: {lines:?}");
    assert_eq!(lines[5], "", "no address is listened on: {lines:?}");
    let postmaster = PathBuf::from(format!("/proc/{}", lines[0]));
    assert!(postmaster.exists());

    let asked = Instant::now();
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let end = pod.end(child);
    assert_eq!(verdict(&end), (Outcome::Stopped, "Stopped"), "{}", end.verdict.message);
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert!(!postmaster.exists() && !pod.paths.rehearsal.join("data").exists(), "nothing of it is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_server_that_dies_is_a_lost_step_and_no_verdict() {
    let (_database, mut pod) = planned(MANY_TABLES, "", "").await;
    let child = pod.spawn_rehearsal();
    // Written just before the restore begins.
    let lines = server_is_up(&pod, || pod.paths.rehearsal.join("list").exists());
    std::thread::sleep(Duration::from_millis(300));
    Command::new("kill").args(["-KILL", &lines[0]]).status().unwrap();
    let end = pod.end(child);
    assert_eq!(verdict(&end), (Outcome::Lost, "ScratchServerLost"), "{} {}", end.verdict.message, end.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_many_files_and_an_encrypted_one_are_rehearsed_like_any_other() {
    for (format, encrypted) in [(DumpFormat::Directory, false), (DumpFormat::Custom, true), (DumpFormat::Directory, true)] {
        let database = Database::new(TABLES).await;
        let mut spec = spec(FILLED);
        spec.backup.format = format;
        if encrypted {
            spec.backup.encryption = Some(serde_json::from_value(json!({"secretRef": {"name": "backup-key"}})).unwrap());
        }
        let mut pod = Pod::new(&database, spec);
        if encrypted {
            let key = Command::new("age-keygen").output().unwrap();
            assert!(key.status.success());
            std::fs::create_dir_all(pod.paths.encryption.parent().unwrap()).unwrap();
            std::fs::write(&pod.paths.encryption, key.stdout).unwrap();
            std::fs::create_dir_all(&pod.paths.workspace).unwrap();
        }
        for step in [Step::Backup, Step::Plan] {
            let end = pod.run(step);
            match end.report {
                Some(StepReport::Backup(report)) => pod.input.backup = Some(report.backup),
                Some(StepReport::Plan(report)) => pod.input.plan = Some(report.plan),
                _ => panic!("{} {}", end.verdict.message, end.stderr),
            }
        }
        assert_eq!(pod.input.backup.as_ref().unwrap().encrypted_for.is_empty(), !encrypted);
        let end = pod.rehearse();
        assert_eq!(
            verdict(&end),
            (Outcome::Passed, "BackupRestored"),
            "{format:?}, encrypted: {encrypted}: {} {}",
            end.verdict.message,
            end.stderr
        );
        let RehearsalReport { rehearsal, checks } = found(&end);
        assert_eq!((rehearsal.tables, rehearsal.rows, counts(&rehearsal)[0]), (2, 1000, ("Written", 500, 500)));
        assert!(checks.iter().all(|check| check.result == CheckResult::Passed), "{checks:?}");
        if encrypted {
            let left = Command::new("find").arg(&pod.paths.workspace).args(["-type", "f"]).output().unwrap();
            assert_eq!(String::from_utf8(left.stdout).unwrap(), "", "nothing stays in the clear");
        }
    }
}
