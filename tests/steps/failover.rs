//! A failover to a standby that lagged behind: what had been committed is not there any more.

use crate::support::pod::{Pod, TABLES, spec};
use crate::support::postgres::{Database, replicated, standby};
use backfill_operator::api::status::Step;
use backfill_operator::protocol::{Outcome, TAKEN_BACK};
use serde_json::json;
use std::time::{Duration, Instant};

async fn until(database: &Database, condition: &str) {
    let started = Instant::now();
    while database.text(condition).await != "true" {
        assert!(started.elapsed() < Duration::from_mins(1), "{condition}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_commits_the_server_has_lost_is_not_taken_back_but_written_again() {
    let old = Database::of(replicated(), TABLES).await;
    let mut pod = Pod::new(&old, spec(""));
    pod.passes(&[Step::Backup, Step::Plan, Step::Claim]);
    let follower = standby();
    let new = old.on(follower.port);
    pod.input.spec.backfill.sql.as_mut().unwrap().batch = serde_json::from_value(json!({"size": 20, "pause": "100ms"})).unwrap();
    let child = pod.spawn(Step::Apply);
    let batches = "coalesce((SELECT sum(batches) FROM backfill.ranges), 0)";
    until(&new, &format!("SELECT {batches} >= 3")).await;
    // From now on the standby hears nothing.
    for statement in ["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"] {
        new.execute_as_superuser(statement).await;
    }
    until(&new, "SELECT count(*) = 0 FROM pg_stat_wal_receiver").await;
    assert_eq!(pod.end(child).verdict.outcome, Outcome::Passed);
    assert_eq!(old.text("SELECT state FROM backfill.runs").await, "Applied");
    assert_eq!(new.text("SELECT pg_promote()").await, "true");
    pod.secret("port", &new.port.to_string());
    let written = new.text("SELECT count(*) FROM scenarios WHERE accepted_prompt IS NOT NULL").await.parse::<i64>().unwrap();
    assert!((60..500).contains(&written), "{written} rows are there");
    let end = pod.run(Step::Verify);
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Failed, TAKEN_BACK), "{}", end.verdict.message);
    assert!(end.verdict.message.contains(&format!("has {written} of 500 planned rows")), "{}", end.verdict.message);
    pod.input.attempt += 1;
    pod.passes(&[Step::Apply, Step::Verify]);
    assert_eq!(new.text("SELECT count(*) FROM scenarios WHERE accepted_prompt IS NOT NULL").await, "500");
    assert_eq!(new.text("SELECT sum(written) FROM backfill.batches").await, "500");
}
