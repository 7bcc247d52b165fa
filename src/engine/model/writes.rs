//! A write of the spec, resolved: with the deletes that come before it, where rows go with deleted ones.

use super::cascades;
use super::error::At;
use super::resolve::{expression, optional, table};
use super::{Join, ModelError, Set, Source, Target, WriteAction};
use crate::api::spec::{Action, AddedColumn, Cascades, OnConflict, Per, Write};
use crate::engine::catalog::{self, CatalogError, Column, Origin, Table};
use crate::engine::sql::{Place, column_name};
use sqlx::PgConnection;

pub(super) async fn resolve(
    connection: &mut PgConnection,
    source: &Source,
    write: &Write,
    index: usize,
    adds: &[AddedColumn],
    joins: Vec<Join>,
) -> Result<Vec<Target>, ModelError> {
    let at = format!("backfill.sql.writes[{index}]");
    let table = match &write.table {
        None => source.table.clone(),
        Some(text) => table(connection, text, adds, &format!("{at}.table")).await?,
    };
    let key = key(source, &table, write, &at)?;
    let matches = optional(connection, write.matches.as_ref(), &format!("{at}.match")).await?;
    let only_if = optional(connection, write.only_if.as_ref(), &format!("{at}.onlyIf")).await?;
    let inserts = write.action == Action::Insert;
    let mut sets: Vec<Set> = Vec::with_capacity(write.set.len());
    for (name, text) in &write.set {
        let at = format!("{at}.set.{name}");
        let column = settable(&table, if inserts { &[] } else { &key }, name, &at)?;
        if sets.iter().any(|set| set.column.name == column.name) {
            return Err(ModelError::ColumnSetTwice { place: at, column: column.name });
        }
        sets.push(Set { column, value: expression(connection, text, Place::Sets, &at).await? });
    }
    let event = match write.action {
        Action::Update => "UPDATE",
        Action::Insert => "INSERT",
        Action::Delete => "DELETE",
    };
    let triggers = catalog::triggers(connection, &table, event).await.at(&at)?;
    let (action, keeps) = match (write.action, &write.on_conflict) {
        (Action::Delete, _) => {
            catalog::refuse_inherited(connection, &table).await.at(&at)?;
            let references = catalog::references(connection, &table).await.at(&at)?;
            (WriteAction::Delete(references), cascades::whole(&table))
        }
        (Action::Insert, Some(OnConflict { mode, .. })) => {
            known_at_plan(&key, &sets, &at)?;
            (WriteAction::Insert(*mode), sets.iter().map(|set| set.column.clone()).collect())
        }
        (Action::Insert | Action::Update, _) => (WriteAction::Update, sets.iter().map(|set| set.column.clone()).collect()),
    };
    let per_source = write.per == Per::Source;
    let captures = write.cascades == Cascades::Capture;
    let target = Target { table, key, action, joins, matches, only_if, sets, keeps, per_source, triggers, index, captures, captured: None };
    if target.action == WriteAction::Update && target.planned().next().is_none() {
        return Err(ModelError::NothingPlannable { place: at });
    }
    let mut targets = if captures { cascades::resolve(connection, &target, &at).await? } else { Vec::new() };
    targets.push(target);
    Ok(targets)
}

/// The columns that name the target's row: for an insert those of the conflict, else the primary key.
fn key(source: &Source, table: &Table, write: &Write, at: &str) -> Result<Vec<Column>, ModelError> {
    if let Some(conflict) = &write.on_conflict {
        let at = format!("{at}.onConflict.key");
        let names = conflict.key.iter().map(|name| column_name(name)).collect::<Result<Vec<_>, _>>().at(&at)?;
        return table.key(&names).at(&at);
    }
    if write.table.is_none() {
        return Ok(source.key.clone());
    }
    table.key(&[]).at(&format!("{at}.table"))
}

fn known_at_plan(key: &[Column], sets: &[Set], at: &str) -> Result<(), ModelError> {
    for column in key {
        let known = sets.iter().any(|set| set.column.name == column.name && !set.value.is_at_apply());
        if !known {
            return Err(ModelError::ConflictKeyNotSet { place: format!("{at}.set"), column: column.name.clone() });
        }
    }
    Ok(())
}

fn settable(table: &Table, key: &[Column], name: &str, at: &str) -> Result<Column, ModelError> {
    let column = table.column(&column_name(name).at(at)?).at(at)?.clone();
    if column.origin != Origin::Writer {
        return Err(CatalogError::ColumnGenerated { table: table.display(), column: column.name }).at(at);
    }
    if key.iter().any(|k| k.name == column.name) {
        return Err(ModelError::KeyColumnWritten { place: at.to_owned(), column: column.name });
    }
    Ok(column)
}
