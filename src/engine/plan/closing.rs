//! Ends ranges on a thread of its own: their digest and their line of the plan file cost as much as reading their rows.

use super::digest::RowsDigest;
use super::file::{PlanFile, PlanFileError};
use super::range::PlannedRange;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Ranges that may wait for their end: more would only lie in memory.
const WAITING: usize = 2;

/// A range whose rows are complete, and the hash of each of its writes.
struct Ended {
    range: PlannedRange,
    hashes: Vec<blake3::Hash>,
}

/// The thread, and the way to it.
#[derive(Debug)]
pub(super) struct Closing {
    sender: SyncSender<Ended>,
    thread: JoinHandle<Result<(PlanFile, RowsDigest), PlanFileError>>,
}

impl Closing {
    /// Begins: ranges go into this file.
    pub(super) fn begin(mut file: PlanFile) -> Self {
        let (sender, receiver) = sync_channel::<Ended>(WAITING);
        let thread = std::thread::spawn(move || {
            let mut all = RowsDigest::default();
            for Ended { mut range, hashes } in receiver {
                for hash in &hashes {
                    range.digest.add(hash);
                }
                all.merge(&range.digest);
                file.add(&range)?;
            }
            Ok((file, all))
        });
        Self { sender, thread }
    }

    /// Hands a range over. False where the file takes no more: [`Closing::finish`] says why.
    #[must_use]
    pub(super) fn end(&self, range: PlannedRange, hashes: Vec<blake3::Hash>) -> bool {
        self.sender.send(Ended { range, hashes }).is_ok()
    }

    /// Waits for the last range; answers the file and the digest over all writes.
    ///
    /// # Errors
    /// [`PlanFileError`] of any range.
    pub(super) fn finish(self) -> Result<(PlanFile, RowsDigest), PlanFileError> {
        drop(self.sender);
        match self.thread.join() {
            Ok(end) => end,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}
