//! The spec's declared backfill, resolved: every name found in the catalogue, every expression guarded and tried.
//!
//! Plan, apply and verify all build their SQL from one [`Model`], so that they mean the same rows and values.

mod cascades;
mod error;
mod joins;
mod probe;
mod resolve;
mod rights;
mod writes;

pub use error::ModelError;
pub use rights::Right;

use super::catalog::{Column, OnDelete, Reference, Table};
use super::sql::{Expression, SelectQuery};
use crate::api::spec::{AddedColumn, ConflictMode, JoinType, OnInvalid, SqlBackfill};
use crate::api::status::ParameterStatus;
use sqlx::PgConnection;
use std::collections::BTreeSet;

/// A declared backfill, ready to be turned into SQL.
#[derive(Clone, Debug)]
pub struct Model {
    /// Values taken once, at plan.
    pub parameters: Vec<Parameter>,
    /// The rows to read.
    pub source: Source,
    /// What is looked up for each of them.
    pub joins: Vec<Join>,
    /// What is written for each of them.
    pub writes: Vec<Target>,
    /// Where the audit entry goes.
    pub audit: Option<AuditTarget>,
    /// What a row must look like.
    pub rules: Vec<Rule>,
    /// True where values are those of the moment of apply: only rule and rows are approved.
    pub recompute: bool,
}

/// A value taken once, at plan: `param.NAME` in expressions.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its type, ready for SQL.
    pub type_name: String,
    /// What is evaluated, at plan.
    pub expression: Expression,
    /// The value, as text; `None` for NULL, and before it was taken.
    pub value: Option<String>,
    /// True once it was taken: it stays the same from then on.
    pub taken: bool,
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
    /// True where the others are written, and the winner is `w`.
    pub losers: bool,
}

/// What is looked up for a source row.
#[derive(Clone, Debug)]
pub struct Join {
    /// Its alias.
    pub alias: String,
    /// What becomes of a source row without a match.
    pub kind: JoinType,
    /// Where it looks.
    pub from: JoinFrom,
    /// Columns that tell the rows of one source row apart; empty where there is at most one.
    pub many: Vec<String>,
}

/// Where a join looks.
#[derive(Clone, Debug)]
pub enum JoinFrom {
    /// In a table.
    Table {
        /// Which.
        table: Box<Table>,
        /// Which row.
        matches: Expression,
        /// What earlier writes make of it, for a join of a write's own.
        after: Option<After>,
    },
    /// In a query of its own.
    Query {
        /// The query.
        query: SelectQuery,
        /// The tables that it reads.
        tables: Vec<Table>,
    },
}

/// A joined table that earlier writes of the same source row change.
#[derive(Clone, Debug)]
pub struct After {
    /// Their places among the writes.
    pub writes: Vec<usize>,
    /// Columns whose values are known at plan in each row, written or not.
    pub known: Vec<Column>,
    /// The first of those writes, as the spec places it.
    pub first: String,
}

/// One write.
#[derive(Clone, Debug)]
pub struct Target {
    /// The table, `t` in expressions.
    pub table: Table,
    /// The columns that name a row of it.
    pub key: Vec<Column>,
    /// What is done.
    pub action: WriteAction,
    /// What is looked up for this write alone.
    pub joins: Vec<Join>,
    /// Which row; `None`: the source row itself, or, for an insert, the one with the same key.
    pub matches: Option<Expression>,
    /// Written only if this holds.
    pub only_if: Option<Expression>,
    /// New values, by column; none for a delete.
    pub sets: Vec<Set>,
    /// Old values that are kept: of the columns that are set, or of all for a delete.
    pub keeps: Vec<Column>,
    /// True where it is made once for a source row, however many rows a join finds.
    pub per_source: bool,
    /// Its place in the spec; a captured one has that of its delete.
    pub index: usize,
    /// Delete: rows that go with the deleted one, or lose their reference to it, are writes of their own, before it.
    pub captures: bool,
    /// How the rows are found that go with a deleted one, or lose their reference to it; `None` for a write that the spec names.
    pub captured: Option<Vec<Reference>>,
    /// BEFORE triggers of the table that may change what is written, by name.
    pub triggers: Vec<String>,
}

/// What a write does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteAction {
    /// Columns are set.
    Update,
    /// A row is added.
    Insert(ConflictMode),
    /// The row is removed. Rows of other tables that refer to it hold the plan up.
    Delete(Vec<Reference>),
}

/// A new value of a column.
#[derive(Clone, Debug)]
pub struct Set {
    /// The column.
    pub column: Column,
    /// Its new value.
    pub value: Expression,
}

/// Where audit entries go.
#[derive(Clone, Debug)]
pub enum AuditTarget {
    /// Into a jsonb column of the source row.
    Column {
        /// Which.
        column: Column,
        /// Path in it.
        path: Vec<String>,
    },
    /// Into a table, one for each written row; its name, quoted.
    Table(String),
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
        self.matches.is_none() && self.captured.is_none() && !matches!(self.action, WriteAction::Insert(_))
    }

    /// True where its row is locked beside the source's. An insert that leaves rows alone needs no lock on them, which would
    /// take the right to change them.
    #[must_use]
    pub const fn is_locked_for_itself(&self) -> bool {
        !self.is_own_row() && !matches!(self.action, WriteAction::Insert(ConflictMode::Skip | ConflictMode::Fail))
    }

    /// Foreign keys that refer to the table of a delete.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        match &self.action {
            WriteAction::Delete(references) => references,
            WriteAction::Update | WriteAction::Insert(_) => &[],
        }
    }

    /// Foreign keys whose rows stand in the way of a delete.
    pub fn in_the_way(&self) -> impl Iterator<Item = &Reference> {
        self.references().iter().filter(|reference| !(self.captures && reference.on_delete != OnDelete::Refuses))
    }

    /// True where rows lose their reference to deleted ones.
    #[must_use]
    pub const fn is_cleared(&self) -> bool {
        self.captured.is_some() && matches!(self.action, WriteAction::Update)
    }

    /// The columns whose values are known at plan, and approved.
    pub fn planned(&self) -> impl Iterator<Item = &Set> {
        self.sets.iter().filter(|set| !set.value.is_at_apply())
    }

    /// The value that is set to a column.
    #[must_use]
    pub fn set_of(&self, column: &str) -> Option<&Set> {
        self.sets.iter().find(|set| set.column.name == column)
    }

    /// What an existing row gets: for an insert that found its row, all but the key.
    pub fn updated(&self) -> impl Iterator<Item = (usize, &Set)> {
        let inserts = matches!(self.action, WriteAction::Insert(_));
        self.sets.iter().enumerate().filter(move |(_, set)| !(inserts && self.key.iter().any(|k| k.name == set.column.name)))
    }
}

impl Join {
    /// True where it only decides whether a row is written.
    #[must_use]
    pub const fn is_condition(&self) -> bool {
        matches!(self.kind, JoinType::Semi | JoinType::Anti)
    }
}

impl Model {
    /// Resolves a spec. `adds` are columns that migrations will add: planned as NULL until they exist. `parameters` are
    /// the values that the plan took; where there is none yet, a parameter is NULL.
    ///
    /// # Errors
    /// [`ModelError`], which says what to change.
    pub async fn resolve(
        connection: &mut PgConnection,
        spec: &SqlBackfill,
        adds: &[AddedColumn],
        parameters: &[ParameterStatus],
    ) -> Result<Self, ModelError> {
        let model = resolve::resolve(connection, spec, adds, parameters).await?;
        model.require_readable(connection).await?;
        probe::probe(connection, &model).await?;
        Ok(model)
    }

    /// What in its expressions depends on the server, by name.
    #[must_use]
    pub fn server_dependent(&self) -> BTreeSet<String> {
        let mut expressions: Vec<&Expression> = self.source.filter.iter().collect();
        if let Some(pick) = &self.source.pick {
            expressions.extend(&pick.per);
            expressions.push(&pick.order);
        }
        let mut found = BTreeSet::new();
        for join in self.all_joins() {
            match &join.from {
                JoinFrom::Table { matches, .. } => expressions.push(matches),
                JoinFrom::Query { query, .. } => found.extend(query.server_dependent()),
            }
        }
        for write in &self.writes {
            expressions.extend(write.matches.iter().chain(&write.only_if));
            expressions.extend(write.planned().map(|set| &set.value));
        }
        found.extend(expressions.into_iter().flat_map(Expression::server_dependent));
        found
    }

    /// The writes that the spec names, with their places among all.
    pub fn named(&self) -> impl Iterator<Item = (usize, &Target)> {
        self.writes.iter().enumerate().filter(|(_, write)| write.captured.is_none())
    }

    /// The rows that go with those of a delete, or lose their reference to them, with their places among the writes: the farthest
    /// first.
    pub fn captured_by(&self, delete: &Target) -> impl Iterator<Item = (usize, &Target, &[Reference])> {
        let of = delete.index;
        let captured = self.writes.iter().enumerate().filter(move |(_, write)| write.index == of);
        captured.filter_map(|(n, write)| Some((n, write, write.captured.as_deref()?)))
    }

    /// The joins of the source, and those of the writes.
    pub fn all_joins(&self) -> impl Iterator<Item = &Join> {
        self.joins.iter().chain(self.writes.iter().flat_map(|write| &write.joins))
    }

    /// What a write takes of its row for itself, as names: all of it. Where rows of the table lose references to deleted ones,
    /// only those columns, so that a row may lose one to each of two deleted ones, but not to one and go with the other.
    #[must_use]
    pub fn taken_by(&self, write: &Target) -> Vec<String> {
        let cleared = self.writes.iter().filter(|other| other.is_cleared() && other.table.oid == write.table.oid);
        let cleared = cleared.filter(|other| std::ptr::eq(*other, write) || !write.is_cleared());
        let columns: BTreeSet<String> = cleared.flat_map(|other| &other.sets).map(|set| set.column.name.clone()).collect();
        if columns.is_empty() { vec![String::new()] } else { columns.into_iter().collect() }
    }

    /// True where a join finds several rows for a source row.
    #[must_use]
    pub fn has_many(&self) -> bool {
        self.joins.iter().any(|join| !join.many.is_empty())
    }

    /// Whether the losers of the groups are written: then each source row comes with its winner.
    #[must_use]
    pub fn writes_losers(&self) -> bool {
        self.source.pick.as_ref().is_some_and(|pick| pick.losers)
    }
}
