//! Facts about the server and the database.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

/// The server and the database of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// `server_version_num`: 170002 for 17.2.
    pub version_number: i32,
    /// As the server calls itself: `17.2`.
    pub version: String,
    /// Name of the database.
    pub database: String,
    /// Its OID.
    pub oid: i64,
    /// Its size in bytes.
    pub size_bytes: i64,
    /// True for a standby, which takes no writes.
    pub standby: bool,
    /// The role of the connection.
    pub role: String,
}

impl ServerFacts {
    /// The major version.
    #[must_use]
    pub const fn major(&self) -> i32 {
        self.version_number / 10_000
    }
}

/// Asks the server.
///
/// # Errors
/// Those of the driver.
pub async fn facts(connection: &mut PgConnection) -> Result<ServerFacts, sqlx::Error> {
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::int4 AS number, split_part(current_setting('server_version'), ' ', 1) AS version, \
         d.datname::text AS database, d.oid::int8 AS oid, pg_database_size(d.oid) AS size, pg_is_in_recovery() AS standby, \
         current_user::text AS role FROM pg_database d WHERE d.datname = current_database()",
    )
    .fetch_one(connection)
    .await?;
    Ok(ServerFacts {
        version_number: row.try_get("number")?,
        version: row.try_get("version")?,
        database: row.try_get("database")?,
        oid: row.try_get("oid")?,
        size_bytes: row.try_get("size")?,
        standby: row.try_get("standby")?,
        role: row.try_get("role")?,
    })
}

/// The cluster's identifier and the database's OID. Where the role may not ask for the first, the server's own address
/// stands for it: still the same behind every name, though not after the server has moved.
///
/// # Errors
/// Those of the driver.
pub async fn database_id(connection: &mut PgConnection, server: &ServerFacts) -> Result<String, sqlx::Error> {
    if let Some(identifier) = system_identifier(connection).await? {
        return Ok(format!("{identifier}/{}", server.oid));
    }
    let address: Option<String> =
        sqlx::query_scalar("SELECT host(inet_server_addr()) || ':' || inet_server_port()").fetch_one(connection).await?;
    Ok(format!("{}/{}", address.unwrap_or_else(|| "local".into()), server.oid))
}

/// The cluster's own identifier: the same behind every name and address. `None` where the role may not ask.
///
/// # Errors
/// Those of the driver but a refusal.
pub async fn system_identifier(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    match sqlx::query_scalar("SELECT system_identifier FROM pg_control_system()").fetch_one(connection).await {
        Ok(identifier) => Ok(Some(identifier)),
        Err(error) if error.as_database_error().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}
