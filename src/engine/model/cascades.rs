//! Rows that go with a deleted one, since their foreign keys cascade, and rows that lose their reference to one (`SET NULL`, `SET
//! DEFAULT`): each table of them is a write of its own, so that it is planned, approved, written and put back like any other.

use super::error::At;
use super::{ModelError, Set, Target, WriteAction};
use crate::engine::catalog::{self, Column, OnDelete, Origin, Reference, Table};
use crate::engine::sql::{Expression, Place, refuse_volatile};
use sqlx::PgConnection;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// So many tables far is looked: more is rather a mistake than a design.
const DEPTH: usize = 8;

/// The writes that come before this delete, the farthest first.
pub(super) async fn resolve(connection: &mut PgConnection, delete: &Target, at: &str) -> Result<Vec<Target>, ModelError> {
    let at = format!("{at}.cascades");
    let mut found = Vec::new();
    let path = |parent: &[Reference], references: &[Reference]| -> Vec<Vec<Reference>> {
        let captured = references.iter().filter(|reference| reference.on_delete != OnDelete::Refuses);
        captured.map(|reference| parent.iter().chain([reference]).cloned().collect()).collect()
    };
    let mut open = path(&[], delete.references());
    while let Some(steps) = open.pop() {
        let Some((last, above)) = steps.split_last() else { continue };
        let table = last.table.clone();
        let mut tables: Vec<i64> = std::iter::once(delete.table.oid).chain(above.iter().map(|step| step.table.oid)).collect();
        // Rows of one table may lose references to one another: those that go, go in one statement.
        if matches!(last.on_delete, OnDelete::Sets(_)) && tables.last() == Some(&table.oid) {
            tables.pop();
        }
        if tables.contains(&table.oid) || steps.len() > DEPTH {
            return Err(ModelError::CascadeInACircle { place: at, table: table.display() });
        }
        let key = table.key(&[]).at(&at)?;
        catalog::refuse_inherited(connection, &table).await.at(&at)?;
        let (action, event, sets, keeps) = match &last.on_delete {
            OnDelete::Sets(columns) => {
                let sets = sets(connection, &table, columns, &at).await?;
                let keeps = sets.iter().map(|set| set.column.clone()).collect();
                (WriteAction::Update, "UPDATE", sets, keeps)
            }
            OnDelete::Cascades | OnDelete::Refuses => {
                let references = catalog::references(connection, &table).await.at(&at)?;
                open.extend(path(&steps, &references));
                (WriteAction::Delete(references), "DELETE", Vec::new(), whole(&table))
            }
        };
        found.push(Target {
            key,
            keeps,
            triggers: catalog::triggers(connection, &table, event).await.at(&at)?,
            action,
            joins: Vec::new(),
            matches: None,
            only_if: None,
            sets,
            per_source: delete.per_source,
            index: delete.index,
            captures: true,
            captured: Some(steps),
            table,
        });
    }
    let farness = farness(delete, &found, &at)?;
    // A row goes only after all that refer to it are gone, or do so no more.
    found.sort_by_key(|target| (Reverse(farness.get(&target.table.oid).copied()), !target.is_cleared()));
    Ok(found)
}

/// All that is needed to put a row back.
pub(super) fn whole(table: &Table) -> Vec<Column> {
    table.columns.iter().filter(|c| c.origin != Origin::Computed && c.exists).cloned().collect()
}

/// The values that a foreign key leaves in its columns.
async fn sets(
    connection: &mut PgConnection,
    table: &Table,
    columns: &[(String, Option<String>)],
    at: &str,
) -> Result<Vec<Set>, ModelError> {
    let mut sets = Vec::with_capacity(columns.len());
    for (name, default) in columns {
        let at = format!("{at} (ON DELETE SET DEFAULT of {}.{name})", table.display());
        let value = Expression::parse(default.as_deref().unwrap_or("NULL"), Place::Chooses).at(&at)?;
        refuse_volatile(connection, value.calls(), Some(Place::Chooses)).await.at(&at)?;
        sets.push(Set { column: table.column(name).at(&at)?.clone(), value });
    }
    Ok(sets)
}

/// How many foreign keys each table is away from the deleted row, on the longest way.
fn farness(delete: &Target, found: &[Target], at: &str) -> Result<BTreeMap<i64, usize>, ModelError> {
    let mut far = BTreeMap::from([(delete.table.oid, 0)]);
    for _ in 0..=found.len() {
        let before = far.clone();
        for path in found.iter().filter_map(|target| target.captured.as_ref()) {
            let mut above = delete.table.oid;
            for step in path.iter().map(|step| step.table.oid) {
                let farther = far.get(&above).map_or(0, |far| far + usize::from(step != above));
                let known = far.entry(step).or_default();
                *known = farther.max(*known);
                above = step;
            }
        }
        if far == before {
            return Ok(far);
        }
    }
    Err(ModelError::CascadeInACircle { place: at.to_owned(), table: delete.table.display() })
}
