//! Throttle: what is looked at between two batches, and whether the next one may begin. A file a reading.
//!
//! Called by the worker's loop, with its own connection and outside of a transaction. Each reading is one statement in a
//! READ ONLY transaction of its own with a timeout of 2 s, at most once a second; what it costs stands in its file. A
//! reading that cannot be taken is never 0: it is left out, which is remarked once, and does not hold: a run that has
//! begun would else wait for a right that nobody may be about to give. Knows `api`; writes nothing.

mod active_backends;
mod autovacuum;
mod query;
mod replication_lag;
mod waiting_locks;
mod wal_rate;
mod writers;

pub use writers::{Before, Writers};

use crate::api::{duration, quantity, spec};
use crate::postgres::{describe, is_connection_loss, sqlstate};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Readings are not taken more often than this, so that they cost little beside the batches.
const EVERY: Duration = Duration::from_secs(1);
/// While it holds, it is asked again after this at the latest: nobody waits longer than that for what is over.
const AGAIN: Duration = Duration::from_secs(2);
/// A reading is a courtesy: it may not itself become the load that it looks for.
const BRIEF: &str = "BEGIN READ ONLY; SET LOCAL statement_timeout = '2s'";

/// Added to a message where only `hold` is waited for.
const BELOW: &str = "; it is below its limit again, and goes on when hold is over";

/// What holds the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Which reading, as a condition's reason.
    pub reading: &'static str,
    /// What was measured, and of what limit.
    pub message: String,
}

/// A reading that could not be taken, or not wholly.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Remark {
    /// Which reading.
    pub reading: &'static str,
    /// Why, and what to change.
    pub message: String,
}

/// What a reading says.
#[derive(Debug)]
enum Reading {
    /// Below its limit.
    Free,
    /// Above it: what was measured, and of what limit.
    Over(String),
    /// Not known: why, and what to change.
    Unmeasured(String),
}

/// The readings of one worker, from one batch to the next.
#[derive(Debug)]
pub struct Throttle {
    settings: spec::Throttle,
    tables: Vec<i64>,
    standbys: replication_lag::Standbys,
    wal: wal_rate::WalRate,
    query: query::Query,
    asked: Option<Instant>,
    held: Option<Hold>,
    remarks: BTreeSet<Remark>,
}

#[derive(Debug)]
struct Hold {
    since: Instant,
    held: Held,
}

impl Throttle {
    /// The readings that the settings ask for; `tables` are the OIDs of those that the run writes.
    #[must_use]
    pub fn new(settings: &spec::Throttle, tables: &[i64]) -> Self {
        Self {
            settings: settings.clone(),
            tables: tables.to_vec(),
            standbys: replication_lag::Standbys::default(),
            wal: wal_rate::WalRate::default(),
            query: query::Query::new(settings.query.as_ref()),
            asked: None,
            held: None,
            remarks: BTreeSet::new(),
        }
    }

    /// OIDs of the tables that the run writes, where they were not known before.
    pub fn writes(&mut self, tables: &[i64]) {
        self.tables = tables.to_vec();
    }

    /// Other settings from here on. Where they differ, everything is asked again at once: what held may be allowed now.
    pub fn set(&mut self, settings: &spec::Throttle) {
        if self.settings == *settings {
            return;
        }
        if self.settings.query != settings.query {
            self.query = query::Query::new(settings.query.as_ref());
        }
        self.settings = settings.clone();
        (self.asked, self.held) = (None, None);
        self.remarks.clear();
    }

    /// Whether the next batch has to wait, and for what. Asks the database where the last answer is a second old; while it
    /// holds, where it is as old as [`Throttle::again`] says. It lets go with the first answer in which every reading is
    /// below its limit, but not before `hold` is over. The connection must not be in a transaction.
    ///
    /// # Errors
    /// The driver's, where the connection gave way. What the server refuses is a remark.
    pub async fn held(&mut self, connection: &mut PgConnection) -> Result<Option<Held>, sqlx::Error> {
        let every = if self.held.is_some() { self.again() } else { EVERY };
        if self.asked.is_none_or(|asked| asked.elapsed() >= every) {
            let over = self.ask(connection).await?;
            let now = Instant::now();
            self.asked = Some(now);
            self.judge(over, now);
        }
        Ok(self.held.as_ref().map(|hold| hold.held.clone()))
    }

    /// How long to wait before asking again while something holds: `hold`, at most 2 s.
    #[must_use]
    pub fn again(&self) -> Duration {
        self.hold().clamp(Duration::from_millis(100), AGAIN)
    }

    /// What could not be measured with these settings, and why; each is kept until the settings change.
    #[must_use]
    pub const fn remarks(&self) -> &BTreeSet<Remark> {
        &self.remarks
    }

    fn hold(&self) -> Duration {
        duration::parse(&self.settings.hold).unwrap_or_default()
    }

    fn judge(&mut self, over: Option<Held>, now: Instant) {
        let least = self.hold();
        match (over, self.held.as_mut()) {
            (Some(found), Some(hold)) => hold.held = found,
            (Some(found), None) => self.held = Some(Hold { since: now, held: found }),
            (None, Some(hold)) if now.duration_since(hold.since) < least => {
                if !hold.held.message.ends_with(BELOW) {
                    hold.held.message.push_str(BELOW);
                }
            }
            (None, _) => self.held = None,
        }
    }

    /// All readings, in the order in which they are named where several are over. All are taken every time: some compare
    /// with the time before.
    async fn ask(&mut self, connection: &mut PgConnection) -> Result<Option<Held>, sqlx::Error> {
        let mut over: Option<Held> = None;
        let mut note = |reading: &'static str, found: Reading| match found {
            Reading::Free => {}
            Reading::Over(message) => match over.as_mut() {
                None => over = Some(Held { reading, message }),
                Some(first) => first.message = format!("{}; {reading}: {message}", first.message),
            },
            Reading::Unmeasured(message) => {
                self.remarks.insert(Remark { reading, message });
            }
        };
        let settings = &self.settings;
        if let Some(limit) = duration::parse(&settings.max_replication_lag) {
            let mut inactive = Vec::new();
            let found = sure(self.standbys.read(connection, limit, &mut inactive).await)?;
            note(replication_lag::NAME, found);
            for slot in inactive {
                note(replication_lag::NAME, Reading::Unmeasured(slot));
            }
        }
        if let Some(limit) = settings.max_active_backends {
            note(active_backends::NAME, sure(active_backends::read(connection, i64::from(limit)).await)?);
        }
        if let Some(limit) = settings.max_waiting_locks {
            note(waiting_locks::NAME, sure(waiting_locks::read(connection, i64::from(limit)).await)?);
        }
        if let Some(limit) = settings.max_wal_rate.as_deref().and_then(quantity::parse) {
            note(wal_rate::NAME, sure(self.wal.read(connection, limit).await)?);
        }
        if settings.avoid_autovacuum {
            note(autovacuum::NAME, sure(autovacuum::read(connection, &self.tables).await)?);
        }
        note(query::NAME, sure(self.query.read(connection).await)?);
        Ok(over)
    }
}

/// A READ ONLY transaction in which a statement takes 2 s at most.
async fn brief(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    connection.begin_with(BRIEF).await
}

/// True where it was the connection, and not the server that refused.
fn gave_way(error: &sqlx::Error) -> bool {
    is_connection_loss(error) || error.as_database_error().is_none()
}

/// What the server refused is not known; only a lost connection is an error.
fn sure(found: Result<Reading, sqlx::Error>) -> Result<Reading, sqlx::Error> {
    match found {
        Err(error) if gave_way(&error) => Err(error),
        Err(error) => Ok(Reading::Unmeasured(match sqlstate(&error).as_deref() {
            Some("57014") => "it took longer than 2 s".into(),
            Some("42501") => format!("{}; GRANT it to the role that writes", describe(&error)),
            _ => describe(&error),
        })),
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::{Held, Throttle};
    use crate::api::spec;
    use std::time::{Duration, Instant};

    fn over(message: &str) -> Held {
        Held { reading: "WalRate", message: message.into() }
    }

    fn throttle(hold: &str) -> Throttle {
        Throttle::new(&spec::Throttle { hold: hold.into(), ..spec::Throttle::default() }, &[])
    }

    fn message(throttle: &Throttle) -> Option<&str> {
        throttle.held.as_ref().map(|hold| hold.held.message.as_str())
    }

    #[test]
    fn it_holds_for_as_long_as_hold_says_and_then_until_the_reading_is_below() {
        let mut throttle = throttle("10s");
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        throttle.judge(None, at(0));
        assert_eq!(message(&throttle), None);
        throttle.judge(Some(over("a")), at(1));
        throttle.judge(None, at(3));
        assert_eq!(message(&throttle), Some("a; it is below its limit again, and goes on when hold is over"));
        throttle.judge(Some(over("b")), at(10));
        throttle.judge(Some(over("c")), at(12));
        assert_eq!(message(&throttle), Some("c"), "still over after hold");
        throttle.judge(None, at(14));
        assert_eq!(message(&throttle), None);
    }

    #[test]
    fn it_asks_again_soon_and_never_without_a_pause() {
        assert_eq!(throttle("10s").again(), Duration::from_secs(2));
        assert_eq!(throttle("500ms").again(), Duration::from_millis(500));
        assert_eq!(throttle("0s").again(), Duration::from_millis(100));
    }

    #[test]
    fn other_settings_are_asked_about_at_once_and_the_same_ones_are_not() {
        let mut throttle = throttle("1h");
        let now = Instant::now();
        throttle.asked = Some(now);
        throttle.judge(Some(over("a")), now);
        throttle.set(&throttle.settings.clone());
        assert_eq!((message(&throttle), throttle.asked), (Some("a"), Some(now)));
        throttle.set(&spec::Throttle { max_waiting_locks: Some(1), ..spec::Throttle::default() });
        assert_eq!((message(&throttle), throttle.asked), (None, None));
    }
}
