//! How far a dump is: the server says how much of each table it has handed out. What arrives is compressed, so that its
//! size says nothing about the time left.

use crate::steps::StepContext;
use crate::steps::session::Session;
use sqlx::postgres::PgConnection;
use std::collections::BTreeMap;
use std::time::Duration;

/// So often the server is asked, and so long it may take to answer.
const EVERY: Duration = Duration::from_secs(1);

/// Sessions of this dump, which call themselves as we do.
const COPIED: &str = "
    SELECT p.pid, p.relid::int8, p.bytes_processed FROM pg_stat_progress_copy p JOIN pg_stat_activity a USING (pid)
    WHERE p.datname = current_database() AND a.usename = current_user AND a.application_name = current_setting('application_name')";

/// Reports until it is dropped. Where the server cannot be asked nothing is said: the dump is no worse for it.
pub(super) async fn watch(context: &StepContext, session: &Session, estimate_bytes: i64) {
    context.reporter.progress(0, estimate_bytes, "bytes");
    let Ok(mut connection) = session.connect().await else { return std::future::pending().await };
    let mut copied = Copied::default();
    loop {
        tokio::time::sleep(EVERY).await;
        match tokio::time::timeout(EVERY, ask(&mut connection)).await {
            Ok(Ok(rows)) => {
                let done = copied.add(&rows);
                context.reporter.progress(done, estimate_bytes.max(done), "bytes");
            }
            // A connection whose answer was not waited for cannot be asked again.
            Ok(Err(_)) | Err(_) => return std::future::pending().await,
        }
    }
}

async fn ask(connection: &mut PgConnection) -> Result<Vec<(i32, i64, i64)>, sqlx::Error> {
    sqlx::query_as(COPIED).persistent(false).fetch_all(connection).await
}

/// Bytes by session and table. A table that is through is not told any more; what was seen of it counts.
#[derive(Debug, Default)]
struct Copied(BTreeMap<(i32, i64), i64>);

impl Copied {
    fn add(&mut self, rows: &[(i32, i64, i64)]) -> i64 {
        for (pid, table, bytes) in rows {
            let seen = self.0.entry((*pid, *table)).or_default();
            *seen = (*seen).max(*bytes);
        }
        self.0.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Copied;

    #[test]
    fn tables_that_are_through_still_count() {
        let mut copied = Copied::default();
        assert_eq!(copied.add(&[(1, 100, 10), (2, 200, 5)]), 15);
        assert_eq!(copied.add(&[(1, 100, 30), (2, 201, 7)]), 42);
        assert_eq!(copied.add(&[]), 42);
    }
}
