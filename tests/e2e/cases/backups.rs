//! Where backups lie beside a claim of the run's own making: in a bucket, or made by somebody else. Each is what brings the data back.

use crate::bucket::Bucket;
use crate::chaos::{ledger, stop_application, tables};
use crate::conclusion;
use crate::lab::lab;
use crate::manifest::small;
use crate::run::Run;
use crate::scene::Scene;
use crate::wait::until;
use backfill_operator::api::Phase;
use backfill_operator::api::spec::RollbackMethod;
use backfill_operator::api::status::{CheckResult, Subject};
use serde_json::{Value, json};
use std::time::Duration;

/// A small run whose verification nothing can pass, and whose way back is a restore.
fn failing(name: &str, rollback: &Value) -> Value {
    let mut run = small(name);
    run["spec"]["rollback"] = rollback.clone();
    run["spec"]["verify"] = json!([{"name": "impossible", "sql": "SELECT count(*) FROM scenarios", "expect": {"equals": -1}}]);
    run
}

#[tokio::test]
async fn a_backup_in_a_bucket_is_rehearsed_from_there_and_swaps_the_database_back_when_verification_fails() {
    if lab().cluster.provider != "native" {
        eprintln!("skipped: only where the node is this machine do pods reach a server that a test has started");
        return;
    }
    let scene = Scene::new("bucket", 1000).await;
    let (database, bucket) = (&scene.database, Bucket::new(&scene));
    stop_application(&scene).await;
    may_swap(&scene);
    let before = tables(database);

    let mut manifest = failing("from-a-bucket", &json!({"method": "Restore", "restore": "Swap"}));
    manifest["spec"]["database"]["restoreSecretRef"] = json!({"name": "scenarios-db-restore"});
    // With the plan applied on the copy its verification would fail there, before anything is written.
    let rehearsal = json!({"applyPlan": false});
    manifest["spec"]["backup"] = json!({"destination": bucket.destination("staging/dumps"), "proof": "Restore", "rehearsal": rehearsal});
    let run = Run::apply(&scene, &manifest);
    let asked = run.asks().await;
    let status = run.status().await;
    let backup = status.backup.clone().expect("a backup");
    assert_eq!((backup.proof.as_str(), backup.path.starts_with("s3://dumps/staging/dumps/")), ("Restore", true), "{backup:?}");
    assert!(asked.question.contains("The backup is restorable"), "{}", asked.question);
    let stored = bucket.store.files();
    assert!(stored.contains(&backup.file) && stored.iter().all(|file| file.starts_with("staging/dumps/")), "{stored:?}");

    run.approved_by(&lab().maria).await;
    let status = run.reaches(Phase::RolledBack).await;
    assert_eq!(tables(database), before, "every table is what it was");
    let rollback = status.rollback.expect("an account of the way back");
    assert_eq!((rollback.method, rollback.losses.len()), (Some(RollbackMethod::Restore), 0), "nobody else wrote: {rollback:?}");
    let old = rollback.old_database.expect("the old database is kept");
    assert_eq!(database.count(&format!("SELECT count(*) FROM pg_database WHERE datname = '{old}'")), 1);
    let left = status.checks.iter().find(|check| check.name == "left-in-old-database").expect("what only the old one has");
    assert_eq!(left.result, CheckResult::Passed, "{}", left.message);
    assert_eq!(ledger(database), ["from-a-bucket Restored"], "the ledger came over");
    conclusion::lets_go_and_reports(&run).await;
    database.sql(&format!("DROP DATABASE \"{old}\" WITH (FORCE)"));
}

/// A role that may make databases, and rename this one.
fn may_swap(scene: &Scene) {
    let (database, role) = (&scene.database, format!("{}_restorer", scene.database.name));
    let password = format!("r3store-{}", lab().suffix);
    database.sql(&format!(
        "DO $$ BEGIN DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN CREATEDB PASSWORD '{password}' IN ROLE scenarios; END $$; ALTER DATABASE {} OWNER TO scenarios",
        database.name
    ));
    let keys = json!({"host": format!("postgres.{}.svc", database.server), "port": "5432", "dbname": database.name, "username": role, "password": password});
    scene.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "scenarios-db-restore"}, "stringData": keys}));
}

#[tokio::test]
async fn a_dump_that_somebody_else_left_on_the_claim_is_proved_asked_about_and_restored_and_stays_as_it_is() {
    let scene = Scene::new("nightly", 1000).await;
    let database = &scene.database;
    stop_application(&scene).await;
    let before = tables(database);
    nightly_dump(&scene).await;
    let sum = || scene.kubectl(&["exec", "nightly", "--", "sha256sum", "/backup/nightly/shop.dump"]);
    let dumped = sum();

    let mut manifest = failing("of-others", &json!({"method": "Restore", "restore": "InPlace"}));
    manifest["spec"]["backup"] = json!({
        "destination": {"persistentVolumeClaim": {"claimName": "backups", "path": "nightly"}}, "existing": {"path": "shop.dump"},
    });
    let run = Run::apply(&scene, &manifest);
    let asked = run.asks().await;
    let backup = run.status().await.backup.expect("a backup");
    assert_eq!(backup.existing, "Dump", "{backup:?}");
    assert!(!backup.unproved.is_empty() && dumped.starts_with(&backup.sha256), "{backup:?}, {dumped}");
    for unproved in &backup.unproved {
        assert!(asked.question.contains(unproved.as_str()), "{unproved:?} in {}", asked.question);
    }
    run.approved_by(&lab().maria).await;
    let asked =
        run.until("a restore is asked for", |status| status.awaiting.clone().filter(|asked| asked.subject == Subject::Restore)).await;
    assert!(asked.question.contains("how much that is cannot be said"), "nobody measured it: {}", asked.question);
    assert_ne!(tables(database), before, "the rows are written, and nothing goes back before somebody agrees");
    run.approved_by(&lab().paul).await;
    run.reaches(Phase::RolledBack).await;
    assert_eq!(tables(database), before, "every table is what it was when it was dumped");
    assert_eq!(ledger(database), ["of-others Restored"]);
    assert_eq!(sum(), dumped, "the dump is as it was");
    conclusion::lets_go_and_reports(&run).await;
}

/// A pod of the team that has dumped the database onto the claim, as a nightly job does, and stays.
async fn nightly_dump(scene: &Scene) {
    let secret = |key: &str| json!({"secretKeyRef": {"name": "scenarios-db", "key": key}});
    let script = "mkdir -p /backup/nightly && pg_dump -Fc -f /backup/nightly/shop.dump && touch /tmp/dumped && exec sleep 600";
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "nightly"},
        "spec": {
            "automountServiceAccountToken": false, "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [{
                "name": "dump", "image": lab().postgres_image, "imagePullPolicy": "IfNotPresent", "command": ["sh", "-c", script],
                "env": [
                    {"name": "PGHOST", "valueFrom": secret("host")}, {"name": "PGDATABASE", "valueFrom": secret("dbname")},
                    {"name": "PGUSER", "valueFrom": secret("username")}, {"name": "PGPASSWORD", "valueFrom": secret("password")},
                ],
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "backup", "mountPath": "/backup"}],
                "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/dumped"]}, "periodSeconds": 1},
            }],
            "volumes": [{"name": "backup", "persistentVolumeClaim": {"claimName": "backups"}}],
        },
    });
    scene.apply(&pod);
    until("the nightly dump is there", Duration::from_secs(90), async || {
        let ready = scene.kubectl(&["get", "pod", "nightly", "--output", "jsonpath={.status.containerStatuses[0].ready} {.status.phase}"]);
        if ready.starts_with("true") { Ok(()) } else { Err(ready) }
    })
    .await;
}
