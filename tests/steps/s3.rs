//! Backups in a bucket of a real S3 server, on good days and bad ones.

use crate::restore::ledger;
use crate::support::pod::{End, Pod, TABLES, children_showing, spec};
use crate::support::postgres::{Database, path_with_programs};
use crate::support::s3::{BUCKET, Fault, KEY_ID, KEY_SECRET, KMS_KEY, Proxy, Store};
use backfill_operator::api::BackfillRunSpec;
use backfill_operator::api::spec::{Destination, S3Destination};
use backfill_operator::api::status::{BackupStatus, Step};
use backfill_operator::protocol::{Outcome, StepReport};
use serde_json::json;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Random, so that its dump has more than one part.
const LARGE: &str = "CREATE TABLE large AS SELECT n, (SELECT string_agg(md5(random()::text || n::text || k::text), '') FROM generate_series(1, 40) k) AS v FROM generate_series(1, 45000) n;";

fn bucket(endpoint: &str) -> BackfillRunSpec {
    let mut spec = spec("");
    let s3: S3Destination =
        serde_json::from_value(json!({"bucket": BUCKET, "prefix": "team/staging", "endpoint": endpoint, "secretRef": {"name": "key"}}))
            .unwrap();
    spec.backup.destination = Destination { persistent_volume_claim: None, s3: Some(s3) };
    spec
}

fn pod(database: &Database, endpoint: &str) -> Pod {
    let pod = Pod::new(database, bucket(endpoint));
    access_key(&pod, KEY_ID, KEY_SECRET);
    std::fs::create_dir_all(&pod.paths.workspace).unwrap();
    pod
}

fn access_key(pod: &Pod, id: &str, secret: &str) {
    std::fs::create_dir_all(&pod.paths.s3).unwrap();
    std::fs::write(pod.paths.s3.join("AWS_ACCESS_KEY_ID"), id).unwrap();
    std::fs::write(pod.paths.s3.join("AWS_SECRET_ACCESS_KEY"), secret).unwrap();
}

fn backup_of(end: &End) -> BackupStatus {
    match &end.report {
        Some(StepReport::Backup(report)) => report.backup.clone(),
        other => panic!("{other:?}: {} {}", end.verdict.message, end.stderr),
    }
}

fn ended(end: &End) -> (Outcome, &str) {
    (end.verdict.outcome, end.verdict.reason.as_str())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_streams_to_a_bucket_and_the_whole_run_works_from_there() {
    let store = Store::start();
    let database = Database::new(&format!("{TABLES}{LARGE}")).await;
    ledger(&database).await;
    let mut pod = pod(&database, &store.endpoint());
    let end = pod.run(Step::Preflight);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{}", end.verdict.message);
    assert_eq!(store.files(), Vec::<String>::new(), "the probe is cleaned up");

    let end = pod.run(Step::Backup);
    assert_eq!(ended(&end), (Outcome::Passed, "BackupProved"), "{} {}", end.verdict.message, end.stderr);
    let backup = backup_of(&end);
    assert!(backup.path.starts_with(&format!("s3://{BUCKET}/team/staging/staging-import-7f3c9a52-")), "{}", backup.path);
    assert!(backup.size_bytes > 3 * 8 * 1024 * 1024, "more than one part: {}", backup.size_bytes);
    let file = store.path(&backup.file);
    let sum = Command::new("sha256sum").arg(&file).output().unwrap();
    assert!(String::from_utf8(sum.stdout).unwrap().starts_with(&backup.sha256));
    let list = Command::new("pg_restore").env("PATH", path_with_programs()).arg("--list").arg(&file).output().unwrap();
    assert!(String::from_utf8(list.stdout).unwrap().contains("TABLE DATA public scenarios "), "anybody's pg_restore reads it");
    let files = store.files();
    assert_eq!(files.len(), 2, "the dump and its manifest: {files:?}");
    assert_eq!(std::fs::read_dir(&pod.paths.workspace).unwrap().count(), 0, "no local copy");
    assert!(end.stdout.contains("BACKFILL-PROGRESS"));
    assert!(!format!("{}{}", end.stdout, end.stderr).contains(KEY_SECRET));

    pod.input.backup = Some(backup.clone());
    let end = pod.run(Step::Plan);
    assert_eq!(ended(&end), (Outcome::Passed, "PlanReady"), "{} {}", end.verdict.message, end.stderr);
    let Some(StepReport::Plan(report)) = end.report else { panic!("a plan") };
    assert!(store.path(&report.plan.file).is_file(), "the plan lies beside the dump");
    pod.input.plan = Some(report.plan);
    let end = pod.run(Step::Apply);
    assert_eq!(ended(&end), (Outcome::Passed, "Applied"), "{} {}", end.verdict.message, end.stderr);
    assert_eq!(database.text("SELECT count(*) FROM scenarios WHERE accepted_prompt IS NOT NULL").await, "500");

    database.execute("DELETE FROM large WHERE n <= 100").await;
    let end = pod.run(Step::LossAccount);
    assert_eq!(ended(&end), (Outcome::Passed, "LossesFound"), "{}", end.verdict.message);
    let end = pod.run(Step::Restore);
    assert_eq!(ended(&end), (Outcome::Passed, "Restored"), "{} {}", end.verdict.message, end.stderr);
    assert_eq!(database.text("SELECT count(*) FROM large").await, "45000");
    assert_eq!(database.text("SELECT count(*) FROM scenarios WHERE accepted_prompt IS NOT NULL").await, "0");
    let left: Vec<_> = walk(&pod.paths.workspace);
    assert_eq!(left, Vec::<std::path::PathBuf>::new(), "what was fetched is gone");
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().flatten().map(|e| e.path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_cut_anywhere_is_found_out_as_it_comes() {
    let store = Store::start();
    let database = Database::new(TABLES).await;
    let mut pod = pod(&database, &store.endpoint());
    let file = store.path(&backup_of(&pod.run(Step::Backup)).file);
    let bytes = std::fs::read(&file).unwrap();
    // The proof's own command on a stream.
    let readable = |length: usize| {
        std::fs::write(&file, &bytes[..length]).unwrap();
        let mut command = Command::new("pg_restore");
        command.env("PATH", path_with_programs()).args(["--file", "/dev/null"]).stderr(std::process::Stdio::null());
        let mut child = command.stdin(std::process::Stdio::piped()).spawn().unwrap();
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), &bytes[..length]);
        child.wait().unwrap().success()
    };
    assert!(readable(bytes.len()), "the whole dump reads");
    let mut points: Vec<usize> = (0..20).map(|n| bytes.len() * n / 20).collect();
    points.extend([1, 2, 5, 6, 100].map(|n| bytes.len() - n));
    for length in points {
        assert!(!readable(length), "cut at {length} of {}", bytes.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_bucket_is_named() {
    let store = Store::start();
    let database = Database::new(TABLES).await;
    let mut pod = pod(&database, &store.endpoint());
    let refused = |pod: &mut Pod| {
        let preflight = pod.run(Step::Preflight);
        let backup = pod.run(Step::Backup);
        for end in [&preflight, &backup] {
            assert!(!format!("{}{}{}", end.stdout, end.stderr, end.verdict.message).contains("s3cret"), "{}", end.stderr);
        }
        assert_eq!(preflight.verdict.reason, backup.verdict.reason, "{} / {}", preflight.verdict.message, backup.verdict.message);
        (backup.verdict.outcome, backup.verdict.reason, backup.verdict.message)
    };
    access_key(&pod, "AKIAOTHER", KEY_SECRET);
    let (outcome, reason, message) = refused(&mut pod);
    assert_eq!((outcome, reason.as_str()), (Outcome::Stalled, "AccessKeyRefused"), "{message}");
    access_key(&pod, KEY_ID, "another-s3cret");
    let (outcome, reason, message) = refused(&mut pod);
    assert_eq!((outcome, reason.as_str()), (Outcome::Stalled, "AccessKeyRefused"), "{message}");
    access_key(&pod, KEY_ID, KEY_SECRET);

    pod.input.spec.backup.destination.s3.as_mut().unwrap().bucket = "nowhere".into();
    let (outcome, reason, message) = refused(&mut pod);
    assert_eq!((outcome, reason.as_str()), (Outcome::Stalled, "BucketMissing"), "{message}");
    assert!(message.contains("nowhere"), "{message}");

    pod.input.spec = bucket("http://127.0.0.1:1");
    pod.input.spec.backup.destination.s3.as_mut().unwrap().endpoint = Some("https://127.0.0.1:1".into());
    std::fs::remove_file(pod.paths.s3.join("AWS_SECRET_ACCESS_KEY")).unwrap();
    let (outcome, reason, message) = refused(&mut pod);
    assert_eq!((outcome, reason.as_str()), (Outcome::Stalled, "AccessKeyMissing"), "{message}");
    assert!(message.contains("AWS_SECRET_ACCESS_KEY"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_another_region_is_named_with_its_region() {
    let store = Store::start();
    let database = Database::new(TABLES).await;
    // rclone knows no regions; this is what Amazon answers.
    let answer = "<?xml version=\"1.0\"?><Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>";
    let proxy = Proxy::before(&store, move |_, _| Some(Fault::Answer(400, answer))).await;
    let end = pod(&database, &proxy.endpoint()).run(Step::Backup);
    assert_eq!(ended(&end), (Outcome::Stalled, "RegionWrong"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("but in eu-west-1"), "{}", end.verdict.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_now_and_then_is_asked_again() {
    let store = Store::start();
    let database = Database::new(&format!("{TABLES}{LARGE}")).await;
    let count = AtomicUsize::new(0);
    let proxy = Proxy::before(&store, move |_, _| match count.fetch_add(1, Ordering::Relaxed) % 4 {
        1 => Some(Fault::Answer(503, "<Error><Code>SlowDown</Code></Error>")),
        2 => Some(Fault::Slow(Duration::from_millis(300))),
        3 => Some(Fault::Answer(500, "<Error><Code>InternalError</Code></Error>")),
        _ => None,
    })
    .await;
    let end = pod(&database, &proxy.endpoint()).run(Step::Backup);
    assert_eq!(ended(&end), (Outcome::Passed, "BackupProved"), "{} {}", end.verdict.message, end.stderr);
    assert!(store.path(&backup_of(&end).file).is_file());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_stays_away_makes_the_step_lost_and_leaves_nothing() {
    let store = Store::start();
    let database = Database::new(&format!("{TABLES}{LARGE}")).await;
    let proxy = Proxy::before(&store, |_, target| target.contains("partNumber=2").then_some(Fault::Answer(503, "busy"))).await;
    let end = pod(&database, &proxy.endpoint()).run(Step::Backup);
    assert_eq!(ended(&end), (Outcome::Lost, "BucketUnavailable"), "{} {}", end.verdict.message, end.stderr);
    assert!(end.verdict.message.contains("503"), "{}", end.verdict.message);
    let tried = proxy.requests().iter().filter(|r| r.contains("partNumber=2")).count();
    assert!((2..=8).contains(&tried), "a cap: {tried}");
    assert!(proxy.requests().iter().any(|r| r.starts_with("DELETE") && r.contains("uploadId")), "its parts are taken back");
    assert_eq!(store.files(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_cut_on_its_way_is_no_backup() {
    let store = Store::start();
    let database = Database::new(&format!("{TABLES}{LARGE}")).await;
    let proxy = Proxy::before(&store, |_, target| target.contains("partNumber=2").then_some(Fault::Cut)).await;
    let end = pod(&database, &proxy.endpoint()).run(Step::Backup);
    assert!(
        ["UploadTruncated", "BucketRefused"].contains(&end.verdict.reason.as_str()) && end.verdict.outcome != Outcome::Passed,
        "{}: {} {}",
        end.verdict.reason,
        end.verdict.message,
        end.stderr
    );
    assert_eq!(store.files(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_upload_ends_at_once_and_is_taken_back_and_no_child_shows_a_secret() {
    let store = Store::start();
    let database = Database::new(&format!("{TABLES}{LARGE}")).await;
    let proxy = Proxy::before(&store, |_, target| target.contains("partNumber=").then_some(Fault::Slow(Duration::from_secs(2)))).await;
    let mut pod = pod(&database, &proxy.endpoint());
    let child = pod.spawn(Step::Backup);
    let (started, mut seen) = (Instant::now(), 0);
    while !proxy.requests().iter().any(|r| r.contains("partNumber=3")) {
        assert!(started.elapsed() < Duration::from_mins(1), "parts are sent: {:?}", proxy.requests());
        let (found, shown) = children_showing(child.id(), KEY_SECRET);
        assert_eq!(shown, Vec::<String>::new());
        seen += found;
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(seen > 0, "pg_dump was looked at while it ran");
    let asked = Instant::now();
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let end = pod.end(child);
    assert_eq!(end.verdict.outcome, Outcome::Stopped, "{}", end.verdict.message);
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(proxy.requests().iter().any(|r| r.starts_with("DELETE") && r.contains("uploadId")), "{:?}", proxy.requests());
    assert_eq!(store.files(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_died_half_way_is_no_backup_and_goes_with_the_next_attempt_and_foreign_files_stay() {
    let store = Store::start();
    let database = Database::new(TABLES).await;
    let mut pod = pod(&database, &store.endpoint());
    std::fs::create_dir_all(store.path("team/staging")).unwrap();
    let half = store.path("team/staging/staging-import-7f3c9a52-20260101T000000Z.dump");
    let foreign = store.path("team/staging/staging-other-00000000-20260101T000000Z.dump");
    for file in [&half, &foreign] {
        std::fs::write(file, "uploaded, and never proved").unwrap();
    }
    let backup = backup_of(&pod.run(Step::Backup));
    assert!(!half.exists() && foreign.exists());
    // A second backup leaves the first one.
    std::thread::sleep(Duration::from_millis(1100));
    let again = backup_of(&pod.run(Step::Backup));
    assert_ne!(again.file, backup.file);
    assert!(store.path(&backup.file).exists() && store.path(&again.file).exists());
    // What the store changes afterwards is not restored.
    let mut bytes = std::fs::read(store.path(&again.file)).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(store.path(&again.file), bytes).unwrap();
    pod.input.backup = Some(again.clone());
    assert_eq!(ended(&pod.run(Step::Restore)), (Outcome::Stalled, "BackupChanged"));
    std::fs::remove_file(store.path(&again.file)).unwrap();
    assert_eq!(ended(&pod.run(Step::Restore)), (Outcome::Stalled, "BackupMissing"));
    std::fs::remove_file(store.path(&again.file.replace(".dump", ".manifest.json"))).unwrap();
    assert_eq!(ended(&pod.run(Step::LossAccount)), (Outcome::Stalled, "ManifestMissing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_asked_to_encrypts_every_file_and_says_so() {
    let store = Store::encrypting();
    let database = Database::new(&format!("{TABLES}{LARGE}")).await;
    ledger(&database).await;
    let proxy = Proxy::before(&store, |_, _| None).await;
    for (asked, header) in
        [(json!({"type": "AES256"}), "AES256".to_owned()), (json!({"type": "KMS", "keyId": KMS_KEY}), format!("aws:kms {KMS_KEY}"))]
    {
        encrypted(&store, &database, &proxy, &asked, &header);
    }
    // What the server keeps without being asked can be read off its disk: the look for it is not blind.
    assert_eq!(readable(&store), Vec::<String>::new());
    let mut pod = pod(&database, &store.endpoint());
    backup_of(&pod.run(Step::Backup));
    assert!(readable(&store).len() >= 2, "dump and manifest: {:?}", readable(&store));
}

/// Files of the server in which the name of a table can be read.
fn readable(store: &Store) -> Vec<String> {
    let name = b"scenario_generations";
    let reads = |file: &String| std::fs::read(store.path(file)).unwrap().windows(name.len()).any(|bytes| bytes == name);
    store.files().into_iter().filter(reads).collect()
}

fn encrypted(store: &Store, database: &Database, proxy: &Proxy, asked: &serde_json::Value, header: &str) {
    let mut pod = pod(database, &proxy.endpoint());
    encrypt(&mut pod, asked);
    let before = proxy.requests().len();
    assert_eq!(pod.run(Step::Preflight).verdict.outcome, Outcome::Passed);
    let end = pod.run(Step::Backup);
    assert_eq!(ended(&end), (Outcome::Passed, "BackupProved"), "{} {}", end.verdict.message, end.stderr);
    // Whoever makes an object asks: at once (probe, manifest), or where its upload begins (the dump). Parts belong to that.
    let makes = |request: &str| {
        request.starts_with("POST ") && request.contains("?uploads") || request.starts_with("PUT ") && !request.contains("uploadId=")
    };
    let made: Vec<String> = proxy.requests().into_iter().skip(before).filter(|request| makes(request)).collect();
    let asking: Vec<(String, String)> = proxy.encryption().into_iter().filter(|(request, said)| makes(request) && said == header).collect();
    assert!(made.iter().any(|request| request.starts_with("POST ")) && made.len() >= 3, "{made:?}");
    assert_eq!(asking.iter().map(|(request, _)| request.clone()).collect::<Vec<_>>(), made);
    assert!(!store.files().is_empty());
    pod.input.backup = Some(backup_of(&end));
    assert!(pod.account().losses.is_empty(), "what was written so is read like any other");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_looked_at_after_it_was_written_does_not_stay() {
    let store = Store::encrypting();
    let database = Database::new(&format!("{TABLES}{LARGE}")).await;
    for (step, part) in [(Step::Backup, ".manifest.json"), (Step::Plan, ".plan")] {
        let mut whole = pod(&database, &store.endpoint());
        encrypt(&mut whole, &json!({"type": "AES256"}));
        let backup = (step == Step::Plan).then(|| backup_of(&whole.run(Step::Backup)));
        let before = store.files();
        let proxy =
            Proxy::before(&store, move |method, target| (method == "HEAD" && target.contains(part)).then_some(Fault::Answer(403, "")))
                .await;
        let mut pod = pod(&database, &proxy.endpoint());
        encrypt(&mut pod, &json!({"type": "AES256"}));
        pod.input.backup = backup;
        let end = pod.run(step);
        assert_eq!(ended(&end), (Outcome::Stalled, "BucketForbidden"), "{} {}", end.verdict.message, end.stderr);
        assert!(
            proxy.requests().iter().any(|request| request.starts_with("PUT ") && request.contains(part) || request.contains("?uploads"))
        );
        assert_eq!(store.files(), before, "neither {part} nor what it belongs to");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_encrypt_so_is_named_before_anything_is_dumped() {
    let store = Store::start();
    let database = Database::new(TABLES).await;
    // The server takes files with this wish as if it had none: nothing is written but the probe, which is removed.
    let mut pod_of = pod(&database, &store.endpoint());
    encrypt(&mut pod_of, &json!({"type": "AES256"}));
    let end = pod_of.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Stalled, "BucketEncryptionRefused"), "{} {}", end.verdict.message, end.stderr);
    assert!(end.verdict.message.contains("does not say that it is encrypted"), "{}", end.verdict.message);
    let end = pod_of.run(Step::Backup);
    assert_eq!(ended(&end), (Outcome::Stalled, "BucketEncryptionRefused"), "{} {}", end.verdict.message, end.stderr);
    assert_eq!(store.files(), Vec::<String>::new(), "a dump that is not encrypted is no dump");
    // It knows no key service.
    let proxy = Proxy::before(&store, |_, _| None).await;
    for (asked, header) in [
        (json!({"type": "KMS"}), "aws:kms"),
        (
            json!({"type": "KMS", "keyId": "arn:aws:kms:eu-west-1:111122223333:key/dumps"}),
            "aws:kms arn:aws:kms:eu-west-1:111122223333:key/dumps",
        ),
    ] {
        let mut pod = pod(&database, &proxy.endpoint());
        encrypt(&mut pod, &asked);
        let end = pod.run(Step::Preflight);
        assert_eq!(ended(&end), (Outcome::Stalled, "BucketEncryptionRefused"), "{} {}", end.verdict.message, end.stderr);
        let last = proxy.encryption().pop().unwrap();
        assert!(last.0.starts_with("PUT ") && last.1 == header, "{last:?}");
    }
    // As Amazon's says it.
    let refusal = "<Error><Code>KMS.NotFoundException</Code><Message>arn of s0mebody</Message></Error>";
    let proxy = Proxy::before(&store, move |method, _| (method == "PUT").then_some(Fault::Answer(400, refusal))).await;
    let mut pod = pod(&database, &proxy.endpoint());
    encrypt(&mut pod, &json!({"type": "KMS", "keyId": "nobody-s"}));
    let end = pod.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Stalled, "BucketEncryptionRefused"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("KMS.NotFoundException") && !end.verdict.message.contains("s0mebody"), "{}", end.verdict.message);
    assert_eq!(store.files(), Vec::<String>::new());
}

fn encrypt(pod: &mut Pod, asked: &serde_json::Value) {
    let s3 = pod.input.spec.backup.destination.s3.as_mut().unwrap();
    s3.server_side_encryption = Some(serde_json::from_value(asked.clone()).unwrap());
}
