//! The rights that a declared backfill needs, table by table.

use super::error::At;
use super::{AuditTarget, JoinFrom, Model, ModelError, WriteAction};
use crate::api::spec::ConflictMode;
use crate::engine::catalog::{self, CatalogError, Column, Privilege, Table};
use sqlx::PgConnection;

/// What a role must be able to do.
#[derive(Clone, Debug)]
pub struct Right<'a> {
    table: &'a Table,
    privilege: Privilege,
    columns: Vec<&'a Column>,
}

impl Right<'_> {
    /// Checks that the connection's role has it.
    ///
    /// # Errors
    /// [`CatalogError::PrivilegeMissing`] with the GRANT to run.
    pub async fn require(&self, connection: &mut PgConnection) -> Result<(), CatalogError> {
        catalog::require(connection, self.table, self.privilege, &self.columns).await
    }
}

impl Model {
    /// What is read: all columns of a table, for any of them may stand in an expression.
    #[must_use]
    pub fn reads(&self) -> Vec<Right<'_>> {
        let joined = self.all_joins().flat_map(|join| match &join.from {
            JoinFrom::Table { table, .. } => std::slice::from_ref(table.as_ref()),
            JoinFrom::Query { tables, .. } => tables,
        });
        let referring = self.writes.iter().flat_map(|write| write.references().iter().map(|reference| &reference.table));
        let tables = std::iter::once(&self.source.table).chain(self.writes.iter().map(|write| &write.table)).chain(joined).chain(referring);
        tables.map(|table| Right { table, privilege: Privilege::Select, columns: table.columns.iter().collect() }).collect()
    }

    /// What is written, on the way there and on the way back.
    #[must_use]
    pub fn changes(&self) -> Vec<Right<'_>> {
        let mut rights = Vec::new();
        for write in &self.writes {
            let table = &write.table;
            let mut right = |privilege, columns| rights.push(Right { table, privilege, columns });
            let all = write.sets.iter().map(|set| &set.column).collect();
            let updated = write.updated().map(|(_, set)| &set.column).collect();
            match &write.action {
                WriteAction::Update => right(Privilege::Update, updated),
                WriteAction::Insert(mode) => {
                    right(Privilege::Insert, all);
                    right(Privilege::Delete, Vec::new());
                    if *mode == ConflictMode::Update {
                        right(Privilege::Update, updated);
                    }
                }
                WriteAction::Delete(_) => {
                    right(Privilege::Delete, Vec::new());
                    right(Privilege::Insert, Vec::new());
                    // For the lock that nobody comes to refer to the row under.
                    right(Privilege::Update, Vec::new());
                }
            }
        }
        if let Some(AuditTarget::Column { column, .. }) = &self.audit {
            rights.push(Right { table: &self.source.table, privilege: Privilege::Update, columns: vec![column] });
        }
        rights
    }

    /// Checks that the role may read what the spec reads.
    pub(super) async fn require_readable(&self, connection: &mut PgConnection) -> Result<(), ModelError> {
        for right in self.reads() {
            right.require(connection).await.at("spec.database")?;
        }
        Ok(())
    }

    /// Checks that the role may write what the spec writes.
    ///
    /// # Errors
    /// [`ModelError::Catalog`] with the GRANT to run.
    pub async fn require_writable(&self, connection: &mut PgConnection) -> Result<(), ModelError> {
        for right in self.changes() {
            right.require(connection).await.at("spec.database.secretRef")?;
        }
        self.require_audit_table(connection).await.at("backfill.sql.audit.table")
    }

    /// Checks that the role may write audit entries, where they go into a table.
    ///
    /// # Errors
    /// [`CatalogError`], which says what to run or to change.
    pub async fn require_audit_table(&self, connection: &mut PgConnection) -> Result<(), CatalogError> {
        match &self.audit {
            Some(AuditTarget::Table(table)) => catalog::require_audit_table(connection, table).await,
            Some(AuditTarget::Column { .. }) | None => Ok(()),
        }
    }
}
