//! How far a dump is: the server says which table it hands out, and how much of it. What arrives is compressed, so that its
//! size says nothing about the time left.

use crate::api::spec::DumpFormat;
use crate::postgres::table_sums::TableName;
use crate::steps::StepContext;
use crate::steps::session::Session;
use sqlx::postgres::PgConnection;
use std::time::Duration;

/// So often the server is asked, and so long it may take to answer.
const EVERY: Duration = Duration::from_secs(1);

/// Sessions of this dump, which call themselves as we do.
const COPIED: &str = "
    SELECT p.relid::int8, p.bytes_processed FROM pg_stat_progress_copy p JOIN pg_stat_activity a USING (pid)
    WHERE p.datname = current_database() AND a.usename = current_user AND a.application_name = current_setting('application_name')";

/// The tables, with what a copy of each has at most, in the order in which they are dumped: `pg_dump` takes them by name, and the
/// largest first where several sessions share them.
const ORDERED: &str = "
    SELECT c.oid::int8, pg_table_size(c.oid)::int8 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY($1)
    ORDER BY CASE WHEN $2 THEN -c.relpages END, n.nspname COLLATE \"C\", c.relname COLLATE \"C\"";

/// Reports until it is dropped. Where the server cannot be asked nothing is said: the dump is no worse for it.
pub(super) async fn watch(context: &StepContext, session: &Session, tables: &[TableName], estimate_bytes: i64) {
    context.reporter.progress(0, estimate_bytes, "bytes");
    let Ok(mut connection) = session.connect().await else { return std::future::pending().await };
    let names: Vec<&str> = tables.iter().map(|table| table.quoted.as_str()).collect();
    let shared = context.input.spec.backup.format == DumpFormat::Directory && context.input.spec.backup.jobs > 1;
    let ordered = sqlx::query_as(ORDERED).persistent(false).bind(&names).bind(shared).fetch_all(&mut connection).await;
    let mut copied = Copied { tables: ordered.unwrap_or_default(), done: 0 };
    loop {
        tokio::time::sleep(EVERY).await;
        match tokio::time::timeout(EVERY, ask(&mut connection)).await {
            Ok(Ok(rows)) => {
                let done = copied.seen(&rows).min(estimate_bytes);
                context.reporter.progress(done, estimate_bytes, "bytes");
            }
            // A connection whose answer was not waited for cannot be asked again.
            Ok(Err(_)) | Err(_) => return std::future::pending().await,
        }
    }
}

async fn ask(connection: &mut PgConnection) -> Result<Vec<(i64, i64)>, sqlx::Error> {
    sqlx::query_as(COPIED).persistent(false).fetch_all(connection).await
}

/// How much is through. Most tables begin and end between two looks: those that come before one that is being copied are
/// through, but for those that are being copied themselves.
#[derive(Debug, Default)]
struct Copied {
    /// Each with its size, in the order of the dump.
    tables: Vec<(i64, i64)>,
    done: i64,
}

impl Copied {
    fn seen(&mut self, copying: &[(i64, i64)]) -> i64 {
        let bytes_of = |table: i64| copying.iter().find(|(oid, _)| *oid == table).map(|(_, bytes)| *bytes);
        if let Some(last) = self.tables.iter().rposition(|(oid, _)| bytes_of(*oid).is_some()) {
            let through = self.tables.iter().take(last + 1).map(|(oid, size)| bytes_of(*oid).map_or(*size, |bytes| bytes.min(*size)));
            // Where the order is another one it still only goes forward.
            self.done = self.done.max(through.sum());
        }
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::Copied;

    #[test]
    fn tables_that_came_before_are_through_though_nobody_saw_them() {
        let mut copied = Copied { tables: vec![(1, 10), (2, 20), (3, 30), (4, 40)], done: 0 };
        assert_eq!(copied.seen(&[]), 0);
        assert_eq!(copied.seen(&[(3, 5)]), 35);
        assert_eq!(copied.seen(&[(2, 9)]), 35, "it never goes back");
        assert_eq!(copied.seen(&[(2, 9), (4, 99)]), 10 + 9 + 30 + 40, "no table has more than its size");
        assert_eq!(copied.seen(&[(7, 1)]), 89, "of a table that is not ours nothing is known");
    }
}
