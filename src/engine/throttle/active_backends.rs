//! Client sessions at work. Cost: one look at each session's slot in shared memory; well under a millisecond for a
//! thousand sessions.

use super::{Reading, brief};
use sqlx::PgConnection;

pub(super) const NAME: &str = "ActiveBackends";

/// Sessions of the run itself are known by their name, which every role may see; the state of other roles' sessions may
/// be seen by monitors only. Of the server as a whole: its processors are what all its databases share.
const SQL: &str = "
    SELECT count(*) FILTER (WHERE state IN ('active', 'fastpath function call')) AS active,
           count(*) FILTER (WHERE query = '<insufficient privilege>' AND datid IS NOT NULL AND usesysid IS NOT NULL) AS hidden,
           quote_ident(current_user) AS role
    FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND application_name IS DISTINCT FROM current_setting('application_name')
      AND coalesce(backend_type, 'client backend') = 'client backend'";

/// Compares them with the limit. What is seen may be enough to hold, even where more is hidden.
pub(super) async fn read(connection: &mut PgConnection, limit: i64) -> Result<Reading, sqlx::Error> {
    let mut transaction = brief(connection).await?;
    let (active, hidden, role): (i64, i64, String) = sqlx::query_as(SQL).persistent(false).fetch_one(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(if active > limit {
        Reading::Over(format!("{active} sessions are at work, more than maxActiveBackends {limit}"))
    } else if hidden > 0 {
        Reading::Unmeasured(format!("the role cannot see whether sessions of other roles are at work (GRANT pg_monitor TO {role};)"))
    } else {
        Reading::Free
    })
}
