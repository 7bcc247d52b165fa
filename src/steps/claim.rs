//! `claim`: the database is ours, or whose it is.

use super::session::{Role, open};
use super::{StepContext, StepEnd, engine_ends, moments};
use crate::engine::apply::ApplyError;
use crate::engine::capture;
use crate::engine::definition;
use crate::engine::ledger::{self, Claimed, Ledger, LedgerError};
use crate::protocol::{ClaimReport, Outcome, StepReport};

/// Makes the ledger where it is missing, and claims the database.
pub async fn run(context: &StepContext) -> StepEnd {
    let mut connection = match open(context, Role::Main).await {
        Ok(connection) => connection,
        Err(error) => return error.end(),
    };
    match claim(context, &mut connection).await {
        Ok(Claimed::Ours) => {
            // Before the team's migrations, which are the run's own change of the schema. (A run that goes back has no plan to keep.)
            let planned = context.input.plan.iter().flat_map(|plan| plan.definitions.clone()).collect::<Vec<_>>();
            match definition::changed(&mut connection, &planned).await {
                Ok(changed) if changed.is_empty() => {
                    let report = StepReport::Claim(ClaimReport { held_by: None });
                    StepEnd::reported(Outcome::Passed, "Claimed", "the database is claimed by this run", report)
                }
                Ok(tables) => engine_ends::apply(&ApplyError::SchemaChanged { tables }),
                Err(error) => engine_ends::database(&error),
            }
        }
        Ok(Claimed::HeldBy(holder)) => {
            let message = format!("the database is in the hands of the run {}/{}; this one waits", holder.namespace, holder.name);
            let report = StepReport::Claim(ClaimReport { held_by: Some(holder) });
            // Nothing was measured against us: the controller waits, and asks again.
            StepEnd::reported(Outcome::Inconclusive, "DatabaseBusy", message, report)
        }
        Err(error) => engine_ends::ledger(&error),
    }
}

async fn claim(context: &StepContext, connection: &mut sqlx::PgConnection) -> Result<Claimed, LedgerError> {
    let input = &context.input;
    let schema = &input.spec.database.ledger_schema;
    ledger::ensure(connection, schema).await?;
    let claimed = ledger::claim(connection, schema, &input.run, &input.spec_hash, input.take_over_from.as_deref()).await?;
    if claimed == Claimed::Ours {
        moments::claimed(connection, schema, &input.run.uid).await?;
        sweep(context, connection).await;
    }
    Ok(claimed)
}

/// A run before this one may have been given up with its triggers on. They record nothing and hold nobody up, so that a table that
/// is not to be had just now is left to the next run.
async fn sweep(context: &StepContext, connection: &mut sqlx::PgConnection) {
    let ledger = Ledger::of(&context.input.spec.database.ledger_schema, &context.input.run);
    match capture::sweep(connection, &ledger).await {
        Ok(Some(run)) => tracing::info!(run, "triggers that an earlier run left on its tables are taken off"),
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "triggers of an earlier run stay on its tables"),
    }
}
