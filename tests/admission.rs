//! The admission policies of the chart on a real API server, with real people: who may approve what, in which words the server
//! refuses the rest, and that it takes what is right. No pods.
//!
//! The policies are those that `helm template` renders, under an API group and namespaces of the suite's own, so that it neither
//! disturbs nor is disturbed by what is installed in the cluster. Needs KUBECONFIG, and helm, kubectl and openssl on the PATH.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

#[path = "support/definition.rs"]
mod definition;
#[path = "admission/stage.rs"]
mod stage;

use serde_json::{Value, json};
use stage::{ADMIN, ARGO, DANA, EVE, MARIA, OLGA, OPERATOR, PAUL, RITA, ROBOT, Run, stage};

const FIRST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const SECOND: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

fn entry(user: &str, decision: &str, digest: &str) -> Value {
    json!({"spec": {"approvals": {user: {"decision": decision, "digest": digest}}}})
}

fn approval(user: &str, digest: &str) -> Value {
    entry(user, "Approve", digest)
}

#[track_caller]
fn refused(answer: Result<String, String>, words: &str) {
    match answer {
        Ok(said) => panic!("the API server took it, and should have said: {words}\n{said}"),
        Err(said) => assert!(said.contains(words), "should say: {words}\nsaid: {said}"),
    }
}

#[track_caller]
fn taken(answer: Result<String, String>) {
    if let Err(said) = answer {
        panic!("the API server should have taken it: {said}");
    }
}

#[test]
fn who_may_approve_approves_takes_it_back_and_denies() {
    let run = Run::asked("good", FIRST);
    taken(run.patch(MARIA, &approval(MARIA, FIRST)));
    taken(run.patch(PAUL, &entry(PAUL, "Deny", FIRST)));
    taken(run.patch(MARIA, &json!({"spec": {"approvals": {MARIA: null}}})));
    let left = run.get()["spec"]["approvals"].clone();
    assert_eq!(left, json!({PAUL: {"decision": "Deny", "digest": FIRST}}));
}

#[test]
fn a_run_is_not_created_with_approvals_in_it() {
    let mut manifest = Run::manifest("approved-before");
    for user in [DANA, MARIA] {
        manifest["spec"]["approvals"] = approval(user, FIRST)["spec"]["approvals"].clone();
        for who in [DANA, OLGA, ARGO, ADMIN] {
            refused(stage().create(who, &manifest), "a run is created without approvals");
        }
    }
}

#[test]
fn nobody_writes_changes_or_removes_the_entry_of_another_however_it_is_sent() {
    let run = Run::asked("entries", FIRST);
    let words = |user: &str| format!("only your own entry of spec.approvals may be changed, \"{}\"", stage().full(user));
    for who in [DANA, PAUL, OLGA, ARGO, OPERATOR] {
        refused(run.patch(who, &approval(MARIA, FIRST)), &words(who));
    }
    refused(run.patch(ADMIN, &approval(MARIA, FIRST)), "only your own entry");
    taken(run.patch(MARIA, &approval(MARIA, FIRST)));
    for who in [DANA, PAUL, OLGA, ARGO, ADMIN] {
        refused(run.patch(who, &json!({"spec": {"approvals": {MARIA: null}}})), "only your own entry");
        refused(run.patch(who, &json!({"spec": {"approvals": null}})), "only your own entry");
        refused(run.patch(who, &entry(MARIA, "Deny", FIRST)), "only your own entry");
    }
    // Beside one's own entry, too.
    let both = json!({"spec": {"approvals": {
        PAUL: {"decision": "Approve", "digest": FIRST}, MARIA: {"decision": "Approve", "digest": FIRST, "message": "really"},
    }}});
    refused(run.patch(PAUL, &both), &format!("not that of {MARIA}"));
    // By JSON patch, where the name is a path.
    let path = "/spec/approvals/maria@example.org";
    refused(run.json_patch(OLGA, &json!([{"op": "replace", "path": format!("{path}/decision"), "value": "Deny"}])), &words(OLGA));
    refused(run.json_patch(OLGA, &json!([{"op": "remove", "path": path}])), &words(OLGA));
    // By replace, with the object as it was before Maria approved.
    let mut old = run.get();
    old["spec"].as_object_mut().unwrap().shift_remove("approvals");
    refused(stage().kubectl(OLGA, &["replace", "--filename", "-"], &old), &words(OLGA));
    // And with an entry in another's name, or with one's own, where one may not approve.
    for (who, name) in [(OLGA, PAUL), (DANA, DANA)] {
        let mut object = run.get();
        object["spec"]["approvals"][name] = approval(name, FIRST)["spec"]["approvals"][name].clone();
        let said = if who == name { "the RBAC verb approve on backfillruns is missing" } else { "only your own entry" };
        refused(stage().kubectl(who, &["replace", "--filename", "-"], &object), said);
    }
    // By server-side apply, as another field manager and with force.
    let mut applied = run.bare();
    applied["spec"] = approval(PAUL, FIRST)["spec"].clone();
    for manager in ["kubectl", "argocd-controller", "backfill-operator"] {
        let arguments = ["apply", "--server-side", "--force-conflicts", "--field-manager", manager, "--filename", "-"];
        refused(stage().kubectl(OLGA, &arguments, &applied), &words(OLGA));
    }
    assert_eq!(run.get()["spec"]["approvals"], approval(MARIA, FIRST)["spec"]["approvals"]);
}

#[test]
fn without_the_verb_nobody_decides_and_it_can_be_given_for_one_run_and_one_namespace() {
    let (one, other) = (Run::asked("rita", FIRST), Run::asked("not-rita", FIRST));
    // Eve may change anything about runs, but approve none.
    refused(other.patch(EVE, &approval(EVE, FIRST)), "eve@example.org may not approve or deny this run: the RBAC verb approve");
    refused(other.patch(EVE, &entry(EVE, "Deny", FIRST)), "the RBAC verb approve on backfillruns is missing");
    taken(one.patch(RITA, &approval(RITA, FIRST)));
    refused(other.patch(RITA, &approval(RITA, FIRST)), "rita@example.org may not approve or deny this run");
    // Maria's right ends with her namespace.
    let elsewhere = Run::asked_in(&stage().lenient, "elsewhere", FIRST);
    refused(elsewhere.patch(MARIA, &approval(MARIA, FIRST)), "forbidden");
}

#[test]
fn only_the_digest_that_is_asked_about_now_is_approved() {
    let run = Run::create("digests");
    refused(run.patch(MARIA, &approval(MARIA, FIRST)), "nothing is asked now");
    run.asks(FIRST);
    refused(run.patch(MARIA, &approval(MARIA, SECOND)), &format!("the digest is not the one that is asked about now, {FIRST}"));
    taken(run.patch(MARIA, &approval(MARIA, FIRST)));
    // Another plan: what was said about the first cannot be said again.
    run.asks(SECOND);
    refused(run.patch(PAUL, &approval(PAUL, FIRST)), "the digest is not the one that is asked about now");
    refused(run.patch(PAUL, &entry(PAUL, "Deny", FIRST)), "the digest is not the one that is asked about now");
    taken(run.patch(MARIA, &approval(MARIA, SECOND)));
    run.asks_nothing();
    refused(run.patch(PAUL, &approval(PAUL, SECOND)), "nothing is asked now");
    taken(run.patch(MARIA, &json!({"spec": {"approvals": {MARIA: null}}})));
}

#[test]
fn an_approval_is_not_replayed_on_a_run_that_was_made_anew() {
    let run = Run::asked("replayed", FIRST);
    taken(run.patch(MARIA, &approval(MARIA, FIRST)));
    let mut copy = run.get();
    stage().admin(&["delete", stage::RESOURCE, &run.name]);
    copy["metadata"] = run.bare()["metadata"].clone();
    refused(stage().create(MARIA, &copy), "forbidden");
    refused(stage().kubectl(OLGA, &["apply", "--server-side", "--filename", "-"], &copy), "a run is created without approvals");
    refused(stage().create(OLGA, &copy), "a run is created without approvals");
    let run = Run::create("replayed");
    refused(run.patch(MARIA, &approval(MARIA, FIRST)), "nothing is asked now");
    // Its digest is another one, as the uid is part of it.
    run.asks(SECOND);
    refused(run.patch(MARIA, &approval(MARIA, FIRST)), "the digest is not the one that is asked about now");
}

#[test]
fn neither_who_asked_for_a_run_nor_who_edited_it_last_approves_it() {
    // Olga may do everything: make runs, edit them, approve.
    let run = Run::created_by(OLGA, "olgas", true);
    run.asks(FIRST);
    refused(run.patch(OLGA, &approval(OLGA, FIRST)), "olga@example.org asked for this run and cannot approve it");
    taken(run.patch(OLGA, &entry(OLGA, "Deny", FIRST)));

    let run = Run::asked("edited", FIRST);
    taken(run.patch(OLGA, &edit("4h1m", Some(OLGA))));
    run.asks(SECOND);
    refused(run.patch(OLGA, &approval(OLGA, SECOND)), "olga@example.org was the last to edit this run and cannot approve it");
    taken(run.patch(MARIA, &approval(MARIA, SECOND)));
}

#[test]
fn where_the_platform_says_so_the_requester_approves() {
    let run = Run::asked_in(&stage().lenient, "own", FIRST);
    taken(run.patch(DANA, &approval(DANA, FIRST)));
}

fn edit(max_age: &str, editor: Option<&str>) -> Value {
    let mut patch = json!({"spec": {"backup": {"maxAge": max_age}}});
    if let Some(editor) = editor {
        patch["metadata"]["annotations"]["backfill.dev/edited-by"] = json!(editor);
    }
    patch
}

#[test]
fn a_spec_that_is_changed_between_the_look_and_the_approval_is_not_approved() {
    let run = Run::asked("overtaken", FIRST);
    // Maria has looked. Dana edits her own run, and the operator is down, or has not come to it: it still asks about the plan of before.
    taken(run.patch_at_once(DANA, &edit("5h", None)));
    let words = "the run was changed a moment ago and the operator has not looked at it since";
    refused(run.patch_at_once(MARIA, &approval(MARIA, FIRST)), words);
    let replaced = {
        let mut object = run.get();
        object["spec"]["approvals"] = approval(MARIA, FIRST)["spec"]["approvals"].clone();
        object
    };
    refused(stage().kubectl(OLGA, &["replace", "--filename", "-"], &replaced), "only your own entry");
    refused(run.json_patch(MARIA, &json!([{"op": "add", "path": "/spec/approvals", "value": replaced["spec"]["approvals"]}])), words);
    // Who denies is heard, and takes it back, whatever it is about by now.
    taken(run.patch_at_once(PAUL, &entry(PAUL, "Deny", FIRST)));
    taken(run.patch_at_once(PAUL, &json!({"spec": {"approvals": {PAUL: null}}})));
    // The operator has looked: it asks about another plan, and then that is what is approved.
    run.asks(SECOND);
    refused(run.patch_at_once(MARIA, &approval(MARIA, FIRST)), "the digest is not the one that is asked about now");
    taken(run.patch_at_once(MARIA, &approval(MARIA, SECOND)));
}

#[test]
fn a_change_and_its_approval_do_not_come_in_one_request() {
    let run = Run::asked("both-at-once", FIRST);
    let mut patch = edit("5h", Some(OLGA));
    patch["spec"]["approvals"] = approval(OLGA, FIRST)["spec"]["approvals"].clone();
    refused(run.patch(OLGA, &patch), "the spec cannot be changed and approved in one request");
}

#[test]
fn who_edits_a_run_that_another_asked_for_says_so() {
    let run = Run::asked("editors", FIRST);
    let words = "set the annotation backfill.dev/edited-by to your own name, \"olga@example.org\", with the change";
    refused(run.patch(OLGA, &edit("5h", None)), words);
    refused(run.patch(OLGA, &edit("5h", Some(EVE))), words);
    refused(run.patch(OLGA, &edit("5h", Some(DANA))), words);
    taken(run.patch(OLGA, &edit("5h", Some(OLGA))));
    // It stays until somebody else edits, and does not change alone.
    let alone = |editor: Value| json!({"metadata": {"annotations": {"backfill.dev/edited-by": editor}}});
    refused(run.patch(OLGA, &alone(json!(null))), "changes together with the spec only");
    refused(run.patch(OLGA, &alone(json!(DANA))), "changes together with the spec only");
    refused(run.patch(DANA, &alone(json!(DANA))), "changes together with the spec only");
    // The requester comes back: the annotation goes, or has her name.
    refused(run.patch(DANA, &edit("6h", None)), "set the annotation backfill.dev/edited-by to your own name");
    taken(run.patch(DANA, &edit("6h", Some(DANA))));
    let mut patch = edit("7h", None);
    patch["metadata"]["annotations"]["backfill.dev/edited-by"] = json!(null);
    taken(run.patch(DANA, &patch));
    // What steers a run is no edit.
    taken(run.patch(OLGA, &json!({"spec": {"suspend": true}})));
    taken(run.patch(OLGA, &json!({"spec": {"backfill": {"sql": {"batch": {"size": 7}}}}})));
    taken(run.patch(OLGA, &json!({"spec": {"backfill": {"sql": {"workers": 2, "throttle": {"maxActiveBackends": 5}}}}})));
    taken(run.patch(OLGA, &json!({"spec": {"backfill": {"sql": {"workers": null, "throttle": null, "batch": null}}}})));
    taken(run.patch(OLGA, &json!({"spec": {"notifications": [{"channel": "team", "events": ["Failed"]}]}})));
    // Every part that is approved is one, that which is added and that which is taken away.
    for patch in [
        json!({"spec": {"verify": [{"name": "v", "sql": "SELECT 1", "expect": {"equals": 1}}]}}),
        json!({"spec": {"backfill": {"sql": {"source": {"where": "true"}}}}}),
        json!({"spec": {"backfill": {"sql": {"audit": {"column": "metadata", "path": ["a"]}}}}}),
        json!({"spec": {"preflight": null}}),
        json!({"spec": {"backfill": {"sql": {"throttle": {"query": {"sql": "SELECT 1", "max": 1}}}}}}),
        json!({"spec": {"approval": {"required": 2}}}),
    ] {
        refused(run.patch(OLGA, &patch), words);
    }
    // Nobody is named as requester: an editor need not be named either, and the operator asks one person more.
    let run = Run::created_by(DANA, "nobodys", false);
    taken(run.patch(OLGA, &edit("5h", None)));
}

#[test]
fn the_names_in_annotations_are_the_callers_own_and_stay() {
    let mut manifest = Run::manifest("names");
    for who in [DANA, OLGA, ARGO, ADMIN] {
        manifest["metadata"]["annotations"] = json!({"backfill.dev/requested-by": MARIA});
        refused(stage().create(who, &manifest), "the annotation backfill.dev/requested-by must be your own name");
        manifest["metadata"]["annotations"] = json!({"backfill.dev/edited-by": MARIA});
        refused(stage().create(who, &manifest), "leave it out when it is created");
    }
    let run = Run::asked("names", FIRST);
    for name in [json!(null), json!(""), json!(OLGA), json!(PAUL)] {
        for who in [DANA, OLGA, ARGO, ADMIN] {
            let patch = json!({"metadata": {"annotations": {"backfill.dev/requested-by": name}}});
            refused(run.patch(who, &patch), "set at creation and stays as it is");
        }
    }
    // Nor is a requester found later: it would take the place of one approver.
    let run = Run::created_by(DANA, "unnamed", false);
    for who in [DANA, OLGA] {
        let patch = json!({"metadata": {"annotations": {"backfill.dev/requested-by": who}}});
        refused(run.patch(who, &patch), "set at creation and stays as it is");
    }
}

#[test]
fn only_the_operator_writes_the_status() {
    let run = Run::asked("status", FIRST);
    let forged = json!({"status": {"approvals": [
        {"user": MARIA, "decision": "Approve", "subject": "Plan", "digest": FIRST, "at": "2026-11-01T10:00:00Z", "identity": "Verified"},
    ], "mutationStarted": true}});
    // All of these have the RBAC right to the status.
    for who in [OLGA, ARGO, ADMIN] {
        refused(run.patch_status(who, &forged), "may not write the status: only the operator does");
    }
    // In a write of the object itself a status is not taken.
    taken(run.patch(DANA, &forged));
    assert_eq!(run.get()["status"]["approvals"], Value::Null);
    taken(run.patch_status(OPERATOR, &json!({"status": {"message": "waits"}})));
}

#[test]
fn once_people_were_asked_nothing_is_made_easier() {
    let run = Run::create("quorum");
    let conditions = |required: i32, timeout: &str| json!({"spec": {"approval": {"required": required, "timeout": timeout}}});
    taken(run.patch(DANA, &conditions(3, "48h")));
    taken(run.patch(DANA, &conditions(2, "24h")));
    run.asks(FIRST);
    for (required, timeout) in [(1, "24h"), (1, "48h")] {
        refused(run.patch(DANA, &conditions(required, timeout)), "spec.approval.required cannot be lowered once people were asked");
    }
    for timeout in ["23h", "23h59m59s", "1439m", "5s", "500ms", "86399s"] {
        refused(run.patch(DANA, &conditions(2, timeout)), "spec.approval.timeout cannot be lowered once people were asked");
    }
    // Nor when the plan is void: that people were asked stays in the status.
    run.asks_nothing();
    refused(run.patch(DANA, &conditions(1, "24h")), "spec.approval.required cannot be lowered");
    refused(run.patch(DANA, &json!({"spec": {"approval": null}})), "spec.approval.required cannot be lowered");
    for (required, timeout) in [(2, "1d"), (3, "25h"), (3, "1500m"), (4, "1d2h3m4s5ms"), (4, "7d")] {
        taken(run.patch(DANA, &conditions(required, timeout)));
    }
}

#[test]
fn a_service_account_approves_only_where_the_operator_names_it() {
    let run = Run::asked("accounts", FIRST);
    // Both have the verb.
    refused(run.patch(ARGO, &approval(ARGO, FIRST)), "is a service account: people approve");
    refused(run.patch(ARGO, &entry(ARGO, "Deny", FIRST)), "is a service account: people approve");
    refused(run.patch(ARGO, &approval(MARIA, FIRST)), "only your own entry");
    taken(run.patch(ROBOT, &approval(ROBOT, FIRST)));
}

#[test]
fn who_may_only_approve_changes_nothing_else() {
    let run = Run::asked("approver", FIRST);
    let words = "maria@example.org may change their own entry of spec.approvals and nothing else";
    for patch in [
        json!({"spec": {"abort": true}}),
        json!({"spec": {"suspend": true}}),
        json!({"spec": {"backfill": {"sql": {"batch": {"size": 1}}}}}),
        json!({"spec": {"notifications": [{"channel": "team", "events": ["Failed"]}]}}),
        json!({"metadata": {"labels": {"team": "maria"}}}),
        json!({"metadata": {"annotations": {"argocd.argoproj.io/hook": "PostSync"}}}),
        json!({"metadata": {"finalizers": ["example.org/held"]}}),
        // An owner that is not there: the run would be collected, and that is an abort.
        json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "gone", "uid": "00000000-0000-4000-8000-000000000000"}]}}),
    ] {
        refused(run.patch(MARIA, &patch), words);
    }
    // Both policies refuse it; which of them is quoted is the API server's choice.
    refused(run.patch(MARIA, &edit("5h", Some(MARIA))), "maria@example.org may ");
    // Nor what decides about approvals: the policies, and the operator's configuration.
    let policy = format!("{}-approvals", stage().release);
    let weaker = json!({"spec": {"failurePolicy": "Ignore"}});
    for kind in ["validatingadmissionpolicy", "validatingadmissionpolicybinding"] {
        refused(stage().patch_as(MARIA, kind, &policy, &weaker), "forbidden");
    }
    refused(stage().patch_as(MARIA, "configmap", &stage().release, &json!({"data": {"config.yaml": ""}})), "forbidden");
    refused(stage().delete_as(MARIA, "validatingadmissionpolicybinding", &policy), "forbidden");
}

#[test]
fn who_makes_a_run_has_the_rights_that_it_uses() {
    let flag = json!({"name": "f", "provider": {"configMap": {"name": "flags", "key": "k", "path": "/f"}}});
    let mut manifest = Run::manifest("rights");
    refused(stage().create(EVE, &manifest), "eve@example.org may not create jobs in this namespace");
    // Dana may get the Secrets called db and ca, and update the ConfigMap flags.
    manifest["spec"]["database"]["secretRef"]["name"] = json!("payroll");
    refused(stage().create(DANA, &manifest), "may not get the Secret payroll that spec.database.secretRef names");
    manifest["spec"]["database"] = json!({"secretRef": {"name": "db"}, "planSecretRef": {"name": "payroll"}});
    refused(stage().create(DANA, &manifest), "may not get the Secret payroll that spec.database.planSecretRef names");
    manifest["spec"]["database"] = json!({"secretRef": {"name": "db"}, "restoreSecretRef": {"name": "payroll"}});
    refused(stage().create(DANA, &manifest), "may not get the Secret payroll that spec.database.restoreSecretRef names");
    manifest["spec"]["database"] = json!({"secretRef": {"name": "db"}, "tls": {"mode": "VerifyFull", "caSecretRef": {"name": "payroll"}}});
    refused(stage().create(DANA, &manifest), "may not get the Secret payroll that spec.database.tls.caSecretRef names");
    manifest["spec"]["database"]["tls"]["caSecretRef"]["name"] = json!("ca");
    let volume = manifest["spec"]["backup"].clone();
    let bucket = |secret: &str, ca: &str| {
        let s3 = json!({"bucket": "backups", "secretRef": {"name": secret}, "caSecretRef": {"name": ca, "key": "ca.crt"}});
        json!({"destination": {"s3": s3}})
    };
    manifest["spec"]["backup"] = bucket("payroll", "ca");
    refused(stage().create(DANA, &manifest), "may not get the Secret payroll that spec.backup.destination.s3.secretRef names");
    manifest["spec"]["backup"] = bucket("db", "payroll");
    refused(stage().create(DANA, &manifest), "may not get the Secret payroll that spec.backup.destination.s3.caSecretRef names");
    manifest["spec"]["backup"] = volume.clone();
    manifest["spec"]["backup"]["encryption"] = json!({"secretRef": {"name": "payroll"}});
    refused(stage().create(DANA, &manifest), "may not get the Secret payroll that spec.backup.encryption.secretRef names");
    manifest["spec"]["backup"] = volume;
    manifest["spec"]["featureFlag"] = flag.clone();
    manifest["spec"]["featureFlag"]["provider"]["configMap"]["name"] = json!("others");
    refused(stage().create(DANA, &manifest), "may not update the ConfigMap others of the feature flag");
    manifest["spec"]["featureFlag"] = flag;
    taken(stage().create(DANA, &manifest));
    // An edit is asked the same; what steers is not.
    let run = Run::existing("rights");
    refused(run.patch(DANA, &json!({"spec": {"database": {"secretRef": {"name": "payroll"}}}})), "may not get the Secret payroll");
    let mut patch = edit("5h", Some(EVE));
    refused(run.patch(EVE, &patch), "eve@example.org may not create jobs");
    patch = json!({"spec": {"suspend": true}});
    taken(run.patch(EVE, &patch));
}

#[test]
fn the_way_back_is_kept_until_it_is_given_up() {
    let run = Run::asked("held", FIRST);
    taken(run.patch(OPERATOR, &json!({"metadata": {"finalizers": ["backfill.dev/way-back"]}})));
    for who in [DANA, ARGO, ADMIN] {
        refused(run.patch(who, &json!({"metadata": {"finalizers": null}})), "the finalizer backfill.dev/way-back keeps the way back");
    }
    taken(run.patch(DANA, &json!({"metadata": {"finalizers": ["backfill.dev/way-back", "example.org/other"]}})));
    taken(run.patch(OPERATOR, &json!({"metadata": {"finalizers": null}})));
    taken(run.patch(OPERATOR, &json!({"metadata": {"finalizers": ["backfill.dev/way-back"]}})));
    taken(run.patch(DANA, &json!({"metadata": {"finalizers": null}, "spec": {"abandon": true}})));
}

#[test]
fn who_asks_for_the_rollback_of_a_run_that_has_succeeded_cannot_approve_it() {
    let run = Run::create("asked-back");
    let succeeded = json!({"status": {"phase": "Succeeded", "mutationStarted": true, "finishedAt": "2026-11-23T10:00:00Z"}});
    taken(run.patch_status(OPERATOR, &succeeded));
    let ask = json!({"spec": {"rollback": {"requested": true}}});
    refused(run.patch(OLGA, &ask), "set the annotation backfill.dev/edited-by to your own name");
    let mut named = ask;
    named["metadata"] = json!({"annotations": {"backfill.dev/edited-by": OLGA}});
    taken(run.patch(OLGA, &named));
    run.asks(FIRST);
    refused(run.patch(OLGA, &approval(OLGA, FIRST)), "was the last to edit this run and cannot approve it");
    taken(run.patch(MARIA, &approval(MARIA, FIRST)));
}

#[test]
fn who_acts_as_another_needs_the_right_to_impersonate() {
    let run = Run::asked("impersonated", FIRST);
    let patch = approval(MARIA, FIRST).to_string();
    let arguments = ["--as", MARIA, "patch", stage::RESOURCE, &run.name, "--type", "merge", "--patch", &patch];
    refused(stage().kubectl(OLGA, &arguments, &Value::Null), "Forbidden");
    assert_eq!(run.get()["spec"]["approvals"], Value::Null);
    // The administrator has it, and is taken for Maria: who may impersonate approvers can approve.
    taken(stage().kubectl(ADMIN, &arguments, &Value::Null));
}
