//! Finds a pooler that gives each statement or transaction another session: settings, locks and the snapshot of the
//! dump would not be ours.

use super::Cut;
use super::findings::Findings;
use crate::steps::session::Session;
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

/// So many rounds over two connections; a pool of more sessions than this is not seen, unless it is busy.
const ROUNDS: usize = 4;

/// Two open connections have two sessions of the server, each its own one, unless something in between shares them.
/// Simple queries only: prepared statements are what such a pooler breaks first.
pub(super) async fn check(session: &Session, connection: &mut PgConnection, findings: &mut Findings) -> Result<(), Cut> {
    let Ok(mut other) = session.connect().await else {
        findings.inconclusive("pooler", "a second connection was refused, so that a pooler could not be looked for");
        return Ok(());
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(backend(connection).await?);
        theirs.push(backend(&mut other).await?);
    }
    let _ = other.close().await;
    let steady = |pids: &[i32]| pids.windows(2).all(|pair| pair.first() == pair.last());
    if steady(&ours) && steady(&theirs) && ours.first() != theirs.first() {
        findings.passed("pooler", "each connection has a session of its own");
    } else {
        findings.stalled(
            "pooler",
            "PoolerInBetween",
            format!(
                "{} is a pooler that shares sessions between connections (transaction or statement pooling): set the Secret's host and port to the server itself (for CloudNativePG the Service CLUSTER-rw), or the pooler to session mode",
                session.credentials.host
            ),
        );
        return Err(Cut::Found);
    }
    Ok(())
}

async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}
