//! The step `preflight`: everything that can be known to stand in the way is found before anything begins.
//!
//! A check is a file here and answers by writing into [`Findings`]. What a person must set right stalls the step; what
//! is measured and bad fails it; what cannot be measured is shown to the approver. All checks are made that can be, so
//! that a person sees them together.

mod activity;
mod backfill;
mod capture;
mod environment;
mod findings;
mod pooler;
mod rights;
mod space;
mod throttle;
mod ways_back;

use super::session::{Role, Session, SessionError};
use super::{StepContext, StepEnd, run_tables};
use crate::api::Phase;
use crate::api::spec::Scope;
use crate::api::status::DatabaseStatus;
use crate::engine::ledger::already_applied;
use crate::engine::sql::CheckQuery;
use crate::engine::verify::run_check;
use crate::postgres::{ConnectError, ServerFacts, database_id, describe, facts, is_connection_loss};
use crate::protocol::{Outcome, PreflightReport};
use findings::Findings;
use sqlx::postgres::PgConnection;

/// Below this the server lacks what plan and fence rely on (`client_connection_check_interval`, `pg_read_all_data`).
const OLDEST_MAJOR: i32 = 14;

/// Why the checks could not all be made.
enum Cut {
    /// What is found so far says why.
    Found,
    /// The connection gave way.
    Lost(String),
}

impl From<sqlx::Error> for Cut {
    fn from(error: sqlx::Error) -> Self {
        Self::Lost(describe(&error))
    }
}

/// Makes all checks.
pub async fn run(context: &StepContext) -> StepEnd {
    let mut report = PreflightReport::default();
    let mut findings = Findings::default();
    let checked = tokio::select! {
        checked = check(context, &mut findings, &mut report) => checked,
        () = context.stop.cancelled() => return StepEnd::bare(Outcome::Stopped, "Stopped", "stopped; nothing was changed"),
    };
    if let Err(Cut::Lost(detail)) = checked {
        return StepEnd::bare(Outcome::Lost, "ConnectionLost", format!("the checks were cut short: {detail}"));
    }
    findings.end(report)
}

async fn check(context: &StepContext, findings: &mut Findings, report: &mut PreflightReport) -> Result<(), Cut> {
    // What needs no database is told even where there is none.
    let store = space::destination(context, findings).await;
    let (main, mut connection) = connected(context, Role::Main, "connection", findings).await?;
    let (plan, mut reader) = connected(context, Role::Plan, "plan-connection", findings).await?;
    pooler::check(&main, &mut connection, findings).await?;
    pooler::check(&plan, &mut reader, findings).await?;
    let server = server(&mut connection, findings, report).await?;
    space::client(context, server.major(), findings).await;
    same_database(context, &server, report, &mut reader, &plan, findings).await?;
    environment::check(context, &main.credentials, findings);
    backfill::check(context, &mut reader, &mut connection, findings).await?;
    capture::check(context, &mut connection, findings).await?;
    rights::check(context, &mut connection, &server.role, findings).await?;
    report.dump_estimate_bytes = dump_estimate(context, &mut connection).await?;
    if let Some(store) = &store {
        space::free(context, store, report.dump_estimate_bytes, findings);
    }
    activity::check(&mut reader, findings).await?;
    throttle::check(context, &mut connection, findings).await?;
    if let Some(preflight) = &context.input.spec.preflight {
        for wanted in &preflight.checks {
            if let Err(error) = CheckQuery::parse(&wanted.sql) {
                findings.stalled(&wanted.name, "CheckRefused", format!("spec.preflight.checks: {error}"));
                continue;
            }
            findings.add(run_check(&mut reader, Phase::Preflight, &wanted.name, &wanted.sql, &wanted.expect).await?);
        }
    }
    // The view of the written rows is not there yet, so they cannot be tried; but a slip in their grammar must not be
    // found out when the rows are written.
    for wanted in &context.input.spec.verify {
        if let Some(Err(error)) = wanted.sql.as_deref().map(CheckQuery::parse) {
            findings.stalled(&wanted.name, "CheckRefused", format!("spec.verify: {error}"));
        }
    }
    report.way_back = ways_back::check(context, &mut connection, findings).await?;
    let (schema, input) = (&context.input.spec.database.ledger_schema, &context.input);
    let applied = already_applied(&mut connection, schema, &input.run, &input.spec_hash).await;
    report.already_applied = applied.map_err(|error| Cut::Lost(error.to_string()))?.is_some();
    Ok(())
}

/// Of scope `Tables`: of those. What a missing table is, another check says.
async fn dump_estimate(context: &StepContext, connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let spec = &context.input.spec;
    let tables = match spec.backup.scope {
        Scope::Tables => Some(run_tables::resolve_written(connection, spec).await?.unwrap_or_default()),
        Scope::Database => None,
    };
    run_tables::dump_estimate(connection, tables.as_deref()).await
}

/// The first contact: a server that cannot be reached at all is a matter of the spec, not of patience.
async fn connected(context: &StepContext, role: Role, name: &str, findings: &mut Findings) -> Result<(Session, PgConnection), Cut> {
    let tried = async {
        let session = Session::of(context, role)?;
        let connection = session.connect().await?;
        Ok::<_, SessionError>((session, connection))
    };
    match tried.await {
        Ok((session, connection)) => {
            if role == Role::Main || context.input.spec.database.plan_secret_ref.is_some() {
                findings.passed(name, format!("connected as {}", session.credentials.username));
            }
            Ok((session, connection))
        }
        Err(SessionError::Connect(ConnectError::ServerNotReady { detail })) => Err(Cut::Lost(detail)),
        Err(error) => {
            findings.stalled(name, error.reason(), error.to_string());
            Err(Cut::Found)
        }
    }
}

async fn server(connection: &mut PgConnection, findings: &mut Findings, report: &mut PreflightReport) -> Result<ServerFacts, Cut> {
    let server = facts(connection).await?;
    report.database = DatabaseStatus {
        id: database_id(connection, &server).await?,
        name: server.database.clone(),
        server_version: server.version.clone(),
        size_bytes: server.size_bytes,
    };
    if server.major() < OLDEST_MAJOR {
        let message = format!("the server is PostgreSQL {}; runs need {OLDEST_MAJOR} or newer: upgrade it", server.version);
        findings.stalled("server-version", "ServerTooOld", message);
    } else if server.standby {
        findings.stalled(
            "server-version",
            "ServerIsStandby",
            "the host is a standby, which takes no writes: set the Secret's host to the primary",
        );
    } else {
        findings.passed("server-version", format!("PostgreSQL {}", server.version));
    }
    Ok(server)
}

/// Planning on one database and writing to another would be the worst of mix-ups.
async fn same_database(
    context: &StepContext,
    server: &ServerFacts,
    report: &PreflightReport,
    reader: &mut PgConnection,
    plan: &Session,
    findings: &mut Findings,
) -> Result<(), Cut> {
    if context.input.spec.database.plan_secret_ref.is_none() {
        return Ok(());
    }
    let other = facts(reader).await?;
    let identifier = database_id(reader, &other).await?;
    if identifier != report.database.id {
        let message = format!(
            "planSecretRef leads to another database ({} at {}) than secretRef ({}): both must name the same one",
            other.database, plan.credentials.host, server.database
        );
        findings.stalled("plan-connection", "PlanRoleElsewhere", message);
        return Err(Cut::Found);
    }
    Ok(())
}

/// A check whose own statement failed could not be made; a lost connection ends all.
fn unmeasured(error: &sqlx::Error, name: &str, findings: &mut Findings) -> Result<(), Cut> {
    if is_connection_loss(error) {
        return Err(Cut::Lost(describe(error)));
    }
    findings.inconclusive(name, describe(error));
    Ok(())
}
