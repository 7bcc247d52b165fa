//! Reads the answers to the plan's question through a cursor, in chunks that are assessed side by side and come out in order.

use super::PlanError;
use super::assess::{Assessed, Assessor, assess, is_of};
use crate::engine::row;
use futures::{StreamExt as _, TryStreamExt as _};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use std::sync::Arc;
use tokio::sync::mpsc;

/// Rows a FETCH: many, so that the server is seldom asked; they are read as they come.
const FETCH: usize = 10_000;
/// A chunk has so many rows, unless they weigh more than that.
const CHUNK_ROWS: usize = 1000;
const CHUNK_BYTES: usize = 2 << 20;
/// Chunks that are assessed at the same time: one for each core of a small worker.
const SIDE_BY_SIDE: usize = 2;

/// Reads and assesses all rows; `take` gets the chunks in key order.
pub(super) async fn read(
    connection: &mut PgConnection,
    with: Arc<Assessor>,
    mut take: impl FnMut(Vec<Assessed>) -> Result<(), PlanError>,
) -> Result<(), PlanError> {
    let (sender, mut receiver) = mpsc::channel::<Vec<PgRow>>(1);
    let reading = chunks(connection, &with, sender);
    let assessing = futures::stream::poll_fn(move |context| receiver.poll_recv(context))
        .map(|rows| {
            let with = Arc::clone(&with);
            tokio::task::spawn_blocking(move || assess(&with, &rows))
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

/// Sends the rows on, cut where the source row changes.
async fn chunks(connection: &mut PgConnection, with: &Arc<Assessor>, sender: mpsc::Sender<Vec<PgRow>>) -> Result<(), PlanError> {
    let declare = format!("DECLARE backfill_rows NO SCROLL CURSOR FOR {}", with.question.sql);
    sqlx::query(AssertSqlSafe(declare)).persistent(false).execute(&mut *connection).await?;
    let fetch = format!("FETCH FORWARD {FETCH} FROM backfill_rows");
    let (mut chunk, mut bytes) = (Vec::new(), 0);
    loop {
        let mut fetched = 0;
        let mut rows = sqlx::query(AssertSqlSafe(fetch.clone())).persistent(false).fetch(&mut *connection);
        while let Some(row) = rows.try_next().await? {
            fetched += 1;
            let full = chunk.len() >= CHUNK_ROWS || bytes >= CHUNK_BYTES;
            if full && !continues(&chunk, &row, with)? {
                if sender.send(std::mem::take(&mut chunk)).await.is_err() {
                    return Ok(());
                }
                bytes = 0;
            }
            bytes += weight(&row)?;
            chunk.push(row);
        }
        if fetched < FETCH {
            break;
        }
    }
    if !chunk.is_empty() {
        let _ = sender.send(chunk).await;
    }
    Ok(())
}

/// True where the row is of the same source row as the last one of the chunk.
fn continues(chunk: &[PgRow], row: &PgRow, with: &Assessor) -> Result<bool, sqlx::Error> {
    let Some(last) = chunk.last() else { return Ok(false) };
    is_of(row, &with.question, &row::texts(last, &with.question.key)?)
}

fn weight(row: &PgRow) -> Result<usize, sqlx::Error> {
    (0..row.len()).map(|at| Ok(row.try_get_raw(at)?.as_bytes().map_or(0, <[u8]>::len))).sum()
}
