//! Tables, columns, keys and expressions of a declared backfill, as the engine resolves them, and the rights on them.

use super::findings::Findings;
use super::{Cut, unmeasured};
use crate::engine::catalog::CatalogError;
use crate::engine::model::{Model, ModelError};
use crate::steps::StepContext;
use sqlx::postgres::PgConnection;

/// `reader` plans, `writer` writes.
pub(super) async fn check(
    context: &StepContext,
    reader: &mut PgConnection,
    writer: &mut PgConnection,
    findings: &mut Findings,
) -> Result<(), Cut> {
    let spec = &context.input.spec;
    let Some(sql) = &spec.backfill.sql else { return Ok(()) };
    let adds = spec.migrations.as_ref().map(|m| m.adds.as_slice()).unwrap_or_default();
    let model = match Model::resolve(reader, sql, adds, &[]).await {
        Ok(model) => model,
        Err(error) => return refused(&error, findings),
    };
    findings.passed("tables", "source and targets are there");
    findings.passed("columns", "all columns are there, or will be added by the migrations");
    findings.passed("key", format!("({}) names a row", model.source.key.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")));
    findings.passed("expressions", "PostgreSQL's grammar and catalogue accept them");
    rights(&model, reader, writer, findings).await
}

async fn rights(model: &Model, reader: &mut PgConnection, writer: &mut PgConnection, findings: &mut Findings) -> Result<(), Cut> {
    let mut missing = Vec::new();
    let mut wants = |found: Result<(), CatalogError>| match found {
        Ok(()) => Ok(()),
        Err(CatalogError::PrivilegeMissing { grant }) => {
            if !missing.contains(&grant) {
                missing.push(grant);
            }
            Ok(())
        }
        Err(CatalogError::Database(error)) => Err(Cut::from(error)),
        Err(other) => Err(Cut::Lost(other.to_string())),
    };
    for right in model.reads() {
        wants(right.require(reader).await)?;
        wants(right.require(writer).await)?;
    }
    for right in model.changes() {
        wants(right.require(writer).await)?;
    }
    match model.require_audit_table(writer).await {
        Err(error @ (CatalogError::NotAnAuditTable { .. } | CatalogError::TableMissing { .. })) => {
            findings.stalled("audit-table", error.reason(), format!("backfill.sql.audit.table: {error}"));
        }
        other => wants(other)?,
    }
    if missing.is_empty() {
        findings.passed("role", "the role may read and write what the run does");
    } else {
        findings.stalled("role", "PrivilegeMissing", format!("the role lacks rights; as the tables' owner run: {}", missing.join(" ")));
    }
    Ok(())
}

fn refused(error: &ModelError, findings: &mut Findings) -> Result<(), Cut> {
    if let Some(database) = error.database() {
        return unmeasured(database, "expressions", findings);
    }
    let name = match error {
        ModelError::Catalog { source, .. } => match source {
            CatalogError::TableMissing { .. }
            | CatalogError::NotATable { .. }
            | CatalogError::NotAnAuditTable { .. }
            | CatalogError::TableInherited { .. }
            | CatalogError::Name(_) => "tables",
            CatalogError::KeyMissing { .. } | CatalogError::KeyNotUnique { .. } => "key",
            CatalogError::PrivilegeMissing { .. } | CatalogError::ReferringRowsHidden { .. } => "role",
            CatalogError::ColumnMissing { .. }
            | CatalogError::ColumnGenerated { .. }
            | CatalogError::TypeUnknown(_)
            | CatalogError::Database(_) => "columns",
        },
        ModelError::KeyColumnWritten { .. }
        | ModelError::ColumnSetTwice { .. }
        | ModelError::AuditNotJsonb { .. }
        | ModelError::ConflictKeyNotSet { .. }
        | ModelError::AuditColumnWritten { .. }
        | ModelError::CascadeInACircle { .. }
        | ModelError::AuditedRowDeleted { .. } => "columns",
        ModelError::ExpressionRefused { .. }
        | ModelError::AliasTwice { .. }
        | ModelError::ExpressionInvalid { .. }
        | ModelError::NothingPlannable { .. }
        | ModelError::JoinNotPlannable { .. }
        | ModelError::ValueNotPlannable { .. }
        | ModelError::Database(_) => "expressions",
    };
    findings.stalled(name, error.reason(), error.to_string());
    Ok(())
}
