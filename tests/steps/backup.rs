use crate::support::pod::{Pod, TABLES, child_of, children_showing, spec};
use crate::support::postgres::{Database, is_root, path_with_programs};
use backfill_operator::api::status::{BackupStatus, Step};
use backfill_operator::protocol::{Outcome, Progress, StepReport};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

fn backup_of(report: Option<StepReport>) -> BackupStatus {
    match report {
        Some(StepReport::Backup(report)) => report.backup,
        other => panic!("{other:?}"),
    }
}

fn signal(which: &str, pid: &str) {
    assert!(Command::new("kill").args([which, pid]).status().unwrap().success());
}

/// A schema whose dump takes seconds: many small tables are slow to list.
fn slow_tables(count: usize) -> String {
    format!(
        "{TABLES} DO $$ BEGIN FOR n IN 1..{count} LOOP EXECUTE format('CREATE TABLE extra_%s (id int PRIMARY KEY, v text DEFAULT ''x'')', n); END LOOP; END $$;"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_written_proved_and_described() {
    let database = Database::new(TABLES).await;
    database.execute("CREATE SCHEMA backfill; CREATE TABLE backfill.secret_ledger (id int)").await;
    let mut pod = Pod::new(&database, spec(""));
    std::fs::create_dir_all(pod.paths.backup.join("staging")).unwrap();
    let leftover = pod.paths.backup.join("staging/staging-import-7f3c9a52-20260101T000000Z.dump.partial");
    let foreign = pod.paths.backup.join("staging/staging-other-00000000-20260101T000000Z.dump.partial");
    for file in [&leftover, &foreign] {
        std::fs::write(file, "x").unwrap();
    }
    let end = pod.run(Step::Backup);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Passed, "BackupProved"), "{}", end.stderr);
    let backup = backup_of(end.report);
    let file = pod.paths.backup.join(&backup.file);
    assert_eq!(backup.path, format!("pvc/backups/{}", backup.file));
    let stem = backup.file.strip_suffix(".dump").expect("a name that ends with .dump");
    assert!(stem.starts_with("staging/staging-import-7f3c9a52-"), "{stem}");
    let sum = Command::new("sha256sum").arg(&file).output().unwrap();
    assert!(String::from_utf8(sum.stdout).unwrap().starts_with(&backup.sha256));
    assert_eq!(backup.size_bytes, i64::try_from(std::fs::metadata(&file).unwrap().len()).unwrap());
    assert_eq!(backup.proof, "Read");
    assert!(backup.lsn.contains('/') && backup.taken_at.is_some() && backup.restore_with.starts_with("pg_restore >= "));
    let list = Command::new("pg_restore").env("PATH", path_with_programs()).arg("--list").arg(&file).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("TABLE DATA public scenarios ") && !list.contains("secret_ledger"), "the ledger is never in a dump: {list}");
    assert!(!leftover.exists() && foreign.exists(), "only what this run left unfinished is removed");
    let manifest = std::fs::read_to_string(file.with_extension("manifest.json")).unwrap();
    assert!(manifest.contains(&backup.sha256) && manifest.contains("public.scenarios"));
    assert!(end.stdout.contains("BACKFILL-PROGRESS"), "{}", end.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_cut_anywhere_is_not_proved() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(""));
    let backup = backup_of(pod.run(Step::Backup).report);
    let bytes = std::fs::read(pod.paths.backup.join(&backup.file)).unwrap();
    let cut = pod.paths.backup.join("cut.dump");
    let readable = |length: usize| {
        std::fs::write(&cut, &bytes[..length]).unwrap();
        // The proof's own command; its code is tested with a whole dump above.
        Command::new("pg_restore")
            .env("PATH", path_with_programs())
            .args(["--file", "/dev/null"])
            .arg(&cut)
            .output()
            .unwrap()
            .status
            .success()
    };
    assert!(readable(bytes.len()), "the whole dump reads");
    let mut points: Vec<usize> = (0..20).map(|n| bytes.len() * n / 20).collect();
    points.extend([bytes.len() - 1, bytes.len() - 2, bytes.len() - 5, bytes.len() - 6, bytes.len() - 100]);
    for length in points {
        assert!(!readable(length), "cut at {length} of {}", bytes.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_child_of_the_backup_shows_the_password() {
    let database = Database::new(&slow_tables(400)).await;
    let mut pod = Pod::new(&database, spec(""));
    let child = pod.spawn(Step::Backup);
    let (mut seen, started) = (0, Instant::now());
    while started.elapsed() < Duration::from_secs(30) {
        let (found, shown) = children_showing(child.id(), &database.password);
        assert_eq!(shown, Vec::<String>::new());
        seen += found;
        if pod.paths.termination.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(seen > 0, "a child was looked at while it ran");
    let end = pod.end(child);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{}", end.verdict.message);
    assert!(!format!("{}{}{}", end.stdout, end.stderr, end.verdict.message).contains(&database.password));
    assert_eq!(std::fs::read_dir(&pod.paths.scratch).unwrap().count(), 0, "the password file is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_volume_stalls_the_backup_and_leaves_nothing() {
    if !is_root() {
        eprintln!("not root: no small file system can be mounted, so this is not tried");
        return;
    }
    // Random, so that compression does not make it fit.
    let database = Database::new(&format!(
        "{TABLES} CREATE TABLE big AS SELECT n, (SELECT string_agg(md5(random()::text || n::text || k::text), '') FROM generate_series(1, 30) k) FROM generate_series(1, 3000) n;"
    ))
    .await;
    let mut pod = Pod::new(&database, spec(""));
    let _small = Mounted::tmpfs(&pod.paths.backup, "1m");
    let end = pod.run(Step::Backup);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "BackupVolumeFull"), "{}", end.verdict.message);
    assert!(pod.backup_files().is_empty(), "{:?}", pod.backup_files());
}

struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(folder: &Path, size: &str) -> Self {
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(folder).status().unwrap();
        assert!(status.success());
        Self(folder.to_path_buf())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_backup_ends_at_once_and_leaves_no_unfinished_dump() {
    let database = Database::new(&slow_tables(1500)).await;
    let mut pod = Pod::new(&database, spec(""));
    let child = pod.spawn(Step::Backup);
    while !pod.backup_files().iter().any(|f| f.to_string_lossy().ends_with(".partial")) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let asked = Instant::now();
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    let end = pod.end(child);
    assert_eq!(end.verdict.outcome, Outcome::Stopped);
    assert!(asked.elapsed() < Duration::from_secs(5));
    assert!(pod.backup_files().is_empty(), "{:?}", pod.backup_files());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_must_change_is_named() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(""));
    pod.secret("password", "wrong-s3cret");
    let end = pod.run(Step::Backup);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "AuthenticationFailed"));
    assert!(!end.verdict.message.contains("wrong-s3cret"));

    pod.secret("password", &database.password);
    pod.secret("dbname", "nowhere");
    assert_eq!(pod.run(Step::Backup).verdict.reason, "DatabaseMissing");

    pod.secret("dbname", &database.name);
    pod.secret("host", "no-such-host.invalid");
    let end = pod.run(Step::Backup);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Lost, "HostUnknown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_and_a_missing_right_stall_the_backup() {
    let database = Database::new("CREATE TABLE scenarios (id int PRIMARY KEY);").await;
    let mut pod = Pod::new(&database, spec(""));
    let end = pod.run(Step::Backup);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "TableMissing"));
    assert!(end.verdict.message.contains("scenario_generations"));

    let database = Database::new(TABLES).await;
    database.execute_as_superuser("CREATE TABLE hidden (id int)").await;
    let end = Pod::new(&database, spec("")).run(Step::Backup);
    assert_eq!(end.verdict.outcome, Outcome::Stalled);
    assert!(end.verdict.message.contains("permission denied for table hidden"), "{}", end.verdict.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_drops_the_dump_makes_the_step_lost_and_leaves_nothing() {
    let database = Database::new(&slow_tables(1500)).await;
    let mut pod = Pod::new(&database, spec(""));
    let child = pod.spawn(Step::Backup);
    while !pod.backup_files().iter().any(|f| f.to_string_lossy().ends_with(".partial")) {
        std::thread::sleep(Duration::from_millis(5));
    }
    database.text("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'backfill/%' AND datname = current_database()").await;
    let end = pod.end(child);
    assert_eq!(end.verdict.outcome, Outcome::Lost, "{}: {}", end.verdict.reason, end.verdict.message);
    assert!(pod.backup_files().is_empty(), "{:?}", pod.backup_files());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_left_of_a_dump_is_told_goes_forward_and_ends_near_its_end() {
    // Random, so that it is neither compressed away nor dumped in a moment; several tables, so that one ends while others are due.
    let fill = "DO $$ BEGIN FOR t IN 1..6 LOOP EXECUTE format('CREATE TABLE big_%s AS SELECT n, (SELECT string_agg(md5(random()::text || n::text || k::text), '''') FROM generate_series(1, 40) k) AS v FROM generate_series(1, 12000) n', t); END LOOP; END $$;";
    let database = Database::new(&format!("{TABLES}{fill}")).await;
    let mut spec = spec("");
    // Slow on purpose: the dump must last some seconds to be watched.
    spec.backup.compression = backfill_operator::api::spec::Compression::Gzip;
    let mut pod = Pod::new(&database, spec);
    let child = pod.spawn(Step::Backup);
    // On any machine, however fast or busy, the dump stands for some seconds while half of it is through.
    let copying =
        "SELECT count(*) FROM pg_stat_progress_copy WHERE datname = current_database() AND relid IN ('big_4'::regclass, 'big_5'::regclass)";
    let (dumping, began) = (child.id(), Instant::now());
    while database.text(copying).await == "0" {
        assert!(began.elapsed() < Duration::from_mins(2), "a table of the second half was never seen to be copied");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let dump = child_of(dumping, "pg_dump").expect("it copies").to_string();
    signal("-STOP", &dump);
    tokio::time::sleep(Duration::from_secs(4)).await;
    signal("-CONT", &dump);
    let end = pod.end(child);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{} {}", end.verdict.message, end.stderr);
    let lines: Vec<Progress> = end.stdout.lines().filter_map(Progress::latest).filter(|progress| progress.unit == "bytes").collect();
    let done: Vec<i64> = lines.iter().map(|progress| progress.done).collect();
    assert!(lines.len() >= 2, "at the beginning, and each second: {done:?}");
    assert!(done.windows(2).all(|pair| pair[0] <= pair[1]), "it never goes back: {done:?}");
    let totals: Vec<i64> = lines.iter().map(|progress| progress.total).collect();
    assert!(lines.iter().all(|progress| progress.done <= progress.total && progress.total > 20_000_000), "{done:?} of {totals:?}");
    let halfway = lines.iter().rev().find(|progress| progress.done < progress.total).unwrap();
    assert!(halfway.done * 10 >= halfway.total * 4, "tables that are through are counted: {done:?} of {totals:?}");
    assert!(halfway.remaining_seconds().is_some(), "{halfway:?}");
    let last = lines.last().unwrap();
    assert_eq!((last.done, last.remaining_seconds()), (last.total, Some(0)), "its end is told, however soon it came");
}
