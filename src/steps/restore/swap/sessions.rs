//! Sessions of a database, for a message about those that the role may not end.

use super::super::error::RestoreError;
use sqlx::postgres::PgConnection;

const WHO: &str = "SELECT string_agg(DISTINCT usename || coalesce(' ' || nullif(application_name, ''), ''), ', '), current_user::text
    FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid() AND usesysid IS NOT NULL";

/// Who is connected.
pub(super) struct Sessions {
    /// Roles and application names.
    pub who: String,
    /// The role that asks.
    role: String,
}

/// Who is connected to a database; `None` where nobody is that the role can see.
pub(super) async fn of(connection: &mut PgConnection, database: &str) -> Result<Option<Sessions>, sqlx::Error> {
    let (who, role): (Option<String>, String) = sqlx::query_as(WHO).bind(database).fetch_one(connection).await?;
    Ok(who.map(|who| Sessions { who, role }))
}

impl Sessions {
    /// Why something was not done.
    pub(super) fn remain(self, what: String) -> RestoreError {
        RestoreError::SessionsRemain { what, who: self.who, role: self.role }
    }
}
