//! How fast it is. Run with `--ignored --nocapture`, best with `--release`.

use crate::harness::Bench;
use backfill_operator::api::spec::BatchRows;
use std::time::Instant;

#[tokio::test]
#[ignore = "measures, and proves nothing"]
async fn a_hundred_thousand_scenarios() {
    let mut bench = Bench::scenario(100_000).await;
    bench.spec.batch.size = BatchRows::Fixed(1000);
    bench.sql("ANALYZE").await;
    let plan = bench.plan_by(5000).await.unwrap();
    println!("plan: {} rows a second over {} rows, {} to write", plan.rows_per_second, plan.scanned, plan.will_write);
    bench.claim().await;
    let begun = Instant::now();
    bench.apply(&plan).await.unwrap();
    let rate = |rows: i64, begun: Instant| rows * 1000 / i64::try_from(begun.elapsed().as_millis()).unwrap();
    println!("apply with load and drift check: {} rows a second", rate(plan.will_write, begun));
    let begun = Instant::now();
    bench.undo().await;
    println!("undo: {} rows a second", rate(plan.will_write, begun));
}
