use crate::support::pod::{End, Pod, TABLES, spec};
use crate::support::postgres::{Database, is_root, server, unprivileged};
use backfill_operator::api::status::{CheckResult, Step};
use backfill_operator::protocol::{Outcome, PreflightReport, StepReport};

fn report(end: &End) -> &PreflightReport {
    match &end.report {
        Some(StepReport::Preflight(report)) => report,
        other => panic!("{other:?} {}", end.verdict.message),
    }
}

fn check<'a>(end: &'a End, name: &str) -> (CheckResult, &'a str) {
    let found = report(end).checks.iter().find(|c| c.name == name);
    found.map_or_else(|| panic!("no check {name} in {:?}", report(end).checks), |c| (c.result, c.message.as_str()))
}

fn ended(end: &End) -> (Outcome, &str) {
    (end.verdict.outcome, end.verdict.reason.as_str())
}

const CHECKS: &str = "
preflight:
  minFreeSpace: 1Mi
  environment:
    - {name: APP_ENV, value: staging}
    - {name: DB_NAME, matches: database}
    - {name: DATABASE_URL, matches: host}
  checks:
    - {name: scenarios, sql: SELECT count(*) FROM scenarios, expect: {atLeast: 500}}";

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_database_passes_and_is_described() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(CHECKS));
    pod.input.environment.insert("APP_ENV".into(), "staging".into());
    pod.input.environment.insert("DB_NAME".into(), database.name.clone());
    std::fs::write(pod.paths.environment.join("DATABASE_URL"), "postgres://app:s3cret-of-the-app@127.0.0.1/x").unwrap();
    let end = pod.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Passed, "ChecksPassed"), "{} {:?}", end.verdict.message, report(&end).checks);
    for name in [
        "connection",
        "pooler",
        "server-version",
        "environment:APP_ENV",
        "environment:DB_NAME",
        "environment:DATABASE_URL",
        "tables",
        "columns",
        "key",
        "expressions",
        "role",
        "ledger",
        "dump-rights",
        "backup-destination",
        "dump-client",
        "free-space",
        "scenarios",
        "throttle",
        "ways-back",
    ] {
        assert_eq!(check(&end, name).0, CheckResult::Passed, "{name}: {}", check(&end, name).1);
    }
    let facts = report(&end);
    let id = database
        .text(
            "SELECT system_identifier || '/' || (SELECT oid FROM pg_database WHERE datname = current_database()) FROM pg_control_system()",
        )
        .await;
    assert_eq!(facts.database.id, id);
    assert_eq!(facts.database.name, database.name);
    assert_eq!(facts.way_back, ["Undo", "RestoreInPlace"]);
    assert!(facts.dump_estimate_bytes > 100_000 && facts.database.size_bytes > facts.dump_estimate_bytes);
    assert!(!facts.already_applied);
    assert!(!format!("{}{}", end.stdout, end.stderr).contains("s3cret-of-the-app"));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_environment_and_a_check_that_does_not_hold_fail_without_showing_values() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(&CHECKS.replace("atLeast: 500", "atMost: 3")));
    pod.input.environment.insert("APP_ENV".into(), "production".into());
    pod.input.environment.insert("DB_NAME".into(), "shop_production".into());
    let end = pod.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Failed, "ChecksFailed"));
    for name in ["environment:APP_ENV", "environment:DB_NAME", "environment:DATABASE_URL", "scenarios"] {
        assert_eq!(check(&end, name).0, CheckResult::Failed, "{name}");
    }
    assert!(!end.stdout.contains("production"), "{}", end.stdout);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_misconfigured_stalls_with_what_to_change() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(""));
    pod.secret("password", "wrong");
    let end = pod.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Stalled, "AuthenticationFailed"));
    assert_eq!(check(&end, "connection").0, CheckResult::Failed);
    pod.secret("password", &database.password);
    pod.secret("port", "1");
    assert_eq!(ended(&pod.run(Step::Preflight)), (Outcome::Stalled, "Unreachable"), "a first contact is a matter of the spec");

    let closed = Database::new("").await;
    closed
        .execute_as_superuser(&format!("ALTER DATABASE {0} OWNER TO postgres; REVOKE ALL ON DATABASE {0} FROM PUBLIC", closed.name))
        .await;
    let end = Pod::new(&closed, spec("")).run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Stalled, "ConnectDenied"));
    assert!(end.verdict.message.contains(&format!("GRANT CONNECT ON DATABASE \"{}\" TO \"{}\";", closed.name, closed.owner)));

    let mut pod = Pod::new(&database, spec(""));
    pod.input.spec.backfill.sql.as_mut().unwrap().source.table = "scenario_generation".into();
    let end = pod.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Stalled, "TableMissing"), "{}", end.verdict.message);
    assert_eq!(check(&end, "tables").0, CheckResult::Failed);

    let mut pod = Pod::new(&database, spec(""));
    pod.input.spec.backfill.sql.as_mut().unwrap().source.key = vec!["scenario_id".into()];
    let end = pod.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Stalled, "KeyNotUnique"), "{}", end.verdict.message);

    let mut pod = Pod::new(&database, spec("preflight: {minFreeSpace: 900Ti}"));
    let end = pod.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Stalled, "NotEnoughSpace"));
    assert!(end.verdict.message.contains("900.0 TiB needed"), "{}", end.verdict.message);

    let mut pod = Pod::new(&database, spec("preflight: {checks: [{name: bad, sql: DELETE FROM scenarios, expect: {equals: 0}}]}"));
    assert_eq!(ended(&pod.run(Step::Preflight)), (Outcome::Stalled, "CheckRefused"));
    let mut pod = Pod::new(&database, spec("verify: [{name: slip, sql: SELEC 1, expect: {equals: 0}}]"));
    let end = pod.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Stalled, "CheckRefused"), "a slip in verify is found before the rows are written");
    assert!(end.verdict.message.contains("spec.verify"), "{}", end.verdict.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_throttle_cannot_measure_is_shown_to_the_approver_before_rows_are_written() {
    let database = Database::new(TABLES).await;
    let other_session = database.as_superuser().await;
    let with = |throttle: &str| {
        let mut pod = Pod::new(&database, spec(""));
        pod.input.spec.backfill.sql.as_mut().unwrap().throttle = serde_yaml_ng::from_str(throttle).unwrap();
        pod.run(Step::Preflight)
    };
    let end = with("{maxActiveBackends: 50}");
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{}", end.verdict.message);
    let (result, message) = check(&end, "throttle:ActiveBackends");
    assert_eq!(result, CheckResult::Inconclusive);
    assert!(message.contains(&format!("(GRANT pg_monitor TO {};)", database.owner)), "{message}");

    let end = with("{query: {sql: SELECT count(*) FROM scenarios, max: 10}}");
    let (result, message) = check(&end, "throttle");
    assert_eq!(result, CheckResult::Passed);
    assert!(message.starts_with("at this moment Query would hold the worker: throttle.query returned "), "{message}");

    let end = with("{query: {sql: DELETE FROM scenarios, max: 10}}");
    assert_eq!(ended(&end), (Outcome::Stalled, "CheckRefused"));
    assert!(end.verdict.message.contains("backfill.sql.throttle.query"), "{}", end.verdict.message);
    drop(other_session);
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_told_as_the_grants_to_run() {
    let database = Database::new("").await;
    database
        .execute_as_superuser(&format!(
            "{TABLES} ALTER DATABASE {} OWNER TO postgres; GRANT SELECT ON scenarios, scenario_generations TO {}",
            database.name, database.owner
        ))
        .await;
    let mut pod = Pod::new(&database, spec(""));
    let end = pod.run(Step::Preflight);
    assert_eq!(end.verdict.outcome, Outcome::Stalled);
    let owner = &database.owner;
    assert!(check(&end, "role").1.contains(&format!("GRANT UPDATE ON \"public\".\"scenarios\" TO {owner};")), "{}", check(&end, "role").1);
    assert!(check(&end, "ledger").1.contains(&format!("CREATE SCHEMA backfill AUTHORIZATION {owner};")), "{}", check(&end, "ledger").1);
    assert!(check(&end, "dump-rights").1.contains(&format!("GRANT pg_read_all_data TO {owner};")), "{}", check(&end, "dump-rights").1);
    let (result, why) = check(&end, "ways-back");
    assert!(result == CheckResult::Inconclusive && why.starts_with("Undo only"), "{why}");
    assert_eq!(report(&end).way_back, ["Undo"]);

    // Following what the messages say is enough.
    database
        .execute_as_superuser(&format!(
            "GRANT UPDATE ON \"public\".\"scenarios\" TO {owner}; CREATE SCHEMA backfill AUTHORIZATION {owner}; GRANT pg_read_all_data TO {owner};"
        ))
        .await;
    assert_eq!(ended(&pod.run(Step::Preflight)), (Outcome::Passed, "ChecksPassed"));

    pod.input.spec.rollback.method = backfill_operator::api::spec::RollbackMethod::Restore;
    assert_eq!(ended(&pod.run(Step::Preflight)), (Outcome::Stalled, "NoWayBack"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_role_cannot_see_is_inconclusive_and_never_zero() {
    let database = Database::new(TABLES).await;
    let mut other = database.as_superuser().await;
    sqlx::raw_sql("BEGIN; SELECT 1").execute(&mut other).await.unwrap();
    let checks = "preflight: {checks: [{name: long, sql: SELECT count(*) FROM pg_stat_activity WHERE xact_start < now() - interval '10 min', expect: {equals: 0}},
      {name: 'null', sql: SELECT NULL, expect: {equals: 0}}]}";
    let mut pod = Pod::new(&database, spec(checks));
    let end = pod.run(Step::Preflight);
    assert_eq!(end.verdict.outcome, Outcome::Passed, "{}", end.verdict.message);
    let grant = format!("GRANT pg_monitor TO {};", database.owner);
    for name in ["long", "long-transactions"] {
        let (result, message) = check(&end, name);
        assert!(result == CheckResult::Inconclusive && message.contains(&grant), "{name}: {message}");
    }
    assert_eq!(check(&end, "null").0, CheckResult::Inconclusive);
    database.execute_as_superuser(&format!("GRANT pg_monitor TO {}", database.owner)).await;
    let end = pod.run(Step::Preflight);
    assert_eq!(check(&end, "long").0, CheckResult::Passed, "{}", check(&end, "long").1);
    assert_eq!(check(&end, "long-transactions").0, CheckResult::Passed);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_that_only_reads_makes_the_checks_and_must_lead_to_the_same_database() {
    let (database, elsewhere) = (Database::new(TABLES).await, Database::new(TABLES).await);
    let mut pod = Pod::new(&database, spec(""));
    pod.input.spec.database.plan_secret_ref = Some(serde_json::from_str(r#"{"name": "reader"}"#).unwrap());
    pod.plan_secret(&database);
    let end = pod.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Passed, "ChecksPassed"), "{}", end.verdict.message);
    assert!(check(&end, "plan-connection").1.contains(&database.reader));
    pod.plan_secret(&elsewhere);
    let end = pod.run(Step::Preflight);
    assert_eq!(ended(&end), (Outcome::Stalled, "PlanRoleElsewhere"), "{}", end.verdict.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_shares_sessions_is_found() {
    if std::process::Command::new("pgbouncer").arg("--version").output().is_err() {
        eprintln!("pgbouncer is not on PATH, so this is not tried");
        return;
    }
    let database = Database::new(TABLES).await;
    for (mode, expected) in [("transaction", (Outcome::Stalled, "PoolerInBetween")), ("session", (Outcome::Passed, "ChecksPassed"))] {
        let pooler = Pooler::start(&database, mode);
        let mut pod = Pod::new(&database, spec(""));
        pod.secret("port", &pooler.port.to_string());
        let end = pod.run(Step::Preflight);
        assert_eq!(ended(&end), expected, "{mode}: {}", end.verdict.message);
    }
}

struct Pooler {
    process: std::process::Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    fn start(database: &Database, mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let [ini, users] = ["pgbouncer.ini", "users.txt"].map(|name| folder.path().join(name));
        std::fs::write(&users, format!("\"{}\" \"{}\"\n", database.owner, database.password.replace('"', "\"\""))).unwrap();
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_type = scram-sha-256\nauth_file = {}\npool_mode = {mode}\n",
            server().port,
            users.display()
        );
        std::fs::write(&ini, text).unwrap();
        let mut command = unprivileged(std::path::Path::new("pgbouncer"));
        if is_root() {
            let chown = std::process::Command::new("chown").args(["-R", "postgres"]).arg(folder.path()).status().unwrap();
            assert!(chown.success());
        }
        let process = command.arg("--quiet").arg(&ini).spawn().unwrap();
        let listening = || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        for _ in 0..100 {
            if listening() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        Self { process, port, _folder: folder }
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
