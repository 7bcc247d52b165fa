//! The spec's declared backfill, resolved: every name found in the catalogue, every expression guarded and tried.
//!
//! Plan, apply, undo and verify all build their SQL from one [`Model`], so that they mean the same rows and values.

mod probe;
mod resolve;

pub use resolve::ModelError;

use super::catalog::{Column, Table};
use super::sql::Expression;
use crate::api::spec::{AddedColumn, OnInvalid, SqlBackfill};
use sqlx::PgConnection;

/// A declared backfill, ready to be turned into SQL.
#[derive(Clone, Debug)]
pub struct Model {
    /// The rows to read.
    pub source: Source,
    /// What is written for each of them.
    pub writes: Vec<Target>,
    /// Where the audit entry goes.
    pub audit: Option<AuditTarget>,
    /// What a row must look like.
    pub rules: Vec<Rule>,
}

/// The rows to read.
#[derive(Clone, Debug)]
pub struct Source {
    /// The table, `s` in expressions.
    pub table: Table,
    /// The columns that name a row.
    pub key: Vec<Column>,
    /// Which rows.
    pub filter: Option<Expression>,
    /// One winner a group.
    pub pick: Option<Winner>,
}

/// One winner a group.
#[derive(Clone, Debug)]
pub struct Winner {
    /// What makes a group.
    pub per: Vec<Expression>,
    /// Who wins.
    pub order: Expression,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Target {
    /// The table, `t` in expressions.
    pub table: Table,
    /// The columns that name a row of it.
    pub key: Vec<Column>,
    /// Which row; `None`: the source row itself.
    pub matches: Option<Expression>,
    /// Written only if this holds.
    pub only_if: Option<Expression>,
    /// New values, by column.
    pub sets: Vec<Set>,
}

/// A new value of a column.
#[derive(Clone, Debug)]
pub struct Set {
    /// The column.
    pub column: Column,
    /// Its new value.
    pub value: Expression,
}

/// Where the audit entry of a source row goes.
#[derive(Clone, Debug)]
pub struct AuditTarget {
    /// The jsonb column of the source table.
    pub column: Column,
    /// Path in it.
    pub path: Vec<String>,
}

/// A JSON Schema that a value of each row must satisfy.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name.
    pub name: String,
    /// The value.
    pub value: Expression,
    /// The schema.
    pub schema: serde_json::Value,
    /// What happens to an invalid row.
    pub on_invalid: OnInvalid,
    /// With more invalid rows than this, in percent of the matching ones, the plan fails.
    pub max_invalid_percent: i32,
    /// How many invalid rows are named.
    pub sample: usize,
}

impl Target {
    /// True where the source row itself is written.
    #[must_use]
    pub const fn is_own_row(&self) -> bool {
        self.matches.is_none()
    }

    /// The columns whose values are known at plan, and approved.
    pub fn planned(&self) -> impl Iterator<Item = &Set> {
        self.sets.iter().filter(|set| !set.value.is_at_apply())
    }
}

impl Model {
    /// Resolves a spec. `adds` are columns that migrations will add: planned as NULL until they exist.
    ///
    /// # Errors
    /// [`ModelError`], which says what to change.
    pub async fn resolve(connection: &mut PgConnection, spec: &SqlBackfill, adds: &[AddedColumn]) -> Result<Self, ModelError> {
        let model = resolve::resolve(connection, spec, adds).await?;
        resolve::require_readable(connection, &model).await?;
        probe::probe(connection, &model).await?;
        Ok(model)
    }

    /// Checks that the role may write what the spec writes.
    ///
    /// # Errors
    /// [`ModelError::Catalog`] with the GRANT to run.
    pub async fn require_writable(&self, connection: &mut PgConnection) -> Result<(), ModelError> {
        resolve::require_writable(connection, self).await
    }
}
