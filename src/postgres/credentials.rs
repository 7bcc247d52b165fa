//! The connection that a Secret holds, whatever its layout.
//!
//! For each part the first of these that has it wins: the key that the spec names for that part, the URI, the usual
//! keys. Layouts of CloudNativePG, Zalando's operator, servicebinding.io, `DATABASE_URL`, `DB_*` and `PG*` are known.

use super::uri::{self, UriParts};
use crate::api::spec::SecretKeys;
use secrecy::SecretString;
use std::path::Path;
use thiserror::Error;

const URI: &[&str] = &["uri", "DATABASE_URL"];
const HOST: &[&str] = &["host", "DB_HOST", "PGHOST"];
const PORT: &[&str] = &["port", "DB_PORT", "PGPORT"];
const DATABASE: &[&str] = &["dbname", "database", "DB_NAME", "PGDATABASE"];
const USERNAME: &[&str] = &["username", "user", "DB_USER", "PGUSER"];
const PASSWORD: &[&str] = &["password", "DB_PASSWORD", "PGPASSWORD"];

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Host name, address, or the folder of a Unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Name of the database.
    pub database: String,
    /// Name of the role.
    pub username: String,
    /// Password of the role; `Debug` shows nothing of it.
    pub password: SecretString,
}

/// Why a Secret is no connection. No message shows a value.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum CredentialsError {
    /// The folder is not there.
    #[error("the connection Secret is not mounted: check that the Secret that spec.database names exists in this namespace")]
    SecretMissing,
    /// A file of it cannot be read.
    #[error("the key {key} of the connection Secret cannot be read: {reason}")]
    SecretUnreadable {
        /// Which key.
        key: String,
        /// Why, as the operating system says.
        reason: String,
    },
    /// A key that the spec names is not there.
    #[error("the connection Secret has no key {key}, which spec.database.secretRef.keys (or planSecretRef.keys) names")]
    KeyMissing {
        /// Which key.
        key: String,
    },
    /// No host.
    #[error(
        "the connection Secret says no host: add a key `host` (or uri, DATABASE_URL, DB_HOST, PGHOST) to it, or name the key that has it in spec.database.secretRef.keys.host; Secrets of Zalando's operator hold username and password only"
    )]
    HostMissing,
    /// No database.
    #[error(
        "the connection Secret says no database: add a key `dbname` (or database, DB_NAME, PGDATABASE) to it, or name the key that has it in spec.database.secretRef.keys.database"
    )]
    DatabaseNameMissing,
    /// No role.
    #[error(
        "the connection Secret says no role: add a key `username` (or user, DB_USER, PGUSER) to it, or name the key that has it in spec.database.secretRef.keys.username"
    )]
    UsernameMissing,
    /// No password.
    #[error(
        "the connection Secret has no password: add a key `password` (or DB_PASSWORD, PGPASSWORD) to it, or name the key that has it in spec.database.secretRef.keys.password"
    )]
    PasswordMissing,
    /// The port is no port.
    #[error("the port in the connection Secret is not a number from 1 to 65535")]
    PortMalformed,
    /// The URI is none.
    #[error("the URI in the connection Secret cannot be read: {what}")]
    UriMalformed {
        /// What is wrong with it, without showing it.
        what: &'static str,
    },
}

impl CredentialsError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::SecretMissing => "SecretMissing",
            Self::SecretUnreadable { .. } => "SecretUnreadable",
            Self::KeyMissing { .. } => "KeyMissing",
            Self::HostMissing => "HostMissing",
            Self::DatabaseNameMissing => "DatabaseNameMissing",
            Self::UsernameMissing => "UsernameMissing",
            Self::PasswordMissing => "PasswordMissing",
            Self::PortMalformed => "PortMalformed",
            Self::UriMalformed { .. } => "UriMalformed",
        }
    }
}

impl Credentials {
    /// Reads the folder in which a Secret is mounted, a file a key.
    ///
    /// # Errors
    /// [`CredentialsError`] where a part of the connection is missing or malformed.
    pub fn from_secret_dir(dir: &Path, keys: Option<&SecretKeys>) -> Result<Self, CredentialsError> {
        if !dir.is_dir() {
            return Err(CredentialsError::SecretMissing);
        }
        let none = SecretKeys::default();
        let keys = keys.unwrap_or(&none);
        let uri = Self::uri(dir, keys)?;
        let pick = |named: Option<&String>, from_uri: Option<String>, usual: &[&str]| -> Result<Option<String>, CredentialsError> {
            if let Some(key) = named {
                return read(dir, key)?.map(Some).ok_or_else(|| CredentialsError::KeyMissing { key: key.clone() });
            }
            if from_uri.is_some() {
                return Ok(from_uri);
            }
            first(dir, usual)
        };
        let host = pick(keys.host.as_ref(), uri.host, HOST)?.ok_or(CredentialsError::HostMissing)?;
        let port = pick(keys.port.as_ref(), uri.port, PORT)?;
        let database = pick(keys.database.as_ref(), uri.database, DATABASE)?;
        let username = pick(keys.username.as_ref(), uri.username, USERNAME)?.ok_or(CredentialsError::UsernameMissing)?;
        let password = pick(keys.password.as_ref(), uri.password, PASSWORD)?.ok_or(CredentialsError::PasswordMissing)?;
        Ok(Self {
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: port.map_or(Ok(5432), |p| p.parse().ok().filter(|p| *p > 0).ok_or(CredentialsError::PortMalformed))?,
            // CloudNativePG's superuser Secret says `*`: any database, which is none.
            database: database.filter(|d| d != "*").ok_or(CredentialsError::DatabaseNameMissing)?,
            username,
            password: SecretString::from(password),
        })
    }

    fn uri(dir: &Path, keys: &SecretKeys) -> Result<UriParts, CredentialsError> {
        if let Some(key) = &keys.uri {
            let text = read(dir, key)?.ok_or_else(|| CredentialsError::KeyMissing { key: key.clone() })?;
            return uri::parse(&text);
        }
        // A `uri` of another kind (servicebinding.io leaves its form open) is no reason to stop: the parts may be there.
        match first(dir, URI)? {
            Some(text) if uri::is_postgres(&text) => uri::parse(&text),
            _ => Ok(UriParts::default()),
        }
    }
}

fn first(dir: &Path, keys: &[&str]) -> Result<Option<String>, CredentialsError> {
    for key in keys {
        if let Some(value) = read(dir, key)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// The value of a key without the line end that `echo` or an editor left; `None` where it is missing or empty.
fn read(dir: &Path, key: &str) -> Result<Option<String>, CredentialsError> {
    match std::fs::read_to_string(dir.join(key)) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned()).filter(|t| !t.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(CredentialsError::SecretUnreadable { key: key.to_owned(), reason: error.kind().to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    fn secret(entries: &[(&str, &str)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (key, value) in entries {
            std::fs::write(dir.path().join(key), value).unwrap();
        }
        dir
    }

    fn read_all(entries: &[(&str, &str)], keys: Option<&SecretKeys>) -> Result<[String; 5], CredentialsError> {
        let dir = secret(entries);
        let c = Credentials::from_secret_dir(dir.path(), keys)?;
        Ok([c.host, c.port.to_string(), c.database, c.username, c.password.expose_secret().to_owned()])
    }

    #[test]
    fn every_known_layout_is_read() {
        let cnpg = [
            ("uri", "postgresql://app:pw@db-rw.ns:5432/app"),
            ("host", "db-rw"),
            ("port", "5432"),
            ("dbname", "app"),
            ("username", "app"),
            ("password", "pw"),
            ("pgpass", "db-rw:5432:app:app:pw\n"),
            ("jdbc-uri", "jdbc:postgresql://db-rw:5432/app?password=pw&user=app"),
        ];
        assert_eq!(read_all(&cnpg, None).unwrap(), ["db-rw.ns", "5432", "app", "app", "pw"]);
        let binding =
            [("type", "postgresql"), ("host", "db"), ("port", "5433\n"), ("database", "app"), ("username", "u"), ("password", "p\n")];
        assert_eq!(read_all(&binding, None).unwrap(), ["db", "5433", "app", "u", "p"]);
        assert_eq!(read_all(&[("DATABASE_URL", "postgres://u:p@db/app\n")], None).unwrap(), ["db", "5432", "app", "u", "p"]);
        let parts = [("DB_HOST", "db"), ("DB_NAME", "app"), ("DB_USER", "u"), ("DB_PASSWORD", "p")];
        assert_eq!(read_all(&parts, None).unwrap(), ["db", "5432", "app", "u", "p"]);
        let libpq = [("PGHOST", "db"), ("PGPORT", "6432"), ("PGDATABASE", "app"), ("PGUSER", "u"), ("PGPASSWORD", "p")];
        assert_eq!(read_all(&libpq, None).unwrap(), ["db", "6432", "app", "u", "p"]);
    }

    #[test]
    fn what_a_layout_leaves_out_is_named_with_what_to_set() {
        let zalando = read_all(&[("username", "u"), ("password", "p")], None).unwrap_err();
        assert_eq!(zalando, CredentialsError::HostMissing);
        assert!(zalando.to_string().contains("spec.database.secretRef.keys.host"));
        assert_eq!(
            read_all(&[("host", "h"), ("username", "u"), ("password", "p")], None).unwrap_err(),
            CredentialsError::DatabaseNameMissing
        );
        assert_eq!(
            read_all(&[("uri", "postgresql://postgres:p@db:5432/*")], None).unwrap_err(),
            CredentialsError::DatabaseNameMissing,
            "CloudNativePG's superuser Secret"
        );
        assert_eq!(read_all(&[("uri", "postgresql://u@db/app")], None).unwrap_err(), CredentialsError::PasswordMissing);
        assert_eq!(read_all(&[("uri", "postgresql://u:p@db:x/app")], None).unwrap_err(), CredentialsError::PortMalformed);
        assert_eq!(Credentials::from_secret_dir(Path::new("/nowhere/at/all"), None).unwrap_err(), CredentialsError::SecretMissing);
    }

    #[test]
    fn a_named_key_wins_over_the_uri_and_the_uri_over_parts() {
        let entries = [("uri", "postgresql://u:p@uri-host/app"), ("host", "part-host"), ("MY_HOST", "my-host")];
        assert_eq!(read_all(&entries, None).unwrap()[0], "uri-host");
        let keys = SecretKeys { host: Some("MY_HOST".into()), ..SecretKeys::default() };
        assert_eq!(read_all(&entries, Some(&keys)).unwrap()[0], "my-host");
        let keys = SecretKeys { host: Some("GONE".into()), ..SecretKeys::default() };
        assert_eq!(read_all(&entries, Some(&keys)).unwrap_err(), CredentialsError::KeyMissing { key: "GONE".into() });
    }

    #[test]
    fn debug_never_shows_the_password() {
        let dir = secret(&[("uri", "postgresql://u:hunter2@db/app")]);
        let credentials = Credentials::from_secret_dir(dir.path(), None).unwrap();
        assert!(!format!("{credentials:?} {credentials:#?}").contains("hunter2"));
    }
}
