//! The pace of a worker: what it asks before each batch, and what it says after it. Settings, batch size and throttle in
//! one hand, kept over lost connections.

use super::control::{BatchSettings, Control};
use super::size::{BatchSize, Trouble};
use crate::api::spec::{BesideWriters, SqlBackfill};
use crate::engine::ledger::Ledger;
use crate::engine::throttle::{Held, Remark, Throttle, Writers};
use crate::postgres::sqlstate;
use sqlx::PgConnection;
use std::path::Path;
use std::time::Duration;

/// Beside others that write it rests for at least so long after a batch.
const REST: Duration = Duration::from_millis(20);

/// A small batch itself takes about this (50 rows, on disk: measured; `make bench`, the part `latency`).
const BATCH: Duration = Duration::from_millis(5);

/// What one worker will write a second beside others that write; `None` where a fixed number of rows leaves that to the table.
#[must_use]
pub fn gentle_rows_per_second(spec: &SqlBackfill) -> Option<i64> {
    let settings = BatchSettings::of(&spec.batch).gentle();
    let (rows, each) = (i64::try_from(settings.max).ok()?, i64::try_from((settings.pause.max(REST) + BATCH).as_millis()).ok()?);
    settings.size.is_none().then(|| (rows * 1000 / each).max(1))
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Write a batch of so many rows.
    Batch(usize),
    /// Wait for so long, and ask again: nothing is written while a reading is above its limit.
    Wait(Held, Duration),
    /// End, after the batch that was the last.
    Suspended,
}

/// A worker's pace, from one batch to the next.
#[derive(Debug)]
pub struct Pace {
    control: Control,
    size: BatchSize,
    throttle: Throttle,
    held: bool,
    writers: Option<Writers>,
    gentle: bool,
}

impl Pace {
    /// The spec's settings, until the pod's annotations say otherwise.
    #[must_use]
    pub fn of(spec: &SqlBackfill, annotations: &Path) -> Self {
        let control = Control::of(spec, annotations);
        let (size, throttle) = (BatchSize::new(control.batch()), Throttle::new(control.throttle(), &[]));
        Self { control, size, throttle, held: false, writers: None, gentle: false }
    }

    /// Looks from now on whether others write, beside the run of this ledger.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn beside_writers(&mut self, connection: &mut PgConnection, ledger: &Ledger) -> Result<(), sqlx::Error> {
        self.writers.get_or_insert_with(|| Writers::beside(ledger)).many(connection).await?;
        Ok(())
    }

    /// True where the next batch is to disturb others that write as little as it can.
    #[must_use]
    pub const fn is_gentle(&self) -> bool {
        self.gentle
    }

    /// OIDs of the tables that the run writes, once they are known.
    pub fn writes(&mut self, tables: &[i64]) {
        self.throttle.writes(tables);
    }

    /// Reads the settings again, and looks whether a batch may begin. A hold halves the batches once, when it begins. The
    /// connection must not be in a transaction.
    ///
    /// # Errors
    /// The driver's, where the connection gave way.
    pub async fn next(&mut self, connection: &mut PgConnection) -> Result<Next, sqlx::Error> {
        if self.control.refresh().suspended() {
            return Ok(Next::Suspended);
        }
        self.gentle = match self.writers.as_mut().filter(|_| self.control.throttle().beside_writers == BesideWriters::Gentle) {
            Some(writers) => writers.many(connection).await?,
            None => false,
        };
        self.size.set(if self.gentle { self.control.batch().gentle() } else { self.control.batch() });
        self.throttle.set(self.control.throttle());
        let found = self.throttle.held(connection).await?;
        if found.is_some() && !self.held {
            self.size.shrink(Trouble::Throttle);
        }
        self.held = found.is_some();
        Ok(match found {
            Some(held) => Next::Wait(held, self.throttle.again()),
            None => Next::Batch(self.size.rows()),
        })
    }

    /// A batch of so many rows was committed after this time. Answers how long to pause.
    #[must_use]
    pub fn took(&mut self, rows: usize, elapsed: Duration) -> Duration {
        self.size.took(rows, elapsed);
        let rest = if self.gentle { (elapsed * 2).max(REST) } else { Duration::ZERO };
        self.control.pause().max(rest)
    }

    /// A batch failed.
    pub fn failed(&mut self, error: &sqlx::Error) {
        if let Some(trouble) = sqlstate(error).and_then(|code| trouble(&code)) {
            self.size.shrink(trouble);
        }
    }

    /// Readings that cannot be taken.
    pub fn remarks(&self) -> impl Iterator<Item = &Remark> {
        self.throttle.remarks().iter()
    }
}

/// Lock timeout and deadlock; statement timeout and out of memory.
fn trouble(code: &str) -> Option<Trouble> {
    match code {
        "55P03" | "40P01" => Some(Trouble::LockWait),
        "57014" | "53200" => Some(Trouble::TooLarge),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::gentle_rows_per_second;

    #[test]
    fn a_gentle_pace_is_that_of_the_batches_and_the_rests_of_the_spec() {
        for (batch, rows) in [
            ("{}", Some(2000)),
            ("{max: 5}", Some(200)),
            ("{pause: 495ms}", Some(100)),
            ("{max: 1, pause: 1h}", Some(1)),
            ("{size: 1000}", None),
        ] {
            let spec =
                serde_yaml_ng::from_str(&format!("{{source: {{table: a}}, writes: [{{set: {{a: '1'}}}}], batch: {batch}}}")).unwrap();
            assert_eq!(gentle_rows_per_second(&spec), rows, "{batch}");
        }
    }
}
