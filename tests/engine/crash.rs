//! The real worker process, killed at any moment: every row is written once, or not yet.

use crate::harness::{Bench, Direct, SPEC, TABLES, admin, credentials, rows};
use crate::server::Server;
use backfill_operator::api::status::{PlanStatus, Step};
use backfill_operator::engine::connector::Connector as _;
use backfill_operator::protocol::{Details, Outcome, StepReport, Verdict};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Rows that may be written more than once would be in here more than once.
const LOG: &str = "
    CREATE TABLE log (source text, id bigint);
    CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO log VALUES (TG_TABLE_NAME, NEW.id); RETURN NULL; END $$;
    CREATE TRIGGER log AFTER UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION log();
    CREATE TRIGGER log AFTER UPDATE ON scenario_generations FOR EACH ROW EXECUTE FUNCTION log()";

/// Lays out what a pod of the step would find.
pub fn lay_out(bench: &Bench, root: &Path, step: &str, plan: &PlanStatus, port: u16) {
    lay_out_for(bench, root, step, plan, port, None);
}

fn lay_out_for(bench: &Bench, root: &Path, step: &str, plan: &PlanStatus, port: u16, reader: Option<&str>) {
    let at = |path: &str| root.join(path);
    for folder in ["run/backfill/input", "run/backfill/database", "run/backfill/control", "run/backfill/scratch", "dev", "backup"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    std::fs::copy(bench.plan_file(), at("backup/a.plan")).unwrap();
    let mut plan = plan.clone();
    plan.file = "a.plan".into();
    let named = Step::ALL.into_iter().find(|s| s.slug() == step).unwrap();
    let mut database = serde_json::json!({"secretRef": {"name": "db"}, "tls": {"mode": "Disable"}});
    if reader.is_some() {
        database["planSecretRef"] = serde_json::json!({"name": "ro"});
    }
    let input = serde_json::json!({
        "run": bench.run, "step": named, "attempt": 1, "specHash": "spec", "plan": plan,
        "backup": {"file": "a.dump"},
        "spec": {
            "database": database,
            "backup": {"destination": {"persistentVolumeClaim": {"claimName": "backups"}}},
            "backfill": {"sql": bench.spec},
            "verify": [{"name": "filled", "sql": "SELECT count(*) FROM backfill.written w JOIN scenarios t USING (id) WHERE t.accepted_prompt IS NULL", "expect": {"equals": 0}}],
        },
    });
    std::fs::write(at("run/backfill/input/input.json"), input.to_string()).unwrap();
    let roles = [("database", Some("postgres")), ("plan-database", reader)];
    for (folder, role) in roles.iter().filter_map(|(folder, role)| Some((folder, (*role)?))) {
        let folder = at("run/backfill").join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let port = port.to_string();
        let database = bench.credentials.database.as_str();
        for (key, value) in [("host", "127.0.0.1"), ("port", &port), ("dbname", database), ("username", role), ("password", "x")] {
            std::fs::write(folder.join(key), value).unwrap();
        }
    }
}

pub fn worker(root: &Path, step: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_backfill-operator"));
    command
        .args(["step", step, "--root", root.to_str().unwrap()])
        .stdout(std::fs::File::create(root.join("worker.out")).unwrap())
        .stderr(std::fs::File::create(root.join("worker.log")).unwrap());
    command.spawn().unwrap()
}

pub fn verdict(root: &Path) -> Verdict {
    Verdict::from_message(
        &std::fs::read_to_string(root.join("dev/termination-log"))
            .unwrap_or_else(|_| panic!("{}", std::fs::read_to_string(root.join("worker.log")).unwrap())),
    )
    .unwrap()
}

pub async fn run(root: &Path, step: &str) -> Verdict {
    let mut child = worker(root, step);
    tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    verdict(root)
}

/// When the worker is killed, counted in COMMITs that it sends.
#[derive(Clone, Copy, Debug)]
pub enum Moment {
    /// The COMMIT is on its way, and does not arrive.
    BeforeCommit(u32),
    /// The server has committed; its answer does not arrive.
    BeforeReply(u32),
    /// The answer has arrived, and some of the next batch's statements are under way.
    After(u32, u64),
}

/// Forwards connections, and kills the worker at the moment; ends with it.
pub async fn proxy(listener: TcpListener, port: u16, moment: Moment, child: Arc<Mutex<Option<Child>>>) {
    let commits = Arc::new(AtomicU32::new(0));
    let dead = CancellationToken::new();
    let mut forwarded = tokio::task::JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                forwarded.spawn(forward(client, port, moment, Arc::clone(&commits), Arc::clone(&child), dead.clone()));
            }
            Some(_) = forwarded.join_next() => {
                // The worker ended by itself, or was killed.
                if dead.is_cancelled() || child.lock().unwrap().as_mut().unwrap().try_wait().unwrap().is_some() { return }
            }
        }
    }
}

async fn forward(
    client: TcpStream,
    port: u16,
    moment: Moment,
    commits: Arc<AtomicU32>,
    child: Arc<Mutex<Option<Child>>>,
    dead: CancellationToken,
) {
    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let killed = dead.clone();
    let kill = move || {
        let mut child = child.lock().unwrap();
        let child = child.as_mut().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        killed.cancel();
    };
    let (mut asked, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        tokio::select! {
            () = dead.cancelled() => return,
            read = from_client.read(&mut asked) => {
                let Ok(length @ 1..) = read else { return };
                let is_commit = asked[..length].windows(7).any(|bytes| bytes == b"COMMIT\0");
                let sent = if is_commit { commits.fetch_add(1, Ordering::SeqCst) + 1 } else { 0 };
                if is_commit && matches!(moment, Moment::BeforeCommit(n) if n == sent) {
                    return kill();
                }
                if to_server.write_all(&asked[..length]).await.is_err() { return }
                if is_commit && matches!(moment, Moment::BeforeReply(n) if n == sent) {
                    let _ = from_server.read(&mut answered).await;
                    return kill();
                }
                if let Moment::After(n, micros) = moment && is_commit && n == sent {
                    let kill = kill.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(std::time::Duration::from_micros(micros)).await;
                        kill();
                    });
                }
            }
            read = from_server.read(&mut answered) => {
                let Ok(length @ 1..) = read else { return };
                if to_client.write_all(&answered[..length]).await.is_err() { return }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_killed_at_any_moment_leaves_whole_batches_and_the_next_one_ends_the_work() {
    let spec = SPEC.replace("size: 50", "size: 20");
    let mut bench = Bench::new(&format!("{TABLES}; {}; {LOG}", rows(600)), &spec).await;
    let plan = bench.plan().await;
    bench.claim().await;
    let template = bench.credentials.database.clone();
    let server = Server::shared();

    // Undisturbed, for comparison.
    let fresh = async |bench: &mut Bench| {
        let database = Server::fresh_name("crash");
        admin(server, &format!("CREATE DATABASE {database} TEMPLATE {template}")).await;
        bench.credentials = credentials(server, &database, "postgres");
    };
    fresh(&mut bench).await;
    let root = tempfile::tempdir().unwrap();
    lay_out(&bench, root.path(), "apply", &plan, server.port);
    let passed = run(root.path(), "apply").await;
    assert_eq!((passed.outcome, passed.reason.as_str()), (Outcome::Passed, "Applied"), "{}", passed.message);
    let undisturbed = bench.hash().await;
    let batches = u32::try_from(bench.result().await.batches).unwrap();
    assert!(batches > 15, "{batches}");

    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        // The first COMMIT loads the plan; the last one says that all is applied.
        let commit = random.random_range(1..=batches + 2);
        let moment = match seed % 3 {
            0 => Moment::BeforeReply(commit),
            1 => Moment::BeforeCommit(commit),
            _ => Moment::After(commit, random.random_range(0..4000)),
        };
        fresh(&mut bench).await;
        let root = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        lay_out(&bench, root.path(), "apply", &plan, listener.local_addr().unwrap().port());
        let child = Arc::new(Mutex::new(None));
        let proxied = tokio::spawn(proxy(listener, server.port, moment, child.clone()));
        *child.lock().unwrap() = Some(worker(root.path(), "apply"));
        proxied.await.unwrap();
        let dead = child.clone();
        let status = tokio::task::spawn_blocking(move || dead.lock().unwrap().as_mut().unwrap().wait().unwrap()).await.unwrap();
        assert!(status.signal() == Some(9) || matches!(moment, Moment::After(..)), "seed {seed}, {moment:?}: {status}");

        let written = bench.number("SELECT coalesce(sum(written), 0) FROM backfill.batches").await;
        let in_data = bench.number("SELECT count(*) FROM scenario_generations WHERE metadata ? 'import_audit'").await;
        assert_eq!(written, in_data, "seed {seed}, {moment:?}: ledger and data differ");

        lay_out(&bench, root.path(), "apply", &plan, server.port);
        let passed = run(root.path(), "apply").await;
        assert_eq!(passed.outcome, Outcome::Passed, "seed {seed}, {moment:?}: {}", passed.message);
        assert_eq!(bench.hash().await, undisturbed, "seed {seed}, {moment:?}");
        let twice = bench.number("SELECT count(*) FROM (SELECT FROM log GROUP BY source, id HAVING count(*) <> 1) x").await;
        assert_eq!(twice, 0, "seed {seed}, {moment:?}: rows written twice");
        let result = bench.result().await;
        assert_eq!((result.written, result.drifted), (plan.will_write, 0), "seed {seed}, {moment:?}");
        let kept = "SELECT sum(cardinality(hashes)) FROM backfill.undo WHERE role = 'row'";
        assert_eq!(bench.number(kept).await, 2 * plan.will_write);
        drop_database(&bench).await;
    }
}

pub async fn drop_database(bench: &Bench) {
    admin(Server::shared(), &format!("DROP DATABASE {} WITH (FORCE)", bench.credentials.database)).await;
}

#[tokio::test]
async fn the_steps_run_one_after_the_other_as_processes() {
    let bench = Bench::scenario(100).await;
    let before = bench.exact_hash().await;
    let reader = Server::fresh_name("reader");
    bench.sql(&format!("CREATE ROLE {reader} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {reader}")).await;
    // With the ranges of a step.
    let mut plan = bench.plan_by(1000).await.unwrap();
    let port = Server::shared().port;
    let root = tempfile::tempdir().unwrap();
    for (step, reason) in [("plan", "PlanReady"), ("claim", "Claimed"), ("apply", "Applied"), ("verify", "Verified"), ("undo", "Undone")] {
        lay_out_for(&bench, root.path(), step, &plan, port, Some(&reader));
        let end = run(root.path(), step).await;
        assert_eq!((end.outcome, end.reason.as_str()), (Outcome::Passed, reason), "{step}: {}", end.message);
        let details = Details::find(&std::fs::read_to_string(root.path().join("worker.out")).unwrap(), &end.details_sha256.unwrap());
        let report: StepReport = serde_json::from_str(&details.unwrap().json).unwrap();
        if step == "plan" {
            // The same plan, by another process.
            plan.file = "a.plan".into();
            let StepReport::Plan(told) = report else { panic!("{report:?}") };
            assert!(told.plan.proved_read_only, "{:?}", told.plan.remarks);
            // The file itself differs: it says which transactions were open.
            assert_eq!((told.plan.file.as_str(), &told.plan.rows_digest), ("a.plan", &plan.rows_digest));
            let ranges = |path: PathBuf| -> Vec<String> {
                let text = std::fs::read_to_string(path).unwrap();
                text.lines().take_while(|line| !line.starts_with("{\"ranges\"")).map(str::to_owned).collect()
            };
            assert_eq!(ranges(root.path().join("backup/a.plan")), ranges(bench.plan_file()));
        }
    }
    assert_eq!(bench.exact_hash().await, before);
    let mut direct = Direct(bench.credentials.clone()).connect().await.unwrap();
    let sums: i64 = sqlx::query_scalar("SELECT count(*) FROM backfill.table_sums").fetch_one(&mut direct).await.unwrap();
    assert_eq!(sums, 2);
}
