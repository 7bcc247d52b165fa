//! How the engine gets a new connection when the one in hand is lost.

use sqlx::PgConnection;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectRefused {
    /// One CamelCase word.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// True where trying again may help by itself.
    pub may_pass: bool,
}

/// Gives connections of one role to one database, with pinned settings.
pub trait Connector {
    /// A new connection.
    fn connect(&self) -> impl Future<Output = Result<PgConnection, ConnectRefused>> + Send;
}
