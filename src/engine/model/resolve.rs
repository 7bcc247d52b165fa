//! From the spec's texts to names of the catalogue and guarded expressions.

use super::error::At;
use super::{AuditTarget, Model, ModelError, Parameter, Rule, Source, Target, Winner, WriteAction, joins, writes};
use crate::api::spec::{AddedColumn, Audit, DriftMode, PickWrite, SqlBackfill, Validation};
use crate::api::status::ParameterStatus;
use crate::engine::catalog::{self, Table};
use crate::engine::sql::{Expression, Place, TableName, column_name, refuse_volatile, type_name};
use sqlx::PgConnection;

pub(super) async fn resolve(
    connection: &mut PgConnection,
    spec: &SqlBackfill,
    adds: &[AddedColumn],
    values: &[ParameterStatus],
) -> Result<Model, ModelError> {
    let parameters = parameters(connection, spec, values).await?;
    let source = source(connection, spec, adds).await?;
    let joins = joins::resolve(connection, &spec.source.joins, adds, "backfill.sql.source.joins", &[]).await?;
    let mut targets = Vec::with_capacity(spec.writes.len());
    for (index, write) in spec.writes.iter().enumerate() {
        let joined = joins::of_write(connection, spec, index, adds, &joins, &targets).await?;
        targets.extend(writes::resolve(connection, &source, write, index, adds, joined).await?);
    }
    let audit = spec.audit.as_ref().map(|audit| audit_target(&source, &targets, audit)).transpose()?;
    let mut rules = Vec::with_capacity(spec.validate.len());
    for (index, rule) in spec.validate.iter().enumerate() {
        rules.push(validation(connection, rule, index).await?);
    }
    let recompute = spec.drift.mode == DriftMode::Recompute;
    Ok(Model { parameters, source, joins, writes: targets, audit, rules, recompute })
}

pub(super) async fn expression(connection: &mut PgConnection, text: &str, place: Place, at: &str) -> Result<Expression, ModelError> {
    let expression = Expression::parse(text, place).at(at)?;
    refuse_volatile(connection, expression.calls(), Some(place)).await.at(at)?;
    Ok(expression)
}

pub(super) async fn optional(connection: &mut PgConnection, text: Option<&String>, at: &str) -> Result<Option<Expression>, ModelError> {
    match text {
        Some(text) => expression(connection, text, Place::Chooses, at).await.map(Some),
        None => Ok(None),
    }
}

pub(super) async fn table(connection: &mut PgConnection, text: &str, adds: &[AddedColumn], at: &str) -> Result<Table, ModelError> {
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

async fn parameters(connection: &mut PgConnection, spec: &SqlBackfill, values: &[ParameterStatus]) -> Result<Vec<Parameter>, ModelError> {
    let mut parameters = Vec::with_capacity(spec.parameters.len());
    for (name, parameter) in &spec.parameters {
        let at = format!("backfill.sql.parameters.{name}");
        let column = column_name(name).at(&at)?;
        let expression = expression(connection, &parameter.sql, Place::Sets, &format!("{at}.sql")).await?;
        let type_name = type_name(&parameter.type_name).at(&format!("{at}.type"))?;
        let known = values.iter().find(|taken| taken.name == column);
        let (taken, value) = (known.is_some(), known.and_then(|taken| taken.value.clone()));
        parameters.push(Parameter { name: column, type_name, expression, value, taken });
    }
    Ok(parameters)
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
            Some(Winner { per, order, losers: pick.write == PickWrite::Losers })
        }
    };
    Ok(Source { table, key, filter, pick })
}

fn audit_target(source: &Source, writes: &[Target], audit: &Audit) -> Result<AuditTarget, ModelError> {
    let Some(name) = &audit.column else {
        let name = TableName::parse(audit.table.as_deref().unwrap_or_default()).at("backfill.sql.audit.table")?;
        let schema = name.schema.unwrap_or_else(|| source.table.schema.clone());
        return Ok(AuditTarget::Table(TableName { schema: Some(schema), name: name.name }.to_string()));
    };
    let at = "backfill.sql.audit.column";
    let column = source.table.column(&column_name(name).at(at)?).at(at)?.clone();
    if column.base_type != "jsonb" {
        return Err(ModelError::AuditNotJsonb { column: column.name, found: column.full_type });
    }
    for write in writes {
        let place = || format!("backfill.sql.writes[{}]", write.index);
        let elsewhere = !write.is_own_row() && write.table.oid == source.table.oid;
        if elsewhere && write.set_of(&column.name).is_some() {
            return Err(ModelError::AuditColumnWritten { place: place(), column: column.name });
        }
        if write.is_own_row() && matches!(write.action, WriteAction::Delete(_)) {
            return Err(ModelError::AuditedRowDeleted { place: place() });
        }
    }
    Ok(AuditTarget::Column { column, path: audit.path.clone() })
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
