//! A database with the checklist's scenario, and a run on it, driven without Kubernetes.

use crate::server::Server;
use backfill_operator::api::duration;
use backfill_operator::api::spec::{AddedColumn, BatchRows, BesideWriters, Samples, SqlBackfill, TlsMode};
use backfill_operator::api::status::{PlanStatus, ResultStatus};
use backfill_operator::engine::apply::{self, ApplyError, ApplyOptions, Ending, Observer, Retries};
use backfill_operator::engine::connector::{ConnectRefused, Connector};
use backfill_operator::engine::ledger::{self, Claimed, Ledger};
use backfill_operator::engine::model::{Model, ModelError};
use backfill_operator::engine::plan::{self, PlanError, PlanOptions};
use backfill_operator::engine::undo::{self, UndoError, Undone};
use backfill_operator::postgres::{ConnectOptions, Credentials, connect};
use backfill_operator::protocol::RunIdentity;
use sqlx::{AssertSqlSafe, PgConnection};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The checklist's tables.
pub const TABLES: &str = "
    CREATE TABLE scenarios (id bigint PRIMARY KEY, title text, accepted_prompt text, accepted_prompt_metadata jsonb,
        updated_at timestamptz NOT NULL DEFAULT '2026-01-01');
    CREATE TABLE scenario_generations (id bigint PRIMARY KEY, scenario_id bigint NOT NULL REFERENCES scenarios, metadata jsonb,
        created_at timestamptz NOT NULL DEFAULT '2026-01-01', updated_at timestamptz NOT NULL DEFAULT '2026-01-01')";

/// What the checklist's backfill writes.
pub const SPEC: &str = r#"
source:
  table: scenario_generations
  where: "s.metadata ? 'llm_response'"
  pick: {per: [s.scenario_id], order: s.updated_at DESC}
validate:
  - name: llm-response
    value: "s.metadata->'llm_response'"
    schema: {inline: {type: object, required: [prompt, skills], properties: {prompt: {type: string}}}}
    maxInvalidPercent: 50
writes:
  - table: scenarios
    match: t.id = s.scenario_id
    onlyIf: t.accepted_prompt IS NULL
    set:
      accepted_prompt: "s.metadata #>> '{llm_response,prompt}'"
      accepted_prompt_metadata: "jsonb_build_object('model', s.metadata #> '{llm_response,model}')"
      updated_at: now()
audit: {column: metadata, path: [import_audit]}
batch: {size: 50}
"#;

/// Rows of every kind: with and without an answer, invalid ones, two generations a scenario, one already filled in 11.
pub fn rows(scenarios: i64) -> String {
    format!(
        "INSERT INTO scenarios (id, title, accepted_prompt) SELECT n, 'Scenario ' || n, CASE WHEN n % 11 = 0 THEN 'by hand' END
             FROM generate_series(1, {scenarios}) n;
         INSERT INTO scenario_generations (id, scenario_id, metadata, updated_at)
         SELECT n * 10 + g, n, CASE
             WHEN n % 7 = 0 THEN '{{\"other\": 1}}'::jsonb
             WHEN n % 13 = 0 THEN '{{\"llm_response\": {{\"prompt\": \"no skills\"}}}}'
             WHEN n % 17 = 0 THEN NULL
             ELSE jsonb_build_object('llm_response', jsonb_build_object('prompt', 'Pr\u{fc}fe ' || n || '.' || g, 'model', 'm-' || g, 'skills', '[]'::jsonb))
             END, timestamptz '2026-01-01' + g * interval '1 day'
         FROM generate_series(1, {scenarios}) n, generate_series(1, 1 + (n % 2)::int) g"
    )
}

/// A database of one test, with a run on it.
pub struct Bench {
    pub credentials: Credentials,
    pub run: RunIdentity,
    pub spec: SqlBackfill,
    pub adds: Vec<AddedColumn>,
    pub folder: tempfile::TempDir,
    pub stop: CancellationToken,
    /// The attempt to apply; each call of `apply` is one more, as a new Job is.
    pub attempt: AtomicI32,
    /// Batches of all attempts that were written unread, and those that were read.
    pub unread: AtomicI32,
    pub read: AtomicI32,
    /// Whether the worker was gentle: each change of it.
    pub gentle: Mutex<Vec<bool>>,
}

/// The observer of a worker.
struct Told<'a, F> {
    bench: &'a Bench,
    /// The first word comes before the first batch; tests act on batches.
    begun: bool,
    progress: F,
}

impl<F: FnMut(i64, i64)> Observer for Told<'_, F> {
    fn progress(&mut self, done: i64, total: i64) {
        if std::mem::replace(&mut self.begun, true) {
            (self.progress)(done, total);
        }
    }

    fn gentle(&mut self, gentle: bool) {
        let mut told = self.bench.gentle.lock().unwrap();
        if told.last() != Some(&gentle) {
            told.push(gentle);
        }
    }

    fn written(&mut self, unread: bool) {
        if unread { &self.bench.unread } else { &self.bench.read }.fetch_add(1, Ordering::Relaxed);
    }
}

pub struct Direct(pub Credentials);

impl Connector for Direct {
    async fn connect(&self) -> Result<PgConnection, ConnectRefused> {
        let options = ConnectOptions {
            tls: TlsMode::Disable,
            ca: None,
            statement_timeout: duration::parse("1m").unwrap(),
            application_name: "backfill/test".into(),
        };
        let refused =
            |e: backfill_operator::postgres::ConnectError| ConnectRefused { reason: "X", message: e.to_string(), may_pass: e.may_pass() };
        connect(&self.0, &options).await.map_err(refused)
    }
}

pub fn credentials(server: &Server, database: &str, username: &str) -> Credentials {
    Credentials {
        host: "127.0.0.1".into(),
        port: server.port,
        database: database.into(),
        username: username.into(),
        password: "unused".to_owned().into(),
    }
}

pub async fn admin(server: &Server, sql: &str) {
    let mut connection = Direct(credentials(server, "postgres", "postgres")).connect().await.unwrap();
    sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
}

impl Bench {
    /// A fresh database with these statements run on it.
    pub async fn new(setup: &str, spec: &str) -> Self {
        Self::on(Server::shared(), setup, spec).await
    }

    pub async fn on(server: &Server, setup: &str, spec: &str) -> Self {
        let database = Server::fresh_name("bench");
        admin(server, &format!("CREATE DATABASE {database}")).await;
        let mut bench = Self {
            credentials: credentials(server, &database, "postgres"),
            run: RunIdentity {
                namespace: "staging".into(),
                name: "import".into(),
                uid: format!("00000000-0000-4000-8000-{:012}", std::process::id()),
            },
            spec: serde_yaml_ng::from_str(spec).unwrap(),
            adds: Vec::new(),
            folder: tempfile::tempdir().unwrap(),
            stop: CancellationToken::new(),
            attempt: AtomicI32::new(0),
            unread: AtomicI32::new(0),
            read: AtomicI32::new(0),
            gentle: Mutex::default(),
        };
        if !spec.contains("besideWriters") {
            // The other tests of the same server write, too.
            bench.spec.throttle.beside_writers = BesideWriters::Full;
        }
        bench.sql(setup).await;
        bench
    }

    /// The checklist's case.
    pub async fn scenario(scenarios: i64) -> Self {
        Self::new(&format!("{TABLES}; {}", rows(scenarios)), SPEC).await
    }

    pub async fn connect(&self) -> PgConnection {
        Direct(self.credentials.clone()).connect().await.unwrap()
    }

    pub async fn sql(&self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut self.connect().await).await.unwrap();
    }

    pub async fn number(&self, sql: &str) -> i64 {
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT ({sql})::int8"))).fetch_one(&mut self.connect().await).await.unwrap()
    }

    pub async fn text(&self, sql: &str) -> Option<String> {
        sqlx::query_scalar(AssertSqlSafe(format!("SELECT ({sql})::text"))).fetch_one(&mut self.connect().await).await.unwrap()
    }

    /// Everything in both tables, but what the moment sets.
    pub async fn hash(&self) -> String {
        self.hash_of(
            "s.id, s.title, s.accepted_prompt, s.accepted_prompt_metadata",
            "g.id, g.scenario_id, g.metadata #- '{import_audit,at}'",
        )
        .await
    }

    /// Everything in both tables.
    pub async fn exact_hash(&self) -> String {
        self.hash_of("s.*", "g.*").await
    }

    pub async fn hash_of(&self, scenarios: &str, generations: &str) -> String {
        self.text(&format!(
            "SELECT md5(a || b) FROM (SELECT coalesce(string_agg(md5(ROW({scenarios})::text), '' ORDER BY s.id), '') AS a FROM scenarios s) x,
             (SELECT coalesce(string_agg(md5(ROW({generations})::text), '' ORDER BY g.id), '') AS b FROM scenario_generations g) y"
        ))
        .await
        .unwrap()
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::of("backfill", &self.run)
    }

    pub async fn model(&self) -> Result<Model, ModelError> {
        Model::resolve(&mut self.connect().await, &self.spec, &self.adds, &[]).await
    }

    pub async fn plan_by(&self, page: usize) -> Result<PlanStatus, PlanError> {
        let mut connection = self.connect().await;
        let model = Model::resolve(&mut connection, &self.spec, &self.adds, &[]).await.unwrap();
        let path = self.plan_file();
        let samples: &Samples = &self.spec.samples;
        let options =
            PlanOptions { run_uid: &self.run.uid, path: &path, range: page, samples, sensitive: self.spec.sensitive_data.as_ref() };
        let mut plan = plan::plan(&mut connection, &model, options, |_, _| true).await?;
        plan.digest = "sha256:approved".into();
        Ok(plan)
    }

    /// A range is a batch, so that each test goes both ways of writing where it can.
    pub async fn plan(&self) -> PlanStatus {
        let range = match self.spec.batch.size {
            BatchRows::Fixed(rows) => usize::try_from(rows).unwrap(),
            BatchRows::Auto => 1000,
        };
        self.plan_by(range).await.unwrap()
    }

    /// Plans once every transaction before has ended, those of other tests on the server, too: only then all rows are known to
    /// be older than the plan.
    pub async fn plan_settled(&self, page: usize) -> PlanStatus {
        let last = self.number("pg_current_xact_id()::text::int8").await;
        let begun = std::time::Instant::now();
        while self.number("pg_snapshot_xmin(pg_current_snapshot())::text::int8").await <= last {
            assert!(begun.elapsed() < Duration::from_mins(2), "some transaction of another test does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.plan_by(page).await.unwrap()
    }

    /// Batches that were written unread, and those that were read.
    pub fn batches(&self) -> (i32, i32) {
        (self.unread.load(Ordering::Relaxed), self.read.load(Ordering::Relaxed))
    }

    pub fn plan_file(&self) -> PathBuf {
        self.folder.path().join("a.plan")
    }

    pub async fn claim(&self) -> Claimed {
        let mut connection = self.connect().await;
        ledger::ensure(&mut connection, "backfill").await.unwrap();
        ledger::claim(&mut connection, "backfill", &self.run, "spec", None).await.unwrap()
    }

    pub async fn apply(&self, plan: &PlanStatus) -> Result<Ending, ApplyError> {
        self.apply_with(plan, |_, _| {}).await
    }

    pub async fn apply_with(&self, plan: &PlanStatus, progress: impl FnMut(i64, i64)) -> Result<Ending, ApplyError> {
        self.apply_through(&Direct(self.credentials.clone()), plan, progress).await
    }

    pub async fn apply_through(
        &self,
        connector: &impl Connector,
        plan: &PlanStatus,
        progress: impl FnMut(i64, i64),
    ) -> Result<Ending, ApplyError> {
        self.attempt.fetch_add(1, Ordering::Relaxed);
        self.work(connector, 0, plan, progress).await
    }

    /// One worker of the present attempt.
    pub async fn work(
        &self,
        connector: &impl Connector,
        worker: i32,
        plan: &PlanStatus,
        progress: impl FnMut(i64, i64),
    ) -> Result<Ending, ApplyError> {
        let ledger = self.ledger();
        let (plan_file, control) = (self.plan_file(), self.control());
        let options = ApplyOptions {
            run: &self.run,
            attempt: self.attempt.load(Ordering::Relaxed),
            worker,
            ledger: &ledger,
            spec: &self.spec,
            plan,
            plan_file: &plan_file,
            backup_saw: None,
            control: &control,
            stop: &self.stop,
            retries: Retries::new(8, Duration::from_millis(50), Duration::from_secs(2)),
            tell_each_batch: true,
        };
        apply::apply(connector, options, Told { bench: self, begun: false, progress }).await
    }

    pub fn control(&self) -> PathBuf {
        self.folder.path().join("annotations")
    }

    /// Plan, claim and apply to the end.
    pub async fn through(&self) -> PlanStatus {
        let plan = self.plan().await;
        assert_eq!(self.claim().await, Claimed::Ours);
        assert_eq!(self.apply(&plan).await.unwrap(), Ending::Done);
        plan
    }

    pub async fn result(&self) -> ResultStatus {
        apply::result(&mut self.connect().await, &self.ledger()).await.unwrap()
    }

    pub async fn undo(&self) -> Undone {
        self.try_undo().await.unwrap().unwrap()
    }

    pub async fn try_undo(&self) -> Result<Option<Undone>, UndoError> {
        let retries = Retries::new(5, Duration::from_millis(50), Duration::from_secs(1));
        undo::undo(&Direct(self.credentials.clone()), &self.ledger(), &self.stop, retries, |_, _| {}).await
    }
}
