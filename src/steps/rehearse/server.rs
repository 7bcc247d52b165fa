//! The scratch server: made for this rehearsal, reached by a socket in its own folder only, and gone with the pod.

use super::error::RehearsalError;
use super::programs::Programs;
use crate::api::spec::TlsMode;
use crate::engine::connector::{ConnectRefused, Connector};
use crate::engine::sql::quote_literal;
use crate::postgres::origin::Origin;
use crate::postgres::tools::{ToolLogin, command, complaint, not_run};
use crate::postgres::{ConnectOptions, Credentials, connect, describe};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Child;

/// Its superuser. Dumps often have objects of a role of this name.
const SUPERUSER: &str = "postgres";
/// Name of the copy where the database's own is taken by the server.
const COPY: &str = "rehearsal";
/// An empty server answers within a second or two; on a slow disk within this.
const START: Duration = Duration::from_mins(1);
/// An immediate shutdown takes no checkpoint.
const STOP: Duration = Duration::from_secs(10);

/// A running scratch server.
#[derive(Debug)]
pub(super) struct ScratchServer {
    child: Child,
    major: i32,
    folder: PathBuf,
    credentials: Credentials,
    options: ConnectOptions,
}

impl ScratchServer {
    /// Makes an empty server in the folder and starts it; [`ScratchServer::is_up`] waits for it.
    pub(super) async fn start(programs: &Programs, folder: &Path, options: ConnectOptions) -> Result<Self, RehearsalError> {
        let (data, socket) = (folder.join("data"), folder.join("socket"));
        for left in [&data, &socket] {
            // Of a container that was started again.
            if left.exists() {
                std::fs::remove_dir_all(left).map_err(RehearsalError::disk)?;
            }
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&socket).map_err(RehearsalError::disk)?;
        initialize(programs, &data).await?;
        let log = File::create(folder.join("log")).map_err(RehearsalError::disk)?;
        let mut command = command(programs.program("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(&socket);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let child = command.stdout(Stdio::null()).stderr(log).spawn().map_err(|e| not_run("postgres", e))?;
        let credentials = Credentials {
            host: socket.display().to_string(),
            port: 5432,
            database: SUPERUSER.into(),
            username: SUPERUSER.into(),
            // Nobody else gets at the socket.
            password: SecretString::from(String::new()),
        };
        Ok(Self { child, major: programs.major, folder: folder.to_owned(), credentials, options })
    }

    /// Waits until it takes connections.
    pub(super) async fn is_up(&mut self) -> Result<(), RehearsalError> {
        let begun = Instant::now();
        loop {
            if self.has_ended() {
                return Err(RehearsalError::ScratchServerFailed { detail: self.complaint() });
            }
            match connect(&self.credentials, &self.options).await {
                Ok(connection) => {
                    let _ = connection.close().await;
                    return Ok(());
                }
                Err(error) if begun.elapsed() > START => {
                    return Err(RehearsalError::ScratchServerFailed { detail: format!("{error}; {}", self.complaint()) });
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Makes the roles that the dump names, without login, and an empty database that sorts as the dumped one did.
    pub(super) async fn make_database(&mut self, origin: &Origin) -> Result<(), RehearsalError> {
        let mut connection = self.connection().await?;
        for role in origin.roles.iter().filter(|role| *role != SUPERUSER) {
            let superuser = if origin.superusers.contains(role) { " SUPERUSER" } else { "" };
            let create = format!("CREATE ROLE {} NOLOGIN{superuser}", identifier(role));
            sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await?;
        }
        let reserved = [SUPERUSER, "template0", "template1", ""].contains(&origin.database.as_str());
        let name = if reserved { COPY } else { &origin.database };
        let create = create_database(name, origin);
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut connection).await {
            if error.as_database_error().is_none() {
                return Err(error.into());
            }
            return Err(RehearsalError::LocaleMissing { wanted: origin.sorting(), detail: describe(&error) });
        }
        let _ = connection.close().await;
        name.clone_into(&mut self.credentials.database);
        Ok(())
    }

    /// A connection to the copy.
    pub(super) async fn connection(&self) -> Result<PgConnection, RehearsalError> {
        connect(&self.credentials, &self.options).await.map_err(|error| RehearsalError::connect(&error))
    }

    /// As [`ScratchServer::connection`], for the engine: statements take as long as in the database itself.
    pub(super) fn connector(&self, statement_timeout: Duration) -> CopyConnector {
        CopyConnector { credentials: self.credentials.clone(), options: ConnectOptions { statement_timeout, ..self.options.clone() } }
    }

    /// A login for PostgreSQL's tools.
    pub(super) fn login(&self, scratch: &Path) -> Result<ToolLogin, RehearsalError> {
        Ok(ToolLogin::new(&self.credentials, &self.options, scratch)?)
    }

    /// Its major version.
    pub(super) const fn major(&self) -> i32 {
        self.major
    }

    /// Its version, as it calls itself: `17.6`.
    pub(super) async fn version(&self, connection: &mut PgConnection) -> Result<String, sqlx::Error> {
        sqlx::query_scalar("SELECT split_part(current_setting('server_version'), ' ', 1)").fetch_one(connection).await
    }

    /// Name of the copy.
    pub(super) fn database(&self) -> &str {
        &self.credentials.database
    }

    /// Where its files are.
    pub(super) fn databases(&self) -> PathBuf {
        self.folder.join("data/base")
    }

    /// True where its process is gone.
    pub(super) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// What it complained about last, without rows and statements.
    pub(super) fn complaint(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        complaint(&String::from_utf8_lossy(log.get(log.len().saturating_sub(64 * 1024)..).unwrap_or_default()))
    }

    /// Ends it, and takes its files away.
    pub(super) async fn stop(mut self) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| !self.has_ended()) {
            let _ = kill_process(pid, Signal::QUIT);
        }
        if tokio::time::timeout(STOP, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
        let _ = std::fs::remove_dir_all(self.folder.join("data"));
    }
}

/// No port is opened. What is durable in a real server is so here, or the time that a restore takes would be flattered.
/// Shared memory of workers lies in files: a pod has 64 MiB of the other kind.
const SETTINGS: [&str; 8] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "dynamic_shared_memory_type=mmap",
    "max_locks_per_transaction=512",
    "max_connections=200",
    "log_min_messages=fatal",
    "log_min_error_statement=panic",
    "shared_preload_libraries=",
];

async fn initialize(programs: &Programs, data: &Path) -> Result<(), RehearsalError> {
    let output = command(programs.program("initdb"))
        .arg("--pgdata")
        .arg(data)
        .args(["--username", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"])
        .output()
        .await
        .map_err(|e| not_run("initdb", e))?;
    if output.status.success() {
        return Ok(());
    }
    Err(RehearsalError::ScratchServerFailed { detail: complaint(&String::from_utf8_lossy(&output.stderr)) })
}

fn create_database(name: &str, origin: &Origin) -> String {
    let mut sql = format!("CREATE DATABASE {} TEMPLATE template0", identifier(name));
    let mut add = |option: &str, value: &str| {
        if !value.is_empty() {
            sql = format!("{sql} {option} {}", quote_literal(value));
        }
    };
    add("ENCODING", &origin.encoding);
    add("LC_COLLATE", &origin.collate);
    add("LC_CTYPE", &origin.ctype);
    let locale = origin.locale.as_deref().unwrap_or_default();
    match origin.provider.as_str() {
        "i" => {
            add("LOCALE_PROVIDER", "icu");
            add("ICU_LOCALE", locale);
            add("ICU_RULES", origin.icu_rules.as_deref().unwrap_or_default());
        }
        "b" => {
            add("LOCALE_PROVIDER", "builtin");
            add("BUILTIN_LOCALE", locale);
        }
        _ => {}
    }
    sql
}

/// Roles and databases may be called anything.
fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Gives the engine connections to the copy.
#[derive(Clone, Debug)]
pub(super) struct CopyConnector {
    credentials: Credentials,
    options: ConnectOptions,
}

impl Connector for CopyConnector {
    async fn connect(&self) -> Result<PgConnection, ConnectRefused> {
        connect(&self.credentials, &self.options).await.map_err(|error| ConnectRefused {
            reason: error.reason(),
            message: error.to_string(),
            may_pass: error.may_pass(),
        })
    }
}

/// How everything here connects.
pub(super) fn options(run: &crate::protocol::RunIdentity) -> ConnectOptions {
    ConnectOptions {
        tls: TlsMode::Disable,
        ca: None,
        statement_timeout: Duration::ZERO,
        application_name: format!("backfill/{}/{}/rehearse", run.namespace, run.name),
    }
}

#[cfg(test)]
mod tests {
    use super::{Origin, create_database};

    #[test]
    fn the_copy_sorts_as_the_database_does() {
        let libc = Origin {
            encoding: "UTF8".into(),
            collate: "de_DE.UTF-8".into(),
            ctype: "de_DE.UTF-8".into(),
            provider: "c".into(),
            ..Origin::default()
        };
        assert_eq!(
            create_database("a \"b\"", &libc),
            "CREATE DATABASE \"a \"\"b\"\"\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'de_DE.UTF-8' LC_CTYPE 'de_DE.UTF-8'"
        );
        let icu = Origin { provider: "i".into(), locale: Some("de-u-kn".into()), ..libc.clone() };
        assert!(create_database("a", &icu).ends_with(" LOCALE_PROVIDER 'icu' ICU_LOCALE 'de-u-kn'"));
        let builtin = Origin { provider: "b".into(), locale: Some("C.UTF-8".into()), ..libc };
        assert!(create_database("a", &builtin).ends_with(" LOCALE_PROVIDER 'builtin' BUILTIN_LOCALE 'C.UTF-8'"));
    }
}
