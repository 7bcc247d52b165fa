//! PostgreSQL's own command line tools: how they log in, and what of their words may be shown.
//!
//! A tool finds host, role and database in its environment and the password in a file that only it and we may read.
//! No argument and no variable holds a password: both can be read in `/proc` by anyone with the same uid.

use super::connect::ConnectOptions;
use super::credentials::Credentials;
use super::failure::shown;
use crate::api::spec::TlsMode;
use secrecy::ExposeSecret as _;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use thiserror::Error;
use tokio::process::Command;

/// Why a tool cannot be used.
#[derive(Debug, Error)]
pub enum ToolError {
    /// It is not in the image.
    #[error("{tool} is not in the step's image: use the operator's own image, or add postgresql-client to yours")]
    ToolMissing {
        /// Which.
        tool: &'static str,
    },
    /// It did not run.
    #[error("{tool} did not run: {source}")]
    ToolBroken {
        /// Which.
        tool: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The password cannot be written as a password file.
    #[error("the password in the connection Secret has a line break or a zero byte in it, which PostgreSQL's tools cannot take: change it")]
    PasswordUnsupported,
    /// The password file cannot be written.
    #[error("the password file cannot be written to the step's scratch volume: {0}")]
    ScratchUnwritable(#[source] std::io::Error),
}

impl ToolError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ToolMissing { .. } => "ToolMissing",
            Self::ToolBroken { .. } => "ToolBroken",
            Self::PasswordUnsupported => "PasswordUnsupported",
            Self::ScratchUnwritable(_) => "ScratchUnwritable",
        }
    }
}

/// Two tools may be logged in at once, each with its password file.
static NEXT: AtomicU32 = AtomicU32::new(0);

/// A login for libpq's tools. The password file lives as long as this does.
#[derive(Debug)]
pub struct ToolLogin {
    passfile: PathBuf,
    environment: Vec<(&'static str, OsString)>,
}

impl Drop for ToolLogin {
    fn drop(&mut self) {
        // The scratch volume is memory and goes with the pod; nothing is lost where this fails.
        let _ = std::fs::remove_file(&self.passfile);
    }
}

impl ToolLogin {
    /// Writes the password file, 0600, below `scratch`: libpq ignores one that others may read.
    ///
    /// # Errors
    /// [`ToolError::PasswordUnsupported`], [`ToolError::ScratchUnwritable`].
    pub fn new(credentials: &Credentials, options: &ConnectOptions, scratch: &Path) -> Result<Self, ToolError> {
        let line = passfile_line(credentials)?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(scratch).map_err(ToolError::ScratchUnwritable)?;
        let passfile = scratch.join(format!("pgpass-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
        let _ = std::fs::remove_file(&passfile);
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&passfile).map_err(ToolError::ScratchUnwritable)?;
        file.write_all(line.as_bytes()).map_err(ToolError::ScratchUnwritable)?;
        let mut environment: Vec<(&'static str, OsString)> = vec![
            ("PGHOST", credentials.host.clone().into()),
            ("PGPORT", credentials.port.to_string().into()),
            ("PGUSER", credentials.username.clone().into()),
            ("PGDATABASE", credentials.database.clone().into()),
            ("PGPASSFILE", passfile.clone().into()),
            ("PGAPPNAME", options.application_name.clone().into()),
            ("PGCONNECT_TIMEOUT", "15".into()),
            ("PGGSSENCMODE", "disable".into()),
        ];
        environment.push((
            "PGSSLMODE",
            match options.tls {
                TlsMode::VerifyFull => "verify-full",
                TlsMode::Require => "require",
                TlsMode::Disable => "disable",
            }
            .into(),
        ));
        // With a root certificate at hand libpq takes `require` for `verify-ca`.
        if let (TlsMode::VerifyFull, Some(ca)) = (options.tls, &options.ca) {
            environment.push(("PGSSLROOTCERT", ca.clone().into()));
        }
        Ok(Self { passfile, environment })
    }

    /// A command of this login.
    #[must_use]
    pub fn command(&self, tool: impl AsRef<OsStr>) -> Command {
        let mut command = command(tool);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A command without a login, for tools that only read files. It inherits nothing but PATH, and dies with its handle.
#[must_use]
pub fn command(tool: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(tool);
    command.env_clear();
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command.env("LC_ALL", "C").kill_on_drop(true).stdin(std::process::Stdio::null());
    command
}

/// The error of a tool that could not be started or waited for.
#[must_use]
pub fn not_run(tool: &'static str, source: std::io::Error) -> ToolError {
    if source.kind() == std::io::ErrorKind::NotFound { ToolError::ToolMissing { tool } } else { ToolError::ToolBroken { tool, source } }
}

/// Reads what a tool complains about, to its end; the last 64 KiB of it are kept.
pub async fn drain(stderr: Option<tokio::process::ChildStderr>) -> String {
    use tokio::io::AsyncReadExt as _;
    const KEPT: usize = 64 * 1024;
    let Some(mut stderr) = stderr else { return String::new() };
    let mut text: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 8 * 1024];
    while let Ok(length) = stderr.read(&mut chunk).await {
        if length == 0 {
            break;
        }
        text.extend_from_slice(chunk.get(..length).unwrap_or_default());
        let surplus = text.len().saturating_sub(KEPT);
        text.drain(..surplus);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Major version of a tool.
///
/// # Errors
/// [`ToolError::ToolMissing`], [`ToolError::ToolBroken`].
pub async fn major_version(tool: &'static str) -> Result<i32, ToolError> {
    let output = command(tool).arg("--version").output().await.map_err(|e| not_run(tool, e))?;
    // `pg_dump (PostgreSQL) 17.2 (Debian 17.2-1)`
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .find_map(|word| word.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .ok_or_else(|| ToolError::ToolBroken { tool, source: std::io::Error::other("it does not tell its version") })
}

/// What a tool said went wrong, in words that may be shown: errors of the server by their class, no details, no
/// context (which quote rows), no statements; at most three lines.
#[must_use]
pub fn complaint(stderr: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in stderr.lines() {
        if let Some((_, server)) = line.split_once("ERROR:  ").or_else(|| line.split_once("FATAL:  ")) {
            // psql with VERBOSITY=verbose: `ERROR:  42P07: relation …`; pg_dump leaves the code out.
            match server.split_once(": ").filter(|(code, _)| code.len() == 5 && code.chars().all(|c| c.is_ascii_alphanumeric())) {
                Some((code, message)) => lines.push(shown(code, message)),
                None => lines.push(server.to_owned()),
            }
        } else if let Some((_, message)) = line.split_once(": error: ").or_else(|| line.split_once(": fatal: ")) {
            lines.push(message.to_owned());
        }
    }
    let skip = lines.len().saturating_sub(3);
    let text: String = lines.into_iter().skip(skip).collect::<Vec<_>>().join("; ");
    if text.is_empty() { "it gave no reason".into() } else { text.chars().take(600).collect() }
}

fn passfile_line(credentials: &Credentials) -> Result<String, ToolError> {
    let password = credentials.password.expose_secret();
    if password.contains(['\n', '\r', '\0']) {
        return Err(ToolError::PasswordUnsupported);
    }
    // libpq looks the folder of a Unix socket up as `localhost` or as itself, depending on its default.
    let host = if credentials.host.starts_with('/') { "*".to_owned() } else { escaped(&credentials.host) };
    Ok(format!("{host}:{}:{}:{}:{}\n", credentials.port, escaped(&credentials.database), escaped(&credentials.username), escaped(password)))
}

fn escaped(field: &str) -> String {
    field.replace('\\', "\\\\").replace(':', "\\:")
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::SecretString;
    use std::os::unix::fs::PermissionsExt as _;

    fn credentials(host: &str, password: &str) -> Credentials {
        Credentials {
            host: host.into(),
            port: 5432,
            database: "a:b".into(),
            username: "u\\x".into(),
            password: SecretString::from(password.to_owned()),
        }
    }

    #[test]
    fn colons_and_backslashes_are_escaped_in_a_password_file() {
        assert_eq!(passfile_line(&credentials("db", "p:w\\d")).unwrap(), "db:5432:a\\:b:u\\\\x:p\\:w\\\\d\n");
        assert_eq!(passfile_line(&credentials("::1", "p")).unwrap(), "\\:\\:1:5432:a\\:b:u\\\\x:p\n");
        assert_eq!(passfile_line(&credentials("/run/pg", "p")).unwrap(), "*:5432:a\\:b:u\\\\x:p\n");
        assert!(matches!(passfile_line(&credentials("db", "two\nlines")), Err(ToolError::PasswordUnsupported)));
    }

    #[test]
    fn the_password_file_is_private_and_goes_with_the_login_and_no_variable_has_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let options = ConnectOptions {
            tls: TlsMode::Require,
            ca: None,
            statement_timeout: std::time::Duration::ZERO,
            application_name: "backfill/test".into(),
        };
        let login = ToolLogin::new(&credentials("db", "hunter2"), &options, &dir.path().join("scratch")).unwrap();
        let path = login.passfile.clone();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(login.environment.iter().all(|(_, value)| !value.to_string_lossy().contains("hunter2")));
        assert!(!format!("{login:?}").contains("hunter2"));
        drop(login);
        assert!(!path.exists());
    }

    #[test]
    fn a_complaint_shows_neither_rows_nor_statements() {
        let stderr =
            "psql:<stdin>:9: ERROR:  22P02: invalid input syntax for type integer: \"secret\"\nCONTEXT:  COPY t, line 1: \"secret\"\n";
        assert!(!complaint(stderr).contains("secret"));
        let stderr = "pg_dump: error: query failed: ERROR:  permission denied for table t\npg_dump: detail: Query was: LOCK TABLE t\n";
        assert_eq!(complaint(stderr), "permission denied for table t");
    }
}
