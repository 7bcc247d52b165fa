//! The tables to capture, as the catalogue knows them: what row triggers can see, and how a row is found again.

use super::CaptureError;
use crate::engine::sql::{TableName, quote};
use sqlx::PgConnection;

/// A column of a captured table, quoted where it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) generated: bool,
    /// `GENERATED ALWAYS AS IDENTITY`: no UPDATE can set it to a value.
    pub(super) always: bool,
    pub(super) time: Option<Time>,
}

/// What kind of a point in time a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Time {
    /// `timestamptz`.
    Absolute,
    /// `timestamp`, taken as UTC, as frameworks write it.
    Utc,
}

impl Time {
    fn of(kind: &str) -> Option<Self> {
        match kind {
            "z" => Some(Self::Absolute),
            "t" => Some(Self::Utc),
            _ => None,
        }
    }

    /// A value of such a column, with its time zone.
    pub(super) fn absolute(self, value: &str) -> String {
        match self {
            Self::Absolute => value.to_owned(),
            Self::Utc => format!("({value} AT TIME ZONE 'UTC')"),
        }
    }
}

/// A table to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapturedTable {
    /// Its name with its schema, as SQL writes it.
    pub name: String,
    pub(super) columns: Vec<Column>,
    pub(super) key: Vec<String>,
}

/// Name, kind, temporary, a partition, part of an inheritance, ours, the grant that would make it so, columns with how they are
/// generated, key.
type Found = (String, String, bool, bool, bool, bool, String, Vec<String>, Vec<String>, Option<Vec<String>>);

const FIND: &str = "
    SELECT format('%I.%I', n.nspname, c.relname) AS name, c.relkind::text AS kind, c.relpersistence = 't' AS temporary,
           c.relispartition AS partition, EXISTS (SELECT FROM pg_inherits i WHERE c.oid IN (i.inhrelid, i.inhparent)) AS inherits,
           pg_has_role(c.relowner, 'USAGE') AS ours, format('GRANT %I TO %I;', pg_get_userbyid(c.relowner), current_user) AS grant,
           ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns,
           ARRAY(SELECT CASE WHEN a.attidentity = 'a' THEN 'a' WHEN a.attgenerated <> '' THEN a.attgenerated::text
                             WHEN a.atttypid = 'timestamptz'::regtype THEN 'z' WHEN a.atttypid = 'timestamp'::regtype THEN 't' ELSE '' END FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS generated,
           (SELECT ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k(n, o) JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.n
                         WHERE k.o <= i.indnkeyatts ORDER BY k.o)
            FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND (i.indisprimary OR (i.indisreplident AND i.indisunique))
            ORDER BY i.indisprimary DESC LIMIT 1) AS key
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)";

/// The table of this name, if it can be captured.
///
/// # Errors
/// [`CaptureError`] says what to change.
pub async fn find(connection: &mut PgConnection, table: &str) -> Result<CapturedTable, CaptureError> {
    let name = TableName::parse(table)?.to_string();
    let found: Option<Found> = sqlx::query_as(FIND).persistent(false).bind(&name).fetch_optional(&mut *connection).await?;
    let Some((name, kind, temporary, partition, inherits, ours, grant, columns, generated, key)) = found else {
        return Err(CaptureError::TableMissing { table: table.to_owned() });
    };
    let why = match kind.as_str() {
        "r" if temporary => Some("a temporary table"),
        "r" if partition => Some("a partition: statements that name its parent go past its triggers"),
        "r" if inherits => Some("a parent or a child by inheritance: statements that name the other one go past its triggers"),
        "r" if generated.iter().any(|g| g == "v") => Some("a table with virtual generated columns, which triggers do not see"),
        "r" => None,
        "p" => Some("a partitioned table: rows move between its partitions"),
        "f" => Some("a foreign table: its rows are another server's"),
        "v" | "m" => Some("a view"),
        _ => Some("no table"),
    };
    if let Some(why) = why {
        return Err(CaptureError::NotCapturable { table: name, why: why.to_owned() });
    }
    let Some(key) = key.filter(|key| !key.is_empty()) else { return Err(CaptureError::KeyMissing { table: name }) };
    if !ours {
        return Err(CaptureError::NotOwner { table: name, grant });
    }
    let columns = columns.into_iter().zip(generated);
    let columns = columns
        .map(|(name, generated)| Column { name, generated: generated == "s", always: generated == "a", time: Time::of(&generated) })
        .collect();
    Ok(CapturedTable { name, columns, key })
}

/// Who else than the script may use its role.
const SHARED: &str = "
    SELECT coalesce(r.rolcanlogin, false), $1 = session_user::text,
           (SELECT string_agg(DISTINCT CASE WHEN a.application_name = '' THEN 'without a name' ELSE a.application_name END, ', ')
            FROM pg_stat_activity a WHERE a.usename::text = $1 AND a.pid <> pg_backend_pid())
    FROM (SELECT) AS one LEFT JOIN pg_roles r ON r.rolname::text = $1";

/// Whether a role can tell the script's sessions from all others.
///
/// # Errors
/// [`CaptureError::RoleMissing`], [`CaptureError::RoleShared`].
pub async fn check_role(connection: &mut PgConnection, role: &str) -> Result<(), CaptureError> {
    let (logs_in, own, sessions): (bool, bool, Option<String>) =
        sqlx::query_as(SHARED).persistent(false).bind(role).fetch_one(connection).await?;
    let shared = |why: String| Err(CaptureError::RoleShared { role: role.to_owned(), why });
    match (logs_in, own, sessions) {
        (false, _, _) => Err(CaptureError::RoleMissing { role: role.to_owned() }),
        (true, true, _) => shared("it is the operator's own, of database.secretRef".into()),
        (true, false, Some(sessions)) => shared(format!("sessions of it are there before the script begins ({sessions})")),
        (true, false, None) => Ok(()),
    }
}

impl CapturedTable {
    /// A column of a record.
    pub(super) fn field(record: &str, column: &str) -> String {
        format!("({record}).{}", quote(column))
    }

    /// Columns that can be written.
    pub(super) fn settable(&self) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(|column| !column.generated)
    }

    /// Columns whose place in `changed` has no 0.
    pub(super) fn set<'a>(&'a self, changed: &'a str) -> impl Iterator<Item = &'a Column> {
        self.columns.iter().zip(changed.chars()).filter(|(_, changed)| *changed != '0').map(|(column, _)| column)
    }

    /// Of those the ones that decide whether a row goes back: all but times of the moment, where there are others.
    pub(super) fn decide(&self, changed: &str) -> Vec<&str> {
        let some = changed.contains('1');
        let columns = self.columns.iter().zip(changed.chars()).filter(|(_, changed)| *changed == '1' || (!some && *changed != '0'));
        columns.map(|(column, _)| column.name.as_str()).collect()
    }
}
