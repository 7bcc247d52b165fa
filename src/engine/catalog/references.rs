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
    /// What becomes of its rows when the row goes that they refer to.
    pub on_delete: OnDelete,
}

/// What a foreign key does to its rows when the row goes that they refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// It lets the row not go; so is taken, too, what could not be put back or would fail.
    Refuses,
    /// They go with it.
    Cascades,
    /// They stay, and these columns become NULL, or the default that is given as an expression.
    Sets(Vec<(String, Option<String>)>),
}

impl Reference {
    /// The rows of `child` that refer to the row of `parent`, as a condition.
    #[must_use]
    pub fn on(&self, child: &str, parent: &str) -> String {
        let pairs = self.columns.iter().map(|(c, p)| format!("{child}.{} = {parent}.{}", quote(c), quote(p)));
        pairs.collect::<Vec<_>>().join(" AND ")
    }
}

/// A partition's own copy of the key of its table (`conparentid`) says nothing more. `confdelsetcols` is there from 15 on.
const REFERENCES: &str = "
    SELECT n.nspname::text, c.relname::text, f.confdeltype::text, row_security_active(c.oid),
           array_agg(ca.attname::text ORDER BY k.n), array_agg(pa.attname::text ORDER BY k.n),
           ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = f.conrelid AND to_jsonb(a.attnum) <@ sets.columns ORDER BY a.attnum),
           ARRAY(SELECT CASE WHEN f.confdeltype = 'd' THEN pg_get_expr(d.adbin, d.adrelid) END
                 FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                 WHERE a.attrelid = f.conrelid AND to_jsonb(a.attnum) <@ sets.columns ORDER BY a.attnum)
    FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
         LATERAL (SELECT coalesce(nullif(to_jsonb(f)->'confdelsetcols', 'null'), to_jsonb(f.conkey)) AS columns) AS sets,
         unnest(f.conkey, f.confkey) WITH ORDINALITY AS k(child, parent, n), pg_attribute ca, pg_attribute pa
    WHERE f.contype = 'f' AND f.confrelid = $1::oid AND f.conparentid = 0
      AND ca.attrelid = f.conrelid AND ca.attnum = k.child AND pa.attrelid = f.confrelid AND pa.attnum = k.parent
    GROUP BY f.oid, n.nspname, c.oid, c.relname, sets.columns ORDER BY 1, 2, f.oid";

type Row = (String, String, String, bool, Vec<String>, Vec<String>, Vec<String>, Vec<Option<String>>);

/// Foreign keys that refer to a table.
///
/// # Errors
/// [`CatalogError`].
pub async fn references(connection: &mut PgConnection, of: &Table) -> Result<Vec<Reference>, CatalogError> {
    let rows: Vec<Row> = sqlx::query_as(REFERENCES).persistent(false).bind(of.oid).fetch_all(&mut *connection).await?;
    let mut references = Vec::with_capacity(rows.len());
    for (schema, name, action, hidden, child, parent, columns, defaults) in rows {
        // A key that cascades takes the rows that the role does not see, too.
        if hidden {
            return Err(CatalogError::ReferringRowsHidden { table: name });
        }
        let table = table(connection, &TableName { schema: Some(schema), name }).await?;
        let on_delete = on_delete(&action, &table, columns.into_iter().zip(defaults).collect());
        references.push(Reference { table, columns: child.into_iter().zip(parent).collect(), on_delete });
    }
    Ok(references)
}

fn on_delete(action: &str, table: &Table, sets: Vec<(String, Option<String>)>) -> OnDelete {
    // A key column cannot be put back by its own row, and NULL in a column that refuses it fails.
    let possible = |(name, default): &(String, Option<String>)| {
        let refuses_null = table.column(name).is_ok_and(|column| column.not_null);
        !table.primary_key.contains(name) && (default.is_some() || !refuses_null)
    };
    match action {
        "c" => OnDelete::Cascades,
        "n" | "d" if sets.iter().all(possible) => OnDelete::Sets(sets),
        _ => OnDelete::Refuses,
    }
}

/// True where a row of one table may be one of the other, too: partitions and tables that inherit.
///
/// # Errors
/// [`CatalogError::Database`].
pub async fn share_rows(connection: &mut PgConnection, one: &Table, other: &Table) -> Result<bool, CatalogError> {
    let share = sqlx::query_scalar(
        "WITH RECURSIVE up (below, oid) AS (
             SELECT o, o FROM unnest(ARRAY[$1, $2]::oid[]) AS o UNION SELECT up.below, i.inhparent FROM up JOIN pg_inherits i ON i.inhrelid = up.oid)
         SELECT EXISTS (SELECT FROM up a JOIN up b ON a.oid = b.oid WHERE a.below = $1::oid AND b.below = $2::oid)",
    );
    Ok(share.persistent(false).bind(one.oid).bind(other.oid).fetch_one(connection).await?)
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
