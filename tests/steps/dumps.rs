//! Formats, compressions and clients of dumps, and what their manifests say.

use crate::restore::{CONTENT, ledger};
use crate::support::pod::{Pod, TABLES, spec};
use crate::support::postgres::{Database, programs};
use crate::support::s3::{BUCKET, KEY_ID, KEY_SECRET, Store};
use backfill_operator::api::spec::{Compression, Destination, DumpFormat};
use backfill_operator::api::status::{BackupStatus, Step};
use backfill_operator::protocol::{Outcome, StepReport};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

fn backed_up(pod: &mut Pod) -> BackupStatus {
    let end = pod.run(Step::Backup);
    let Some(StepReport::Backup(report)) = end.report else { panic!("{} {}", end.verdict.message, end.stderr) };
    pod.input.backup = Some(report.backup.clone());
    report.backup
}

fn manifest(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path.with_extension("manifest.json")).unwrap()).unwrap()
}

async fn comes_back(database: &Database, pod: &mut Pod, before: &str) {
    database.execute("UPDATE scenarios SET accepted_prompt = 'since'; DELETE FROM scenario_generations WHERE id > 400").await;
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Passed, "Restored"), "{} {}", end.verdict.message, end.stderr);
    assert_eq!(database.text(CONTENT).await, before);
}

/// The distribution's clients and those of 17, as an image with both has them.
fn several_clients() -> (tempfile::TempDir, i32) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/bin.sh");
    let output = Command::new(script).output().unwrap();
    assert!(output.status.success(), "the clients of 17: {}", String::from_utf8_lossy(&output.stderr));
    let newer = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    let folder = tempfile::tempdir().unwrap();
    let distribution: i32 = programs().parent().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    for (major, bin) in [(distribution, programs()), (17, newer)] {
        let at = folder.path().join(major.to_string());
        if !at.exists() {
            std::fs::create_dir(&at).unwrap();
            std::os::unix::fs::symlink(bin, at.join("bin")).unwrap();
        }
    }
    (folder, distribution)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_of_the_server_s_major_writes_the_dump_and_a_newer_one_what_it_cannot() {
    let database = Database::new(TABLES).await;
    ledger(&database).await;
    let server: i32 = database.text("SELECT current_setting('server_version_num')::int / 10000").await.parse().unwrap();
    let (clients, distribution) = several_clients();
    if server > 17 {
        return;
    }
    let mut pod = Pod::new(&database, spec(""));
    pod.clients = Some(clients.path().to_path_buf());
    let before = database.text(CONTENT).await;
    let backup = backed_up(&mut pod);
    let expected = if distribution >= server { distribution.min(17) } else { 17 };
    assert!(backup.client.contains(&format!("pg_dump {expected}")), "{}", backup.client);
    assert!(backup.restore_with.starts_with(&format!("pg_restore >= {expected}")), "{}", backup.restore_with);
    comes_back(&database, &mut pod, &before).await;

    for (compression, name) in [(Compression::Zstd, "zstd"), (Compression::Lz4, "lz4")] {
        database.execute("UPDATE scenarios SET accepted_prompt = NULL").await;
        let before = database.text(CONTENT).await;
        pod.input.spec.backup.compression = compression;
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let backup = backed_up(&mut pod);
        assert_eq!(backup.restore_with, format!("pg_restore >= 17, built with {name}"), "{}", backup.client);
        if distribution < 17 {
            let old = Command::new(programs().join("pg_restore")).arg("--list").arg(pod.paths.backup.join(&backup.file)).output().unwrap();
            assert!(!old.status.success(), "an older pg_restore does not read it, as the status says");
        }
        // The ledger believes that this run was restored: a new one would be another run.
        database.execute("DELETE FROM backfill.table_sums").await;
        comes_back(&database, &mut pod, &before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compression_that_no_client_offers_stalls_with_what_to_change() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(""));
    let major: i32 = programs().parent().unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap();
    if major >= 16 || pod.clients.is_some() {
        return;
    }
    pod.input.spec.backup.compression = Compression::Zstd;
    for step in [Step::Preflight, Step::Backup] {
        let end = pod.run(step);
        assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "CompressionUnsupported"));
        assert!(end.verdict.message.contains("postgresql-client-16"), "{}", end.verdict.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_many_files_comes_back_and_a_file_that_changed_is_found() {
    let database = Database::new(TABLES).await;
    ledger(&database).await;
    let mut pod = Pod::new(&database, spec(""));
    pod.input.spec.backup.format = DumpFormat::Directory;
    let before = database.text(CONTENT).await;
    let backup = backed_up(&mut pod);
    assert_eq!(backup.format, "Directory");
    let folder = pod.paths.backup.join(&backup.file);
    let files = manifest(&folder)["files"].as_array().unwrap().clone();
    assert_eq!(files.len(), std::fs::read_dir(&folder).unwrap().count());
    let size: i64 = files.iter().map(|f| f["size"].as_i64().unwrap()).sum();
    assert_eq!(size, backup.size_bytes);
    for file in &files {
        let sum = Command::new("sha256sum").arg(pod.paths.backup.join(file["name"].as_str().unwrap())).output().unwrap();
        assert!(String::from_utf8(sum.stdout).unwrap().starts_with(file["sha256"].as_str().unwrap()), "{file}");
    }
    comes_back(&database, &mut pod, &before).await;

    let victim = folder.join(files[0]["name"].as_str().unwrap().rsplit('/').next().unwrap());
    let bytes = std::fs::read(&victim).unwrap();
    std::fs::write(&victim, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(pod.run(Step::Restore).verdict.reason, "BackupChanged");
    std::fs::remove_file(&victim).unwrap();
    assert_eq!(pod.run(Step::Restore).verdict.reason, "BackupChanged");
    std::fs::remove_file(folder.with_extension("manifest.json")).unwrap();
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "ManifestMissing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_many_files_goes_to_a_bucket_and_comes_back_from_it() {
    let store = Store::start();
    let database = Database::new(TABLES).await;
    ledger(&database).await;
    let mut pod = Pod::new(&database, spec(""));
    let s3 = serde_json::from_value(json!({"bucket": BUCKET, "endpoint": store.endpoint(), "secretRef": {"name": "key"}})).unwrap();
    pod.input.spec.backup.destination = Destination { persistent_volume_claim: None, s3: Some(s3) };
    pod.input.spec.backup.format = DumpFormat::Directory;
    std::fs::create_dir_all(&pod.paths.s3).unwrap();
    std::fs::write(pod.paths.s3.join("accesskey"), KEY_ID).unwrap();
    std::fs::write(pod.paths.s3.join("secretkey"), KEY_SECRET).unwrap();
    let before = database.text(CONTENT).await;
    let backup = backed_up(&mut pod);
    let files = store.files();
    assert!(files.iter().any(|f| *f == format!("{}/toc.dat", backup.file)), "{files:?}");
    comes_back(&database, &mut pod, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_says_what_was_dumped_from_where() {
    let database = Database::new(TABLES).await;
    database
        .execute_as_superuser(&format!(
            "ALTER DATABASE {0} SET statement_timeout = '7min'; ALTER DATABASE {0} SET app.key = 's3cret-of-the-app'",
            database.name
        ))
        .await;
    let mut pod = Pod::new(&database, spec(""));
    let backup = backed_up(&mut pod);
    let manifest = manifest(&pod.paths.backup.join(&backup.file));
    let id = database
        .text(
            "SELECT system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()) FROM pg_control_system()",
        )
        .await;
    assert_eq!(manifest["database"]["id"], json!(id));
    assert_eq!(backup.database_id, id);
    assert_eq!(manifest["database"]["name"], json!(database.name));
    assert_eq!(manifest["database"]["settings"]["statement_timeout"], json!("7min"));
    assert_eq!(manifest["database"]["settings"]["encoding"], json!("UTF8"));
    assert!(manifest["database"]["roles"].as_array().unwrap().contains(&json!(database.owner)), "{manifest}");
    assert!(!manifest.to_string().contains("s3cret-of-the-app"));
    for field in ["lsn", "takenAt", "restoreWith", "sha256"] {
        assert!(manifest[field].as_str().is_some_and(|text| !text.is_empty()), "{field}");
    }
    assert_eq!(manifest["tables"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_another_database_under_the_right_name_is_refused_by_name() {
    let (database, other) = (Database::new(TABLES).await, Database::new(TABLES).await);
    ledger(&database).await;
    let (mut pod, mut foreign) = (Pod::new(&database, spec("")), Pod::new(&other, spec("")));
    let (ours, theirs) = (backed_up(&mut pod), backed_up(&mut foreign));
    let before = database.text(CONTENT).await;
    let (to, from) = (pod.paths.backup.join(&ours.file), foreign.paths.backup.join(&theirs.file));
    std::fs::copy(&from, &to).unwrap();
    std::fs::copy(from.with_extension("manifest.json"), to.with_extension("manifest.json")).unwrap();
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "BackupOfAnotherDatabase"));
    assert!(end.verdict.message.contains(&other.name), "{}", end.verdict.message);
    assert_eq!(database.text(CONTENT).await, before);
}

/// A run's dumps are told apart by the second in which they were taken.
async fn another_second() {
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_backups_are_kept_and_nothing_else_is_touched() {
    let (database, other) = (Database::new(TABLES).await, Database::new(TABLES).await);
    let mut pod = Pod::new(&database, spec(""));
    let exists = |pod: &Pod, backup: &BackupStatus| {
        let file = pod.paths.backup.join(&backup.file);
        assert_eq!(file.exists(), file.with_extension("manifest.json").exists(), "both, or none");
        file.exists()
    };
    let mut taken = Vec::new();
    for uid in ["aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"] {
        pod.input.run.uid = format!("{uid}-0d7e-4b52-9d8e-0123456789ab");
        taken.push(backed_up(&mut pod));
    }
    let plan = pod.paths.backup.join(taken[1].file.replace(".dump", ".plan"));
    std::fs::write(&plan, "a plan").unwrap();
    // A backup of another database in the same folder, and a file that is none.
    let mut foreign = Pod::new(&other, spec(""));
    foreign.input.run.uid = "eeeeeeee-0d7e-4b52-9d8e-0123456789ab".into();
    let theirs = backed_up(&mut foreign);
    for end in ["dump", "manifest.json"] {
        let from = foreign.paths.backup.join(&theirs.file).with_extension(end);
        std::fs::copy(&from, pod.paths.backup.join(&theirs.file).with_extension(end)).unwrap();
    }
    let note = pod.paths.backup.join("staging/README");
    std::fs::write(&note, "ours").unwrap();
    // The last but one is damaged: it is no good one, does not count, and is not ours to delete.
    let damaged = pod.paths.backup.join(&taken[3].file);
    std::fs::write(&damaged, "short").unwrap();

    pod.input.spec.backup.retain = Some(serde_json::from_value(json!({"last": 2})).unwrap());
    pod.input.backups_in_use.paths = vec![taken[0].path.clone()];
    // A run whose backup was still being taken when this one began is known by its uid alone.
    pod.input.backups_in_use.runs =
        ["aaaaaaaa", "bbbbbbbb", "cccccccc", "dddddddd"].map(|uid| format!("{uid}-0d7e-4b52-9d8e-0123456789ab")).into();
    pod.input.run.uid = "ffffffff-0d7e-4b52-9d8e-0123456789ab".into();
    let end = pod.run(Step::Backup);
    assert!(!end.verdict.message.contains("older backups removed"), "{}", end.verdict.message);
    assert!(taken[..3].iter().all(|backup| exists(&pod, backup)) && plan.exists(), "the run has not ended");

    pod.input.backups_in_use.runs.clear();
    pod.input.spec.backup.retain = Some(serde_json::from_value(json!({"last": 3})).unwrap());
    another_second().await;
    let Some(StepReport::Backup(own)) = pod.run(Step::Backup).report else { panic!("a backup") };
    assert!(!exists(&pod, &taken[1]) && exists(&pod, &taken[2]), "the third of the last three good ones");

    pod.input.spec.backup.retain = Some(serde_json::from_value(json!({"last": 1})).unwrap());
    another_second().await;
    let end = pod.run(Step::Backup);
    assert!(end.verdict.message.contains("older backups removed: 1"), "{} {}", end.verdict.message, end.stderr);
    assert!(exists(&pod, &taken[0]), "an unfinished run needs it");
    assert!(!exists(&pod, &taken[1]) && !plan.exists(), "gone, and its plan with it");
    assert!(!exists(&pod, &taken[2]) && exists(&pod, &own.backup), "the run's own of a moment ago stays");
    assert!(damaged.exists() && exists(&pod, &theirs) && note.exists());
}
