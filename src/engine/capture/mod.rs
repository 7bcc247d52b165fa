//! Capture: the rows that a script changes, recorded by triggers, so that undo can put them back one by one.
//!
//! `arm` puts the triggers on, `settle` says that the script writes no more, looks whether all that it did was seen, and turns
//! what was recorded into the ledger's undo; `disarm` takes the triggers away. Called by the steps `capture`, `verify`, `undo` and
//! `loss-account`. The triggers are on the tables for the time of the script only, and record its own sessions alone.

mod arm;
mod disarm;
mod error;
mod pack;
mod segments;
mod settle;
mod statements;
mod table;

pub use arm::{Mark, arm};
pub use disarm::{disarm, sweep};
pub use error::CaptureError;
pub(in crate::engine) use pack::BY_TRIGGERS;
pub use settle::{Account, TableAccount, settle};
pub use table::{CapturedTable, check_role, find};

/// The setting by which the script's sessions are known.
pub const SETTING: &str = "backfill.run";

/// What `PGOPTIONS` says for the script of a run.
#[must_use]
pub fn options(run_uid: &str) -> String {
    format!("-c {SETTING}={run_uid}")
}
