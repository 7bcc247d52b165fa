//! What people change while a run writes, all the way that it takes in a cluster: spec, annotation of a pod, file, worker.

use crate::chaos::{is_under_way, nothing_is_written_twice, stop_application};
use crate::lab::lab;
use crate::manifest::small;
use crate::run::Run;
use crate::scene::Scene;
use crate::wait::until;
use backfill_operator::api::Phase;
use serde_json::json;
use std::time::{Duration, Instant};

/// Other settings are to be there within 10 s; so much is left to a machine that has other things to do.
const TAKEN_OVER: Duration = Duration::from_secs(30);

#[tokio::test]
async fn two_workers_share_the_rows_of_a_run_and_both_take_another_batch_size_over_while_they_write() {
    // Some 6,000 scenarios without a prompt are two ranges.
    let scene = Scene::new("steering", 11_000).await;
    stop_application(&scene).await;
    let mut manifest = small("shared");
    manifest["spec"]["backfill"]["sql"]["workers"] = json!(2);
    manifest["spec"]["backfill"]["sql"]["batch"] = json!({"size": 10, "pause": "250ms"});
    let run = Run::apply(&scene, &manifest);
    run.approved_by(&lab().maria).await;
    is_under_way(&run, &scene, 20).await;
    let ranges = |condition: &str| scene.database.count(&format!("SELECT count(DISTINCT range) FROM backfill.batches WHERE {condition}"));
    until("both ranges are written", 2 * TAKEN_OVER, async || match ranges("true") {
        2 => Ok(()),
        written => Err(format!("{written} ranges: {}", scene.kubectl(&["get", "pods"]))),
    })
    .await;
    let indexes = scene.kubectl(&[
        "get",
        "pods",
        "--selector=backfill.dev/step=apply",
        "--output=jsonpath={range .items[?(@.status.phase=='Running')]}{.metadata.annotations.batch\\.kubernetes\\.io/job-completion-index} {end}",
    ]);
    let mut indexes: Vec<&str> = indexes.split_whitespace().collect();
    indexes.sort_unstable();
    assert_eq!(indexes, ["0", "1"], "a pod an index, and both at work");

    let asked = Instant::now();
    run.patch(&json!({"spec": {"backfill": {"sql": {"batch": {"size": 400, "pause": "0s"}}}}}));
    until("both workers take it over", TAKEN_OVER, async || match ranges("last - first >= 300") {
        2 => Ok(()),
        taken => Err(format!("{taken} workers after {:?}", asked.elapsed())),
    })
    .await;
    println!("another batch size was taken over by both workers after {:.1} s", asked.elapsed().as_secs_f64());

    let status = run.reaches(Phase::Succeeded).await;
    let result = status.result.expect("what was written");
    assert_eq!(result.written, scene.database.count("SELECT count(*) FROM scenarios WHERE accepted_prompt = 'filled: ' || id"));
    assert!(result.written > 5000, "more than one range: {}", result.written);
    nothing_is_written_twice(&scene.database, &run.name, result.written);
}
