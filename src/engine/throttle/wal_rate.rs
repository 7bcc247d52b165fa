//! Write-ahead log a second, from one reading to the next. Cost: one read of a counter.

use super::{Reading, brief};
use crate::api::quantity::display;
use sqlx::PgConnection;
use std::time::{Duration, Instant};

pub(super) const NAME: &str = "WalRate";

/// Over less than this a rate says nothing: one checkpoint's page images would look like a flood.
const SHORTEST: Duration = Duration::from_millis(500);

/// Position of the log at the last reading. Every role may ask for it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WalRate {
    before: Option<(i64, Instant)>,
}

impl WalRate {
    /// Compares the rate since the last reading with the limit, in bytes a second. The first reading has nothing to compare with.
    pub(super) async fn read(&mut self, connection: &mut PgConnection, limit: i64) -> Result<Reading, sqlx::Error> {
        let mut transaction = brief(connection).await?;
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::int8";
        let position: i64 = sqlx::query_scalar(sql).persistent(false).fetch_one(&mut *transaction).await?;
        transaction.rollback().await?;
        Ok(self.over(position, Instant::now(), limit).map_or(Reading::Free, |rate| {
            Reading::Over(format!("{} of write-ahead log a second are written, more than maxWalRate {}", display(rate), display(limit)))
        }))
    }

    /// The rate, where it is above the limit. After a failover the position may be an earlier one: then nothing is known.
    fn over(&mut self, position: i64, now: Instant, limit: i64) -> Option<i64> {
        let (last, at) = *self.before.get_or_insert((position, now));
        let elapsed = now.duration_since(at);
        if elapsed < SHORTEST {
            return None;
        }
        self.before = Some((position, now));
        let rate = i128::from(position - last) * 1000 / i128::try_from(elapsed.as_millis()).unwrap_or(i128::MAX);
        i64::try_from(rate).ok().filter(|rate| *rate > limit)
    }
}

#[cfg(test)]
mod tests {
    use super::WalRate;
    use std::time::{Duration, Instant};

    #[test]
    fn the_rate_is_that_since_the_last_reading() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut wal = WalRate::default();
        assert_eq!(wal.over(5_000_000, at(0), 1000), None, "nothing to compare with");
        assert_eq!(wal.over(9_000_000, at(100), 1000), None, "too short");
        assert_eq!(wal.over(7_000_000, at(2000), 999_999), Some(1_000_000));
        assert_eq!(wal.over(8_000_000, at(3000), 1_000_000), None, "at the limit, not above it");
        assert_eq!(wal.over(1_000, at(4000), 0), None, "the log of another server");
    }
}
