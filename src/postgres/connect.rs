//! One connection, encrypted as asked, with settings that no server or role default can change.

use super::credentials::Credentials;
use super::failure::{describe, sqlstate};
use crate::api::spec::TlsMode;
use secrecy::ExposeSecret as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// A server that accepts connections answers well within this; TLS and SCRAM on a busy one, too.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// PostgreSQL cuts longer names.
const APPLICATION_NAME_MAX: usize = 63;

/// How to connect.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Encryption.
    pub tls: TlsMode,
    /// The CA's certificate in PEM; `VerifyFull` needs it.
    pub ca: Option<PathBuf>,
    /// The longest that one statement may take; zero: no limit.
    pub statement_timeout: Duration,
    /// Shown in `pg_stat_activity`: `backfill/NAMESPACE/NAME/STEP`.
    pub application_name: String,
}

/// Why there is no connection. No message shows a password or a URI.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// Wrong role or password, or no rule in `pg_hba.conf`.
    #[error("the server refused the login: {detail}. Check role and password in the Secret, and pg_hba.conf of the server")]
    AuthenticationFailed {
        /// The server's words.
        detail: String,
    },
    /// The role may not connect to this database.
    #[error("the role may not connect: {detail}. Run: {grant}")]
    ConnectDenied {
        /// The server's words.
        detail: String,
        /// The statement that helps.
        grant: String,
    },
    /// There is no such database.
    #[error("{detail}. Check the database's name in the Secret")]
    DatabaseMissing {
        /// The server's words.
        detail: String,
    },
    /// The name does not resolve.
    #[error("the host {host} is not known: check `host` in the Secret; a Service of another namespace is NAME.NAMESPACE")]
    HostUnknown {
        /// Which host.
        host: String,
    },
    /// Nothing answers there.
    #[error("nothing answers at {host}:{port} ({detail}): check host and port in the Secret, and network policies")]
    Unreachable {
        /// Which host.
        host: String,
        /// Which port.
        port: u16,
        /// As the operating system says.
        detail: String,
    },
    /// No encrypted connection.
    #[error("{detail}")]
    TlsFailed {
        /// What happened, and what to change.
        detail: String,
    },
    /// No answer in time.
    #[error("no answer from {host}:{port} within {} s: check host and port in the Secret, and network policies", CONNECT_TIMEOUT.as_secs())]
    ConnectTimeout {
        /// Which host.
        host: String,
        /// Which port.
        port: u16,
    },
    /// The server is starting, stopping or full.
    #[error("the server takes no connection at present: {detail}")]
    ServerNotReady {
        /// The server's words.
        detail: String,
    },
    /// The session's settings were refused.
    #[error("the server refused the session's settings: {detail}")]
    SettingsRefused {
        /// The server's words.
        detail: String,
    },
}

impl ConnectError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::AuthenticationFailed { .. } => "AuthenticationFailed",
            Self::ConnectDenied { .. } => "ConnectDenied",
            Self::DatabaseMissing { .. } => "DatabaseMissing",
            Self::HostUnknown { .. } => "HostUnknown",
            Self::Unreachable { .. } => "Unreachable",
            Self::TlsFailed { .. } => "TlsFailed",
            Self::ConnectTimeout { .. } => "ConnectTimeout",
            Self::ServerNotReady { .. } => "ServerNotReady",
            Self::SettingsRefused { .. } => "SettingsRefused",
        }
    }

    /// True where trying again may help by itself: the server or the way to it may only be down.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::HostUnknown { .. } | Self::Unreachable { .. } | Self::ConnectTimeout { .. } | Self::ServerNotReady { .. } => true,
            Self::AuthenticationFailed { .. }
            | Self::ConnectDenied { .. }
            | Self::DatabaseMissing { .. }
            | Self::TlsFailed { .. }
            | Self::SettingsRefused { .. } => false,
        }
    }
}

/// Connects and pins the session's settings: what is read and written looks the same on every server. Statements are not
/// compiled (`jit`): those of a batch are planned anew each time, and compiling one took a sixth of its processor time.
///
/// # Errors
/// [`ConnectError`].
pub async fn connect(credentials: &Credentials, options: &ConnectOptions) -> Result<PgConnection, ConnectError> {
    let late = || ConnectError::ConnectTimeout { host: credentials.host.clone(), port: credentials.port };
    tokio::time::timeout(CONNECT_TIMEOUT, establish(credentials, options)).await.map_err(|_| late())?
}

async fn establish(credentials: &Credentials, options: &ConnectOptions) -> Result<PgConnection, ConnectError> {
    let Credentials { host, port, database, username, password } = credentials;
    let socket = host.starts_with('/');
    if !socket {
        // Looked up here first: the driver's error does not tell an unknown name from a refused connection.
        let known = tokio::net::lookup_host((host.as_str(), *port)).await.is_ok_and(|mut found| found.next().is_some());
        if !known {
            return Err(ConnectError::HostUnknown { host: host.clone() });
        }
    }
    let mut target = PgConnectOptions::new_without_pgpass()
        .port(*port)
        .database(database)
        .username(username)
        .password(password.expose_secret())
        .ssl_mode(match options.tls {
            TlsMode::VerifyFull => PgSslMode::VerifyFull,
            TlsMode::Require => PgSslMode::Require,
            TlsMode::Disable => PgSslMode::Disable,
        })
        .application_name(options.application_name.get(..APPLICATION_NAME_MAX).unwrap_or(&options.application_name))
        // A pooler refuses start-up parameters that it does not know: pinned by SET below.
        .extra_float_digits(None)
        // Statements hold the team's expressions, and a slow one would be logged in full.
        .disable_statement_logging();
    target = if socket { target.socket(host) } else { target.host(host) };
    if let Some(ca) = &options.ca {
        target = target.ssl_root_cert(ca);
    }
    let mut connection = PgConnection::connect_with(&target).await.map_err(|e| refused(&e, credentials))?;
    pin(&mut connection, options).await?;
    Ok(connection)
}

/// Names and operators without a schema: those of PostgreSQL, of `public`, and of the schemas that extensions are installed
/// in. Without the last, a key of type `citext` would be compared as text: in another case another key, and past its index.
const SEARCH_PATH: &str = "
    SELECT pg_catalog.set_config('search_path', pg_catalog.concat_ws(', ', 'public', pg_catalog.string_agg(x.name, ', ' ORDER BY x.name COLLATE \"C\")), false)
    FROM (SELECT DISTINCT pg_catalog.quote_ident(n.nspname) AS name FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
          WHERE n.nspname NOT IN ('pg_catalog', 'public')) AS x";

async fn pin(connection: &mut PgConnection, options: &ConnectOptions) -> Result<(), ConnectError> {
    let refused = |e: sqlx::Error| ConnectError::SettingsRefused { detail: describe(&e) };
    let settings = format!(
        "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, MDY'; SET IntervalStyle = 'postgres'; SET bytea_output = 'hex'; \
         SET extra_float_digits = 1; SET standard_conforming_strings = on; {SEARCH_PATH}; SET lock_timeout = '5s'; SET statement_timeout = {}; \
         SET idle_in_transaction_session_timeout = '60s'; SET jit = off",
        options.statement_timeout.as_millis()
    );
    sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut *connection).await.map_err(refused)?;
    // From 14 on, and not on every platform: without it a dead client's locks are held for longer, which is bearable.
    let interval = sqlx::raw_sql("SET client_connection_check_interval = '1s'").execute(&mut *connection).await;
    match interval {
        Err(error) if error.as_database_error().is_none() => Err(refused(error)),
        _ => Ok(()),
    }
}

fn refused(error: &sqlx::Error, credentials: &Credentials) -> ConnectError {
    let (host, port) = (credentials.host.clone(), credentials.port);
    if let sqlx::Error::Tls(source) = error {
        let what = source.to_string();
        return ConnectError::TlsFailed {
            detail: if what.contains("does not support TLS") {
                format!(
                    "the server at {host}:{port} offers no TLS: turn `ssl` on at the server, or, where plain text is acceptable, set spec.database.tls.mode: Disable"
                )
            } else {
                format!(
                    "TLS with {host}:{port} failed ({what}): check that the CA in spec.database.tls.caSecretRef signed the server's certificate and that it names the host"
                )
            },
        };
    }
    let Some(code) = sqlstate(error) else {
        return match error {
            sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::InvalidData => ConnectError::TlsFailed {
                detail: format!(
                    "TLS with {host}:{port} failed ({error}): check that the CA in spec.database.tls.caSecretRef signed the server's certificate and that it names the host"
                ),
            },
            sqlx::Error::Io(error) => ConnectError::Unreachable { host, port, detail: error.kind().to_string() },
            other => ConnectError::Unreachable { host, port, detail: describe(other) },
        };
    };
    let detail = describe(error);
    match code.as_str() {
        "3D000" => ConnectError::DatabaseMissing { detail },
        "42501" => {
            let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
            let grant = format!("GRANT CONNECT ON DATABASE {} TO {};", quoted(&credentials.database), quoted(&credentials.username));
            ConnectError::ConnectDenied { detail, grant }
        }
        code if code.starts_with("28") => ConnectError::AuthenticationFailed { detail },
        code if code.starts_with("57P") || code.starts_with("53") || code.starts_with("08") => ConnectError::ServerNotReady { detail },
        _ => ConnectError::SettingsRefused { detail },
    }
}
