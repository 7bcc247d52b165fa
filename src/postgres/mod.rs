//! PostgreSQL from outside the engine: reading connection Secrets, connecting, facts about the server and the database, its
//! command line tools, sums over whole tables, and
//! what a snapshot saw.
//!
//! `steps` and `engine` call it. It may know `api`; it knows no step, no run and no ledger but the one table of sums.
//! Nothing in here puts a password into an argument, an environment variable, an error or a log line.

pub mod archive;
pub mod clients;
mod connect;
mod credentials;
mod failure;
pub mod origin;
pub mod pulse;
pub mod restore_exit;
mod server;
pub mod table_sums;
pub mod tools;
pub mod transactions;
mod uri;

pub use connect::{ConnectError, ConnectOptions, connect};
pub use credentials::{Credentials, CredentialsError};
pub use failure::{describe, is_connection_loss, may_pass, sqlstate};
pub use server::{ServerFacts, database_id, facts, system_identifier};
pub use tools::{ToolError, ToolLogin};
pub use uri::uri_target;
