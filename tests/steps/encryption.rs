//! Backups that are encrypted before they leave the pod.

use crate::restore::{CONTENT, ledger};
use crate::support::pod::{Pod, TABLES, spec};
use crate::support::postgres::{Database, path_with_programs};
use crate::support::s3::{BUCKET, KEY_ID, KEY_SECRET, Store};
use backfill_operator::api::spec::{Compression, Destination, DumpFormat, Encryption, RestoreMode};
use backfill_operator::api::status::{BackupStatus, Step};
use backfill_operator::protocol::{Outcome, StepReport};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// A key of age's own making.
fn key() -> String {
    let output = Command::new("age-keygen").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn pod(database: &Database, key: &str) -> Pod {
    let mut spec = spec("");
    let encryption: Encryption = serde_json::from_value(json!({"secretRef": {"name": "backup-key"}})).unwrap();
    spec.backup.encryption = Some(encryption);
    // So that a dump in the clear would show its rows.
    spec.backup.compression = Compression::None;
    let pod = Pod::new(database, spec);
    put_key(&pod, key);
    std::fs::create_dir_all(&pod.paths.workspace).unwrap();
    pod
}

fn put_key(pod: &Pod, key: &str) {
    std::fs::create_dir_all(pod.paths.encryption.parent().unwrap()).unwrap();
    std::fs::write(&pod.paths.encryption, key).unwrap();
}

fn into_bucket(pod: &mut Pod, store: &Store) {
    let s3 = json!({"bucket": BUCKET, "endpoint": store.endpoint(), "secretRef": {"name": "key"}});
    pod.input.spec.backup.destination = Destination { persistent_volume_claim: None, s3: Some(serde_json::from_value(s3).unwrap()) };
    std::fs::create_dir_all(&pod.paths.s3).unwrap();
    std::fs::write(pod.paths.s3.join("access-key"), KEY_ID).unwrap();
    std::fs::write(pod.paths.s3.join("secret-key"), KEY_SECRET).unwrap();
}

fn backed_up(pod: &mut Pod) -> BackupStatus {
    let end = pod.run(Step::Backup);
    let Some(StepReport::Backup(report)) = end.report else { panic!("{} {}", end.verdict.message, end.stderr) };
    pod.input.backup = Some(report.backup.clone());
    report.backup
}

fn holds(path: &Path, text: &str) -> bool {
    std::fs::read(path).unwrap().windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_backup_is_unreadable_without_the_key_and_anybody_s_age_reads_it_with_it() {
    let database =
        Database::new(&format!("{TABLES} CREATE TABLE words (w text); INSERT INTO words SELECT 'rosebud' FROM generate_series(1, 9)"))
            .await;
    ledger(&database).await;
    let key = key();
    let mut pod = pod(&database, &key);
    let end = pod.run(Step::Preflight);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{}", end.verdict.message);
    let before = database.text(CONTENT).await;
    let backup = backed_up(&mut pod);
    let recipient = key.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
    assert_eq!(backup.encrypted_for, recipient);
    let file = pod.paths.backup.join(&backup.file);
    assert!(!holds(&file, "rosebud") && !holds(&file, "scenario_generations"), "nothing of it is in the clear");
    let list = |file: &Path| Command::new("pg_restore").env("PATH", path_with_programs()).arg("--list").arg(file).output().unwrap();
    assert!(!list(&file).status.success());
    let (identity, plain) = (pod.paths.workspace.join("key"), pod.paths.workspace.join("plain"));
    std::fs::write(&identity, &key).unwrap();
    let opened =
        Command::new("age").args(["--decrypt", "--identity"]).arg(&identity).arg("--output").arg(&plain).arg(&file).status().unwrap();
    assert!(opened.success() && list(&plain).status.success() && holds(&plain, "rosebud"));

    let end = pod.run(Step::Plan);
    let Some(StepReport::Plan(report)) = end.report else { panic!("{} {}", end.verdict.message, end.stderr) };
    assert!(!holds(&pod.paths.backup.join(&report.plan.file), "ranges"), "the plan file names keys of rows, and is encrypted, too");
    pod.input.plan = Some(report.plan);
    assert_eq!(pod.run(Step::Apply).verdict.reason, "Applied");
    let end = pod.run(Step::Restore);
    assert_eq!(end.verdict.reason, "Restored", "{} {}", end.verdict.message, end.stderr);
    assert_eq!(database.text(CONTENT).await, before);
    assert!(!format!("{}{}", end.stdout, end.stderr).contains("AGE-SECRET-KEY"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_refused_and_so_is_none() {
    let database = Database::new(TABLES).await;
    ledger(&database).await;
    let first = key();
    let mut pod = pod(&database, &first);
    backed_up(&mut pod);
    let before = database.text(CONTENT).await;
    put_key(&pod, &key());
    let end = pod.run(Step::Restore);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "EncryptionKeyWrong"), "{}", end.verdict.message);
    put_key(&pod, "no key\n");
    for step in [Step::Preflight, Step::Backup, Step::Restore] {
        let end = pod.run(step);
        assert_eq!(
            (end.verdict.outcome, end.verdict.reason.as_str()),
            (Outcome::Stalled, "EncryptionKeyUnusable"),
            "{}",
            end.verdict.message
        );
    }
    put_key(&pod, &first);
    // One bit, and it is no backup any more.
    let file = pod.paths.backup.join(&pod.input.backup.as_ref().unwrap().file);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let end = pod.run(Step::Restore);
    assert_eq!(end.verdict.outcome, Outcome::Stalled);
    assert!(["BackupUnreadable", "BackupChanged"].contains(&end.verdict.reason.as_str()), "{}", end.verdict.reason);
    assert_eq!(database.text(CONTENT).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_dump_of_many_files_comes_back_from_a_volume_and_from_a_bucket() {
    let store = Store::start();
    let database = Database::new(TABLES).await;
    ledger(&database).await;
    for to_bucket in [false, true] {
        let mut pod = pod(&database, &key());
        pod.input.spec.backup.format = DumpFormat::Directory;
        if to_bucket {
            into_bucket(&mut pod, &store);
        }
        let before = database.text(CONTENT).await;
        let backup = backed_up(&mut pod);
        let toc = if to_bucket { store.path(&backup.file) } else { pod.paths.backup.join(&backup.file) }.join("toc.dat");
        assert!(!holds(&toc, "scenario_generations"));
        database.execute("UPDATE scenarios SET accepted_prompt = 'since'; DELETE FROM backfill.table_sums").await;
        let end = pod.run(Step::Restore);
        assert_eq!(end.verdict.reason, "Restored", "{} {}", end.verdict.message, end.stderr);
        assert_eq!(database.text(CONTENT).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_dump_of_many_files_in_a_bucket_is_restored_beside_the_database() {
    let store = Store::start();
    let database = Database::new(TABLES).await;
    database.execute_as_superuser(&format!("ALTER ROLE {} CREATEDB", database.owner)).await;
    ledger(&database).await;
    let mut pod = pod(&database, &key());
    pod.input.spec.backup.format = DumpFormat::Directory;
    into_bucket(&mut pod, &store);
    let before = database.text(CONTENT).await;
    backed_up(&mut pod);
    database.execute("UPDATE scenarios SET accepted_prompt = 'since'").await;
    let since = database.text(CONTENT).await;
    let end = pod.run(Step::LossAccount);
    let Some(StepReport::Loss(account)) = end.report else { panic!("{} {}", end.verdict.message, end.stderr) };
    assert_eq!(account.losses.len(), 1);
    pod.input.restore = Some(RestoreMode::Swap);
    pod.input.loss_digest = Some("sha256:of something else".into());
    assert_eq!(pod.run(Step::Restore).verdict.reason, "LossChanged");
    assert_eq!(database.text(CONTENT).await, since);
    pod.input.loss_digest = Some(account.digest);
    let end = pod.run(Step::Restore);
    assert_eq!(end.verdict.reason, "Restored", "{} {}", end.verdict.message, end.stderr);
    let Some(StepReport::Restore(report)) = end.report else { panic!("a report") };
    assert!(report.old_database.is_some());
    assert_eq!(database.text(CONTENT).await, before);
}
