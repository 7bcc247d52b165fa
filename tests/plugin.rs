//! `kubectl backfill` on a real API server, as real people with client certificates, behind the chart's admission policies: what it
//! writes, what it refuses to write, and with which exit code. No operator and no pods: the test writes the status.
//!
//! In a namespace of its own. Needs KUBECONFIG, and helm, kubectl and openssl on the PATH.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

#[path = "plugin/stage.rs"]
mod stage;

use serde_json::{Value, json};
use stage::{DANA, End, MARIA, PAUL, Run, VERA, stage};
use std::time::Duration;

const FIRST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const SECOND: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";

#[test]
fn what_was_reviewed_is_approved_denied_and_taken_back_under_ones_own_name() {
    let run = Run::asked("decided", FIRST);
    let page = stage().backfill(VERA, &["review", run.0]).good();
    for words in [FIRST, "949 will be written", "+ Write a test", "requested by  dana@example.org", "kubectl backfill approve decided"] {
        assert!(page.contains(words), "{words}\n{page}");
    }
    assert!(!page.contains('\x1b'), "colours are off in a pipe");
    let said = stage().backfill(MARIA, &["approve", run.0, "--digest", FIRST, "-m", "looked at the sample"]).good();
    assert_eq!(said, format!("{MARIA} approves {FIRST} of decided\n"));
    stage().backfill(PAUL, &["deny", run.0, "--digest", FIRST, "--message", "not today"]).good();
    let entry = |decision: &str, message: &str| json!({"decision": decision, "digest": FIRST, "message": message});
    assert_eq!(run.spec()["approvals"], json!({MARIA: entry("Approve", "looked at the sample"), PAUL: entry("Deny", "not today")}));
    // Said again without a message: the old one does not stand under it.
    stage().backfill(PAUL, &["approve", run.0, "--digest", FIRST]).good();
    assert_eq!(run.spec()["approvals"][PAUL], json!({"decision": "Approve", "digest": FIRST}));
    stage().backfill(MARIA, &["withdraw", run.0]).good();
    assert_eq!(run.spec()["approvals"].as_object().unwrap().keys().collect::<Vec<_>>(), [PAUL]);
    stage().backfill(MARIA, &["withdraw", run.0]).bad(1, "maria@example.org has said nothing about decided");
}

#[test]
fn kubectl_finds_the_plugin_by_its_name() {
    let run = Run::asked("found", FIRST);
    let document: Value = serde_json::from_str(&stage().kubectl_backfill(MARIA, &["review", run.0, "-o", "json"]).good()).unwrap();
    assert_eq!(document["awaiting"]["digest"], FIRST);
    let text = stage().kubectl_backfill(MARIA, &["status", run.0, "-o", "yaml"]).good();
    let document: Value = serde_yaml_ng::from_str(&text).unwrap();
    assert_eq!(document["status"]["phase"], "AwaitingApproval");
}

#[test]
fn a_digest_that_is_not_asked_about_any_more_is_not_sent() {
    let run = Run::asked("stale", FIRST);
    run.asks(SECOND);
    stage().backfill(MARIA, &["approve", run.0, "--digest", FIRST]).bad(1, "stale asks about sha256:2222");
    run.status(&json!({"awaiting": null, "phase": "Planning", "message": "plans"}));
    stage().backfill(MARIA, &["approve", run.0, "--digest", SECOND]).bad(1, "stale asks nothing now (Planning: plans)");
    assert_eq!(run.spec()["approvals"], Value::Null);
}

#[test]
fn without_a_terminal_nothing_is_approved_that_is_not_named() {
    let run = Run::asked("unseen", FIRST);
    stage().backfill(MARIA, &["approve", run.0]).bad(3, "name what you saw with --digest");
    stage().backfill(MARIA, &["deny", run.0]).bad(3, "name what you saw with --digest");
    assert_eq!(run.spec()["approvals"], Value::Null);
}

#[test]
fn there_is_no_back_door_what_the_server_refuses_is_refused_in_its_words() {
    let run = Run::asked("guarded", FIRST);
    stage().backfill(DANA, &["approve", run.0, "--digest", FIRST]).bad(1, "may not approve or deny this run");
    stage().backfill(VERA, &["approve", run.0, "--digest", FIRST]).bad(1, "forbidden");
    stage().backfill(VERA, &["suspend", run.0]).bad(1, "forbidden");
    stage().backfill(MARIA, &["suspend", run.0]).bad(1, "may change their own entry of spec.approvals and nothing else");
    stage().backfill(MARIA, &["status", run.0, "-n", "default"]).bad(1, "forbidden");
    assert_eq!(run.spec()["approvals"], Value::Null);
}

#[test]
fn many_who_approve_at_once_are_all_heard() {
    let run = Run::asked("crowd", FIRST);
    for _ in 0..5 {
        let started = [MARIA, PAUL].map(|who| stage().plugin(who, &["approve", run.0, "--digest", FIRST]).spawn().unwrap());
        run.status(&json!({"message": "the operator writes, too"}));
        for child in started {
            End::after(child).good();
        }
        assert_eq!(run.spec()["approvals"].as_object().unwrap().len(), 2);
        for who in [MARIA, PAUL] {
            stage().backfill(who, &["withdraw", run.0]).good();
        }
    }
}

#[test]
fn wait_ends_with_0_where_it_is_so_1_where_it_ended_otherwise_2_in_time_3_where_there_is_nothing() {
    let run = Run::asked("waited", FIRST);
    let wait = |goal: &str, timeout: &str| stage().backfill(VERA, &["wait", run.0, "--for", goal, "--timeout", timeout]);
    assert_eq!(wait("awaiting-approval", "0s").good(), "AwaitingApproval: waits\n");
    wait("finished", "0s").bad(2, "not in 0s");
    wait("succeeded", "1s").bad(2, "not in 1s");
    // It ends while somebody waits.
    let waiting = stage().plugin(VERA, &["wait", run.0, "--for", "finished", "--timeout", "1m"]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    run.status(&json!({"awaiting": null, "phase": "Denied", "message": "somebody said no"}));
    assert_eq!(End::after(waiting).good(), "AwaitingApproval: waits\nDenied: somebody said no\n");
    assert_eq!(wait("succeeded", "1m").code, 1);
    assert_eq!(wait("awaiting-approval", "1m").code, 1);
    run.status(&json!({"phase": "Succeeded", "message": "949 rows written"}));
    wait("succeeded", "1m").good();
    wait("soon", "1m").bad(3, "possible values: succeeded, finished, awaiting-approval");
    stage().backfill(VERA, &["wait", "nobody", "--timeout", "0s"]).bad(3, "there is no run nobody in the namespace plugin-test-");
}

#[test]
fn a_run_that_goes_while_it_is_waited_for_has_ended_otherwise() {
    let run = Run::create("leaving");
    let waiting = stage().plugin(VERA, &["wait", run.0, "--timeout", "1m"]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    run.delete();
    let end = End::after(waiting);
    assert_eq!((end.code, end.stdout.ends_with("leaving was deleted\n")), (1, true), "{end:?}");
}

#[test]
fn no_connection_is_3_and_takes_no_longer_than_a_call() {
    let mut plugin = stage().plugin(VERA, &["status", "any"]);
    let kubeconfig = tempfile::NamedTempFile::new().unwrap();
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        // A port that nobody listens at.
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}], "users": [{"name": "u", "user": {}}],
    });
    std::fs::write(kubeconfig.path(), config.to_string()).unwrap();
    let begun = std::time::Instant::now();
    let child = plugin.env("KUBECONFIG", kubeconfig.path()).spawn().unwrap();
    End::after(child).bad(3, "error: get the run: ");
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_run_is_suspended_resumed_and_aborted() {
    let run = Run::asked("steered", FIRST);
    stage().backfill(DANA, &["suspend", run.0]).good();
    assert_eq!(run.spec()["suspend"], true);
    let document: Value = serde_json::from_str(&stage().backfill(DANA, &["resume", run.0, "-o", "json"]).good()).unwrap();
    assert_eq!((&document["spec"]["suspend"], &run.spec()["suspend"]), (&Value::Null, &Value::Null));
    stage().backfill(DANA, &["abort", run.0]).bad(3, "say --yes");
    assert_eq!(run.spec()["abort"], Value::Null);
    stage().backfill(DANA, &["abort", run.0, "--yes"]).good();
    assert_eq!(run.spec()["abort"], true);
    run.status(&json!({"awaiting": null, "phase": "Aborted", "message": "nothing was written"}));
    for command in [&["suspend", run.0][..], &["resume", run.0], &["abort", run.0, "--yes"]] {
        stage().backfill(DANA, command).bad(1, "steered has ended: Aborted");
    }
}

#[test]
fn the_rollback_of_a_run_that_has_succeeded_is_asked_for_and_who_asks_cannot_approve_it() {
    let run = Run::asked("asked-back", FIRST);
    stage().backfill(DANA, &["rollback", run.0, "--yes"]).bad(1, "asked-back has not succeeded, it is AwaitingApproval");
    run.status(&json!({"awaiting": null, "phase": "Succeeded", "message": "949 rows written"}));
    stage().backfill(DANA, &["rollback", run.0]).bad(3, "say --yes");
    assert_eq!(run.spec()["rollback"]["requested"], Value::Null);
    stage().backfill(DANA, &["rollback", run.0, "--yes"]).good();
    assert_eq!(run.spec()["rollback"]["requested"], true);
    run.asks(FIRST);
    stage().backfill(DANA, &["approve", run.0, "--digest", FIRST]).bad(1, "may not approve");
    stage().backfill(MARIA, &["approve", run.0, "--digest", FIRST]).good();
    run.status(&json!({"awaiting": null, "phase": "Succeeded", "closedAt": "2026-11-24T10:00:00Z"}));
    stage().backfill(DANA, &["rollback", run.0, "--yes"]).bad(1, "no undo of asked-back is kept any more");
}

#[test]
fn a_status_that_is_watched_into_a_pipe_is_a_line_for_each_change() {
    let run = Run::asked("watched", FIRST);
    let watching = stage().plugin(VERA, &["status", run.0, "--watch"]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    run.patch(&json!({"spec": {"suspend": true}}));
    run.status(&json!({"awaiting": null, "phase": "Expired", "message": "nobody approved in time"}));
    assert_eq!(End::after(watching).good(), "AwaitingApproval: waits\nExpired: nobody approved in time\n");
}
