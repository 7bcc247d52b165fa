//! How far standbys and subscribers are behind. Cost: one look at each walsender and each replication slot in shared
//! memory.
//!
//! The server's own `replay_lag` is not enough: it is NULL for a standby that has replayed nothing since it connected,
//! stays where it was on an idle server, and is counted from when a late standby was sent the log, not from when the
//! log was written. The distance in bytes is always right, but says nothing in seconds. So the positions of the log at
//! earlier readings are kept: a standby is as late as the oldest of them that it has not replayed yet. Of both
//! measures the longer counts, and neither does where the distance is 0.
//!
//! A standby that is not connected has no row: its lag is not known here, and it does not hold the worker. Where it has
//! a replication slot, that is remarked. Standbys of standbys, and copies below the file system, are not seen at all.

use super::{Reading, brief};
use crate::api::quantity;
use sqlx::{PgConnection, Row as _};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(super) const NAME: &str = "ReplicationLag";

/// So many earlier positions are kept: at one a second, the lag of ten minutes. A longer one is shown as that.
const KEPT: usize = 600;

/// A role that may not see the walsenders still sees that they are there. A base backup that is being taken is no
/// standby. A receiver that only keeps the log replays nothing, and flushes whole segments: what it has written counts.
const SQL: &str = "
    SELECT 'sender' AS kind, coalesce(nullif(application_name, ''), 'pid ' || pid) || coalesce(' (' || host(client_addr) || ')', '') AS name,
           state IS NULL AS hidden,
           pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '0/0')::int8 AS now,
           pg_wal_lsn_diff(coalesce(replay_lsn, write_lsn, flush_lsn), '0/0')::int8 AS replayed,
           (extract(epoch FROM replay_lag) * 1000)::int8 AS millis
    FROM pg_stat_replication WHERE state IS DISTINCT FROM 'backup'
    UNION ALL
    SELECT 'slot', slot_name, false, NULL, NULL, NULL FROM pg_replication_slots WHERE slot_type = 'physical' AND NOT active AND NOT temporary
    UNION ALL
    SELECT 'role', quote_ident(current_user), false, NULL, NULL, NULL";

/// Positions of the log at earlier readings, oldest first.
#[derive(Debug, Default)]
pub(super) struct Standbys {
    positions: VecDeque<(i64, Instant)>,
}

impl Standbys {
    /// Compares the latest standby with the limit. `remarks` takes standbys whose lag is not known.
    pub(super) async fn read(
        &mut self,
        connection: &mut PgConnection,
        limit: Duration,
        remarks: &mut Vec<String>,
    ) -> Result<Reading, sqlx::Error> {
        let mut transaction = brief(connection).await?;
        let rows = sqlx::query(SQL).persistent(false).fetch_all(&mut *transaction).await?;
        transaction.rollback().await?;
        let at = Instant::now();
        let (mut role, mut hidden, mut latest) = (String::new(), false, None::<(Duration, i64, String)>);
        for row in rows {
            let name: String = row.try_get("name")?;
            match row.try_get("kind")? {
                "slot" => remarks.push(format!(
                    "the standby of the replication slot {name} is not connected: its lag is not known, and its log is kept on the primary; connect it, or drop the slot"
                )),
                "role" => role = name,
                _ if row.try_get("hidden")? => hidden = true,
                _ => {
                    let (now, replayed): (i64, Option<i64>) = (row.try_get("now")?, row.try_get("replayed")?);
                    self.remember(now, at);
                    let said = row.try_get::<Option<i64>, _>("millis")?.and_then(|millis| u64::try_from(millis).ok());
                    let Some(replayed) = replayed.filter(|replayed| *replayed < now) else { continue };
                    let lag = self.behind(replayed, at).max(Duration::from_millis(said.unwrap_or(0)));
                    if latest.as_ref().is_none_or(|(longest, ..)| lag > *longest) {
                        latest = Some((lag, now - replayed, name));
                    }
                }
            }
        }
        Ok(match latest {
            Some((lag, bytes, name)) if lag > limit => Reading::Over(format!(
                "the standby {name} is {}.{} s behind ({}), more than maxReplicationLag {}",
                lag.as_secs(),
                lag.subsec_millis() / 100,
                quantity::display(bytes),
                crate::api::duration::display(limit)
            )),
            _ if hidden => Reading::Unmeasured(format!("the role cannot see how far standbys are behind (GRANT pg_monitor TO {role};)")),
            _ => Reading::Free,
        })
    }

    /// The position of the log at this moment; several standbys have the same.
    fn remember(&mut self, position: i64, at: Instant) {
        match self.positions.back() {
            // The log of another server, after a failover.
            Some((last, _)) if *last > position => self.positions.clear(),
            Some((last, _)) if *last == position => return,
            _ => {}
        }
        self.positions.push_back((position, at));
        if self.positions.len() > KEPT {
            self.positions.pop_front();
        }
    }

    /// How long ago the log was first seen beyond what is replayed.
    fn behind(&self, replayed: i64, at: Instant) -> Duration {
        let first = self.positions.iter().find(|(position, _)| *position > replayed);
        first.map_or(Duration::ZERO, |(_, seen)| at.duration_since(*seen))
    }
}

#[cfg(test)]
mod tests {
    use super::{KEPT, Standbys};
    use std::time::{Duration, Instant};

    #[test]
    fn a_standby_is_as_late_as_the_oldest_position_that_it_has_not_replayed() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut standbys = Standbys::default();
        for (position, seconds) in [(100, 0), (200, 1), (200, 2), (300, 5)] {
            standbys.remember(position, at(seconds));
        }
        for (replayed, behind) in [(50, 9), (100, 8), (199, 8), (200, 4), (299, 4), (300, 0), (400, 0)] {
            assert_eq!(standbys.behind(replayed, at(9)), Duration::from_secs(behind), "replayed up to {replayed}");
        }
        standbys.remember(10, at(10));
        assert_eq!(standbys.behind(5, at(11)), Duration::from_secs(1), "after a failover earlier positions mean nothing");
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut standbys = Standbys::default();
        let start = Instant::now();
        for n in 0..10_000_u64 {
            standbys.remember(i64::try_from(n).unwrap() + 1, start + Duration::from_secs(n));
        }
        assert_eq!(standbys.positions.len(), KEPT);
        assert_eq!(standbys.behind(0, start + Duration::from_secs(9_999)), Duration::from_secs(KEPT as u64 - 1));
    }
}
