//! From the spec's texts to names of the catalogue and guarded expressions.

use super::{AuditTarget, Model, Rule, Set, Source, Target, Winner};
use crate::api::spec::{AddedColumn, Audit, SqlBackfill, Validation, Write};
use crate::engine::catalog::{self, CatalogError, Column, Privilege, Table};
use crate::engine::sql::{Expression, Place, SqlError, TableName, column_name, refuse_volatile, type_name};
use sqlx::PgConnection;
use thiserror::Error;

/// Why a spec cannot be worked with. Each says where and what to change.
#[derive(Debug, Error)]
pub enum ModelError {
    /// A text of the spec is refused by the guard.
    #[error("{place}: {source}")]
    ExpressionRefused {
        /// Where it stands in the spec.
        place: String,
        /// Why.
        source: SqlError,
    },
    /// The server does not understand an expression.
    #[error("{place}: the server says: {message}")]
    ExpressionInvalid {
        /// Where it stands in the spec.
        place: String,
        /// The server's words; nothing of a row, for none was read.
        message: String,
    },
    /// A name is not in the catalogue, or serves not as wanted.
    #[error("{place}: {source}")]
    Catalog {
        /// Where it stands in the spec.
        place: String,
        /// Why.
        source: CatalogError,
    },
    /// A key column would be written.
    #[error("{place}: {column} names the row, so that it cannot be set: the way back would not find it")]
    KeyColumnWritten {
        /// Where it stands in the spec.
        place: String,
        /// Which column.
        column: String,
    },
    /// One column has two new values.
    #[error("{place}: the column {column} is set twice: names without quotes are folded to lower case")]
    ColumnSetTwice {
        /// Where it stands in the spec.
        place: String,
        /// Which column.
        column: String,
    },
    /// Every new value is one of the moment.
    #[error(
        "{place}: every value is one of the moment (now() and its kin), so that a second run would write every row again: set at least one value that is known at plan"
    )]
    NothingPlannable {
        /// Where it stands in the spec.
        place: String,
    },
    /// The audit column is not jsonb.
    #[error("backfill.sql.audit.column: {column} has the type {found}, it must be jsonb")]
    AuditNotJsonb {
        /// Which column.
        column: String,
        /// Its type.
        found: String,
    },
    /// The audit column is written through another row.
    #[error("{place}: the audit column {column} is set by a write that is not to the source row itself: choose another audit column")]
    AuditColumnWritten {
        /// Where it stands in the spec.
        place: String,
        /// Which column.
        column: String,
    },
    /// The connection failed.
    #[error("the catalogue could not be read: {0}")]
    Database(#[source] sqlx::Error),
}

impl ModelError {
    /// The reason, as conditions and events write it.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ExpressionRefused { .. } => "ExpressionRefused",
            Self::ExpressionInvalid { .. } => "ExpressionInvalid",
            Self::Catalog { source, .. } => source.reason(),
            Self::KeyColumnWritten { .. } => "KeyColumnWritten",
            Self::ColumnSetTwice { .. } => "ColumnSetTwice",
            Self::NothingPlannable { .. } => "NothingPlannable",
            Self::AuditNotJsonb { .. } => "AuditNotJsonb",
            Self::AuditColumnWritten { .. } => "AuditColumnWritten",
            Self::Database(_) => "CatalogUnreadable",
        }
    }

    /// The driver's error behind it, where the database was at fault and not the spec.
    #[must_use]
    pub const fn database(&self) -> Option<&sqlx::Error> {
        match self {
            Self::Database(error)
            | Self::ExpressionRefused { source: SqlError::Database(error), .. }
            | Self::Catalog { source: CatalogError::Database(error) | CatalogError::Name(SqlError::Database(error)), .. } => Some(error),
            Self::ExpressionRefused { .. }
            | Self::ExpressionInvalid { .. }
            | Self::Catalog { .. }
            | Self::KeyColumnWritten { .. }
            | Self::ColumnSetTwice { .. }
            | Self::NothingPlannable { .. }
            | Self::AuditNotJsonb { .. }
            | Self::AuditColumnWritten { .. } => None,
        }
    }
}

/// Puts the place into an error of the catalogue or of the guard.
trait At<T> {
    fn at(self, place: &str) -> Result<T, ModelError>;
}

impl<T> At<T> for Result<T, CatalogError> {
    fn at(self, place: &str) -> Result<T, ModelError> {
        self.map_err(|source| ModelError::Catalog { place: place.to_owned(), source })
    }
}

impl<T> At<T> for Result<T, SqlError> {
    fn at(self, place: &str) -> Result<T, ModelError> {
        self.map_err(|source| ModelError::ExpressionRefused { place: place.to_owned(), source })
    }
}

pub(super) async fn resolve(connection: &mut PgConnection, spec: &SqlBackfill, adds: &[AddedColumn]) -> Result<Model, ModelError> {
    let source = source(connection, spec, adds).await?;
    let mut writes = Vec::with_capacity(spec.writes.len());
    for (index, write) in spec.writes.iter().enumerate() {
        writes.push(target(connection, &source, write, index, adds).await?);
    }
    let audit = spec.audit.as_ref().map(|audit| audit_target(&source, &writes, audit)).transpose()?;
    let mut rules = Vec::with_capacity(spec.validate.len());
    for (index, rule) in spec.validate.iter().enumerate() {
        rules.push(validation(connection, rule, index).await?);
    }
    Ok(Model { source, writes, audit, rules })
}

/// All columns of a table are read, for any of them may stand in an expression.
pub(super) async fn require_readable(connection: &mut PgConnection, model: &Model) -> Result<(), ModelError> {
    let tables = std::iter::once(&model.source.table).chain(model.writes.iter().map(|write| &write.table));
    for table in tables {
        let columns: Vec<&Column> = table.columns.iter().collect();
        catalog::require(connection, table, Privilege::Select, &columns).await.at("spec.database")?;
    }
    Ok(())
}

pub(super) async fn require_writable(connection: &mut PgConnection, model: &Model) -> Result<(), ModelError> {
    for write in &model.writes {
        let columns: Vec<&Column> = write.sets.iter().map(|set| &set.column).collect();
        catalog::require(connection, &write.table, Privilege::Update, &columns).await.at("spec.database.secretRef")?;
    }
    if let Some(audit) = &model.audit {
        catalog::require(connection, &model.source.table, Privilege::Update, &[&audit.column]).await.at("spec.database.secretRef")?;
    }
    Ok(())
}

async fn expression(connection: &mut PgConnection, text: &str, place: Place, at: &str) -> Result<Expression, ModelError> {
    let expression = Expression::parse(text, place).at(at)?;
    refuse_volatile(connection, expression.calls(), Some(place)).await.at(at)?;
    Ok(expression)
}

async fn optional(connection: &mut PgConnection, text: Option<&String>, at: &str) -> Result<Option<Expression>, ModelError> {
    match text {
        Some(text) => expression(connection, text, Place::Chooses, at).await.map(Some),
        None => Ok(None),
    }
}

async fn table(connection: &mut PgConnection, text: &str, adds: &[AddedColumn], at: &str) -> Result<Table, ModelError> {
    let name = TableName::parse(text).at(at)?;
    let mut table = catalog::table(connection, &name).await.at(at)?;
    for (index, add) in adds.iter().enumerate() {
        let at = format!("migrations.adds[{index}]");
        let meant = TableName::parse(&add.table).at(&at)?;
        let same = meant.name == table.name && meant.schema.as_deref().unwrap_or("public") == table.schema;
        if same {
            table.add(column_name(&add.column).at(&at)?, type_name(&add.column_type).at(&at)?);
        }
    }
    Ok(table)
}

async fn source(connection: &mut PgConnection, spec: &SqlBackfill, adds: &[AddedColumn]) -> Result<Source, ModelError> {
    let table = table(connection, &spec.source.table, adds, "backfill.sql.source.table").await?;
    let at = "backfill.sql.source.key";
    let names = spec.source.key.iter().map(|name| column_name(name)).collect::<Result<Vec<_>, _>>().at(at)?;
    let key = table.key(&names).at(at)?;
    let filter = optional(connection, spec.source.filter.as_ref(), "backfill.sql.source.where").await?;
    let pick = match &spec.source.pick {
        None => None,
        Some(pick) => {
            let mut per = Vec::with_capacity(pick.per.len());
            for (index, text) in pick.per.iter().enumerate() {
                per.push(expression(connection, text, Place::Chooses, &format!("backfill.sql.source.pick.per[{index}]")).await?);
            }
            let at = "backfill.sql.source.pick.order";
            let order = Expression::parse_order(&pick.order).at(at)?;
            refuse_volatile(connection, order.calls(), Some(Place::Chooses)).await.at(at)?;
            Some(Winner { per, order })
        }
    };
    Ok(Source { table, key, filter, pick })
}

async fn target(
    connection: &mut PgConnection,
    source: &Source,
    write: &Write,
    index: usize,
    adds: &[AddedColumn],
) -> Result<Target, ModelError> {
    let at = format!("backfill.sql.writes[{index}]");
    let (table, key) = match &write.table {
        None => (source.table.clone(), source.key.clone()),
        Some(text) => {
            let table = table(connection, text, adds, &format!("{at}.table")).await?;
            let key = table.key(&[]).at(&format!("{at}.table"))?;
            (table, key)
        }
    };
    let matches = optional(connection, write.matches.as_ref(), &format!("{at}.match")).await?;
    let only_if = optional(connection, write.only_if.as_ref(), &format!("{at}.onlyIf")).await?;
    let mut sets: Vec<Set> = Vec::with_capacity(write.set.len());
    for (name, text) in &write.set {
        let at = format!("{at}.set.{name}");
        let column = settable(&table, &key, name, &at)?;
        if sets.iter().any(|set| set.column.name == column.name) {
            return Err(ModelError::ColumnSetTwice { place: at, column: column.name });
        }
        sets.push(Set { column, value: expression(connection, text, Place::Sets, &at).await? });
    }
    let target = Target { table, key, matches, only_if, sets };
    if target.planned().next().is_none() {
        return Err(ModelError::NothingPlannable { place: at });
    }
    Ok(target)
}

fn settable(table: &Table, key: &[Column], name: &str, at: &str) -> Result<Column, ModelError> {
    let column = table.column(&column_name(name).at(at)?).at(at)?.clone();
    if column.generated {
        return Err(CatalogError::ColumnGenerated { table: table.display(), column: column.name }).at(at);
    }
    if key.iter().any(|k| k.name == column.name) {
        return Err(ModelError::KeyColumnWritten { place: at.to_owned(), column: column.name });
    }
    Ok(column)
}

fn audit_target(source: &Source, writes: &[Target], audit: &Audit) -> Result<AuditTarget, ModelError> {
    let at = "backfill.sql.audit.column";
    let column = source.table.column(&column_name(&audit.column).at(at)?).at(at)?.clone();
    if column.base_type != "jsonb" {
        return Err(ModelError::AuditNotJsonb { column: column.name, found: column.full_type });
    }
    for (index, write) in writes.iter().enumerate() {
        let elsewhere = !write.is_own_row() && write.table.oid == source.table.oid;
        if elsewhere && write.sets.iter().any(|set| set.column.name == column.name) {
            return Err(ModelError::AuditColumnWritten { place: format!("backfill.sql.writes[{index}]"), column: column.name });
        }
    }
    Ok(AuditTarget { column, path: audit.path.clone() })
}

async fn validation(connection: &mut PgConnection, rule: &Validation, index: usize) -> Result<Rule, ModelError> {
    let value = expression(connection, &rule.value, Place::Chooses, &format!("backfill.sql.validate[{index}].value")).await?;
    Ok(Rule {
        name: rule.name.clone(),
        value,
        schema: rule.schema.document(),
        on_invalid: rule.on_invalid,
        max_invalid_percent: rule.max_invalid_percent,
        sample: usize::try_from(rule.sample).unwrap_or(0),
    })
}
