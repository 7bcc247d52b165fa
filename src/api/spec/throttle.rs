//! What holds the worker while the database or its standbys have more to do than they can.

use crate::api::{duration, quantity};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is looked at between two batches. While one reading is over its limit no batch begins. All of it may change
/// while the run applies.
///
/// Only the lag of standbys has a limit by default: it is harm of the same kind everywhere (stale reads, a failover that
/// loses more), it passes when writing stops, and a server without standbys never has it. What is much for the other
/// readings depends on the server and its application, so they are not looked at until a limit is set.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttle {
    /// The longest time that a standby or subscriber may be behind, as a duration. For a standby that is late on purpose, more than its delay. Default: `10s`.
    #[serde(default = "max_replication_lag")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub max_replication_lag: String,
    /// How many client sessions of the server may be at work at the same moment, without the run's own. Default: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_active_backends: Option<i32>,
    /// How many sessions of the database may wait for a lock, without the run's own. Default: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100_000))]
    pub max_waiting_locks: Option<i32>,
    /// How much write-ahead log the server may write a second, the run's own included, as a quantity (`50Mi`). Default: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = *quantity::PATTERN))]
    pub max_wal_rate: Option<String>,
    /// Hold while a vacuum, by hand or by itself, works on a table that the run writes. Default: false, as on a large table that takes hours, and the two do not block each other.
    #[serde(default, skip_serializing_if = "is_false")]
    pub avoid_autovacuum: bool,
    /// A number of your own, asked of the database. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<ThrottleQuery>,
    /// Once a reading is over its limit, nothing is written for at least this long, as a duration: so that a reading at its limit does not stop and start the worker every second. Default: `10s`.
    #[serde(default = "hold")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub hold: String,
    /// How the worker writes while other sessions write, too (20 transactions a second or more, on the whole server). `Gentle`: at most 50 rows a transaction, each on disk before the next one begins, and twice as long at rest as at work, so that the others' commits do not wait for the run's log. `Full`: as fast as it can. Default: `Gentle`.
    #[serde(default, skip_serializing_if = "is_gentle")]
    pub beside_writers: BesideWriters,
}

/// How the worker writes while others do.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum BesideWriters {
    /// Small transactions, with rests.
    #[default]
    Gentle,
    /// As fast as it can.
    Full,
}

/// A number of the team's own.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ThrottleQuery {
    /// One SELECT with one column and one row, a whole number. It is asked as the role that writes, read-only, for at most 2 s.
    #[schemars(length(min = 1, max = 8192))]
    pub sql: String,
    /// Above this it holds.
    pub max: i64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            max_replication_lag: max_replication_lag(),
            max_active_backends: None,
            max_waiting_locks: None,
            max_wal_rate: None,
            avoid_autovacuum: false,
            query: None,
            hold: hold(),
            beside_writers: BesideWriters::default(),
        }
    }
}

fn max_replication_lag() -> String {
    "10s".into()
}

fn hold() -> String {
    "10s".into()
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_gentle(value: &BesideWriters) -> bool {
    matches!(value, BesideWriters::Gentle)
}

#[cfg(test)]
mod tests {
    use super::Throttle;
    use serde_json::json;

    #[test]
    fn an_empty_block_is_the_default_one() {
        let empty: Throttle = serde_json::from_value(json!({})).unwrap();
        assert_eq!(empty, Throttle::default());
        assert_eq!(serde_json::to_value(empty).unwrap(), json!({"maxReplicationLag": "10s", "hold": "10s"}));
    }
}
