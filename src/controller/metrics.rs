//! What is counted. No label holds the name of an object: their number has no bound.

use crate::api::Phase;
use crate::api::status::{Step, StepResult};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PhaseLabel {
    phase: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChannelLabels {
    channel: String,
    result: &'static str,
}

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    runs: Family<PhaseLabel, Gauge>,
    reconciles: Family<OutcomeLabel, Counter>,
    reconcile_seconds: Histogram,
    step_ends: Family<StepLabels, Counter>,
    rows_written: Counter,
    throttled_seconds: Counter,
    notifications: Family<ChannelLabels, Counter>,
    leader: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("backfill");
        let metrics = Self {
            runs: Family::default(),
            reconciles: Family::default(),
            // From 5 ms to 20 s.
            reconcile_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 13)),
            step_ends: Family::default(),
            rows_written: Counter::default(),
            throttled_seconds: Counter::default(),
            notifications: Family::default(),
            leader: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("runs", "Runs by phase", metrics.runs.clone());
        registry.register("reconciles", "Passes of reconcile by outcome: ok, or the reason of the error", metrics.reconciles.clone());
        registry.register("reconcile_seconds", "How long a pass of reconcile took", metrics.reconcile_seconds.clone());
        registry.register("step_ends", "Ends of steps by result", metrics.step_ends.clone());
        registry.register("rows_written", "Source rows written by runs", metrics.rows_written.clone());
        registry.register("throttled_seconds", "Seconds for which the throttle held runs", metrics.throttled_seconds.clone());
        registry.register("notifications", "Messages by channel and result: ok, or the reason of the error", metrics.notifications.clone());
        registry.register("leader", "Whether this operator holds the lease", metrics.leader.clone());
        registry.register("build", "This release", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        Self { registry, ..metrics }
    }
}

impl Metrics {
    /// The runs that there are, by their phases.
    pub fn set_runs(&self, phases: impl IntoIterator<Item = Phase>) {
        let mut counts = std::collections::HashMap::new();
        for phase in phases {
            *counts.entry(phase).or_insert(0_i64) += 1;
        }
        for phase in Phase::ALL {
            self.runs.get_or_create(&PhaseLabel { phase: phase.as_str() }).set(counts.get(&phase).copied().unwrap_or(0));
        }
    }

    /// A pass of reconcile: `ok`, or the reason of its error.
    pub fn reconciled(&self, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// The end of a step.
    pub fn step_ended(&self, step: Step, result: StepResult) {
        let result = match result {
            StepResult::Passed => "passed",
            StepResult::Failed => "failed",
            StepResult::Inconclusive => "inconclusive",
            StepResult::Stalled => "stalled",
            StepResult::Lost => "lost",
            StepResult::Stopped => "stopped",
        };
        self.step_ends.get_or_create(&StepLabels { step: step.slug(), result }).inc();
    }

    /// Source rows that a run has written, once it says so.
    pub fn rows_written(&self, rows: i64) {
        self.rows_written.inc_by(u64::try_from(rows).unwrap_or(0));
    }

    /// Seconds for which the throttle has held a run, once it lets go.
    pub fn throttled(&self, seconds: i64) {
        self.throttled_seconds.inc_by(u64::try_from(seconds).unwrap_or(0));
    }

    /// A message: `ok`, or the reason of its error. `channel` is a name of the configuration, never one out of a run.
    pub fn notified(&self, channel: &str, result: &'static str) {
        self.notifications.get_or_create(&ChannelLabels { channel: channel.into(), result }).inc();
    }

    /// Whether this operator holds the Lease.
    pub fn leads(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    /// All metrics, in the text format of `OpenMetrics`.
    ///
    /// # Errors
    /// Where a metric cannot be written; none of ours can not.
    pub fn encode(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_and_labels_are_those_of_the_documentation() {
        let metrics = Metrics::default();
        metrics.set_runs([Phase::Applying, Phase::Applying]);
        metrics.reconciled("ok", Duration::from_millis(30));
        metrics.step_ended(Step::LossAccount, StepResult::Passed);
        metrics.rows_written(117_990);
        metrics.throttled(42);
        metrics.throttled(-1);
        metrics.notified("team-db", "TimedOut");
        metrics.leads(true);
        let text = metrics.encode().unwrap();
        for line in [
            "backfill_runs{phase=\"Applying\"} 2",
            "backfill_runs{phase=\"Succeeded\"} 0",
            "backfill_reconciles_total{outcome=\"ok\"} 1",
            "backfill_reconcile_seconds_count 1",
            "backfill_step_ends_total{step=\"loss-account\",result=\"passed\"} 1",
            "backfill_rows_written_total 117990",
            "backfill_throttled_seconds_total 42",
            "backfill_notifications_total{channel=\"team-db\",result=\"TimedOut\"} 1",
            "backfill_leader 1",
            concat!("backfill_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line} in\n{text}");
        }
    }
}
