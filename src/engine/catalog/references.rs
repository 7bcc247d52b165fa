//! Foreign keys that refer to a table: what stands in the way of a delete, and what goes with it.

use super::{CatalogError, Table, table};
use crate::engine::sql::{TableName, quote};
use sqlx::PgConnection;

/// A foreign key of another table that refers to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The referring table.
    pub table: Table,
    /// Its columns, and those they refer to.
    pub columns: Vec<(String, String)>,
    /// True where its rows go with the row that they refer to (`ON DELETE CASCADE`).
    pub cascades: bool,
}

impl Reference {
    /// The rows of `child` that refer to the row of `parent`, as a condition.
    #[must_use]
    pub fn on(&self, child: &str, parent: &str) -> String {
        let pairs = self.columns.iter().map(|(c, p)| format!("{child}.{} = {parent}.{}", quote(c), quote(p)));
        pairs.collect::<Vec<_>>().join(" AND ")
    }
}

/// A partition's own copy of the key of its table (`conparentid`) says nothing more.
const REFERENCES: &str = "
    SELECT n.nspname::text, c.relname::text, f.confdeltype::text = 'c', row_security_active(c.oid),
           array_agg(ca.attname::text ORDER BY k.n), array_agg(pa.attname::text ORDER BY k.n)
    FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
         unnest(f.conkey, f.confkey) WITH ORDINALITY AS k(child, parent, n), pg_attribute ca, pg_attribute pa
    WHERE f.contype = 'f' AND f.confrelid = $1::oid AND f.conparentid = 0
      AND ca.attrelid = f.conrelid AND ca.attnum = k.child AND pa.attrelid = f.confrelid AND pa.attnum = k.parent
    GROUP BY f.oid, n.nspname, c.oid, c.relname ORDER BY 1, 2, f.oid";

type Row = (String, String, bool, bool, Vec<String>, Vec<String>);

/// Foreign keys that refer to a table.
///
/// # Errors
/// [`CatalogError`].
pub async fn references(connection: &mut PgConnection, of: &Table) -> Result<Vec<Reference>, CatalogError> {
    let rows: Vec<Row> = sqlx::query_as(REFERENCES).persistent(false).bind(of.oid).fetch_all(&mut *connection).await?;
    let mut references = Vec::with_capacity(rows.len());
    for (schema, name, cascades, hidden, child, parent) in rows {
        // A key that cascades takes the rows that the role does not see, too.
        if hidden {
            return Err(CatalogError::ReferringRowsHidden { table: name });
        }
        let table = table(connection, &TableName { schema: Some(schema), name }).await?;
        references.push(Reference { table, columns: child.into_iter().zip(parent).collect(), cascades });
    }
    Ok(references)
}

/// Refuses a table from whose children by inheritance a delete would take rows: they would come back into the parent.
///
/// # Errors
/// [`CatalogError::TableInherited`].
pub async fn refuse_inherited(connection: &mut PgConnection, of: &Table) -> Result<(), CatalogError> {
    let children: Option<String> = sqlx::query_scalar(
        "SELECT string_agg(quote_ident(c.relname), ', ' ORDER BY c.relname) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = $1::oid AND NOT c.relispartition",
    )
    .persistent(false)
    .bind(of.oid)
    .fetch_one(connection)
    .await?;
    children.map_or(Ok(()), |children| Err(CatalogError::TableInherited { table: of.display(), children }))
}
