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

#[path = "support/definition.rs"]
mod definition;
#[path = "plugin/stage.rs"]
mod stage;

use serde_json::{Value, json};
use stage::{DANA, End, MARIA, PAUL, Run, VERA, stage};
use std::sync::atomic::{AtomicBool, Ordering};
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
    run.is_looked_at();
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
    assert_eq!((&document["awaiting"]["digest"], &document["requestedBy"]), (&json!(FIRST), &json!(DANA)));
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
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The operator looks again and again, and writes what it sees.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                run.is_looked_at();
            }
        });
        for _ in 0..5 {
            let started = [MARIA, PAUL].map(|who| stage().plugin(who, &["approve", run.0, "--digest", FIRST]).spawn().unwrap());
            let ends = started.map(End::after);
            let heard = run.spec()["approvals"].as_object().map_or(0, serde_json::Map::len);
            let back = [MARIA, PAUL].map(|who| stage().backfill(who, &["withdraw", run.0]));
            over.store(ends.iter().chain(&back).any(|end| end.code != 0) || heard != 2, Ordering::Relaxed);
            assert!(!over.load(Ordering::Relaxed), "{heard} heard: {ends:?} {back:?}");
        }
        over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn an_approval_waits_until_the_operator_has_looked_at_what_is_approved_and_is_not_sent_where_that_is_another_run() {
    let run = Run::asked("overtaken", FIRST);
    run.patch(&json!({"spec": {"notifications": [{"channel": "team", "events": ["Failed"]}]}}));
    let child = stage().plugin(MARIA, &["approve", run.0, "--digest", FIRST]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(run.spec()["approvals"], Value::Null, "it waits");
    run.is_looked_at();
    End::after(child).good();
    assert_eq!(run.spec()["approvals"][MARIA]["digest"], FIRST);
    // The operator is down: nothing is sent, and that is said. A denial is heard all the same.
    stage()
        .backfill(PAUL, &["approve", run.0, "--digest", FIRST])
        .bad(1, "the operator has not looked at the latest change of overtaken yet");
    assert_eq!(run.spec()["approvals"].as_object().unwrap().len(), 1);
    stage().backfill(PAUL, &["deny", run.0, "--digest", FIRST]).good();
    // Dana edits while Maria's approval waits: it is not sent.
    stage().backfill(MARIA, &["withdraw", run.0]).good();
    let child = stage().plugin(MARIA, &["approve", run.0, "--digest", FIRST]).spawn().unwrap();
    std::thread::sleep(Duration::from_secs(2));
    run.patch(&json!({"spec": {"backup": {"maxAge": "5h"}}}));
    End::after(child).bad(1, "overtaken has changed since it was shown: nothing was sent, review it again");
    assert_eq!(run.spec()["approvals"][MARIA], Value::Null);
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

#[test]
fn in_a_terminal_it_is_shown_in_colours_and_asked_about_and_only_a_yes_is_sent() {
    let run = Run::asked("typed", FIRST);
    let (code, page) = stage().in_terminal(VERA, &["review", run.0], "");
    assert!(code == 0 && page.contains("\x1b[32m+\x1b[0m") && page.contains("\x1b[31m-\x1b[0m"), "old in red, new in green: {page:?}");
    for answer in ["\n", "n\n", "maybe\n"] {
        let (code, page) = stage().in_terminal(MARIA, &["approve", run.0], answer);
        assert!(code == 1 && page.contains("949 will be written") && page.contains(&format!("Approve this as {MARIA}? [y/N]")), "{page}");
        assert!(page.contains("nothing was sent"), "{page}");
        assert_eq!(run.spec()["approvals"], Value::Null, "{answer:?}");
    }
    let (code, page) = stage().in_terminal(MARIA, &["approve", run.0, "-m", "seen"], "y\n");
    assert_eq!(code, 0, "{page}");
    assert_eq!(run.spec()["approvals"][MARIA], json!({"decision": "Approve", "digest": FIRST, "message": "seen"}));
    let (code, page) = stage().in_terminal(DANA, &["abort", run.0], "no\n");
    assert!(code == 1 && page.contains("Abort typed for good? [y/N]"), "{page}");
    assert_eq!(run.spec()["abort"], Value::Null);
    let (code, _) = stage().in_terminal(DANA, &["abort", run.0], "yes\n");
    assert_eq!((code, &run.spec()["abort"]), (0, &json!(true)));
}

#[test]
fn a_status_that_is_watched_in_a_terminal_is_written_over_with_a_bar_and_the_time_that_is_left() {
    let run = Run::asked("live", FIRST);
    let progress = |done: i64, left: &str| json!({"progress": {"summary": "", "done": done, "total": 1000, "unit": "rows", "perSecond": 100, "remaining": left, "throttledBy": ""}});
    run.status(&json!({"awaiting": null, "phase": "Applying", "message": "rows are written", "currentStep": "Apply"}));
    run.status(&progress(250, "8s"));
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| stage().in_terminal(VERA, &["status", run.0, "--watch"], ""));
        std::thread::sleep(Duration::from_secs(4));
        run.status(&progress(750, "2s"));
        std::thread::sleep(Duration::from_secs(4));
        run.status(&json!({"phase": "Succeeded", "message": "949 rows written", "currentStep": null}));
        let (code, shown) = watching.join().unwrap();
        assert_eq!(code, 0, "{shown}");
        let at = |words: &str| shown.find(words).unwrap_or_else(|| panic!("{words}: {shown:?}"));
        assert!(at("25%  250 of 1000 rows, 100 a second, 8s left") < at("75%  750 of 1000 rows, 100 a second, 2s left"));
        assert!(at("2s left") < at("949 rows written") && shown.matches("\x1b[H\x1b[J").count() >= 4 && shown.contains('#'), "{shown:?}");
    });
}

#[test]
fn words_are_completed_by_the_shell_and_by_kubectl() {
    let run = Run::asked("completed", FIRST);
    let bash = "source <(kubectl-backfill completion bash); f=$(complete -p kubectl-backfill | sed 's/.* -F \\([^ ]*\\) .*/\\1/')
        COMP_WORDS=(kubectl-backfill re); COMP_CWORD=1; \"$f\" kubectl-backfill re kubectl-backfill; echo; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let end = stage().shell(VERA, "bash", bash);
    assert!(end.stdout.contains("\nreview\n") && end.stdout.contains("\nresume\n"), "{end:?}");
    for shell in ["zsh", "fish", "powershell", "elvish"] {
        assert!(stage().backfill(VERA, &["completion", shell]).good().contains("withdraw"), "{shell}");
    }
    stage().backfill(VERA, &["completion", "csh"]).bad(3, "possible values: bash");
    // kubectl asks the script of the examples, with what is typed; VERA may get runs, and not list them.
    let end = stage().shell(MARIA, "sh", &format!("kubectl __complete backfill status {}", &run.0[..5]));
    assert!(end.stdout.contains("completed\n"), "{end:?}");
    let end = stage().shell(VERA, "sh", "kubectl __complete backfill wi");
    assert!(end.stdout.contains("withdraw\n"), "{end:?}");
}

#[test]
fn what_cannot_be_meant_is_refused_with_what_can() {
    let run = Run::asked("meant", FIRST);
    stage().backfill(VERA, &["statsu", run.0]).bad(3, "status");
    stage().backfill(VERA, &["status"]).bad(3, "<NAME>");
    stage().backfill(VERA, &["status", run.0, "-o", "xml"]).bad(3, "possible values: json, yaml");
    stage().backfill(VERA, &["status", run.0, "--watch", "-o", "json"]).bad(3, "cannot be used with");
    stage().backfill(VERA, &["wait", run.0, "--timeout", "soon"]).bad(3, "a duration looks like 30s, 2h or 1h30m");
    stage().backfill(VERA, &["status", run.0, "--context", "nowhere"]).bad(3, "nowhere");
    stage().backfill(VERA, &["logs", run.0]).bad(1, "meant has begun no step yet");
    // A name that is no name is no path of the API server either.
    stage().backfill(MARIA, &["status", "../secrets/db"]).bad(3, "../secrets/db");
    stage().backfill(MARIA, &["approve", run.0, "--digest", "sha256:1"]).bad(1, "meant asks about sha256:1111");
    stage().backfill(MARIA, &["approve", run.0, "--digest", ""]).bad(1, "meant asks about");
    let long = "x".repeat(1025);
    stage().backfill(MARIA, &["approve", run.0, "--digest", FIRST, "-m", &long]).bad(1, "1024");
    assert_eq!(run.spec()["approvals"], Value::Null);
    let nothing = tempfile::tempdir().unwrap();
    let mut plugin = stage().plugin(VERA, &["status", run.0]);
    let child = plugin.env("KUBECONFIG", nothing.path().join("config")).spawn().unwrap();
    End::after(child).bad(3, "error: the kubeconfig cannot be used");
}
