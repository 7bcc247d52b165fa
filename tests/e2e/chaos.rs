//! What goes wrong, done on purpose: an application that stops, processes that are killed, pods that are evicted.

use crate::database::Database;
use crate::lab::lab;
use crate::run::Run;
use crate::scene::Scene;
use crate::wait::until;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

/// For a pod to come or go.
const POD: Duration = Duration::from_secs(90);

/// Moments that are the same in every suite.
pub struct Moments(StdRng);

impl Moments {
    /// From a seed.
    pub fn of(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// So many milliseconds, of these.
    pub fn within(&mut self, milliseconds: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.0.random_range(milliseconds))
    }
}

/// The application writes nothing more.
pub async fn stop_application(scene: &Scene) {
    scene.kubectl(&["scale", "deployment", "scenarios-app", "--replicas=0"]);
    until("the application has stopped", POD, async || {
        let pods = scene.kubectl(&["get", "pods", "--selector=app=scenarios-app", "--output=name"]);
        if pods.trim().is_empty() { Ok(()) } else { Err(pods) }
    })
    .await;
}

/// Checksums of all tables of the application, with all that is in them.
pub fn tables(database: &Database) -> [String; 3] {
    let settings = database.sql("SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY key), '')) FROM app_settings t");
    [database.checksum("t.*", "scenarios"), database.checksum("t.*", "scenario_generations"), settings]
}

/// A checksum of each row, by table and id, as far as a run without its migration knows it: undo leaves the new column.
pub fn rows(database: &Database) -> BTreeMap<String, String> {
    let all = database.sql(
        "SELECT 'scenario ' || id, md5(ROW(id, title, accepted_prompt, accepted_prompt_metadata, updated_at)::text) FROM scenarios
         UNION ALL SELECT 'generation ' || id, md5(t::text) FROM scenario_generations t",
    );
    all.lines().filter_map(|line| line.split_once('|')).map(|(row, sum)| (row.to_owned(), sum.to_owned())).collect()
}

/// The rows that are not in both, or not the same in both.
pub fn differences(one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> BTreeSet<String> {
    let all = one.keys().chain(other.keys());
    all.filter(|row| one.get(*row) != other.get(*row)).cloned().collect()
}

/// The document of the feature flags, to the byte.
pub fn flags(scene: &Scene) -> String {
    scene.kubectl(&["get", "configmap", "app-flags", "--output", r"jsonpath={.data.features\.json}"])
}

/// The state of each run in the ledger, oldest first, as `name state`.
pub fn ledger(database: &Database) -> Vec<String> {
    database.sql("SELECT name || ' ' || state FROM backfill.runs ORDER BY created_at").lines().map(str::to_owned).collect()
}

/// No row was written twice, whatever happened: the ledger has each planned row once.
pub fn nothing_is_written_twice(database: &Database, run: &str, written: i64) {
    let (rows, keys, batches) = (
        database.count(&format!(
            "SELECT count(*) FROM backfill.undo_rows u JOIN backfill.runs r ON r.uid = u.run_uid WHERE r.name = '{run}' AND seq = 0"
        )),
        database.count(&format!(
            "SELECT count(DISTINCT (range, place)) FROM backfill.undo_rows u JOIN backfill.runs r ON r.uid = u.run_uid WHERE r.name = '{run}'"
        )),
        database.count(&format!(
            "SELECT sum(b.written) FROM backfill.batches b JOIN backfill.runs r ON r.uid = b.run_uid WHERE r.name = '{run}'"
        )),
    );
    assert_eq!((rows, keys, batches), (written, written, written), "undo rows, their keys, and what the batches say");
}

/// The pods of a step of a run, whose container runs, as name and uid.
pub fn running(scene: &Scene, step: &str) -> Option<(String, String)> {
    let selector = format!("--selector=backfill.dev/step={step}");
    let output = "--output=jsonpath={range .items[?(@.status.phase=='Running')]}{.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
    let pods = scene.kubectl(&["get", "pods", &selector, output]);
    let (name, uid) = pods.lines().next()?.split_once(' ')?;
    Some((name.into(), uid.into()))
}

/// Waits for a step's pod to run.
pub async fn runs(scene: &Scene, step: &str) -> (String, String) {
    until(&format!("a pod of {step} runs"), 2 * POD, async || running(scene, step).ok_or_else(|| scene.kubectl(&["get", "pods"]))).await
}

/// Waits until a run has written some rows, and not all.
pub async fn is_under_way(run: &Run<'_>, scene: &Scene, rows: i64) {
    until("rows are written", 2 * POD, async || {
        let status = run.status().await;
        assert!(!status.phase.is_terminal(), "it ended before: {} {}", status.phase, status.message);
        let there = scene.database.count("SELECT count(*) FROM pg_tables WHERE schemaname = 'backfill' AND tablename = 'batches'") > 0;
        let sql = format!(
            "SELECT coalesce(sum(b.written), 0) FROM backfill.batches b JOIN backfill.runs r ON r.uid = b.run_uid WHERE r.name = '{}'",
            run.name
        );
        let written = if there { scene.database.count(&sql) } else { 0 };
        if written >= rows { Ok(()) } else { Err(format!("{written} rows, {}: {}", status.phase, status.message)) }
    })
    .await;
}

/// SIGKILL to the first process of a pod's step, from the machine that runs it, past Kubernetes. True where one was there.
///
/// On a cluster of other machines nobody can do that; there the pod is deleted without grace, which comes close.
pub fn kill(scene: &Scene, pod: &str, uid: &str, argument: &str) -> bool {
    if lab().cluster.provider == "context" {
        return lab()
            .cluster
            .try_kubectl(&["--namespace", &scene.namespace, "delete", "pod", pod, "--grace-period=0", "--force"], "")
            .is_ok();
    }
    let found = processes_of(uid, argument);
    for process in &found {
        // One that has ended meanwhile is as good.
        drop(std::process::Command::new("kill").args(["-KILL", process]).output());
    }
    !found.is_empty()
}

/// A pod's uid is in the name of its control group, with `-` or `_`.
fn processes_of(uid: &str, argument: &str) -> Vec<String> {
    let names = [format!("pod{uid}"), format!("pod{}", uid.replace('-', "_"))];
    let entries = fs::read_dir("/proc").expect("the processes of this machine").flatten();
    let all = entries.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| name.parse::<u32>().is_ok());
    all.filter(|process| {
        let read = |file: &str| fs::read_to_string(format!("/proc/{process}/{file}")).unwrap_or_default();
        let group = read("cgroup");
        names.iter().any(|name| group.contains(name)) && read("cmdline").split('\0').any(|word| word == argument)
    })
    .collect()
}

/// Asks the API server to evict a pod, as a drained node does.
pub fn evict(scene: &Scene, pod: &str) {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod, "namespace": scene.namespace}});
    let path = format!("/api/v1/namespaces/{}/pods/{pod}/eviction", scene.namespace);
    lab().cluster.kubectl(&["create", "--raw", &path, "--filename", "-"], &eviction.to_string());
}

/// Waits until an object is gone.
pub async fn is_gone(scene: &Scene, kind: &str, name: &str, within: Duration) {
    until(&format!("{kind} {name} is gone"), within, async || {
        let found = scene.kubectl(&[
            "get",
            kind,
            name,
            "--ignore-not-found",
            "--output=jsonpath={.status.phase}: {.status.message} {.metadata.finalizers}",
        ]);
        if found.trim().is_empty() { Ok(()) } else { Err(found) }
    })
    .await;
}
