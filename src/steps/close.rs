//! `close`: what is kept to take a run back with is released: its undo, or the database that a restore left.

use super::session::{Role, open};
use super::{StepContext, StepEnd, engine_ends};
use crate::engine::ledger::Ledger;
use crate::engine::undo::release_undo;
use crate::protocol::Outcome;
use crate::steps::restore::drop_old;

/// Deletes the run's undo rows. A step that is stopped on the way goes on with the rest at the next attempt.
pub async fn run(context: &StepContext) -> StepEnd {
    if let Some(old) = &context.input.old_database {
        return match drop_old(context, old).await {
            Ok(()) => StepEnd::bare(Outcome::Passed, "OldDatabaseDropped", format!("{old} is dropped")),
            Err(error) => StepEnd::bare(error.outcome(), error.reason(), error.to_string()),
        };
    }
    let ledger = Ledger::of(&context.input.spec.database.ledger_schema, &context.input.run);
    let released = async {
        let mut connection = open(context, Role::Main).await.map_err(|error| error.end())?;
        release_undo(&mut connection, &ledger).await.map_err(|error| engine_ends::undo(&error))
    };
    let released = tokio::select! {
        released = released => released,
        () = context.stop.cancelled() => return StepEnd::bare(Outcome::Stopped, "Stopped", "stopped; the rest is deleted by the next attempt"),
    };
    match released {
        Ok(rows) => StepEnd::bare(Outcome::Passed, "UndoReleased", format!("{rows} rows of the ledger are deleted")),
        Err(end) => end,
    }
}
