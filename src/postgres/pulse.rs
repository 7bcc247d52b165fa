//! Whether the server is still there. One whose machine is gone sends no reset: who waits for its answer would wait for as long
//! as the kernel does, and a statement's time limit is the server's to keep. So a connection beside the working ones, made at the
//! same moment and to the same place, asks for nothing every few seconds. Where it gets no answer, the others get none.

use super::connect::{ConnectError, ConnectOptions, connect};
use super::credentials::Credentials;
use rand::Rng as _;
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use std::time::{Duration, Instant};

/// Between two questions, on average.
const EVERY: Duration = Duration::from_secs(10);
/// A server that takes longer to answer nothing at all does no work for us either.
const ANSWER: Duration = Duration::from_secs(30);
/// So long may nothing listen there, or nobody answer: more than a restart or a failover takes, and than our own retries last.
const GONE: Duration = Duration::from_mins(2);

/// Ends when the server has gone silent; until then, never. An end of the connection that somebody told us of is no silence: who
/// works learns of it, too. Nor is it one where there has never been such a connection: who works has one, or is told why not.
pub async fn silence(credentials: &Credentials, options: &ConnectOptions) {
    let mut heard: Option<Instant> = None;
    let mut connection: Option<PgConnection> = None;
    while heard.is_none_or(|heard| heard.elapsed() < GONE) {
        connection = match connection {
            None => match connect(credentials, options).await {
                Ok(connection) => Some(connection),
                // That it takes no connection more is an answer, too.
                Err(ConnectError::ServerNotReady { .. }) => {
                    heard = heard.map(|_| Instant::now());
                    None
                }
                Err(error) if error.may_pass() => None,
                // Who works is told the same, and what to change.
                Err(_) => return std::future::pending().await,
            },
            Some(mut connection) => match tokio::time::timeout(ANSWER, connection.ping()).await {
                Ok(answer) => answer.is_ok().then_some(connection),
                Err(_) => return,
            },
        };
        if connection.is_some() {
            heard = Some(Instant::now());
        }
        tokio::time::sleep(EVERY.mul_f64(rand::rng().random_range(0.5..1.5))).await;
    }
}
