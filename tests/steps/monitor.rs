//! Needs a cluster: KUBECONFIG must lead to one whose namespace `steps-dev` may be used, with the image `localhost/busybox:1`.

use crate::support::pod::{End, Pod, TABLES, spec};
use crate::support::postgres::Database;
use backfill_operator::api::status::{MonitorStatus, Step};
use backfill_operator::protocol::{Outcome, StepReport};
use jiff::{SignedDuration, Timestamp};
use std::process::Command;

const NAMESPACE: &str = "steps-dev";

/// A pod that goes when the test ends.
struct Logging(&'static str);

impl Logging {
    fn start(name: &'static str, script: &str) -> Self {
        kubectl(&["delete", "pod", name, "--ignore-not-found", "--force", "--grace-period=0"]);
        kubectl(&[
            "run",
            name,
            "--image=localhost/busybox:1",
            "--image-pull-policy=Never",
            &format!("--labels=app={name}"),
            "--command",
            "--",
            "sh",
            "-c",
            script,
        ]);
        Self(name)
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        kubectl(&["delete", "pod", self.0, "--ignore-not-found", "--force", "--grace-period=0", "--wait=false"]);
    }
}

fn kubectl(arguments: &[&str]) {
    let output = Command::new("kubectl").args(["--namespace", NAMESPACE]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

async fn watching(app: &str, max: i32, from: SignedDuration, until: SignedDuration) -> Pod {
    let more = format!(
        "monitor: {{logs: {{selector: {{matchLabels: {{app: {app}}}}}, patterns: [{{name: importer, regex: '(?i)error.*importer', max: {max}}}]}}}}"
    );
    let mut pod = Pod::new(&Database::new(TABLES).await, spec(&more));
    let now = Timestamp::now();
    pod.input.run.namespace = NAMESPACE.into();
    pod.input.monitor_since = Some(now - SignedDuration::from_mins(5));
    pod.input.monitor_from = Some(now + from);
    pod.input.monitor_until = Some(now + until);
    pod
}

fn status(end: &End) -> &MonitorStatus {
    match &end.report {
        Some(StepReport::Monitor(report)) => &report.monitor,
        other => panic!("{other:?} {}", end.verdict.message),
    }
}

const SECOND: SignedDuration = SignedDuration::from_secs(1);

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn a_pattern_that_shows_too_often_fails_at_once_over_restarts_of_the_container() {
    let _pod = Logging::start("noisy", "echo tick; sleep 3; echo 'Error in the ScenarioGenerationImporter: token s3cret'; exit 1");
    let mut pod = watching("noisy", 1, SECOND * 2, SECOND * 120).await;
    let end = pod.run(Step::Monitor);
    assert_eq!(
        (end.verdict.outcome, end.verdict.reason.as_str()),
        (Outcome::Failed, "LogPatternExceeded"),
        "{} {}",
        end.verdict.message,
        end.stderr
    );
    let seen = status(&end);
    assert_eq!((seen.pods, seen.patterns[0].after), (1, 2), "{seen:?}");
    assert!(end.verdict.message.contains("importer matched 2 lines"), "{}", end.verdict.message);
    assert!(!format!("{}{}{}", end.verdict.message, end.stdout, end.stderr).contains("s3cret"), "the line is never shown");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn quiet_logs_pass_each_line_counts_once_and_a_new_pod_is_picked_up() {
    let _first = Logging::start("quiet", "echo 'old error of the importer'; n=0; while true; do echo tick $n; n=$((n+1)); sleep 1; done");
    std::thread::sleep(std::time::Duration::from_secs(8));
    let mut pod = watching("quiet", 0, SECOND * -1, SECOND * 16).await;
    let child = pod.spawn(Step::Monitor);
    std::thread::sleep(std::time::Duration::from_secs(2));
    let late = Logging::start("late", "n=0; while true; do echo tock $n; n=$((n+1)); sleep 1; done");
    kubectl(&["label", "pod", "late", "app=quiet", "--overwrite"]);
    let end = pod.end(child);
    drop(late);
    assert_eq!(
        (end.verdict.outcome, end.verdict.reason.as_str()),
        (Outcome::Passed, "LogsQuiet"),
        "{} {}",
        end.verdict.message,
        end.stderr
    );
    let seen = status(&end);
    assert_eq!((seen.pods, seen.patterns[0].before, seen.patterns[0].after), (2, 1, 0), "{seen:?}");
    assert!((20..60).contains(&seen.lines), "{seen:?}");
    assert!(end.stdout.contains("\"unit\":\"seconds\""));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a cluster"]
async fn a_watch_over_nothing_is_inconclusive() {
    let mut pod = watching("nobody", 0, SECOND * -1, SECOND).await;
    let end = pod.run(Step::Monitor);
    assert_eq!(
        (end.verdict.outcome, end.verdict.reason.as_str()),
        (Outcome::Inconclusive, "NothingWatched"),
        "{} {}",
        end.verdict.message,
        end.stderr
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pattern_that_is_no_expression_stalls_before_anything_is_watched() {
    let mut pod = watching("nobody", 0, SECOND, SECOND).await;
    pod.input.spec.monitor.as_mut().unwrap().logs.patterns[0].regex = "(".into();
    let end = pod.run(Step::Monitor);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Stalled, "PatternMalformed"));
}
