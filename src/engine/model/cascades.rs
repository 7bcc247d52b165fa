//! Rows that go with a deleted one, since their foreign keys cascade: each table of them is a delete of its own, so that it is
//! planned, approved, written and put back like any other.

use super::error::At;
use super::{ModelError, Target, WriteAction};
use crate::engine::catalog::{self, Origin, Reference};
use sqlx::PgConnection;

/// So many tables far is looked: more is rather a mistake than a design.
const DEPTH: usize = 8;

/// The deletes that come before this one, the farthest first.
pub(super) async fn resolve(connection: &mut PgConnection, delete: &Target, at: &str) -> Result<Vec<Target>, ModelError> {
    let at = format!("{at}.cascades");
    let mut found = Vec::new();
    let path = |parent: &[Reference], references: &[Reference]| -> Vec<Vec<Reference>> {
        let cascading = references.iter().filter(|reference| reference.cascades);
        cascading.map(|reference| parent.iter().chain([reference]).cloned().collect()).collect()
    };
    let mut open = path(&[], delete.references());
    while let Some(steps) = open.pop() {
        let Some(last) = steps.last() else { continue };
        let table = last.table.clone();
        let above = steps.split_last().map(|(_, above)| above).unwrap_or_default();
        let again = above.iter().any(|step| step.table.oid == table.oid) || table.oid == delete.table.oid;
        if again || steps.len() > DEPTH {
            return Err(ModelError::CascadeInACircle { place: at, table: table.display() });
        }
        let key = table.key(&[]).at(&at)?;
        catalog::refuse_inherited(connection, &table).await.at(&at)?;
        let references = catalog::references(connection, &table).await.at(&at)?;
        open.extend(path(&steps, &references));
        found.push(Target {
            key,
            keeps: table.columns.iter().filter(|c| c.origin != Origin::Computed && c.exists).cloned().collect(),
            triggers: catalog::triggers(connection, &table, "DELETE").await.at(&at)?,
            action: WriteAction::Delete(references),
            joins: Vec::new(),
            matches: None,
            only_if: None,
            sets: Vec::new(),
            per_source: delete.per_source,
            index: delete.index,
            captures: true,
            captured: Some(steps),
            table,
        });
    }
    // A row goes only after all that refer to it.
    found.sort_by_key(|target| std::cmp::Reverse(target.captured.as_ref().map_or(0, Vec::len)));
    Ok(found)
}
