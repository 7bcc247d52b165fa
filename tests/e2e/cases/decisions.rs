//! From the question to the first write: what people are shown and told, and what still stops a run that was approved.

use crate::channel::{self, SLACK_PATH, WEBHOOK_PATH};
use crate::chaos::{is_under_way, stop_application};
use crate::lab::lab;
use crate::manifest::small;
use crate::program::{output, root};
use crate::run::Run;
use crate::scene::Scene;
use crate::users::User;
use crate::wait::until;
use backfill_operator::api::Phase;
use backfill_operator::api::status::Step;
use serde_json::{Value, json};
use std::time::Duration;

/// For a message to come, and for a pod to be made anew.
const WITHIN: Duration = Duration::from_mins(2);

/// `kubectl backfill` of a person, or what it complained about.
fn backfill(user: &User, scene: &Scene, words: &str) -> Result<String, String> {
    let command = format!("'{}' --namespace {} {words}", env!("CARGO_BIN_EXE_kubectl-backfill"), scene.namespace);
    let end = user.shell(&lab().cluster, &command);
    let said = [String::from_utf8_lossy(&end.stdout), String::from_utf8_lossy(&end.stderr)].concat();
    if end.status.success() { Ok(said) } else { Err(format!("{}: {said}", end.status)) }
}

#[tokio::test]
async fn people_are_shown_reminded_once_and_told_who_decided_and_the_plugin_takes_the_run_to_its_end() {
    let scene = Scene::new("plugin", 200).await;
    let mut manifest = small("reviewed");
    manifest["spec"]["approval"] = json!({"required": 2, "timeout": "1h", "remindAfter": "3s"});
    manifest["spec"]["notifications"] = json!([
        {"channel": "team-db", "events": ["ApprovalNeeded", "ApprovalReminder", "Decided", "Succeeded"]},
        {"channel": "audit", "events": ["ApprovalNeeded", "ApprovalReminder", "Decided", "Succeeded"]},
    ]);
    let run = Run::apply(&scene, &manifest);
    let waited = backfill(&lab().dana, &scene, "wait reviewed --for awaiting-approval --timeout 2m").expect("it waits for people");
    assert!(waited.contains("AwaitingApproval: waits for 2"), "{waited}");
    let awaiting = run.asks().await;
    let plan = run.status().await.plan.expect("a plan");
    let page = backfill(&lab().maria, &scene, "review reviewed").expect("a review");
    let counted = format!("{} will be written", plan.will_write);
    for words in [
        awaiting.digest.as_str(),
        counted.as_str(),
        "spec.approval.required: 2",
        "- NULL",
        "+ filled: ",
        "planned by a role that can only SELECT",
        "Read: every block was read back",
        "apply about",
        "kubectl backfill approve reviewed",
        "kubectl -n ",
    ] {
        assert!(page.contains(words), "{words}:\n{page}");
    }
    // Once, although nobody answers for longer.
    until("people are reminded", WITHIN, async || {
        let events = scene.kubectl(&["get", "events", "--field-selector=reason=ApprovalReminder", "--output=name"]);
        if events.lines().count() == 1 { Ok(()) } else { Err(events) }
    })
    .await;
    // What is told is what is asked when it is told: nobody answers before question and reminder have come, to both.
    until("question and reminder have come", WITHIN, async || {
        let asked = |message: &channel::Message| message.body.contains("Needed") || message.body.contains("\"asked\"");
        let came = channel::messages(&scene.namespace).iter().filter(|message| asked(message)).count();
        if came >= 4 { Ok(()) } else { Err(came.to_string()) }
    })
    .await;

    let digest = &awaiting.digest;
    backfill(&lab().maria, &scene, &format!("approve reviewed --digest {digest} -m 'looked at the sample'")).expect("Maria approves");
    backfill(&lab().paul, &scene, &format!("approve reviewed --digest {digest}")).expect("Paul approves, right after her");
    let waited = backfill(&lab().dana, &scene, "wait reviewed --timeout 3m").expect("it succeeds");
    assert!(waited.lines().last().is_some_and(|line| line.starts_with("Succeeded")), "{waited}");
    let wrote = backfill(&lab().dana, &scene, "logs reviewed --step apply").expect("the worker's log");
    assert!(!wrote.contains("{\"backfill"), "what is for the operator is left out: {wrote}");
    assert!(backfill(&lab().dana, &scene, "status reviewed").expect("a status").contains("apply      passed"));

    let status = run.reaches(Phase::Succeeded).await;
    let said: Vec<_> = status.approvals.iter().map(|a| (a.user.as_str(), a.message.as_deref())).collect();
    assert_eq!(said, [(lab().maria.name, Some("looked at the sample")), (lab().paul.name, None)]);
    let events = scene.kubectl(&[
        "get",
        "events",
        "--field-selector=reason=ApprovalCounted",
        "--output=jsonpath={.items[*].note}{.items[*].message}",
    ]);
    assert!(events.contains(&format!("{} approves (1 of 2), identity Verified: looked at the sample", lab().maria.name)), "{events}");
    told(&scene, &plan, digest).await;
}

/// Who is asked has the same facts in Slack and by the webhook; and each decision is told, with who, when and why.
async fn told(scene: &Scene, plan: &backfill_operator::api::status::PlanStatus, digest: &str) {
    let all = until("all messages come", WITHIN, async || {
        let all = channel::messages(&scene.namespace);
        // The receiver takes one message at a time; one that it had no ear for comes again, after later ones.
        let wanted = ["Succeeded", "approves (1 of 2)", "approves (2 of 2)"];
        let has = |path: &str, words: &str| all.iter().any(|m| m.path == path && m.body.contains(words));
        let came = [SLACK_PATH, WEBHOOK_PATH].iter().all(|path| wanted.iter().all(|words| has(path, words)));
        if came { Ok(all) } else { Err(format!("{}", all.len())) }
    })
    .await;
    let of = |path: &str, event: &str| {
        let text = |body: &str| body.contains(&format!("\"event\":\"{event}\"")) || body.contains(&format!("\"text\":\"{event} "));
        let mut bodies: Vec<&str> = all.iter().filter(|m| m.path == path && text(&m.body)).map(|m| m.body.as_str()).collect();
        bodies.dedup();
        bodies
    };
    for event in ["ApprovalNeeded", "ApprovalReminder"] {
        let signed = of(WEBHOOK_PATH, event);
        assert_eq!(signed.len(), 1, "{event} is told once: {signed:?}");
        let facts: Value = serde_json::from_str(signed[0]).expect("JSON");
        let asked = &facts["asked"];
        assert_eq!((&asked["digest"], &asked["required"], &asked["proof"]), (&json!(digest), &json!(2), &json!("Read")), "{facts:#}");
        assert_eq!(asked["rows"]["willWrite"], plan.will_write);
        assert_eq!(asked["changes"], json!([format!("scenarios: {} rows updated", plan.will_write)]));
        let slack = of(SLACK_PATH, event);
        assert_eq!(slack.len(), 1, "{event} is told once: {slack:?}");
        for fact in [
            digest,
            "*Invalid* 0, *looks like a secret* 0",
            "*Proof of the backup* Read",
            "*Will take* about",
            "*Needed* 2 approval(s) until",
        ] {
            assert!(slack[0].contains(fact), "{fact}: {}", slack[0]);
        }
    }
    let decided = [of(SLACK_PATH, "Decided"), of(WEBHOOK_PATH, "Decided")];
    for bodies in decided {
        let note = |user: &str, words: &str| bodies.iter().any(|body| body.contains(&format!("{user} approves {words}")));
        assert!(note(lab().maria.name, "(1 of 2), identity Verified: looked at the sample"), "{bodies:?}");
        assert!(note(lab().paul.name, "(2 of 2), identity Verified"), "{bodies:?}");
    }
    assert!(all.iter().all(|message| !message.body.contains("filled: ")), "no message shows a row's value");
}

#[tokio::test]
async fn a_written_table_that_is_altered_after_the_approval_voids_it_and_nothing_is_written_before_people_say_yes_again() {
    let scene = Scene::new("altered", 200).await;
    stop_application(&scene).await;
    let mut manifest = small("altered");
    manifest["spec"]["approval"] = json!({"required": 2});
    let run = Run::apply(&scene, &manifest);
    let first = run.approved_by(&lab().maria).await;
    let before = scene.database.checksum("id, accepted_prompt", "scenarios");
    // Somebody else's migration, which the operator cannot see: it never connects to a database.
    scene.database.sql("ALTER TABLE scenarios ADD COLUMN priority int NOT NULL DEFAULT 0");
    run.approved_by(&lab().paul).await;
    let (voided, again) = run
        .until("people are asked about the table as it is now", |status| {
            let again = status.awaiting.clone().filter(|now| now.digest != first.digest)?;
            Some((status.approval_voided.clone().expect("what was voided"), again))
        })
        .await;
    assert_eq!((voided.reason.as_str(), voided.digest.as_str()), ("SchemaChanged", first.digest.as_str()), "{voided:?}");
    assert_eq!(voided.users, [lab().maria.name, lab().paul.name]);
    assert!(voided.message.contains("the definition of scenarios has changed"), "{}", voided.message);
    assert_eq!(scene.database.checksum("id, accepted_prompt", "scenarios"), before, "no row is written");
    let status = run.settles().await;
    assert!(status.approvals.is_empty() && status.steps.iter().all(|s| s.step != Step::Apply), "{:?}", status.steps);
    let events = scene.kubectl(&["get", "events", "--field-selector=reason=ApprovalVoided", "--output=name"]);
    assert_eq!(events.lines().count(), 1, "{events}");

    run.approved_by(&lab().maria).await;
    assert_eq!(run.approved_by(&lab().paul).await.digest, again.digest);
    run.reaches(Phase::Succeeded).await;
}

#[tokio::test]
async fn what_is_taken_back_or_moves_while_the_database_is_waited_for_ends_a_run_before_its_first_write() {
    let scene = Scene::new("meanwhile", 1000).await;
    stop_application(&scene).await;
    let mut manifest = small("first");
    manifest["spec"]["backfill"]["sql"]["batch"] = json!({"size": 10, "pause": "2s"});
    let first = Run::apply(&scene, &manifest);
    first.approved_by(&lab().maria).await;
    is_under_way(&first, &scene, 10).await;
    // Two more wait for it; what each writes, the other does not.
    let others = ["withdrawn", "moved"].map(|name| {
        let mut manifest = small(name);
        manifest["spec"]["backfill"]["sql"]["source"]["where"] = json!("s.accepted_prompt LIKE 'Accepted by hand%'");
        manifest["spec"]["backfill"]["sql"]["writes"] = json!([{"set": {"accepted_prompt": format!("'{name}: ' || s.id::text")}}]);
        manifest["spec"]["release"] = json!({"workloadRef": {"name": "scenarios-app"}});
        Run::apply(&scene, &manifest)
    });
    for other in &others {
        other.approved_by(&lab().maria).await;
        other.until("it waits for the database", |status| status.waiting_for.clone()).await;
        assert!(other.status().await.mutation_started);
    }
    let [withdrawn, moved] = &others;
    let taken_back = backfill(&lab().maria, &scene, "withdraw withdrawn");
    assert!(taken_back.is_ok(), "{taken_back:?}");
    let status = withdrawn.reaches(Phase::RolledBack).await;
    assert!(status.message.contains("ApprovalWithdrawn"), "{}", status.message);
    let environment =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "env": [{"name": "MOVED", "value": "yes"}]}]}}}});
    scene.kubectl(&["patch", "deployment", "scenarios-app", "--patch", &environment.to_string()]);
    let status = moved.reaches(Phase::RolledBack).await;
    assert!(status.message.contains("EnvironmentChanged"), "{}", status.message);
    for name in ["withdrawn", "moved"] {
        let written = scene.database.count(&format!("SELECT count(*) FROM scenarios WHERE accepted_prompt LIKE '{name}: %'"));
        assert_eq!(written, 0, "{name} wrote nothing");
    }
    assert_eq!(first.status().await.phase, Phase::Applying, "the first is still at it");
}

#[tokio::test]
async fn a_tag_that_is_moved_to_another_image_voids_the_approval() {
    if lab().cluster.provider != "native" {
        return println!("left out: only the native cluster's images can be tagged from here");
    }
    let scene = Scene::new("tag", 200).await;
    let tag = |image: &str| {
        let script = format!(
            "state=$BACKFILL_CACHE/native; ctr --address $state/containerd/containerd.sock --namespace k8s.io images tag --force {image} docker.io/library/moving:tag"
        );
        let cache = std::env::var("BACKFILL_CACHE")
            .unwrap_or_else(|_| format!("{}/.cache/backfill-operator", std::env::var("HOME").expect("a home")));
        output(lab().cluster.command("sh").current_dir(root()).env("BACKFILL_CACHE", cache).args(["-c", &script]), "").expect("a tag");
    };
    tag(&lab().app_image);
    let restricted =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
    scene.apply(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "moving"}, "spec": {
        "selector": {"matchLabels": {"app": "moving"}},
        "template": {"metadata": {"labels": {"app": "moving"}}, "spec": {
            "terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
            "securityContext": {"runAsNonRoot": true, "runAsUser": 1000},
            "containers": [{"name": "app", "image": "docker.io/library/moving:tag", "imagePullPolicy": "Never", "command": ["sleep", "3600"],
                            "securityContext": restricted}],
        }},
    }}));
    scene.kubectl(&["rollout", "status", "deployment/moving", "--timeout=120s"]);
    let mut manifest = small("tagged");
    manifest["spec"]["release"] = json!({"workloadRef": {"name": "moving"}});
    manifest["spec"]["approval"] = json!({"required": 2});
    let run = Run::apply(&scene, &manifest);
    let first = run.approved_by(&lab().maria).await;
    run.until("Maria's approval counts", |status| (status.approvals.len() == 1).then_some(())).await;
    let before = run.status().await.release.expect("a release").image;
    assert!(before.starts_with("docker.io/library/moving:tag@sha256:"), "{before}");

    // The name in the Deployment stays as it is; another image is behind it.
    tag(&lab().postgres_image);
    scene.kubectl(&["rollout", "restart", "deployment/moving"]);
    let voided = run
        .until("the approval is void", |status| {
            status.approval_voided.clone().filter(|_| status.awaiting.as_ref().is_some_and(|now| now.digest != first.digest))
        })
        .await;
    assert_eq!((voided.reason.as_str(), voided.users), ("ImageChanged", vec![lab().maria.name.to_owned()]));
    let now = run.status().await.release.expect("a release").image;
    assert!(now.starts_with("docker.io/library/moving:tag@sha256:") && now != before, "{now}");
    run.patch(&json!({"spec": {"abort": true}}));
    run.reaches(Phase::Aborted).await;
}
