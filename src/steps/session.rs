//! From a step's context to its connection: the one place where steps read connection Secrets.

use super::{StepContext, StepEnd};
use crate::api::duration;
use crate::api::spec::{SecretKeys, TlsMode};
use crate::postgres::{ConnectError, ConnectOptions, Credentials, CredentialsError, connect, describe, is_connection_loss};
use crate::protocol::Outcome;
use sqlx::postgres::PgConnection;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// As whom a step connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `spec.database.secretRef`: the role that writes.
    Main,
    /// `spec.database.planSecretRef`, the role that can only SELECT; the role that writes where there is none.
    Plan,
    /// `spec.database.restoreSecretRef`: the role that may make databases; the role that writes where there is none.
    Restore,
}

/// All that is needed to connect, as often as the step likes.
#[derive(Clone, Debug)]
pub struct Session {
    /// Where, and as whom.
    pub credentials: Credentials,
    /// How.
    pub options: ConnectOptions,
    /// As whom.
    pub role: Role,
}

/// Why a step has no connection.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The Secret is no connection.
    #[error("{0}")]
    Credentials(#[from] CredentialsError),
    /// `VerifyFull` without a CA.
    #[error("spec.database.tls.mode is VerifyFull, but no CA is mounted: set spec.database.tls.caSecretRef to the Secret that holds it")]
    CaMissing,
    /// No connection.
    #[error("{0}")]
    Connect(#[from] ConnectError),
}

impl SessionError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Credentials(error) => error.reason(),
            Self::CaMissing => "CaMissing",
            Self::Connect(error) => error.reason(),
        }
    }

    /// The end of a step that found no connection: what may pass by itself is lost, what a person must change is stalled.
    #[must_use]
    pub fn end(&self) -> StepEnd {
        StepEnd::bare(self.outcome(), self.reason(), self.to_string())
    }

    /// How a step ends that found no connection.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Connect(error) if error.may_pass() => Outcome::Lost,
            Self::Connect(_) | Self::CaMissing | Self::Credentials(_) => Outcome::Stalled,
        }
    }
}

impl Session {
    /// Reads the Secret of the role.
    ///
    /// # Errors
    /// [`SessionError`] where the Secret is no connection.
    pub fn of(context: &StepContext, role: Role) -> Result<Self, SessionError> {
        let database = &context.input.spec.database;
        let paths = &context.paths;
        let (folder, keys): (&Path, Option<&SecretKeys>) = match (role, &database.plan_secret_ref) {
            (Role::Plan, Some(plan)) => (&paths.plan_database, plan.keys.as_ref()),
            (Role::Restore, _) if database.restore_secret_ref.is_some() => {
                (&paths.restore_database, database.restore_secret_ref.as_ref().and_then(|restore| restore.keys.as_ref()))
            }
            _ => (&paths.database, database.secret_ref.keys.as_ref()),
        };
        let credentials = Credentials::from_secret_dir(folder, keys)?;
        let ca = paths.ca.is_file().then(|| paths.ca.clone());
        let tls = match (&database.tls, &ca) {
            (Some(tls), _) => tls.mode,
            (None, Some(_)) => TlsMode::VerifyFull,
            (None, None) => TlsMode::Require,
        };
        if tls == TlsMode::VerifyFull && ca.is_none() {
            return Err(SessionError::CaMissing);
        }
        let run = &context.input.run;
        let options = ConnectOptions {
            tls,
            ca,
            statement_timeout: duration::parse(&database.statement_timeout).unwrap_or(Duration::from_mins(5)),
            application_name: format!("backfill/{}/{}/{}", run.namespace, run.name, context.input.step.slug()),
        };
        Ok(Self { credentials, options, role })
    }

    /// The same login, to another database of the server.
    #[must_use]
    pub fn to(&self, database: &str) -> Self {
        let mut session = self.clone();
        database.clone_into(&mut session.credentials.database);
        session
    }

    /// Connects. Transactions of [`Role::Plan`] are read-only, even where the role could write.
    ///
    /// # Errors
    /// [`SessionError::Connect`].
    pub async fn connect(&self) -> Result<PgConnection, SessionError> {
        let mut connection = connect(&self.credentials, &self.options).await?;
        if self.role == Role::Plan {
            let set = sqlx::raw_sql("SET default_transaction_read_only = on").execute(&mut connection).await;
            set.map_err(|error| ConnectError::SettingsRefused { detail: describe(&error) })?;
        }
        Ok(connection)
    }
}

/// Reads the Secret of the role and connects.
///
/// # Errors
/// [`SessionError`].
pub async fn open(context: &StepContext, role: Role) -> Result<PgConnection, SessionError> {
    Session::of(context, role)?.connect().await
}

/// The end of a step whose statement failed: lost with the connection, else stalled with the server's words as far
/// as they may be shown. `doing` completes "while …".
#[must_use]
pub fn statement_failed(error: &sqlx::Error, doing: &str) -> StepEnd {
    if is_connection_loss(error) {
        return StepEnd::bare(Outcome::Lost, "ConnectionLost", format!("while {doing}: {}", describe(error)));
    }
    StepEnd::bare(Outcome::Stalled, "StatementFailed", format!("while {doing}: {}", describe(error)))
}
