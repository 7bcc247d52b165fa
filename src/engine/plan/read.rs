//! Reads the answers to the plan's question as one stream, in chunks that are assessed side by side and come out in order.

use super::PlanError;
use super::answers::{self, Answers};
use super::assess::{Assessed, Assessor, assess};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use sqlx::{AssertSqlSafe, PgConnection};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Chunks that are assessed at the same time: one for each core of a small worker.
const SIDE_BY_SIDE: usize = 2;
/// Buffers that are there at the same time: one is filled, one waits.
const BUFFERS: usize = SIDE_BY_SIDE + 2;

/// Reads and assesses all rows; `take` gets the chunks in key order.
pub(super) async fn read(
    connection: &mut PgConnection,
    with: Arc<Assessor>,
    mut take: impl FnMut(Assessed) -> Result<(), PlanError>,
) -> Result<(), PlanError> {
    let (sender, mut receiver) = mpsc::channel::<Answers>(1);
    let (spent, unspent) = mpsc::channel::<Answers>(BUFFERS);
    let reading = chunks(connection, &with, sender, unspent);
    let assessing = futures::stream::poll_fn(move |context| receiver.poll_recv(context))
        .map(|answers| {
            let (with, spent) = (Arc::clone(&with), spent.clone());
            tokio::task::spawn_blocking(move || {
                let assessed = assess(&with, &answers);
                // Where there is no room for one more buffer, or nobody who reads, it is not needed.
                answers.emptied().and_then(|buffer| spent.try_send(buffer).ok());
                assessed
            })
        })
        .buffered(SIDE_BY_SIDE);
    let taking = async {
        let mut assessing = std::pin::pin!(assessing);
        while let Some(assessed) = assessing.next().await {
            take(assessed.map_err(|_| PlanError::Stopped)??)?;
        }
        Ok::<(), PlanError>(())
    };
    // The taker's error counts: where it ends early the reader only finds that nobody listens.
    let (read, taken) = tokio::join!(reading, taking);
    taken.and(read)
}

/// Sends the answers on, cut where the source row changes. The whole answer is one statement, however long it takes: the
/// session's statement timeout bounds the wait for each chunk instead.
async fn chunks(
    connection: &mut PgConnection,
    with: &Arc<Assessor>,
    sender: mpsc::Sender<Answers>,
    mut spent: mpsc::Receiver<Answers>,
) -> Result<(), PlanError> {
    let timeout = "SELECT setting::int8 FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'";
    let millis: i64 = sqlx::query_scalar(timeout).persistent(false).fetch_one(&mut *connection).await?;
    let patience = u64::try_from(millis).ok().filter(|millis| *millis > 0).map(Duration::from_millis);
    sqlx::query("SET LOCAL statement_timeout = 0").persistent(false).execute(&mut *connection).await?;
    // A comment at the end of the question must not take the parenthesis with it.
    let copy = format!("COPY (\n{}\n) TO STDOUT (FORMAT binary)", with.question.sql);
    let messages = within(patience, async { Ok(connection.copy_out_raw(&copy).await?) }).await?;
    let mut reading = Reading { messages, begun: false, next: None };
    loop {
        let mut answers = spent.try_recv().unwrap_or_default();
        let more = within(patience, reading.fill(&mut answers, &with.question.key)).await?;
        if answers.len() > 0 && sender.send(answers).await.is_err() {
            return Ok(());
        }
        if !more {
            break;
        }
    }
    drop(reading);
    let again = format!("SET LOCAL statement_timeout = {millis}");
    sqlx::query(AssertSqlSafe(again)).persistent(false).execute(&mut *connection).await?;
    Ok(())
}

/// Waits no longer than that.
async fn within<T>(patience: Option<Duration>, wait: impl Future<Output = Result<T, PlanError>>) -> Result<T, PlanError> {
    let Some(patience) = patience else { return wait.await };
    tokio::time::timeout(patience, wait).await.unwrap_or(Err(PlanError::TooSlow { patience }))
}

/// A copy that is being read: each message is a row.
struct Reading<M, B> {
    messages: M,
    begun: bool,
    /// A row that was read, and belongs to the next chunk.
    next: Option<B>,
}

impl<M, B> Reading<M, B>
where
    M: Stream<Item = Result<B, sqlx::Error>> + Unpin,
    B: AsRef<[u8]>,
{
    /// Fills a chunk; false at the end.
    async fn fill(&mut self, answers: &mut Answers, key: &Range<usize>) -> Result<bool, PlanError> {
        if let Some(message) = self.next.take() {
            answers.add(message.as_ref())?;
        }
        while let Some(message) = self.messages.try_next().await? {
            if !self.begun {
                self.begun = true;
                let first = answers::without_header(message.as_ref())?;
                if !answers::is_end(first) {
                    answers.add(first)?;
                }
                continue;
            }
            if answers::is_end(message.as_ref()) {
                continue;
            }
            let full = answers.is_full();
            answers.add(message.as_ref())?;
            if full && !answers.last_continues(key) {
                answers.forget_last();
                self.next = Some(message);
                return Ok(true);
            }
        }
        Ok(false)
    }
}
