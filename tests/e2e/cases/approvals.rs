//! Who says what about which plan, and what comes of it.

use crate::conclusion;
use crate::lab::lab;
use crate::manifest::small;
use crate::run::Run;
use crate::scene::Scene;
use crate::users::DANA;
use crate::wait::until;
use backfill_operator::api::status::{AwaitingStatus, Identity};
use backfill_operator::api::{BackfillRun, BackfillRunStatus, Phase};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_denial_ends_the_run_and_nothing_is_changed() {
    let scene = Scene::new("denial", 200).await;
    let before = content(&scene);
    let run = Run::apply(&scene, &small("denied"));
    let awaiting = run.asks().await;
    let denial = awaiting.command.replace("Approve", "Deny");
    let end = lab().maria.shell(&lab().cluster, &denial);
    assert!(end.status.success(), "{denial}: {}", String::from_utf8_lossy(&end.stderr));

    let status = run.reaches(Phase::Denied).await;
    assert!(status.message.contains(lab().maria.name) && status.message.contains("nothing was changed"), "{}", status.message);
    was_never_begun(&scene, &status);
    assert_eq!(content(&scene), before, "no row has changed");
    conclusion::lets_go_and_reports(&run).await;
    // What is decided is decided.
    refused(&lab().paul.shell(&lab().cluster, &awaiting.command), "nothing is asked now");
    let status = run.settles().await;
    assert_eq!(status.phase, Phase::Denied, "{}", status.message);
    assert_eq!(
        status.approvals.iter().map(|a| (a.user.as_str(), a.identity)).collect::<Vec<_>>(),
        [(lab().maria.name, Identity::Verified)]
    );
}

/// The scene of the platform's floors: in no other namespace do they hold.
const FLOORS: &str = "floors";

/// Where the installed operator is told to ask for more people.
pub fn namespace_with_floors(suffix: &str) -> String {
    format!("e2e-{FLOORS}-{suffix}")
}

#[tokio::test]
async fn a_plan_above_a_floor_of_the_platform_needs_the_people_that_the_floor_asks_for_and_says_why() {
    let scene = Scene::new(FLOORS, 400).await;
    // Most of the table, but not all of it: only the floor of rows holds.
    let mut manifest = small("many");
    manifest["spec"]["backfill"]["sql"]["source"]["where"] = json!("s.accepted_prompt IS NULL AND s.id % 5 <> 0");
    let run = Run::apply(&scene, &manifest);
    let awaiting = run.approved_by(&lab().maria).await;
    let floors: Vec<_> = awaiting.floors.iter().map(|floor| (floor.name.as_str(), floor.minimum)).collect();
    assert_eq!((awaiting.required, floors), (2, vec![("many-rows", 2)]));
    assert!(awaiting.floors[0].why.contains("100"), "{}", awaiting.floors[0].why);
    let status = run.settles().await;
    assert_eq!((status.phase, status.approvals.len(), status.mutation_started), (Phase::AwaitingApproval, 1, false), "{}", status.message);
    // The run may ask for more people, and not for fewer than the platform does.
    run.approved_by(&lab().paul).await;
    run.succeeds().await;

    let few = {
        let mut manifest = small("few");
        manifest["spec"]["backfill"]["sql"]["source"]["where"] = json!("s.accepted_prompt IS NULL AND s.id % 50 = 0");
        Run::apply(&scene, &manifest)
    };
    let awaiting = few.asks().await;
    assert_eq!(awaiting.required, 1, "{:?}", awaiting.floors);
}

#[tokio::test]
async fn a_plan_that_nobody_approves_in_time_expires_and_nothing_is_changed() {
    let scene = Scene::new("timeout", 200).await;
    let before = content(&scene);
    let mut manifest = small("expired");
    manifest["spec"]["approval"] = json!({"timeout": "5s"});
    let run = Run::apply(&scene, &manifest);
    let status = run.reaches(Phase::Expired).await;
    assert!(status.message.contains("nobody approved in time"), "{}", status.message);
    let waited =
        status.history.windows(2).find(|pair| pair[0].to == Phase::AwaitingApproval).map(|pair| pair[1].at.duration_since(pair[0].at));
    assert!(waited.is_some_and(|waited| waited.as_secs() >= 5), "waited for {waited:?}: {:?}", status.history);
    was_never_begun(&scene, &status);
    assert_eq!(content(&scene), before, "no row has changed");
    conclusion::lets_go_and_reports(&run).await;
}

#[tokio::test]
async fn an_approval_of_an_older_plan_is_refused_and_so_is_that_of_who_asked_for_the_run() {
    let scene = Scene::new("stale", 200).await;
    let run = Run::apply(&scene, &small("changed"));
    let old = run.asks().await;
    run.patch(&json!({"spec": {"backfill": {"sql": {"source": {"where": "s.accepted_prompt IS NULL AND s.id % 2 = 0"}}}}}));
    let new = run.until("another plan is asked about", |status| status.awaiting.clone().filter(|a| a.digest != old.digest)).await;
    let count = scene.database.count("SELECT count(*) FROM scenarios WHERE accepted_prompt IS NULL AND id % 2 = 0");

    refused(&lab().maria.shell(&lab().cluster, &old.command), "the digest is not the one that is asked about now");
    // Dana has no right to approve; with it she would still be the one who asked. Nor does an administrator say it for others.
    let dana = json!({"spec": {"approvals": {DANA: {"decision": "Approve", "digest": new.digest}}}});
    let answer = run.patched_by(&lab().dana, &dana).expect_err("Dana approves her own run");
    assert!(answer.contains("the RBAC verb approve on backfillruns is missing"), "{answer}");
    scene.kubectl(&["create", "rolebinding", "dana", "--clusterrole=backfill-approver", &format!("--user={DANA}")]);
    let answer = run.patched_by(&lab().dana, &dana).expect_err("Dana approves her own run");
    assert!(answer.contains(&format!("{DANA} asked for this run and cannot approve it")), "{answer}");
    let forged = json!({"spec": {"approvals": {lab().maria.name: {"decision": "Approve", "digest": new.digest}}}});
    let administrator: Api<BackfillRun> = Api::namespaced(scene.client.clone(), &scene.namespace);
    let answer = administrator.patch(&run.name, &PatchParams::default(), &Patch::Merge(&forged)).await.expect_err("in Maria's name");
    assert!(answer.to_string().contains("only your own entry of spec.approvals may be changed"), "{answer}");
    let status = run.settles().await;
    assert!(status.phase == Phase::AwaitingApproval && status.approvals.is_empty(), "{}: {:?}", status.message, status.approvals);
    was_never_begun(&scene, &status);

    run.approved_by(&lab().maria).await;
    let status = run.reaches(Phase::Succeeded).await;
    assert_eq!(status.result.as_ref().map(|r| r.written), Some(count), "what was approved last is what is written");
    let odd = scene.database.count("SELECT count(*) FROM scenarios WHERE accepted_prompt LIKE 'filled: %' AND id % 2 = 1");
    assert_eq!(odd, 0, "what was planned first is not");
}

#[tokio::test]
async fn what_changes_after_an_approval_voids_it_and_people_are_asked_again() {
    let scene = Scene::new("voided", 200).await;
    // A script's own configuration: the Job reads it, and so it is part of what is approved.
    scene.apply(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "checks"}, "data": {"limit": "1"}}));
    let mut manifest = small("voided");
    let restricted =
        json!({"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "seccompProfile": {"type": "RuntimeDefault"}});
    let container = json!({
        "name": "check", "image": lab().app_image, "command": ["true"], "envFrom": [{"configMapRef": {"name": "checks"}}],
        "securityContext": restricted,
    });
    manifest["spec"]["verify"] = json!([{"name": "job", "job": {"template": {"spec": {
        "restartPolicy": "Never", "securityContext": {"runAsNonRoot": true, "runAsUser": 1000}, "containers": [container],
    }}}}]);
    manifest["spec"]["release"] = json!({"workloadRef": {"name": "scenarios-app"}});
    manifest["spec"]["approval"] = json!({"required": 2});
    let run = Run::apply(&scene, &manifest);
    let first = run.approved_by(&lab().maria).await;
    run.until("Maria's approval counts", |status| (status.approvals.len() == 1).then_some(())).await;

    scene.apply_patch("configmap", "checks", &json!({"data": {"limit": "2"}}));
    let second = asked_again(&run, &first, "ConfigMapChanged").await;
    run.approved_by(&lab().maria).await;
    run.until("Maria's approval counts again", |status| (status.approvals.len() == 1).then_some(())).await;
    let environment =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "app", "env": [{"name": "MOVED", "value": "yes"}]}]}}}});
    scene.kubectl(&["patch", "deployment", "scenarios-app", "--patch", &environment.to_string()]);
    asked_again(&run, &second, "EnvironmentChanged").await;

    // Both say yes to what it is now; Paul's word alone would not be enough, nor does Maria's of before count.
    run.approved_by(&lab().paul).await;
    run.until("Paul's approval counts", |status| (status.approvals.len() == 1).then_some(())).await;
    assert_eq!(run.status().await.phase, Phase::AwaitingApproval);
    run.approved_by(&lab().maria).await;
    let status = run.reaches(Phase::Succeeded).await;
    let who: Vec<_> = status.approvals.iter().map(|a| (a.user.as_str(), a.identity)).collect();
    assert_eq!(who, [(lab().maria.name, Identity::Verified), (lab().paul.name, Identity::Verified)]);
}

/// Waits until another digest is asked about, because of this.
async fn asked_again(run: &Run<'_>, before: &AwaitingStatus, reason: &str) -> AwaitingStatus {
    let what = format!("the approval is void for {reason}, and people are asked again");
    let (voided, now) = run
        .until(&what, |status| {
            let now = status.awaiting.clone().filter(|now| now.digest != before.digest)?;
            Some((status.approval_voided.clone(), now))
        })
        .await;
    let voided = voided.expect("what was voided");
    assert_eq!((voided.reason.as_str(), voided.digest.as_str()), (reason, before.digest.as_str()), "{voided:?}");
    assert_eq!(voided.users, [lab().maria.name]);
    now
}

#[tokio::test]
async fn without_the_policies_no_approval_counts_until_they_are_there() {
    let scene = Scene::new("unguarded", 200).await;
    let run = Run::apply(&scene, &small("unguarded"));
    let awaiting = run.asks().await;
    // The policies leave this one namespace out, as if somebody had weakened them: the operator asks again with each new entry.
    policies(&scene, Some(&scene.namespace));
    let forged = json!({"spec": {"approvals": {lab().maria.name: {"decision": "Approve", "digest": awaiting.digest}}}});
    until("the API server takes a forged entry", Duration::from_mins(1), async || run.patched_by(&lab().dana, &forged).map(drop)).await;
    let message = run.stalls("AdmissionMissing").await;
    assert!(message.contains("is not in force in namespace"), "{message}");
    let status = run.status().await;
    assert!(!status.mutation_started && status.approvals.iter().all(|a| a.identity == Identity::Unverified), "{:?}", status.approvals);
    let condition = status.conditions.iter().find(|c| c.type_ == "IdentityVerified").expect("a condition");
    assert_eq!((condition.status.as_str(), condition.reason.as_str()), ("False", "PoliciesMissing"));

    policies(&scene, None);
    let words = format!("the name {} is not proved", lab().maria.name);
    run.until("the forged entry is remembered", |status| status.message.contains(&words).then_some(())).await;
    // Maria takes it back, and says it herself.
    until("Maria takes it back", Duration::from_mins(1), async || {
        run.patched_by(&lab().maria, &json!({"spec": {"approvals": {lab().maria.name: null}}})).map(drop)
    })
    .await;
    run.until("it is gone", |status| status.approvals.is_empty().then_some(())).await;
    run.succeeds().await;
}

/// Leaves a namespace out of the installed policies, or takes it in again.
fn policies(scene: &Scene, out: Option<&str>) {
    let name = "e2e-backfill-operator-approvals";
    let matched = out.map_or(json!(null), |namespace| {
        json!({"namespaceSelector": {"matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": [namespace]}]}})
    });
    let patch = json!({"spec": {"matchResources": matched}});
    scene.kubectl(&["patch", "validatingadmissionpolicybinding", name, "--type=merge", "--patch", &patch.to_string()]);
}

#[track_caller]
fn refused(end: &std::process::Output, words: &str) {
    let said = String::from_utf8_lossy(&end.stderr);
    assert!(!end.status.success() && said.contains(words), "should be refused with {words:?}: {said}");
}

fn content(scene: &Scene) -> String {
    scene.database.checksum("id, accepted_prompt, accepted_prompt_metadata", "scenarios")
}

fn was_never_begun(scene: &Scene, status: &BackfillRunStatus) {
    assert!(!status.mutation_started, "{status:?}");
    assert_eq!(scene.database.count("SELECT count(*) FROM pg_namespace WHERE nspname = 'backfill'"), 0, "no ledger is there");
}
