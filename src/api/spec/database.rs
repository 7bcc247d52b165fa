//! The database to change, and how to reach it.

use crate::api::duration;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The database to change. Only the pods of the run's steps read its Secrets; the operator never does.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Database {
    /// The Secret with the connection of the role that writes. It must own, or be granted, what the run changes.
    pub secret_ref: SecretRef,
    /// A role that can only SELECT: preflight, plan and checks use it, and the plan is then *proved* read-only. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_secret_ref: Option<SecretRef>,
    /// A role with CREATEDB that is a member of the roles that own the database and what is in it: a restore into a database beside the old one is made by it. Default: the role of `secretRef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_secret_ref: Option<SecretRef>,
    /// Encryption of the connection. Default: `VerifyFull` where a CA is known, else `Require`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The schema in which the ledger and the undo rows live; made if it is missing. Default: `backfill`.
    #[serde(default = "ledger_schema")]
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z_][a-z0-9_]*$"))]
    pub ledger_schema: String,
    /// The longest that one statement of the run may take, as a duration. Default: `5m`.
    #[serde(default = "statement_timeout")]
    #[schemars(length(max = 16), regex(pattern = *duration::PATTERN))]
    pub statement_timeout: String,
}

fn ledger_schema() -> String {
    "backfill".into()
}

fn statement_timeout() -> String {
    "5m".into()
}

/// A Secret in the run's namespace that holds a PostgreSQL connection.
///
/// Layouts of CloudNativePG (`uri`, `host`, `port`, `dbname`, `username`, `password`), Zalando (`username`,
/// `password`), servicebinding.io (`host`, `port`, `database`, …) and a plain `DATABASE_URL` are recognised;
/// `keys` names them where they are called otherwise.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The Secret's keys, where they are not the usual ones. Default: recognised by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<SecretKeys>,
}

/// Under which keys of the Secret the parts of the connection lie.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeys {
    /// Key of the whole connection as a URI. Default: `uri` or `DATABASE_URL`, where present.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub uri: Option<String>,
    /// Key of the host. Default: `host`, `DB_HOST` or `PGHOST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub host: Option<String>,
    /// Key of the port. Default: `port`, `DB_PORT` or `PGPORT`; 5432 where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub port: Option<String>,
    /// Key of the database's name. Default: `dbname`, `database`, `DB_NAME` or `PGDATABASE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub database: Option<String>,
    /// Key of the role's name. Default: `username`, `user`, `DB_USER` or `PGUSER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub username: Option<String>,
    /// Key of the password. Default: `password`, `DB_PASSWORD` or `PGPASSWORD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub password: Option<String>,
}

/// Encryption of the connection.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.mode != 'VerifyFull' || has(self.caSecretRef)").message("tls.mode VerifyFull needs tls.caSecretRef: the CA that signed the server's certificate"))]
pub struct Tls {
    /// `VerifyFull`: the certificate must be signed by the CA and name the host. `Require`: encrypted, not verified. `Disable`: plain text. Default: `VerifyFull`.
    #[serde(default)]
    pub mode: TlsMode,
    /// The Secret key that holds the CA's certificate, in PEM. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
}

/// How far the server's identity is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsMode {
    /// Signed by the CA, and for this host.
    #[default]
    VerifyFull,
    /// Encrypted; the server is not verified.
    Require,
    /// Plain text.
    Disable,
}

/// One key of a Secret in the run's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in it. Default: `ca.crt`.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".into()
}
