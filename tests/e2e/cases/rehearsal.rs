//! A backup that is restored before anybody is asked, by a pod that reaches nothing but the dump.

use crate::lab::lab;
use crate::manifest::small;
use crate::run::Run;
use crate::scene::Scene;
use backfill_operator::api::Phase;
use backfill_operator::api::status::{BackfillRunStatus, Step};
use serde_json::{Value, json};

#[tokio::test]
async fn a_run_with_a_rehearsed_backup_goes_from_apply_to_succeeded_and_does_what_was_rehearsed() {
    let scene = Scene::new("rehearsal", 2000).await;
    let mut manifest = small("rehearsed");
    manifest["spec"]["backup"]["proof"] = json!("Restore");
    // A volume that is made for it; without the field it is the node's disk.
    manifest["spec"]["backup"]["rehearsal"] = json!({"storageClassName": "standard", "timeout": "10m"});
    manifest["spec"]["verify"] = json!([{
        "name": "filled",
        "sql": "SELECT count(*) FROM backfill.written w JOIN scenarios t USING (id) WHERE t.accepted_prompt IS NULL",
        "expect": {"equals": 0},
    }]);
    let run = Run::apply(&scene, &manifest);
    let rehearses = |status: &BackfillRunStatus| {
        let step = status.steps.iter().find(|s| s.step == Step::Rehearse && s.job_uid.is_some() && s.result.is_none())?;
        Some(step.job_name.clone())
    };
    let job = run.until("it is rehearsed", rehearses).await;
    reaches_nothing_but_the_dump(&scene, &job);
    run.asks().await;
    let status = run.status().await;
    let rehearsal = status.rehearsal.clone().expect("a rehearsal");
    let backup = status.backup.as_ref().expect("a backup");
    assert_eq!((backup.proof.as_str(), &rehearsal.backup_sha256), ("Restore", &backup.sha256));
    let verified = status.conditions.iter().find(|c| c.type_ == "BackupVerified").expect("a condition");
    assert_eq!((verified.status.as_str(), verified.reason.as_str()), ("True", "Restore"));
    let plan = status.plan.as_ref().expect("a plan");
    let count = |name: &str| rehearsal.count(name).cloned().expect("a count");
    assert_eq!(count("Written").predicted, plan.will_write);
    assert_eq!(count("Written").rehearsed + count("Drifted").rehearsed, plan.will_write, "{rehearsal:?}");
    assert!(count("Written").rehearsed > 0 && rehearsal.rows > 2000, "{rehearsal:?}");
    let question = &status.awaiting.as_ref().expect("a question").question;
    assert!(question.contains("The backup is restorable"), "{question}");
    assert_eq!(scene.database.count("SELECT count(*) FROM pg_namespace WHERE nspname = 'backfill'"), 0, "the database has seen none of it");

    run.approved_by(&lab().maria).await;
    let status = run.reaches(Phase::Succeeded).await;
    let written = status.rehearsal.as_ref().and_then(|r| r.count("Written")).cloned().expect("a count");
    assert_eq!(written.real, status.result.as_ref().map(|r| r.written), "predicted, rehearsed and real stand side by side: {written:?}");
    let estimate = status.estimates.iter().find(|e| e.step == Step::Apply).expect("an estimate");
    assert!(estimate.estimated_seconds.is_some() && estimate.actual_seconds.is_some(), "{estimate:?}");
    let left = scene.kubectl(&["get", "persistentvolumeclaims", "--output", "name"]);
    assert_eq!(left.trim(), "persistentvolumeclaim/backups", "the copy went with its pod");
}

/// No Secret, no token, the backup to read only.
fn reaches_nothing_but_the_dump(scene: &Scene, job: &str) {
    let text = scene.kubectl(&["get", "job", job, "--output", "json"]);
    let job: Value = serde_json::from_str(&text).expect("JSON");
    let pod = &job["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], json!(false));
    let volumes = pod["volumes"].as_array().expect("volumes");
    assert!(volumes.iter().all(|v| v.get("secret").is_none()), "{volumes:?}");
    let mounts = pod["containers"][0]["volumeMounts"].as_array().expect("mounts");
    let backup = mounts.iter().find(|m| m["name"] == "backup").expect("the backup");
    assert_eq!(backup["readOnly"], json!(true), "{backup}");
    assert!(pod["containers"][0]["image"].as_str().is_some_and(|image| image.contains("backfill-rehearsal")), "{pod}");
}
