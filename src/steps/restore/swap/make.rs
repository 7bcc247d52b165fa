//! The new database: made as the old one was, with all that belongs to the database and to nothing in it.

use super::super::error::RestoreError;
use crate::engine::sql::{quote, quote_literal};
use serde_json::Value;
use sqlx::postgres::PgConnection;

/// Whether there is a database of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// None.
    Nothing,
    /// One that a restore of this run has made or left.
    Ours,
    /// One without a comment.
    Unmarked {
        /// Whose.
        owner: String,
    },
    /// Somebody else's.
    Foreign,
}

/// Looks a database up; `mark` is how the comments of ours begin, up to the colon.
pub(super) async fn find(maintenance: &mut PgConnection, name: &str, mark: &str) -> Result<Found, RestoreError> {
    let database: Option<(Option<String>, String)> =
        sqlx::query_as("SELECT shobj_description(oid, 'pg_database'), pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1")
            .bind(name)
            .fetch_optional(maintenance)
            .await?;
    let whose = mark.split(':').next().unwrap_or_default();
    Ok(match database {
        None => Found::Nothing,
        Some((None, owner)) => Found::Unmarked { owner },
        Some((Some(comment), _)) if comment.split(':').next() == Some(whose) => Found::Ours,
        Some(_) => Found::Foreign,
    })
}

/// The OID of the database of a name.
pub(super) async fn oid(connection: &mut PgConnection, name: &str) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT oid::int8 FROM pg_database WHERE datname = $1").bind(name).fetch_optional(connection).await
}

/// What belongs to the database itself.
#[derive(Clone, Debug)]
pub(super) struct Described {
    row: Value,
    comment: Option<String>,
}

/// `pg_database` has other columns in each major, so the row is taken whole.
const DESCRIBE: &str = "SELECT jsonb_build_object(
    'd', to_jsonb(d), 'owner', pg_get_userbyid(d.datdba), 'encoding', pg_encoding_to_char(d.encoding),
    'tablespace', (SELECT spcname FROM pg_tablespace WHERE oid = d.dattablespace AND oid <> (SELECT dattablespace FROM pg_database WHERE datname = 'template0')),
    'grants', (SELECT jsonb_agg(jsonb_build_object('to', CASE WHEN a.grantee = 0 THEN NULL ELSE pg_get_userbyid(a.grantee) END, 'what', a.privilege_type, 'option', a.is_grantable))
               FROM aclexplode(d.datacl) a),
    'settings', (SELECT jsonb_agg(jsonb_build_object('role', CASE WHEN s.setrole = 0 THEN NULL ELSE pg_get_userbyid(s.setrole) END, 'setting', c))
                 FROM pg_db_role_setting s, unnest(s.setconfig) AS c WHERE s.setdatabase = d.oid)),
    shobj_description(d.oid, 'pg_database') FROM pg_database d WHERE d.datname = current_database()";

/// Describes the database of the connection.
pub(super) async fn describe(live: &mut PgConnection) -> Result<Described, RestoreError> {
    let (row, comment) = sqlx::query_as(DESCRIBE).fetch_one(live).await?;
    Ok(Described { row, comment })
}

impl Described {
    fn text(&self, pointer: &str) -> Option<&str> {
        self.row.pointer(pointer).and_then(Value::as_str)
    }

    /// Whose the database is.
    pub(super) fn owner(&self) -> Option<&str> {
        self.text("/owner")
    }

    fn list(&self, pointer: &str) -> &[Value] {
        self.row.pointer(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The statement that makes a database of this kind.
    pub(super) fn create(&self, name: &str) -> String {
        let mut sql = format!("CREATE DATABASE {} TEMPLATE template0", quote(name));
        let mut option = |word: &str, value: Option<String>| {
            if let Some(value) = value {
                sql = format!("{sql} {word} {value}");
            }
        };
        let literal = |pointer: &str| self.text(pointer).map(quote_literal);
        option("OWNER", self.owner().map(quote));
        option("ENCODING", literal("/encoding"));
        option("LC_COLLATE", literal("/d/datcollate"));
        option("LC_CTYPE", literal("/d/datctype"));
        // 15 and 16 call it datlocale's name, 17 has one for both providers.
        let locale = literal("/d/datlocale").or_else(|| literal("/d/daticulocale"));
        match self.text("/d/datlocprovider") {
            Some("i") => {
                option("LOCALE_PROVIDER", Some("icu".into()));
                option("ICU_LOCALE", locale);
                option("ICU_RULES", literal("/d/daticurules"));
            }
            Some("b") => {
                option("LOCALE_PROVIDER", Some("builtin".into()));
                option("BUILTIN_LOCALE", locale);
            }
            // Else it would be template0's, whatever that is; 14 knows of none.
            Some("c") => option("LOCALE_PROVIDER", Some("libc".into())),
            _ => {}
        }
        option("TABLESPACE", self.text("/tablespace").map(quote));
        sql
    }

    /// Rights, settings and limit, for a database that has none of its own yet.
    pub(super) fn settings(&self, name: &str) -> Vec<String> {
        let database = quote(name);
        let mut statements = Vec::new();
        if self.row.pointer("/d/datacl").is_some_and(|acl| !acl.is_null()) {
            statements.push(format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"));
            statements.push(format!("REVOKE ALL ON DATABASE {database} FROM {}", quote(self.owner().unwrap_or_default())));
        }
        for grant in self.list("/grants") {
            let to = grant.get("to").and_then(Value::as_str).map_or_else(|| "PUBLIC".to_owned(), quote);
            let what = grant.get("what").and_then(Value::as_str).unwrap_or_default();
            let option = if grant.get("option").and_then(Value::as_bool) == Some(true) { " WITH GRANT OPTION" } else { "" };
            statements.push(format!("GRANT {what} ON DATABASE {database} TO {to}{option}"));
        }
        for setting in self.list("/settings") {
            let Some((parameter, value)) = setting.get("setting").and_then(Value::as_str).and_then(|text| text.split_once('=')) else {
                continue;
            };
            let whose = match setting.get("role").and_then(Value::as_str) {
                Some(role) => format!("ALTER ROLE {} IN DATABASE {database}", quote(role)),
                None => format!("ALTER DATABASE {database}"),
            };
            statements.push(format!("{whose} SET {parameter} TO {}", setting_value(parameter, value)));
        }
        if let Some(limit) = self.row.pointer("/d/datconnlimit").and_then(Value::as_i64).filter(|limit| *limit >= 0) {
            statements.push(format!("ALTER DATABASE {database} CONNECTION LIMIT {limit}"));
        }
        statements
    }

    /// The statement that gives a database this one's comment.
    pub(super) fn comment(&self, name: &str) -> String {
        let text = self.comment.as_deref().map_or_else(|| "NULL".to_owned(), quote_literal);
        format!("COMMENT ON DATABASE {} IS {text}", quote(name))
    }
}

/// Settings that are lists of names are kept as such, each name quoted where it needs to be; any other is one text.
fn setting_value(parameter: &str, value: &str) -> String {
    const LISTS: &[&str] =
        &["search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries", "shared_preload_libraries"];
    if !LISTS.contains(&parameter) || value.is_empty() {
        return quote_literal(value);
    }
    let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
    let mut characters = value.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if quoted && characters.peek() == Some(&'"') => {
                characters.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            c if c.is_whitespace() && !quoted => {}
            c => name.push(c),
        }
    }
    names.push(name);
    names.iter().map(|name| quote_literal(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::setting_value;

    #[test]
    fn lists_of_names_stay_lists() {
        assert_eq!(setting_value("search_path", "\"$user\", public, \"My, \"\"Schema\"\"\""), "'$user', 'public', 'My, \"Schema\"'");
        assert_eq!(setting_value("search_path", "\"\""), "''");
        assert_eq!(setting_value("timezone", "Europe/Berlin"), "'Europe/Berlin'");
        assert_eq!(setting_value("app.note", "it's, this"), "'it''s, this'");
    }
}
