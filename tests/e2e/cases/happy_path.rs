//! The example, from apply to Succeeded, and applied again.

use crate::channel::{self, Message, SLACK_PATH, WEBHOOK_KEY, WEBHOOK_PATH};
use crate::lab::lab;
use crate::manifest::example;
use crate::prediction::{self, Prediction};
use crate::run::Run;
use crate::scene::Scene;
use crate::users::DANA;
use crate::wait::until;
use crate::{conclusion, operator};
use backfill_operator::api::{BackfillRunStatus, Phase};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use std::time::Duration;

const FLAGS_BEFORE: &str = "{\"import_generation\": {\"enabled\": false}, \"dark_mode\": {\"enabled\": true}}\n";
const FLAGS_AFTER: &str = "{\"import_generation\": {\"enabled\": true}, \"dark_mode\": {\"enabled\": true}}\n";
/// Every phase of the example.
const PHASES: [&str; 10] = [
    "Preflight",
    "BackingUp",
    "Planning",
    "AwaitingApproval",
    "Migrating",
    "Applying",
    "Verifying",
    "EnablingFlag",
    "Monitoring",
    "Succeeded",
];
const CONDITIONS: [&str; 14] = [
    "PreflightPassed",
    "BackedUp",
    "BackupVerified",
    "Planned",
    "Validated",
    "Approved",
    "Migrated",
    "Applied",
    "Verified",
    "FlagEnabled",
    "Monitored",
    "Succeeded",
    "Finished",
    "Ready",
];

#[tokio::test]
async fn the_example_goes_from_apply_to_succeeded_and_does_what_it_says_and_nothing_else() {
    let scene = Scene::new("example", 20_000).await;
    let expected = prediction::of_example(&scene.database);
    assert!(expected.written > 5_000, "the load has enough to do: {expected:?}");

    // Slow enough for its progress to be seen.
    let mut manifest = example();
    manifest["spec"]["backfill"]["sql"]["batch"] = json!({"size": 500, "pause": "500ms"});
    manifest["spec"]["notifications"] = json!([
        {"channel": "team-db", "events": ["ApprovalNeeded", "Applied", "Failed", "RolledBack", "Stalled", "Succeeded"]},
        {"channel": "audit", "events": ["ApprovalNeeded", "Succeeded"]},
    ]);
    let run = Run::apply(&scene, &manifest);
    run.asks().await;
    nothing_is_changed_before_the_approval(&scene, &run, &expected).await;
    run.approved_by(&lab().maria).await;
    let progress = progress_of_apply(&run).await;
    let waited = scene.kubectl(&["wait", "--for=condition=Finished", "--timeout=180s", &format!("backfillrun/{}", run.name)]);
    assert!(waited.contains("condition met"), "{waited}");
    let status = run.reaches(Phase::Succeeded).await;

    let rising = progress.windows(2).all(|pair| pair[0].0 < pair[1].0);
    assert!(progress.len() >= 2 && rising && progress.iter().all(|p| p.1 == expected.written), "{progress:?}");
    let result = status.result.clone().expect("a result");
    assert_eq!((result.written, result.drifted), (expected.written, 0), "{result:?}");
    prediction::holds(&scene.database, &expected);
    assert_eq!(flags(&scene), FLAGS_AFTER, "one value of the document has changed, and no other byte");
    assert_eq!(status.history.iter().map(|h| h.to.as_str()).collect::<Vec<_>>(), PHASES);
    for name in CONDITIONS {
        let condition = status.conditions.iter().find(|c| c.type_ == name);
        assert!(condition.is_some_and(|c| c.status == "True"), "{name}: {condition:?}");
    }
    assert_eq!(status.approvals.iter().map(|a| a.user.as_str()).collect::<Vec<_>>(), [lab().maria.name]);
    conclusion::lets_go_and_reports(&run).await;
    is_printed(&scene, &run, &expected);
    is_reported(&scene, &run, &status);
    people_are_told(&scene, &status).await;
    assert!(operator::log().contains(&scene.namespace), "the operator logs what it does in {}", scene.namespace);
    let metrics = operator::metrics();
    assert!(metrics.contains("backfill_rows_written_total"), "{metrics}");
}

#[tokio::test]
async fn the_example_deleted_and_applied_again_changes_no_row() {
    let scene = Scene::new("again", 2000).await;
    let run = Run::apply(&scene, &example());
    run.succeeds().await;
    let rows = || {
        let scenarios = scene.database.checksum("id, accepted_prompt, accepted_prompt_metadata, accepted_generation_id", "scenarios");
        (scenarios, scene.database.checksum("xmin, t.*", "scenario_generations"))
    };
    let before = rows();
    scene.kubectl(&["delete", "backfillrun", &run.name, "--timeout=60s"]);

    let status = Run::apply(&scene, &example()).reaches(Phase::Succeeded).await;
    let end = status.history.last().expect("a history");
    assert_eq!(end.reason, "AlreadyApplied", "{:?}", status.history);
    assert!(!status.mutation_started, "nothing was begun");
    assert_eq!(rows(), before, "every row is the version that it was");

    // The same under another name finds nothing left to do.
    let mut other = example();
    other["metadata"]["name"] = json!("import-generation-2");
    let status = Run::apply(&scene, &other).reaches(Phase::Succeeded).await;
    assert_eq!(status.history.last().map(|h| h.reason.as_str()), Some("NothingToDo"), "{:?}", status.history);
    assert_eq!(rows(), before, "every row is the version that it was");
}

async fn nothing_is_changed_before_the_approval(scene: &Scene, run: &Run<'_>, expected: &Prediction) {
    let now = run.get().await;
    let status = now.status.expect("a status");
    assert_eq!(now.metadata.finalizers.unwrap_or_default(), Vec::<String>::new(), "nothing holds the run");
    assert_eq!(prediction::audited(&scene.database), 0, "no row is written");
    assert_eq!(scene.database.count("SELECT count(*) FROM pg_namespace WHERE nspname = 'backfill'"), 0, "not even a ledger is there");
    assert_eq!(flags(scene), FLAGS_BEFORE);
    let plan = status.plan.expect("a plan");
    assert_eq!(plan.will_write, expected.written, "{plan:?}");
    assert!(plan.proved_read_only && plan.invalid > 0 && !plan.sample.is_empty(), "{plan:?}");
    let awaiting = status.awaiting.expect("a question");
    assert!(awaiting.digest == plan.digest && awaiting.command.contains(&plan.digest), "{awaiting:?}");
}

/// Done and total as the status shows them, each once, until the rows are written.
async fn progress_of_apply(run: &Run<'_>) -> Vec<(i64, i64)> {
    let mut seen: Vec<(i64, i64)> = Vec::new();
    run.until("the rows are written", |status| {
        if status.phase == Phase::Applying
            && let Some(progress) = status.progress.as_ref().filter(|p| p.unit == "rows" && p.done > 0)
            && seen.last().is_none_or(|last| last.0 != progress.done)
        {
            seen.push((progress.done, progress.total));
        }
        (status.phase > Phase::Applying).then_some(())
    })
    .await;
    seen
}

fn flags(scene: &Scene) -> String {
    scene.kubectl(&["get", "configmap", "app-flags", "--output", r"jsonpath={.data.features\.json}"])
}

fn is_printed(scene: &Scene, run: &Run<'_>, expected: &Prediction) {
    let table = scene.kubectl(&["get", "bfr", &run.name, "--output", "wide"]);
    let (head, row) = table.split_once('\n').unwrap_or_else(|| panic!("{table}"));
    let columns: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(columns, ["NAME", "PHASE", "PLAN", "PROGRESS", "APPROVED", "AGE", "BACKUP", "COMMIT", "MESSAGE"], "{table}");
    for cell in ["Succeeded", &expected.written.to_string(), "True", "4f2c9d1"] {
        assert!(row.contains(cell), "{cell} should be in {table}");
    }
}

fn is_reported(scene: &Scene, run: &Run<'_>, status: &BackfillRunStatus) {
    let report = scene.kubectl(&["get", "configmap", &format!("{}-report", run.name), "--output", r"jsonpath={.data.report\.md}"]);
    let backup = status.backup.as_ref().expect("a backup");
    let digest = &status.plan.as_ref().expect("a plan").digest;
    for fact in ["| 1 | Preflight and backup |", "| 10 |", &backup.sha256, digest, lab().maria.name, DANA, "4f2c9d1"] {
        assert!(report.contains(fact), "{fact} should be in the report:\n{report}");
    }
}

/// Each message that the run asked for came, with the facts of the checklist and nothing else.
async fn people_are_told(scene: &Scene, status: &BackfillRunStatus) {
    let (slack, signed) = until("all messages come", Duration::from_mins(1), async || {
        let all = channel::messages(&scene.namespace);
        let of = |path: &str| all.iter().filter(|m| m.path == path).cloned().collect::<Vec<_>>();
        let (slack, signed) = (of(SLACK_PATH), of(WEBHOOK_PATH));
        let last = |messages: &[Message]| messages.iter().any(|message| message.body.contains("Succeeded"));
        if last(&slack) && last(&signed) { Ok((slack, signed)) } else { Err(format!("{} and {}", slack.len(), signed.len())) }
    })
    .await;
    // At least once is what is promised: the same one may have come twice.
    let mut events: Vec<String> = signed.iter().map(|message| facts(message)["event"].as_str().unwrap_or_default().to_owned()).collect();
    events.dedup();
    assert_eq!(events, ["ApprovalNeeded", "Succeeded"]);
    let order: Vec<_> = ["ApprovalNeeded", "Applied", "Succeeded"]
        .map(|event| slack.iter().position(|message| message.body.contains(&format!("\"text\":\"{event} "))))
        .into();
    assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{order:?} of {slack:?}");
    for message in &signed {
        is_signed(message);
    }
    let last = facts(signed.last().expect("a message"));
    let fields: Vec<&str> = last.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(fields, ["event", "delivery", "run", "phase", "at", "text", "backup", "commit", "rowsChanged", "incidents"]);
    assert_eq!(last["rowsChanged"], json!(status.result.as_ref().expect("a result").written));
    assert_eq!((&last["commit"], &last["incidents"]), (&json!("4f2c9d1"), &json!([])));
    assert_eq!(last["backup"], json!(status.backup.as_ref().expect("a backup").path));
    // Every prompt that the load makes begins so.
    assert!(slack.iter().chain(&signed).all(|message| !message.body.contains("You lead")), "no message shows a row's value");
}

fn facts(message: &Message) -> Value {
    serde_json::from_str(&message.body).unwrap_or_else(|error| panic!("{error}: {}", message.body))
}

fn is_signed(message: &Message) {
    let header = |name: &str| message.headers.iter().find(|h| h.0 == name).map(|h| h.1.clone()).unwrap_or_default();
    let mut mac = Hmac::<Sha256>::new_from_slice(WEBHOOK_KEY.as_bytes()).expect("a key");
    mac.update(format!("{}.{}", header("x-backfill-timestamp"), message.body).as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    assert_eq!(header("x-backfill-signature"), format!("v1={signature}"), "{:?}", message.headers);
}
