//! Tables, columns and keys as the catalogue knows them. Nothing of the spec is used in SQL before it was found here.

mod audit_table;
mod extension_types;
mod references;

pub use audit_table::require_audit_table;
pub use references::{OnDelete, Reference, references, refuse_inherited, share_rows};

use super::sql::{SqlError, TableName, quote};
use sqlx::{PgConnection, Row};
use thiserror::Error;

/// Why the catalogue does not have what the spec names. Each says what to change.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// No such table.
    #[error("there is no table {table}{hint}")]
    TableMissing {
        /// As the spec names it.
        table: String,
        /// Where there is one of that name.
        hint: String,
    },
    /// A view, or another kind of relation.
    #[error("{table} is not a table: name the table behind it")]
    NotATable {
        /// Which.
        table: String,
    },
    /// Rows that refer to deleted ones may be out of sight.
    #[error(
        "row security may hide rows of {table}, which refer to the rows that are to be deleted, from the role: use one that it does not apply to (ALTER ROLE … BYPASSRLS)"
    )]
    ReferringRowsHidden {
        /// The referring table.
        table: String,
    },
    /// Rows of other tables belong to it.
    #[error(
        "{table} has children by inheritance ({children}): a row that is deleted could not be put back into its own table; name the child"
    )]
    TableInherited {
        /// Which.
        table: String,
        /// The tables that inherit from it.
        children: String,
    },
    /// No such column.
    #[error("the table {table} has no column {column}; it has {have}{hint}")]
    ColumnMissing {
        /// Of which table.
        table: String,
        /// Which.
        column: String,
        /// The columns that there are.
        have: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// A column that PostgreSQL computes itself.
    #[error("the column {column} of {table} is generated and cannot be set: leave it out of set")]
    ColumnGenerated {
        /// Of which table.
        table: String,
        /// Which.
        column: String,
    },
    /// No primary key to take as default.
    #[error("the table {table} has no primary key: name unique, not-null columns in source.key{candidates}")]
    KeyMissing {
        /// Of which table.
        table: String,
        /// Keys that would serve.
        candidates: String,
    },
    /// The columns do not name a row.
    #[error(
        "({columns}) does not name a row of {table}: it needs a valid unique index over exactly these columns, not partial, and all of them NOT NULL{candidates}"
    )]
    KeyNotUnique {
        /// Of which table.
        table: String,
        /// Which columns.
        columns: String,
        /// Keys that would serve.
        candidates: String,
    },
    /// The role lacks a right.
    #[error("the role lacks a right; run: {grant}")]
    PrivilegeMissing {
        /// The statement that gives it.
        grant: String,
    },
    /// A table of that name is there, and it is another one.
    #[error("the table {table} is there, but it has no column {missing}: name another one in audit.table, and the run makes it")]
    NotAnAuditTable {
        /// Which.
        table: String,
        /// The columns that are missing.
        missing: String,
    },
    /// The type of a column that migrations add is not known.
    #[error("migrations.adds: {0} is not a type of this server")]
    TypeUnknown(String),
    /// A name cannot be read.
    #[error(transparent)]
    Name(#[from] SqlError),
    /// The catalogue could not be read.
    #[error("the catalogue could not be read: {0}")]
    Database(#[from] sqlx::Error),
}

impl CatalogError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::TableMissing { .. } => "TableMissing",
            Self::NotATable { .. } => "NotATable",
            Self::ReferringRowsHidden { .. } => "ReferringRowsHidden",
            Self::TableInherited { .. } => "TableInherited",
            Self::ColumnMissing { .. } => "ColumnMissing",
            Self::ColumnGenerated { .. } => "ColumnGenerated",
            Self::KeyMissing { .. } => "KeyMissing",
            Self::KeyNotUnique { .. } => "KeyNotUnique",
            Self::PrivilegeMissing { .. } => "PrivilegeMissing",
            Self::NotAnAuditTable { .. } => "NotAnAuditTable",
            Self::TypeUnknown(_) => "TypeUnknown",
            Self::Name(_) => "NameRefused",
            Self::Database(_) => "CatalogUnreadable",
        }
    }
}

/// Where a column's values come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// From who writes the row.
    Writer,
    /// PostgreSQL hands them out (`GENERATED ALWAYS AS IDENTITY`).
    Identity,
    /// PostgreSQL computes them from the row's other columns.
    Computed,
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// Its type with modifiers, ready for SQL: `numeric(10,2)`.
    pub full_type: String,
    /// Its type without modifiers, ready for SQL: a cast to it never cuts a value.
    pub base_type: String,
    /// Longest value in characters, of `varchar(n)`, `char(n)` and domains over them.
    pub max_chars: Option<usize>,
    /// True where NULL is refused.
    pub not_null: bool,
    /// Where its values come from.
    pub origin: Origin,
    /// False for a column that migrations will add: read as NULL.
    pub exists: bool,
}

impl Column {
    /// What a new value is cast to, so that it reads as it would be stored; `varchar(n)` is not cut, but refused when it is too long.
    #[must_use]
    pub fn cast_type(&self) -> &str {
        if self.max_chars.is_some() { &self.base_type } else { &self.full_type }
    }

    /// A new value as it will be stored, from an SQL expression that is evaluated once, which must give the same whenever it is: a
    /// server may ask it once for all rows. Of a text that is too long for its
    /// `varchar(n)` by nothing but blanks at its end, the server stores the first n characters; one that is longer stays as it is,
    /// and is refused by its length: a cast would cut it. So it is with a domain over such a type. Blanks at the end of a `char(n)`
    /// are no part of it.
    #[must_use]
    pub fn stored(&self, expression: &str) -> String {
        match self.max_chars {
            Some(max) if self.base_type != "bpchar" => format!(
                "(SELECT CASE WHEN length(rtrim(v, ' ')) > {max} THEN v ELSE v::{}::text END FROM (SELECT {expression}::text OFFSET 0) AS \"backfill value\"(v))",
                self.full_type
            ),
            _ => format!("{expression}::{}", self.cast_type()),
        }
    }
}

/// A table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its object identifier.
    pub oid: i64,
    /// Its schema, unquoted.
    pub schema: String,
    /// Its name, unquoted.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The primary key's columns; empty where there is none.
    pub primary_key: Vec<String>,
    /// Column sets that name a row: unique, valid, not partial, not null.
    pub keys: Vec<Vec<String>>,
}

const TABLE: &str = "
    SELECT c.oid::int8, n.nspname::text, c.relkind::text, n.nspname = coalesce($2::text, 'public') AS meant,
           has_schema_privilege(n.oid, 'USAGE')
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') ORDER BY meant DESC, n.nspname";

const COLUMNS: &str = "
    SELECT a.attname::text, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1), a.attnotnull,
           a.attgenerated <> '' OR a.attidentity = 'a',
           (WITH RECURSIVE base AS (SELECT a.atttypid AS oid, a.atttypmod AS modifier
                                    UNION ALL SELECT t.typbasetype, t.typtypmod FROM base JOIN pg_type t ON t.oid = base.oid WHERE t.typtype = 'd')
            SELECT min(modifier - 4) FROM base WHERE oid IN ('bpchar'::regtype, 'varchar'::regtype) AND modifier > 4),
           a.attgenerated <> ''
    FROM pg_attribute a WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// `tgtype`: 1 row, 2 BEFORE; 4 INSERT, 8 DELETE, 16 UPDATE. Those of foreign keys are internal, and change nothing.
const TRIGGERS: &str = "
    SELECT t.tgname::text FROM pg_trigger t
    WHERE t.tgrelid = $1::oid AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 3 = 3
      AND t.tgtype & CASE $2 WHEN 'INSERT' THEN 4 WHEN 'DELETE' THEN 8 ELSE 16 END <> 0 ORDER BY 1";

const KEYS: &str = "
    SELECT i.indisprimary, array_agg(a.attname::text ORDER BY k.n)
    FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, n), pg_attribute a
    WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
      AND k.n <= i.indnkeyatts AND a.attrelid = i.indrelid AND a.attnum = k.attnum
    GROUP BY i.indexrelid, i.indisprimary HAVING bool_and(a.attnotnull) ORDER BY i.indisprimary DESC, i.indexrelid";

/// Finds a table by its name, with columns and keys.
///
/// # Errors
/// [`CatalogError::TableMissing`], [`CatalogError::NotATable`], [`CatalogError::PrivilegeMissing`] (the schema's USAGE).
pub async fn table(connection: &mut PgConnection, wanted: &TableName) -> Result<Table, CatalogError> {
    let found = sqlx::query(TABLE).persistent(false).bind(&wanted.name).bind(&wanted.schema).fetch_all(&mut *connection).await?;
    let Some(first) = found.first().filter(|row| row.try_get("meant").unwrap_or(false)) else {
        let schemas: Vec<String> = found.iter().filter_map(|row| row.try_get(1).ok()).collect();
        return Err(missing(wanted, &schemas));
    };
    let (oid, schema, kind): (i64, String, String) = (first.try_get(0)?, first.try_get(1)?, first.try_get(2)?);
    if kind != "r" && kind != "p" {
        return Err(CatalogError::NotATable { table: wanted.to_string() });
    }
    if !first.try_get::<bool, _>(4)? {
        return Err(CatalogError::PrivilegeMissing { grant: grant(connection, "USAGE", &format!("SCHEMA {}", quote(&schema))).await? });
    }
    extension_types::require(connection, oid).await?;
    let columns = sqlx::query(COLUMNS).persistent(false).bind(oid).fetch_all(&mut *connection).await?;
    let columns = columns.iter().map(column).collect::<Result<_, _>>()?;
    let mut table = Table { oid, schema, name: wanted.name.clone(), columns, primary_key: Vec::new(), keys: Vec::new() };
    for row in sqlx::query(KEYS).persistent(false).bind(oid).fetch_all(connection).await? {
        let key: Vec<String> = row.try_get(1)?;
        if row.try_get(0)? {
            table.primary_key.clone_from(&key);
        }
        table.keys.push(key);
    }
    Ok(table)
}

fn column(row: &sqlx::postgres::PgRow) -> Result<Column, sqlx::Error> {
    Ok(Column {
        name: row.try_get(0)?,
        full_type: row.try_get(1)?,
        base_type: row.try_get(2)?,
        not_null: row.try_get(3)?,
        origin: match (row.try_get::<bool, _>(6)?, row.try_get::<bool, _>(4)?) {
            (true, _) => Origin::Computed,
            (false, true) => Origin::Identity,
            (false, false) => Origin::Writer,
        },
        max_chars: row.try_get::<Option<i32>, _>(5)?.and_then(|n| usize::try_from(n).ok()),
        exists: true,
    })
}

fn missing(wanted: &TableName, schemas: &[String]) -> CatalogError {
    let elsewhere: Vec<String> =
        schemas.iter().map(|schema| TableName { schema: Some(schema.clone()), name: wanted.name.clone() }.to_string()).collect();
    let hint = if elsewhere.is_empty() {
        ": check its name (names with capitals need quotes, as in '\"Booking\"') and the database".to_owned()
    } else {
        format!("; there is {}: write the schema, too", elsewhere.join(", "))
    };
    CatalogError::TableMissing { table: wanted.to_string(), hint }
}

/// Row triggers that run before an `INSERT`, `UPDATE` or `DELETE`: they may change what is written, or hold it back.
///
/// # Errors
/// [`CatalogError::Database`].
pub async fn triggers(connection: &mut PgConnection, table: &Table, event: &str) -> Result<Vec<String>, CatalogError> {
    Ok(sqlx::query_scalar(TRIGGERS).persistent(false).bind(table.oid).bind(event).fetch_all(connection).await?)
}

/// The GRANT that the connection's role lacks.
async fn grant(connection: &mut PgConnection, privilege: &str, object: &str) -> Result<String, sqlx::Error> {
    let role: String = sqlx::query_scalar("SELECT quote_ident(current_user)").persistent(false).fetch_one(connection).await?;
    Ok(format!("GRANT {privilege} ON {object} TO {role};"))
}

/// What a role wants to do with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Read it.
    Select,
    /// Change its rows.
    Update,
    /// Add rows.
    Insert,
    /// Remove rows.
    Delete,
}

impl Privilege {
    const fn word(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Update => "UPDATE",
            Self::Insert => "INSERT",
            Self::Delete => "DELETE",
        }
    }
}

/// Checks that the connection's role may do this with these columns, or with the table.
///
/// # Errors
/// [`CatalogError::PrivilegeMissing`] with the GRANT to run.
pub async fn require(connection: &mut PgConnection, table: &Table, privilege: Privilege, columns: &[&Column]) -> Result<(), CatalogError> {
    let names: Vec<&str> = columns.iter().filter(|c| c.exists).map(|c| c.name.as_str()).collect();
    let held: bool = sqlx::query_scalar(
        "SELECT has_table_privilege($1::oid, $2) OR CASE WHEN cardinality($3::text[]) > 0
             THEN (SELECT bool_and(has_column_privilege($1::oid, c, $2)) FROM unnest($3::text[]) AS c) ELSE false END",
    )
    .persistent(false)
    .bind(table.oid)
    .bind(privilege.word())
    .bind(names)
    .fetch_one(&mut *connection)
    .await?;
    if held {
        return Ok(());
    }
    Err(CatalogError::PrivilegeMissing { grant: grant(connection, privilege.word(), &table.quoted()).await? })
}

impl Table {
    /// Schema and name, quoted.
    #[must_use]
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.name))
    }

    /// Schema and name for people: the schema is left out where it is `public`.
    #[must_use]
    pub fn display(&self) -> String {
        if self.schema == "public" { self.name.clone() } else { format!("{}.{}", self.schema, self.name) }
    }

    /// Adds a column that a migration will add; one that is there already stays as it is.
    pub fn add(&mut self, name: String, type_name: String) {
        if self.columns.iter().all(|c| c.name != name) {
            let (full_type, base_type) = (type_name.clone(), type_name);
            let column = Column { name, full_type, base_type, max_chars: None, not_null: false, origin: Origin::Writer, exists: false };
            self.columns.push(column);
        }
    }

    /// A column by its name in the catalogue.
    ///
    /// # Errors
    /// [`CatalogError::ColumnMissing`].
    pub fn column(&self, name: &str) -> Result<&Column, CatalogError> {
        self.columns.iter().find(|c| c.name == name).ok_or_else(|| CatalogError::ColumnMissing {
            table: self.display(),
            column: quote(name),
            have: self.columns.iter().map(|c| c.name.as_str()).take(40).collect::<Vec<_>>().join(", "),
            hint: ". If the run's migrations add it, list it in migrations.adds",
        })
    }

    /// The columns that name a row: those wanted, or the primary key where none are.
    ///
    /// # Errors
    /// [`CatalogError::ColumnMissing`], [`CatalogError::KeyMissing`], [`CatalogError::KeyNotUnique`].
    pub fn key(&self, wanted: &[String]) -> Result<Vec<Column>, CatalogError> {
        let names = if wanted.is_empty() { &self.primary_key } else { wanted };
        if names.is_empty() {
            return Err(CatalogError::KeyMissing { table: self.display(), candidates: self.candidates() });
        }
        let columns = names.iter().map(|name| self.column(name).cloned()).collect::<Result<Vec<_>, _>>()?;
        let same = |key: &Vec<String>| key.len() == names.len() && names.iter().all(|n| key.contains(n));
        if self.keys.iter().any(same) {
            return Ok(columns);
        }
        Err(CatalogError::KeyNotUnique { table: self.display(), columns: names.join(", "), candidates: self.candidates() })
    }

    fn candidates(&self) -> String {
        let keys: Vec<String> = self.keys.iter().map(|key| format!("({})", key.join(", "))).collect();
        if keys.is_empty() { String::new() } else { format!(". These would serve: {}", keys.join(", ")) }
    }

    /// The table in a FROM clause under an alias; columns that do not exist yet are NULL.
    #[must_use]
    pub fn relation(&self, alias: &str) -> String {
        let added: Vec<&Column> = self.columns.iter().filter(|c| !c.exists).collect();
        if added.is_empty() {
            return format!("{} AS {alias}", self.quoted());
        }
        let nulls: Vec<String> = added.iter().map(|c| format!("NULL::{} AS {}", c.full_type, quote(&c.name))).collect();
        format!("(SELECT x.*, {} FROM {} AS x) AS {alias}", nulls.join(", "), self.quoted())
    }
}
