//! A folder that looks like the pod of a step, and the real binary run in it.

use super::postgres::{Database, is_root, path_with_programs, server_programs, unprivileged};
use backfill_operator::api::BackfillRunSpec;
use backfill_operator::api::status::Step;
use backfill_operator::protocol::{
    Details, LossReport, Outcome, Paths, RehearsalInput, RestoreReport, RunIdentity, StepInput, StepReport, Verdict,
};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

pub const RUN_UID: &str = "7f3c9a52-0d7e-4b52-9d8e-0123456789ab";

pub struct Pod {
    folder: tempfile::TempDir,
    pub paths: Paths,
    pub input: StepInput,
    /// Folders of clients by major, as an image may have several.
    pub clients: Option<PathBuf>,
    /// Another folder with servers than that of this test binary's own.
    pub servers: Option<PathBuf>,
}

/// How a step ended.
pub struct End {
    pub verdict: Verdict,
    pub report: Option<StepReport>,
    pub stdout: String,
    pub stderr: String,
}

impl End {
    /// The report of a restore that has passed.
    pub fn restored(self) -> RestoreReport {
        let verdict = &self.verdict;
        assert_eq!((verdict.outcome, verdict.reason.as_str()), (Outcome::Passed, "Restored"), "{} {}", verdict.message, self.stderr);
        match self.report {
            Some(StepReport::Restore(report)) => report,
            other => panic!("{other:?}"),
        }
    }
}

/// The smallest spec that a step here takes, with what else it says.
pub fn spec(more: &str) -> BackfillRunSpec {
    let text = format!(
        "
database: {{secretRef: {{name: db}}, tls: {{mode: Disable}}}}
backup: {{destination: {{persistentVolumeClaim: {{claimName: backups, path: staging}}}}}}
backfill:
  sql:
    source: {{table: scenario_generations, key: [id]}}
    writes:
      - {{table: scenarios, match: t.id = s.scenario_id, set: {{accepted_prompt: \"s.metadata #>> '{{llm_response,prompt}}'\"}}}}
{more}"
    );
    serde_yaml_ng::from_str(&text).unwrap()
}

/// The tables of the example.
pub const TABLES: &str = "
    CREATE TABLE scenarios (id bigserial PRIMARY KEY, accepted_prompt text, accepted_prompt_metadata jsonb, updated_at timestamptz);
    CREATE TABLE scenario_generations (id bigserial PRIMARY KEY, scenario_id bigint REFERENCES scenarios, metadata jsonb, created_at timestamptz, updated_at timestamptz);
    INSERT INTO scenarios (updated_at) SELECT timestamptz '2026-01-01' + n * interval '1 min' FROM generate_series(1, 500) n;
    INSERT INTO scenario_generations (scenario_id, metadata, created_at)
    SELECT n, jsonb_build_object('llm_response', jsonb_build_object('prompt', md5(n::text) || repeat('x', 200))), now() FROM generate_series(1, 500) n;";

impl Pod {
    pub fn new(database: &Database, spec: BackfillRunSpec) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths::below(folder.path());
        for dir in [&paths.database, &paths.environment, &paths.backup] {
            std::fs::create_dir_all(dir).unwrap();
        }
        for file in [&paths.input, &paths.control, &paths.termination] {
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        }
        let run = RunIdentity { namespace: "staging".into(), name: "import".into(), uid: RUN_UID.into() };
        let input = StepInput {
            run,
            step: Step::Preflight,
            attempt: 1,
            spec,
            spec_hash: "sha256:1".into(),
            backup: None,
            plan: None,
            backups_in_use: backfill_operator::protocol::BackupsInUse::default(),
            environment: std::collections::BTreeMap::new(),
            rehearsal: None,
            take_over_from: None,
            monitor_since: None,
            monitor_from: None,
            monitor_until: None,
            restore: None,
            loss_digest: None,
            old_database: None,
            cnpg: backfill_operator::protocol::Cnpg::default(),
        };
        let clients = std::env::var_os("BACKFILL_TEST_CLIENT").map(|_| PathBuf::from("/nonexistent"));
        let pod = Self { folder, paths, input, clients, servers: None };
        pod.secret("host", "127.0.0.1");
        pod.secret("port", &database.port.to_string());
        pod.secret("dbname", &database.name);
        pod.secret("username", &database.owner);
        pod.secret("password", &database.password);
        pod
    }

    pub fn secret(&self, key: &str, value: &str) {
        std::fs::write(self.paths.database.join(key), value).unwrap();
    }

    /// Mounts the reader as the role of `planSecretRef`.
    pub fn plan_secret(&self, database: &Database) {
        std::fs::create_dir_all(&self.paths.plan_database).unwrap();
        for (key, value) in [
            ("host", "127.0.0.1"),
            ("port", database.port.to_string().as_str()),
            ("dbname", &database.name),
            ("username", &database.reader),
            ("password", &database.password),
        ] {
            std::fs::write(self.paths.plan_database.join(key), value).unwrap();
        }
    }

    pub fn command(&mut self, step: Step) -> Command {
        self.input.step = step;
        std::fs::write(&self.paths.input, serde_json::to_string(&self.input).unwrap()).unwrap();
        let _ = std::fs::remove_file(&self.paths.termination);
        let mut command = Command::new(env!("CARGO_BIN_EXE_backfill-operator"));
        command.args(["step", step.slug(), "--root"]).arg(self.folder.path());
        if let Some(clients) = &self.clients {
            command.env("BACKFILL_CLIENTS", clients);
        }
        command.env("PATH", path_with_programs()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Begins a rehearsal as its pod does: without the Secrets of the database, as a user that a server may run as.
    pub fn spawn_rehearsal(&mut self) -> Child {
        self.input.step = Step::Rehearse;
        self.input.rehearsal.get_or_insert(RehearsalInput { storage_bytes: 2 << 30, database_bytes: 10 << 20 });
        std::fs::write(&self.paths.input, serde_json::to_string(&self.input).unwrap()).unwrap();
        let _ = std::fs::remove_file(&self.paths.termination);
        let _ = std::fs::remove_dir_all(&self.paths.database);
        let _ = std::fs::remove_dir_all(&self.paths.plan_database);
        std::fs::create_dir_all(&self.paths.rehearsal).unwrap();
        // The folder that the image has, with the server that this test binary runs on.
        let servers = self.folder.path().join("servers/one");
        if !servers.exists() {
            std::fs::create_dir_all(&servers).unwrap();
            std::os::unix::fs::symlink(server_programs(), servers.join("bin")).unwrap();
        }
        if is_root() {
            assert!(Command::new("chown").args(["-R", "postgres:postgres"]).arg(self.folder.path()).status().unwrap().success());
        }
        let mut command = unprivileged(std::path::Path::new(env!("CARGO_BIN_EXE_backfill-operator")));
        command.args(["step", Step::Rehearse.slug(), "--root"]).arg(self.folder.path());
        if let Some(clients) = &self.clients {
            command.env("BACKFILL_CLIENTS", clients);
        }
        command.env("BACKFILL_SERVER_PROGRAMS", self.servers.clone().unwrap_or_else(|| self.folder.path().join("servers")));
        command.env("PATH", path_with_programs()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.current_dir("/").spawn().unwrap()
    }

    pub fn rehearse(&mut self) -> End {
        let child = self.spawn_rehearsal();
        self.end(child)
    }

    pub fn spawn(&mut self, step: Step) -> Child {
        self.command(step).spawn().unwrap()
    }

    /// What a restore would lose now.
    pub fn account(&mut self) -> LossReport {
        let end = self.run(Step::LossAccount);
        assert_eq!(end.verdict.outcome, Outcome::Passed, "{}", end.verdict.message);
        match end.report {
            Some(StepReport::Loss(report)) => report,
            other => panic!("{other:?}"),
        }
    }

    /// Runs steps that have to pass, and takes over what the later ones are told of the earlier ones.
    pub fn passes(&mut self, steps: &[Step]) {
        for step in steps {
            let end = self.run(*step);
            assert_eq!(end.verdict.outcome, Outcome::Passed, "{step:?}: {} {}", end.verdict.message, end.stderr);
            match end.report {
                Some(StepReport::Backup(report)) => self.input.backup = Some(report.backup),
                Some(StepReport::Plan(report)) => self.input.plan = Some(report.plan),
                _ => {}
            }
        }
    }

    pub fn run(&mut self, step: Step) -> End {
        let child = self.spawn(step);
        self.end(child)
    }

    pub fn end(&self, child: Child) -> End {
        let output = child.wait_with_output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let message = std::fs::read_to_string(&self.paths.termination).unwrap_or_else(|_| panic!("no verdict; stderr: {stderr}"));
        let verdict = Verdict::from_message(&message).unwrap();
        let report = verdict.details_sha256.as_ref().map(|sha256| {
            let details = Details::find(&stdout, sha256).expect("the details that the verdict names");
            serde_json::from_str(&details.json).unwrap()
        });
        End { verdict, report, stdout, stderr }
    }

    /// Files of the backup folder, by name.
    pub fn backup_files(&self) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(self.paths.backup.join("staging"))
            .map(|entries| entries.flatten().map(|e| e.path()).collect())
            .unwrap_or_default();
        files.sort();
        files
    }
}

/// The children of a process: what each runs, its pid, and its folder in `/proc`.
fn children(parent: u32) -> impl Iterator<Item = (String, u32, PathBuf)> {
    std::fs::read_dir("/proc").unwrap().flatten().filter_map(move |entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        let (head, rest) = stat.rsplit_once(") ")?;
        let (pid, name) = head.split_once(" (")?;
        let is_child = rest.split(' ').nth(1) == Some(parent.to_string().as_str());
        is_child.then(|| Some((name.to_owned(), pid.parse().ok()?, entry.path())))?
    })
}

/// The child of a process that runs this tool.
pub fn child_of(parent: u32, tool: &str) -> Option<u32> {
    children(parent).find_map(|(name, pid, _)| (name == tool).then_some(pid))
}

/// How many children of a process run a tool of PostgreSQL, and which of them show the text in arguments or environment.
pub fn children_showing(parent: u32, text: &str) -> (usize, Vec<String>) {
    let (mut found, mut shown) = (0, Vec::new());
    for (_, _, proc) in children(parent) {
        let read = |name: &str| String::from_utf8_lossy(&std::fs::read(proc.join(name)).unwrap_or_default()).into_owned();
        let (cmdline, environ) = (read("cmdline"), read("environ"));
        if (cmdline.contains("pg_") || cmdline.contains("psql")) && environ.contains("PGPASSFILE") {
            found += 1;
        }
        if cmdline.contains(text) || environ.contains(text) || environ.contains("PGPASSWORD") {
            shown.push(cmdline);
        }
    }
    (found, shown)
}
