//! Others that write, on the whole server: how many transactions with a number of their own are begun a second, without the
//! run's. Not a reading that holds: beside others the worker takes small batches, and rests after each.
//!
//! Every role may ask for it. Cost: one read of a counter, and a sum over the run's ranges.

use super::{brief, gave_way};
use crate::engine::ledger::Ledger;
use crate::postgres::describe;
use crate::postgres::transactions::NEXT;
use sqlx::{AssertSqlSafe, PgConnection};
use std::time::{Duration, Instant};

/// So many transactions a second of others are worth giving way to: an application, and not a scheduler's heartbeat.
const MANY: i64 = 20;
/// At full speed again once there were fewer for so long.
const QUIET: Duration = Duration::from_secs(5);
/// Asked as often as this, but the first time as soon as a rate says anything.
const EVERY: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(250);
/// So many of a run's own transactions from one time to the next are not in its ledger: those by which it begins, those that
/// are taken back and tried again.
const UNCOUNTED: i64 = 10;

/// True where so many numbers, of which the run's own are left out as far as they are known, are those of an application.
fn are_many(numbers: i64, within: Duration) -> bool {
    let millis = i64::try_from(within.as_millis()).unwrap_or(i64::MAX).max(1);
    (numbers - UNCOUNTED).saturating_mul(1000) >= MANY.saturating_mul(millis)
}

/// A moment at which the run itself writes nothing, to look back to.
#[derive(Clone, Copy, Debug)]
pub struct Before {
    at: Instant,
    begun: i64,
}

impl Before {
    /// Now. The connection must not be in a transaction, here and below.
    ///
    /// # Errors
    /// The driver's.
    pub async fn now(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let begun = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {NEXT}"))).persistent(false).fetch_one(connection).await?;
        Ok(Self { at: Instant::now(), begun })
    }

    /// Whether many others have written since; waits where it is too early to say.
    ///
    /// # Errors
    /// The driver's.
    pub async fn many_since(self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        tokio::time::sleep(SHORTEST.saturating_sub(self.at.elapsed())).await;
        let now = Self::now(connection).await?;
        Ok(are_many(now.begun - self.begun, now.at.duration_since(self.at)))
    }
}

/// What was counted at one moment.
#[derive(Clone, Copy, Debug)]
struct Counted {
    at: Instant,
    /// Numbers given out by the server.
    begun: i64,
    /// Of those, the run's, over all its workers.
    own: i64,
}

/// Whether others write, from one batch to the next.
#[derive(Debug)]
pub struct Writers {
    ledger: Ledger,
    others: Others,
}

impl Writers {
    /// Beside the run of this ledger.
    #[must_use]
    pub fn beside(ledger: &Ledger) -> Self {
        Self { ledger: ledger.clone(), others: Others::default() }
    }

    /// Whether many others write. The first call has nothing to compare with, and says no. The connection must not be in a
    /// transaction.
    ///
    /// # Errors
    /// The driver's, where the connection gave way. What the server does not say leaves the answer as it was.
    pub async fn many(&mut self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        if self.others.is_due() {
            match self.count(connection).await {
                Ok(counted) => self.others.judge(counted),
                Err(error) if gave_way(&error) => return Err(error),
                Err(error) => tracing::warn!(error = describe(&error), "whether others write is not known"),
            }
        }
        Ok(self.others.many)
    }

    async fn count(&self, connection: &mut PgConnection) -> Result<Counted, sqlx::Error> {
        let sql = format!(
            "SELECT {NEXT},
                    (SELECT coalesce(sum(batches + epoch), 0)::int8 FROM {} WHERE run_uid = $1)",
            self.ledger.table("ranges")
        );
        let mut transaction = brief(connection).await?;
        let query = sqlx::query_as::<_, (i64, i64)>(AssertSqlSafe(sql)).persistent(false).bind(self.ledger.uid());
        let (begun, own) = query.fetch_one(&mut *transaction).await?;
        transaction.rollback().await?;
        Ok(Counted { at: Instant::now(), begun, own })
    }
}

/// What the counts say.
#[derive(Debug, Default)]
struct Others {
    last: Option<Counted>,
    compared: bool,
    many: bool,
    fewer_since: Option<Instant>,
}

impl Others {
    fn is_due(&self) -> bool {
        let every = if self.compared { EVERY } else { SHORTEST };
        self.last.is_none_or(|last| last.at.elapsed() >= every)
    }

    fn judge(&mut self, now: Counted) {
        let Some(before) = self.last.replace(now) else { return };
        // Another server has other numbers; a plan that is loaded anew has other ranges.
        let (begun, own) = (now.begun - before.begun, now.own - before.own);
        if begun < 0 || own < 0 {
            return;
        }
        self.compared = true;
        if are_many(begun - own, now.at.duration_since(before.at)) {
            (self.many, self.fewer_since) = (true, None);
        } else if now.at.duration_since(*self.fewer_since.get_or_insert(now.at)) >= QUIET {
            self.many = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Counted, Others};
    use std::time::{Duration, Instant};

    /// What is said after each moment: milliseconds, numbers given out, the run's own.
    fn said(moments: &[(u64, i64, i64)]) -> Vec<bool> {
        let (mut others, start) = (Others::default(), Instant::now());
        let say = |(millis, begun, own): &(u64, i64, i64)| {
            others.judge(Counted { at: start + Duration::from_millis(*millis), begun: *begun, own: *own });
            others.many
        };
        moments.iter().map(say).collect()
    }

    #[test]
    fn the_runs_own_transactions_are_nobody_elses() {
        assert_eq!(said(&[(0, 1000, 0), (1000, 1500, 490), (2000, 2010, 990)]), [false, false, false]);
        assert_eq!(said(&[(0, 1000, 0), (1000, 1030, 0)]), [false, true], "20, and 10 that may be its own");
        assert_eq!(said(&[(0, 1000, 0), (1000, 1029, 0)]), [false, false]);
        assert_eq!(said(&[(0, 1000, 0), (250, 1015, 0)]), [false, true]);
    }

    #[test]
    fn it_stays_gentle_until_they_have_been_gone_for_a_while() {
        let at = |second: u64, others: i64| (second * 1000, others, 0);
        let moments = [at(0, 0), at(1, 200), at(2, 200), at(5, 200), at(6, 400), at(7, 400), at(11, 400), at(12, 400), at(13, 400)];
        assert_eq!(said(&moments), [false, true, true, true, true, true, true, false, false]);
    }

    #[test]
    fn after_a_failover_or_another_plan_it_says_what_it_said_before() {
        assert_eq!(said(&[(0, 1000, 0), (1000, 1200, 0), (2000, 10, 0), (3000, 400, 0)]), [false, true, true, true]);
        assert_eq!(said(&[(0, 1000, 500), (1000, 9000, 0)]), [false, false]);
    }
}
