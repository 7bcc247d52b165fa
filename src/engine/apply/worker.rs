//! One worker with one pair of connections: reads ahead on one, writes on the other, until nothing is left or an error comes.

use super::batch::{self, Mode, Standing};
use super::context::Context;
use super::pace::{Next, Pace};
use super::read_ahead::{Ahead, Prepared, Refused, prepare, read_ahead};
use super::retry::Patience;
use super::unread::Unread;
use super::{ApplyError, ApplyOptions, Ending, Observer, drift, load};
use crate::engine::connector::Connector;
use crate::engine::ledger::{Claimer, State, Totals};
use crate::engine::lock_wait::give_way;
use crate::engine::throttle::Remark;
use sqlx::{Connection as _, PgConnection};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How often progress over all workers is asked.
const ASK_TOTALS: Duration = Duration::from_secs(1);
/// Rows that are read ahead while the throttle holds the first batch.
const READ_WHILE_HELD: usize = 100;

/// All of the work, or up to the first error.
pub(super) async fn work(
    connector: &impl Connector,
    options: ApplyOptions<'_>,
    claimer: &Claimer,
    pace: &mut Pace,
    observer: &mut impl Observer,
) -> Result<Ending, ApplyError> {
    let mut connection = connector.connect().await?;
    let epoch = options.ledger.begin(&mut connection, options.attempt).await?;
    pace.beside_writers(&mut connection, options.ledger).await?;
    drift::check_definitions(&mut connection, options).await?;
    let mut context = Context::new(&mut connection, options, claimer, epoch).await?;
    let (loaded, counted) = tokio::join!(load::load(&mut connection, options, epoch), drift::count_ahead(connector, options));
    loaded?;
    context.unread = Unread::of(&mut connection, &context, options).await?;
    let context = Arc::new(context);
    if let Some(ending) = drift::check(&mut connection, &context, options, counted).await? {
        return Ok(ending);
    }
    context.prepare(&mut connection).await?;
    give_way(&mut connection).await?;
    let written: Vec<i64> = context.model.writes.iter().map(|write| write.table.oid).collect();
    pace.writes(&written);
    let mut worker = Worker { context, options, pace, told: Instant::now(), standing: None, waits: None };
    worker.tell(&mut connection, observer).await?;
    let mut patience = Patience::new();
    loop {
        let ending = worker.write_all(connector, &mut connection, observer).await?;
        let totals = worker.tell(&mut connection, observer).await?;
        if ending.is_some() || totals.open == 0 {
            if totals.open == 0 {
                worker.finish(&mut connection, epoch).await?;
            }
            // Only a courtesy: all is committed.
            let _ = connection.close().await;
            return Ok(if totals.open == 0 { Ending::Done } else { ending.unwrap_or(Ending::Stopped) });
        }
        // What is left is in other workers' hands; one of them may die.
        tokio::select! {
            () = tokio::time::sleep(patience.pause()) => {}
            () = options.stop.cancelled() => return Ok(Ending::Stopped),
        }
    }
}

/// Whether the next batch may be written.
enum Leave {
    /// It may; so many rows are read for the one after it.
    Batch(usize),
    /// None may.
    Ending(Ending),
}

struct Worker<'a> {
    context: Arc<Context>,
    options: ApplyOptions<'a>,
    pace: &'a mut Pace,
    told: Instant,
    /// Number of the range in hand, and where it stands.
    standing: Option<(i64, Standing)>,
    /// Whether a COMMIT waits for the disk, once that was said.
    waits: Option<bool>,
}

impl Worker<'_> {
    /// Writes what can be claimed; `None` where that is all.
    async fn write_all(
        &mut self,
        connector: &impl Connector,
        connection: &mut PgConnection,
        observer: &mut impl Observer,
    ) -> Result<Option<Ending>, ApplyError> {
        let first = match self.pace.next(connection).await? {
            Next::Suspended => return Ok(Some(Ending::Suspended)),
            Next::Batch(rows) => rows,
            Next::Wait(..) => READ_WHILE_HELD,
        };
        let size = Arc::new(AtomicUsize::new(first));
        let (sender, mut receiver) = mpsc::channel(1);
        let reader = connector.connect().await?;
        let reading = tokio::spawn(read_ahead(reader, Arc::clone(&self.context), Arc::clone(&size), sender));
        let ending = self.write_each(connection, &mut receiver, &size, observer).await;
        // Dropping the receiver ends the reader at its next batch; its claim on a range is given up with this process.
        drop(receiver);
        reading.abort();
        let _ = reading.await;
        ending
    }

    async fn write_each(
        &mut self,
        connection: &mut PgConnection,
        receiver: &mut mpsc::Receiver<Result<Ahead, ApplyError>>,
        size: &AtomicUsize,
        observer: &mut impl Observer,
    ) -> Result<Option<Ending>, ApplyError> {
        loop {
            let ahead = tokio::select! {
                ahead = receiver.recv() => ahead,
                () = self.options.stop.cancelled() => return Ok(Some(Ending::Stopped)),
            };
            let Some(ahead) = ahead.transpose()? else { return Ok(None) };
            match self.wait_for_leave(connection, observer).await? {
                Leave::Ending(ending) => return Ok(Some(ending)),
                Leave::Batch(rows) => size.store(rows, Ordering::Relaxed),
            }
            observer.gentle(self.pace.is_gentle());
            self.commits_wait(connection, self.pace.is_gentle()).await?;
            let (rows, begun) = (ahead.len(), Instant::now());
            let unread = self.write_ahead(connection, ahead).await?;
            observer.written(unread);
            let pause = self.pace.took(rows, begun.elapsed());
            if self.told.elapsed() >= ASK_TOTALS || self.options.tell_each_batch {
                self.tell(connection, observer).await?;
            }
            if !pause.is_zero() {
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = self.options.stop.cancelled() => {}
                }
            }
        }
    }

    /// Waits while the throttle holds the worker; answers how many rows to read for the batch after the next.
    async fn wait_for_leave(&mut self, connection: &mut PgConnection, observer: &mut impl Observer) -> Result<Leave, ApplyError> {
        loop {
            if self.options.stop.is_cancelled() {
                return Ok(Leave::Ending(Ending::Stopped));
            }
            let next = self.pace.next(connection).await?;
            let remarks: Vec<&Remark> = self.pace.remarks().collect();
            match next {
                Next::Suspended => return Ok(Leave::Ending(Ending::Suspended)),
                Next::Batch(rows) => {
                    observer.throttled(None, &remarks);
                    return Ok(Leave::Batch(rows));
                }
                Next::Wait(held, again) => {
                    observer.throttled(Some(&held), &remarks);
                    self.context.ledger.touch_ranges(connection, &self.context.claimer).await?;
                    tokio::select! {
                        () = tokio::time::sleep(again) => {}
                        () = self.options.stop.cancelled() => {}
                    }
                }
            }
        }
    }

    /// Whether the COMMIT of a batch waits for the disk (and for synchronous standbys). A batch that a crash of the server takes
    /// away is taken away whole, cursor and all, and the last COMMIT of the run waits for all before it. Beside others each
    /// one waits: else they would wait for the log of many of ours at once.
    async fn commits_wait(&mut self, connection: &mut PgConnection, wait: bool) -> Result<(), sqlx::Error> {
        if self.waits != Some(wait) {
            let sql = if wait { "RESET synchronous_commit" } else { "SET synchronous_commit = off" };
            sqlx::query(sql).persistent(false).execute(connection).await?;
            self.waits = Some(wait);
        }
        Ok(())
    }

    /// Writes what comes next; answers whether it was written unread. A range that cannot be is read now.
    async fn write_ahead(&mut self, connection: &mut PgConnection, ahead: Ahead) -> Result<bool, ApplyError> {
        let prepared = match ahead {
            Ahead::Read(prepared) => prepared,
            Ahead::Unread(range) => {
                let context = Arc::clone(&self.context);
                if let Some(unread) = &context.unread {
                    match batch::write_unread(connection, &context, unread, &range).await {
                        Ok(true) => return Ok(true),
                        Ok(false) => {}
                        Err(error) if error.may_be_of_one_row() => {}
                        Err(error) => return Err(error),
                    }
                }
                let places = (0..range.rows.len()).collect();
                prepare(connection, &context, &range, places).await?
            }
        };
        self.write_prepared(connection, prepared).await?;
        Ok(false)
    }

    /// Writes a batch. One that a row holds up is written in halves, until that row stands alone.
    async fn write_prepared(&mut self, connection: &mut PgConnection, prepared: Prepared) -> Result<(), ApplyError> {
        let range = Arc::clone(&prepared.range);
        let mut standing = match self.standing.take() {
            Some((number, standing)) if number == range.number => standing,
            _ => Standing { batches: range.batches, digest: range.written_digest.clone() },
        };
        let mut pieces = VecDeque::from([(prepared, Mode::AsRead)]);
        while let Some((mut piece, mode)) = pieces.pop_front() {
            match batch::write(connection, &self.context, &piece, &mut standing, self.options.spec, mode).await {
                Ok(()) => {}
                Err(ApplyError::Interleaved) if mode == Mode::AsRead => pieces.push_front((piece, Mode::Locked)),
                Err(error) if piece.places.len() > 1 && error.may_be_of_one_row() => {
                    let (first, second) = piece.halves();
                    pieces.push_front((second, Mode::Locked));
                    pieces.push_front((first, Mode::Locked));
                }
                Err(error) => match (error.database().and_then(Refused::of), piece.places.first().copied()) {
                    (Some(why), Some(place)) if piece.refused.is_empty() => {
                        piece.refused.insert(place, why);
                        pieces.push_front((piece, mode));
                    }
                    _ => return Err(error),
                },
            }
        }
        self.standing = Some((range.number, standing));
        Ok(())
    }

    /// Says how far all workers are together.
    async fn tell(&mut self, connection: &mut PgConnection, observer: &mut impl Observer) -> Result<Totals, ApplyError> {
        self.told = Instant::now();
        let totals = self.context.ledger.totals(connection).await?;
        observer.progress(totals.handled, totals.planned);
        Ok(totals)
    }

    /// Every range is done.
    async fn finish(&mut self, connection: &mut PgConnection, epoch: i64) -> Result<(), ApplyError> {
        self.commits_wait(connection, true).await?;
        let mut transaction = connection.begin().await?;
        self.context.ledger.fence(&mut transaction, epoch).await?;
        self.context.ledger.set_state(&mut transaction, State::Applied).await?;
        transaction.commit().await?;
        Ok(())
    }
}
