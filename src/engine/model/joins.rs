//! The joins of the source and of single writes, resolved.

use super::error::At;
use super::resolve::{expression, table};
use super::{After, Join, JoinFrom, ModelError, Target, WriteAction};
use crate::api::spec::{AddedColumn, Join as JoinSpec, JoinRows, OnMatch, SqlBackfill};
use crate::engine::catalog::{self, Column, Origin, Table};
use crate::engine::sql::{Place, SelectQuery, column_name, refuse_volatile};
use sqlx::PgConnection;

/// Resolves joins; `taken` are those whose aliases they may use, and not have.
pub(super) async fn resolve(
    connection: &mut PgConnection,
    specs: &[JoinSpec],
    adds: &[AddedColumn],
    at: &str,
    taken: &[Join],
) -> Result<Vec<Join>, ModelError> {
    let mut joins: Vec<Join> = Vec::with_capacity(specs.len());
    for (index, spec) in specs.iter().enumerate() {
        if taken.iter().chain(&joins).any(|join| join.alias == spec.alias) {
            return Err(ModelError::AliasTwice { place: at.to_owned(), alias: spec.alias.clone() });
        }
        joins.push(join(connection, spec, adds, &format!("{at}[{index}]")).await?);
    }
    Ok(joins)
}

/// The joins of one write. A joined table that an earlier write writes is read as that one leaves it for the same source row,
/// where the plan can know that.
pub(super) async fn of_write(
    connection: &mut PgConnection,
    spec: &SqlBackfill,
    index: usize,
    adds: &[AddedColumn],
    source: &[Join],
    earlier: &[Target],
) -> Result<Vec<Join>, ModelError> {
    let Some(write) = spec.writes.get(index).filter(|write| !write.joins.is_empty()) else { return Ok(Vec::new()) };
    let at = format!("backfill.sql.writes[{index}].joins");
    let mut joins = resolve(connection, &write.joins, adds, &at, source).await?;
    let many = source.iter().any(|join| !join.many.is_empty());
    for (n, join) in joins.iter_mut().enumerate() {
        let place = format!("{at}[{n}]");
        let refuse = |write: &Target, table: &Table, why| ModelError::JoinNotPlannable {
            place: place.clone(),
            write: named(write),
            table: table.display(),
            why,
        };
        match &mut join.from {
            JoinFrom::Query { tables, .. } => {
                for table in tables.iter() {
                    if let Some(write) = first_of(connection, earlier, table).await.at(&place)? {
                        return Err(refuse(
                            write,
                            table,
                            "the query would have to be asked of what is not written yet (table and match can be)",
                        ));
                    }
                }
            }
            JoinFrom::Table { table, after, .. } => {
                if let Some(first) = first_of(connection, earlier, table).await.at(&place)? {
                    let writes: Vec<usize> =
                        earlier.iter().enumerate().filter(|(_, write)| write.table.oid == table.oid).map(|(place, _)| place).collect();
                    let unclear = if many {
                        Some("a source row writes several rows, as a join has rows: Many")
                    } else if writes.is_empty() {
                        Some("the two tables share rows, as one is a part of the other")
                    } else {
                        writes.iter().filter_map(|place| earlier.get(*place)).find_map(unclear)
                    };
                    if let Some(why) = unclear {
                        return Err(refuse(first, table, why));
                    }
                    let known = known(spec, table, writes.iter().filter_map(|place| earlier.get(*place)));
                    *after = Some(After { writes, known, first: named(first) });
                }
            }
        }
    }
    Ok(joins)
}

fn named(write: &Target) -> String {
    format!("backfill.sql.writes[{}]", write.index)
}

/// The first write to this table, or to one that shares rows with it.
async fn first_of<'t>(
    connection: &mut PgConnection,
    earlier: &'t [Target],
    table: &Table,
) -> Result<Option<&'t Target>, catalog::CatalogError> {
    for write in earlier {
        if write.table.oid == table.oid || catalog::share_rows(connection, &write.table, table).await? {
            return Ok(Some(write));
        }
    }
    Ok(None)
}

/// Why it cannot be said at plan what a write leaves of its table.
fn unclear(write: &Target) -> Option<&'static str> {
    if write.captured.is_some() {
        return Some("its rows go with deleted ones (cascades: Capture)");
    }
    (!write.triggers.is_empty()).then_some("a BEFORE trigger may change what is written")
}

/// Columns whose values are known at plan, in rows that are written and in those that are not.
fn known<'t>(spec: &SqlBackfill, table: &Table, writes: impl Iterator<Item = &'t Target>) -> Vec<Column> {
    let redacted = spec.sensitive_data.as_ref().filter(|sensitive| sensitive.on_match == OnMatch::Redact);
    let redacted: Vec<String> =
        redacted.iter().flat_map(|sensitive| &sensitive.columns).filter_map(|name| column_name(name).ok()).collect();
    let audited = spec.audit.as_ref().and_then(|audit| column_name(audit.column.as_deref()?).ok());
    let mut known = table.columns.clone();
    for write in writes {
        known.retain(|column| {
            let set = write.set_of(&column.name);
            let is_set_at_plan = set.is_some_and(|set| !set.value.is_at_apply()) && !redacted.contains(&column.name);
            match write.action {
                WriteAction::Insert(_) => is_set_at_plan,
                WriteAction::Update => {
                    let audited = write.is_own_row() && audited.as_ref() == Some(&column.name);
                    !audited && column.origin != Origin::Computed && (set.is_none() || is_set_at_plan)
                }
                WriteAction::Delete(_) => true,
            }
        });
    }
    known
}

async fn join(connection: &mut PgConnection, spec: &JoinSpec, adds: &[AddedColumn], at: &str) -> Result<Join, ModelError> {
    let from = match (&spec.table, &spec.query) {
        (Some(name), _) => {
            let table = Box::new(table(connection, name, adds, &format!("{at}.table")).await?);
            let text = spec.matches.as_deref().unwrap_or("true");
            let matches = expression(connection, text, Place::Chooses, &format!("{at}.match")).await?;
            JoinFrom::Table { table, matches, after: None }
        }
        (None, query) => {
            let at = format!("{at}.query");
            let query = SelectQuery::parse(query.as_deref().unwrap_or_default()).at(&at)?;
            refuse_volatile(connection, query.calls(), Some(Place::JoinQuery)).await.at(&at)?;
            let mut tables = Vec::with_capacity(query.tables().len());
            for name in query.tables() {
                // Tables only: a view may hide what the grammar cannot see.
                tables.push(catalog::table(connection, name).await.at(&at)?);
            }
            JoinFrom::Query { query, tables }
        }
    };
    let many = match spec.rows {
        JoinRows::One => Vec::new(),
        JoinRows::Many => {
            let at = format!("{at}.key");
            spec.key.iter().map(|name| column_name(name)).collect::<Result<Vec<_>, _>>().at(&at)?
        }
    };
    Ok(Join { alias: spec.alias.clone(), kind: spec.kind, from, many })
}
