//! Reads ahead: claims ranges, asks what would be written for their rows, and compares that with the plan, on a connection
//! of its own, while the batch before is written.

use super::ApplyError;
use super::context::Context;
use crate::engine::ledger::ClaimedRange;
use crate::engine::plan::RowsDigest;
use crate::engine::row::{Judged, Key, RowError, show};
use crate::postgres::{describe, sqlstate};
use sqlx::PgConnection;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::mpsc;

/// What is written next.
#[derive(Debug)]
pub(super) enum Ahead {
    /// A whole range, unread.
    Unread(Arc<ClaimedRange>),
    /// Rows that were read.
    Read(Prepared),
}

impl Ahead {
    /// Source rows.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Unread(range) => range.rows.len(),
            Self::Read(prepared) => prepared.places.len(),
        }
    }
}

/// Rows that make one batch, judged.
#[derive(Debug)]
pub(super) struct Prepared {
    /// Their range.
    pub(super) range: Arc<ClaimedRange>,
    /// Places of the rows in it.
    pub(super) places: Vec<usize>,
    /// What would be written, by place.
    pub(super) judged: BTreeMap<i32, Judged>,
    /// Rows whose expressions fail, by place.
    pub(super) refused: BTreeMap<usize, Refused>,
    /// Digest over all rows that are as planned: made here, beside the writer's work. None in a piece of a batch.
    pub(super) digest: Option<RowsDigest>,
}

/// What the database said of a row that it refuses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// PostgreSQL's error code.
    pub(super) sqlstate: String,
    /// Its words, without values.
    pub(super) message: String,
}

impl Refused {
    /// Errors that a row's values cause: of the data (22), of constraints (23) and views' checks (44), of limits that a value
    /// exceeds (54000: too long for an index), and those that triggers raise (P0).
    pub(super) fn of(error: &sqlx::Error) -> Option<Self> {
        let sqlstate = sqlstate(error)?;
        let by_data = ["22", "23", "44", "54000", "P0"].iter().any(|class| sqlstate.starts_with(class));
        by_data.then(|| Self { sqlstate, message: describe(error) })
    }
}

/// Sends batches until no range can be claimed. `size` is read before each one.
pub(super) async fn read_ahead(
    mut connection: PgConnection,
    context: Arc<Context>,
    size: Arc<AtomicUsize>,
    sender: mpsc::Sender<Result<Ahead, ApplyError>>,
) {
    loop {
        let range = match context.ledger.claim_range(&mut connection, &context.claimer).await {
            Ok(Some(range)) => Arc::new(range),
            Ok(None) => return,
            Err(error) => {
                let _ = sender.send(Err(error.into())).await;
                return;
            }
        };
        let mut next = range.cursor;
        while next < range.rows.len() {
            // Read once there is room for it, and not before: rows that wait lie in memory.
            let Ok(room) = sender.reserve().await else { return };
            let size = size.load(Ordering::Relaxed);
            if next == 0 && context.unread.as_ref().is_some_and(|unread| unread.suits(&range, size)) {
                room.send(Ok(Ahead::Unread(Arc::clone(&range))));
                break;
            }
            let places = places(&range, next, size);
            next = places.last().map_or(range.rows.len(), |last| last + 1);
            let prepared = prepare(&mut connection, &context, &range, places).await;
            let failed = prepared.is_err();
            room.send(prepared.map(Ahead::Read));
            if failed {
                return;
            }
        }
    }
}

/// The next places: so many that no more than `size` target rows are written, but at least one.
fn places(range: &ClaimedRange, first: usize, size: usize) -> Vec<usize> {
    let mut writes = 0;
    let weight = |place: usize| range.rows.weights.get(place).map_or(1, |weight| usize::try_from(*weight).unwrap_or(1));
    (first..range.rows.len())
        .take_while(|place| {
            writes += weight(*place);
            writes <= size || *place == first
        })
        .collect()
}

/// Reads and judges the rows of a batch.
pub(super) async fn prepare(
    connection: &mut PgConnection,
    context: &Context,
    range: &Arc<ClaimedRange>,
    places: Vec<usize>,
) -> Result<Prepared, ApplyError> {
    let (mut judged, mut refused) = (BTreeMap::new(), BTreeMap::new());
    let mut pieces = vec![places.clone()];
    // A row whose values an expression does not take is found by halves.
    while let Some(piece) = pieces.pop() {
        let keys = Context::keys(&range.rows.keys, &piece);
        match context.judge(connection, &context.question, &keys, &range.rows.redact).await {
            Ok(answers) => judged.extend(answers),
            Err(error) => {
                let why = match &error {
                    RowError::Database(said) => Some(Refused::of(said).ok_or(error)?),
                    // What was found unique at plan is not any more: the row drifted, and its judgement would be none.
                    RowError::NotUnique(_) | RowError::InsertConflict { .. } | RowError::Referred { .. } => None,
                    _ => return Err(error.into()),
                };
                match (piece.as_slice(), why) {
                    ([place], Some(why)) => {
                        refused.insert(*place, why);
                    }
                    ([_], None) => {}
                    (rows, _) => {
                        let (first, second) = rows.split_at(rows.len() / 2);
                        pieces.extend([first.to_vec(), second.to_vec()]);
                    }
                }
            }
        }
    }
    let mut digest = RowsDigest::default();
    for (place, row) in &judged {
        let fingerprint = usize::try_from(*place).ok().and_then(|place| range.rows.fingerprints.get(place));
        for change in Context::as_planned(fingerprint, Some(row)).into_iter().flatten() {
            digest.add(change);
        }
    }
    Ok(Prepared { range: Arc::clone(range), places, judged, refused, digest: Some(digest) })
}

impl Prepared {
    /// The key of a source row.
    pub(super) fn key(&self, context: &Context, place: usize) -> Key {
        self.range.rows.key(place, context.model.source.key.len())
    }

    /// Keys for people.
    pub(super) fn show(&self, context: &Context, place: usize) -> String {
        show(&self.key(context, place))
    }

    /// Two halves, in order.
    pub(super) fn halves(mut self) -> (Self, Self) {
        let second = self.places.split_off(self.places.len() / 2);
        let first_of_second = second.first().copied().unwrap_or(usize::MAX);
        let judged = self.judged.split_off(&i32::try_from(first_of_second).unwrap_or(i32::MAX));
        let refused = self.refused.split_off(&first_of_second);
        self.digest = None;
        let second = Self { range: Arc::clone(&self.range), places: second, judged, refused, digest: None };
        (self, second)
    }
}
