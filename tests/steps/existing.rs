//! Backups that were made elsewhere: proved as far as it can be, never touched, and restored like our own.

use crate::restore::{CONTENT, ledger};
use crate::support::pod::{Pod, TABLES, spec};
use crate::support::postgres::{Database, path_with_programs, server};
use crate::support::s3::{BUCKET, KEY_ID, KEY_SECRET, Store};
use backfill_operator::api::spec::{Destination, RestoreMode};
use backfill_operator::api::status::{BackupStatus, CheckResult, Step};
use backfill_operator::protocol::{Outcome, StepReport};
use serde_json::json;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const MORE: &str = "
    CREATE TYPE mood AS ENUM ('calm', 'odd'); CREATE DOMAIN positive AS int CHECK (value > 0);
    CREATE VIEW filled AS SELECT id FROM scenarios WHERE accepted_prompt IS NOT NULL; CREATE SEQUENCE counter;
    CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE TABLE parted (id int) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100); INSERT INTO parted VALUES (7);";

async fn database() -> Database {
    let database = Database::new(&format!("{TABLES}{MORE}")).await;
    ledger(&database).await;
    database
}

/// Makes a dump as anybody would, ledger and all.
fn dump(database: &Database, to: &Path, more: &[&str]) {
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    let output = Command::new("pg_dump")
        .env("PATH", path_with_programs())
        .env("PGPASSWORD", &database.password)
        .args([
            "--host",
            "127.0.0.1",
            "--port",
            &server().port.to_string(),
            "--username",
            &database.owner,
            "--dbname",
            &database.name,
            "--file",
        ])
        .arg(to)
        .args(more)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn naming(database: &Database, path: &str) -> Pod {
    let mut spec = spec("");
    spec.backup.existing = Some(serde_json::from_value(json!({"path": path})).unwrap());
    Pod::new(database, spec)
}

fn proved(pod: &mut Pod) -> BackupStatus {
    let end = pod.run(Step::Backup);
    assert_eq!(
        (end.verdict.outcome, end.verdict.reason.as_str()),
        (Outcome::Passed, "BackupProved"),
        "{} {}",
        end.verdict.message,
        end.stderr
    );
    let Some(StepReport::Backup(report)) = end.report else { panic!() };
    pod.input.backup = Some(report.backup.clone());
    report.backup
}

/// Every file below a folder with its content and time, as one text.
fn everything(folder: &Path) -> String {
    let script = "find . -type f -printf '%p %T@ ' -exec sha256sum {} \\; | sort";
    let output = Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_others_is_proved_as_far_as_it_can_be_and_what_cannot_be_is_said() {
    for (path, more) in [("nightly/shop.dump", vec!["-Fc"]), ("nightly.folder", vec!["-Fd", "--jobs", "2"])] {
        let database = database().await;
        let mut pod = naming(&database, path);
        dump(&database, &pod.paths.backup.join("staging").join(path), &more);
        let before = everything(&pod.paths.backup);
        let backup = proved(&mut pod);
        assert_eq!(backup.path, format!("pvc/backups/staging/{path}"));
        assert_eq!((backup.existing.as_str(), backup.proof.as_str()), ("Dump", "Read"));
        assert!(backup.size_bytes > 10_000 && backup.sha256.len() == 64 && backup.restore_with.starts_with("pg_restore >= "), "{backup:?}");
        assert!(
            backup.client.starts_with("made elsewhere by pg_dump ") && backup.database_id.is_empty() && backup.lsn.is_empty(),
            "{backup:?}"
        );
        for words in ["of this server", "held then", "when exactly"] {
            assert!(backup.unproved.iter().any(|what| what.contains(words)), "{words}: {:?}", backup.unproved);
        }
        let manifest = std::fs::read_to_string(pod.paths.backup.join(&backup.manifest)).unwrap();
        assert!(
            manifest.contains(&backup.sha256) && backup.manifest.starts_with("staging/staging-import-7f3c9a52-"),
            "{}",
            backup.manifest
        );
        std::fs::remove_file(pod.paths.backup.join(&backup.manifest)).unwrap();
        assert_eq!(everything(&pod.paths.backup), before, "what others have made is not touched");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_others_comes_back_without_its_ledger_and_what_it_loses_cannot_be_counted() {
    for mode in [RestoreMode::InPlace, RestoreMode::Swap] {
        let database = database().await;
        database.execute_as_superuser(&format!("ALTER ROLE {} CREATEDB", database.owner)).await;
        let mut pod = naming(&database, "shop.dump");
        dump(&database, &pod.paths.backup.join("staging/shop.dump"), &["-Fc"]);
        let backup = proved(&mut pod);
        let before = database.text(CONTENT).await;
        pod.input.restore = Some(mode);
        database.execute("UPDATE scenarios SET accepted_prompt = 'since'; DELETE FROM scenario_generations WHERE id > 400; CREATE TABLE backfill.kept (id int)").await;
        let losses = pod.account();
        assert_eq!(losses.losses.len(), 1);
        assert!(
            losses.losses[0].message.contains("cannot be said") && losses.losses[0].message.contains(&backup.taken_at.unwrap().to_string()),
            "{losses:?}"
        );
        pod.input.loss_digest = Some(losses.digest.clone());
        database.execute("UPDATE scenarios SET accepted_prompt = 'later' WHERE id = 1").await;
        assert_eq!(pod.run(Step::Restore).verdict.reason, "LossChanged", "any write is another loss");
        pod.input.loss_digest = Some(pod.account().digest);
        let report = pod.run(Step::Restore).restored();
        assert_eq!(database.text(CONTENT).await, before, "{mode:?}");
        let check = report.checks.iter().find(|check| check.name == "restored-tables").unwrap();
        assert!(check.result == CheckResult::Inconclusive && check.message.contains("could not be compared"), "{check:?}");
        assert_eq!(database.text("SELECT state FROM backfill.runs").await, "Restored");
        assert_eq!(
            database.text("SELECT to_regclass('backfill.kept') IS NOT NULL").await,
            "true",
            "the ledger is the live one's, {mode:?}"
        );
        // A second attempt of the step takes nothing away that was written since.
        database.execute("UPDATE scenarios SET accepted_prompt = 'after' WHERE id = 3").await;
        pod.run(Step::Restore).restored();
        assert_eq!(database.text("SELECT accepted_prompt FROM scenarios WHERE id = 3").await, "after", "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_an_earlier_run_is_proved_by_its_own_manifest_and_outlives_the_next_backup() {
    let database = database().await;
    let mut earlier = Pod::new(&database, spec(""));
    earlier.input.run.uid = "eeeeeeee-0d7e-4b52-9d8e-0123456789ab".into();
    let theirs = proved(&mut earlier);
    let mut pod = naming(&database, theirs.file.strip_prefix("staging/").unwrap());
    assert!(Command::new("cp").arg("-a").arg(earlier.paths.backup.join("staging")).arg(&pod.paths.backup).status().unwrap().success());
    let backup = proved(&mut pod);
    assert!(backup.unproved.is_empty() && backup.existing == "Dump", "{backup:?}");
    assert_eq!((&backup.lsn, &backup.database_id, backup.taken_at), (&theirs.lsn, &theirs.database_id, theirs.taken_at));
    assert!(pod.account().losses.is_empty());
    database.execute("UPDATE scenarios SET accepted_prompt = 'since' WHERE id = 1").await;
    assert_eq!(pod.account().losses[0].table, "public.scenarios", "what it held is known");

    // A dump of others has no manifest beside it, and is nobody's to delete.
    let foreign = pod.paths.backup.join("staging/nightly.dump");
    dump(&database, &foreign, &["-Fc"]);
    pod.input.spec.backup.existing = None;
    pod.input.spec.backup.retain = Some(serde_json::from_value(json!({"last": 1})).unwrap());
    pod.input.run.uid = "ffffffff-0d7e-4b52-9d8e-0123456789ab".into();
    pod.input.backup = None;
    proved(&mut pod);
    assert!(foreign.exists() && pod.paths.backup.join(&backup.manifest).exists());
    assert!(!pod.paths.backup.join(&theirs.file).exists(), "ours goes as any other, once no run needs it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_that_cannot_serve_is_refused_by_name() {
    let (ours, other) = (database().await, database().await);
    let mut pod = naming(&ours, "x.dump");
    let file = pod.paths.backup.join("staging/x.dump");
    let refused = |pod: &mut Pod, reason: &str, words: &str| {
        let end = pod.run(Step::Backup);
        assert_eq!(end.verdict.reason, reason, "{words}: {} {}", end.verdict.message, end.stderr);
        assert!(end.report.is_none() && end.verdict.message.contains(words), "{words}: {}", end.verdict.message);
        end.verdict.outcome
    };
    assert_eq!(refused(&mut pod, "BackupMissing", "staging/x.dump"), Outcome::Failed);
    dump(&other, &file, &["-Fc"]);
    assert_eq!(refused(&mut pod, "ExistingOfAnotherDatabase", &other.name), Outcome::Stalled);
    dump(&ours, &file, &["-Fc", "--exclude-table-data=scenario_generations"]);
    refused(&mut pod, "ExistingIncomplete", "scenario_generations");
    dump(&ours, &file, &["-Fc", "--table=public.*"]);
    refused(&mut pod, "ExistingIncomplete", "is not in it");
    dump(&ours, &file, &["-Ft"]);
    refused(&mut pod, "ExistingFormat", "--format=custom");
    dump(&ours, &file, &["-Fp"]);
    refused(&mut pod, "DumpUnreadable", "text");
    dump(&ours, &file, &["-Fc"]);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(refused(&mut pod, "DumpUnreadable", "pg_restore"), Outcome::Failed);
    std::fs::write(&file, &bytes).unwrap();
    pod.input.spec.backup.max_age = "1s".into();
    let begun = Instant::now();
    while pod.run(Step::Backup).verdict.reason != "ExistingTooOld" {
        assert!(begun.elapsed() < Duration::from_secs(30), "it gets too old");
    }
    assert_eq!(refused(&mut pod, "ExistingTooOld", "maxAge (1s)"), Outcome::Stalled);
    // A file that says that it is young, and lies there for days.
    pod.input.spec.backup.max_age = "4h".into();
    assert!(Command::new("touch").args(["-d", "2 days ago"]).arg(&file).status().unwrap().success());
    refused(&mut pod, "ExistingTooOld", "maxAge (4h)");
    // Another dump than that of the manifest beside it.
    assert!(Command::new("touch").arg(&file).status().unwrap().success());
    std::fs::write(
        pod.paths.backup.join("staging/x.manifest.json"),
        json!({"runUid": "u", "sha256": "0", "takenAt": "2026-01-01T00:00:00Z", "tables": []}).to_string(),
    )
    .unwrap();
    refused(&mut pod, "ExistingChanged", "manifest");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_others_in_a_bucket_is_proved_and_comes_back() {
    let store = Store::start();
    let database = database().await;
    let mut pod = naming(&database, "shop.dump");
    let local = pod.paths.backup.join("shop.dump");
    dump(&database, &local, &["-Fc"]);
    std::fs::create_dir_all(store.path("nightly")).unwrap();
    std::fs::copy(&local, store.path("nightly/shop.dump")).unwrap();
    let s3 = json!({"bucket": BUCKET, "prefix": "nightly", "endpoint": store.endpoint(), "secretRef": {"name": "key"}});
    pod.input.spec.backup.destination = Destination { persistent_volume_claim: None, s3: Some(serde_json::from_value(s3).unwrap()) };
    std::fs::create_dir_all(&pod.paths.s3).unwrap();
    std::fs::write(pod.paths.s3.join("accesskey"), KEY_ID).unwrap();
    std::fs::write(pod.paths.s3.join("secretkey"), KEY_SECRET).unwrap();
    std::fs::create_dir_all(&pod.paths.workspace).unwrap();
    let before = database.text(CONTENT).await;
    let backup = proved(&mut pod);
    assert_eq!(backup.path, format!("s3://{BUCKET}/nightly/shop.dump"));
    database.execute("UPDATE scenarios SET accepted_prompt = 'since'").await;
    pod.run(Step::Restore).restored();
    assert_eq!(database.text(CONTENT).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_others_is_rehearsed_and_the_plan_applied_on_the_copy() {
    let database = database().await;
    let mut pod = naming(&database, "shop.dump");
    dump(&database, &pod.paths.backup.join("staging/shop.dump"), &["-Fc"]);
    proved(&mut pod);
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
    assert!(end.verdict.message.contains("nobody measured them"), "{}", end.verdict.message);
    let Some(StepReport::Rehearsal(report)) = end.report else { panic!() };
    assert_eq!((report.rehearsal.tables, report.rehearsal.rows), (3, 1001));
    assert_eq!(report.rehearsal.counts[0].rehearsed, 500, "the plan on the copy: {report:?}");
    let check = report.checks.iter().find(|check| check.name == "restored-tables").unwrap();
    assert_eq!(check.result, CheckResult::Inconclusive, "{check:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_room_for_a_dump_is_asked_for_where_one_is_there() {
    let database = database().await;
    let mut pod = naming(&database, "shop.dump");
    let end = pod.run(Step::Preflight);
    let Some(StepReport::Preflight(report)) = end.report else { panic!("{}", end.verdict.message) };
    let check = report.checks.iter().find(|check| check.name == "free-space").unwrap();
    assert!(check.message.contains("backup.existing"), "{check:?}");
}
