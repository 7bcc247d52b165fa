//! Where a dump comes from: what another server must be like for the dump to fit it.

use serde::{Deserialize, Serialize};
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

/// The database that was dumped, as far as a dump does not say it itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Origin {
    /// Its name.
    pub database: String,
    /// `server_version_num`: 170002 for 17.2.
    pub version_number: i32,
    /// Its size in bytes, indexes and all.
    pub size_bytes: i64,
    /// Its encoding, as in `UTF8`.
    pub encoding: String,
    /// Its `LC_COLLATE`.
    pub collate: String,
    /// Its `LC_CTYPE`.
    pub ctype: String,
    /// Who sorts: `c` (the C library), `i` (ICU) or `b` (PostgreSQL itself).
    pub provider: String,
    /// The locale of ICU or of PostgreSQL itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Rules of its own for ICU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icu_rules: Option<String>,
    /// Names of the server's roles but those of PostgreSQL itself: owners and grants name them.
    pub roles: Vec<String>,
    /// Those of them that are superusers: some objects can be owned by no other.
    pub superusers: Vec<String>,
}

/// Columns that not every major has are read through JSON.
const ORIGIN: &str = "SELECT d.datname::text AS database, current_setting('server_version_num')::int4 AS version_number, \
     pg_database_size(d.oid) AS size_bytes, pg_encoding_to_char(d.encoding)::text AS encoding, d.datcollate::text AS collate, \
     d.datctype::text AS ctype, coalesce(to_jsonb(d)->>'datlocprovider', 'c') AS provider, \
     coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale') AS locale, to_jsonb(d)->>'daticurules' AS icu_rules, \
     ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1) AS roles, \
     ARRAY(SELECT rolname::text FROM pg_roles WHERE rolname !~ '^pg_' AND rolsuper ORDER BY 1) AS superusers \
     FROM pg_database d WHERE d.datname = current_database()";

impl Origin {
    /// Asks the server.
    ///
    /// # Errors
    /// Those of the driver.
    pub async fn read(connection: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(ORIGIN).fetch_one(connection).await?;
        Ok(Self {
            database: row.try_get("database")?,
            version_number: row.try_get("version_number")?,
            size_bytes: row.try_get("size_bytes")?,
            encoding: row.try_get("encoding")?,
            collate: row.try_get("collate")?,
            ctype: row.try_get("ctype")?,
            provider: row.try_get("provider")?,
            locale: row.try_get("locale")?,
            icu_rules: row.try_get("icu_rules")?,
            roles: row.try_get("roles")?,
            superusers: row.try_get("superusers")?,
        })
    }

    /// The major version of its server.
    #[must_use]
    pub const fn major(&self) -> i32 {
        self.version_number / 10_000
    }

    /// How it sorts, in words.
    #[must_use]
    pub fn sorting(&self) -> String {
        match (self.provider.as_str(), &self.locale) {
            ("i", Some(locale)) => format!("the ICU locale {locale}, with {} and {} of the C library", self.collate, self.ctype),
            (_, Some(locale)) => format!("the locale {locale}"),
            _ => format!("the locale {} (LC_CTYPE {}) of the C library", self.collate, self.ctype),
        }
    }
}
