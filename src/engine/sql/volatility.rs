//! What only the catalogue knows about the functions that an expression calls.

use super::functions::is_at_apply;
use super::{Place, SqlError};
use sqlx::{PgConnection, Row};
use std::collections::BTreeSet;

/// Functions and operators by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    functions: BTreeSet<(Option<String>, String)>,
    operators: BTreeSet<String>,
}

impl Calls {
    pub(super) fn add_function(&mut self, schema: Option<String>, name: String) {
        self.functions.insert((schema, name));
    }

    pub(super) fn add_operator(&mut self, mut parts: Vec<String>) {
        if let Some(name) = parts.pop() {
            self.operators.insert(name);
        }
    }
}

/// Which functions of that name are volatile, aggregates or return sets. Every function of the name that the call could
/// mean counts: which one it means depends on types, and a refusal too many is better than one too few.
/// A check may call volatile functions of PostgreSQL itself (`pg_database_size` is one), but none of the user's.
const FUNCTIONS: &str = "
    SELECT p.proname::text, p.provolatile = 'v' AS volatile, p.prokind::text AS kind, p.proretset, n.nspname = 'pg_catalog' AS builtin
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
         unnest($1::text[], $2::text[]) AS called(schema, name)
    WHERE p.proname = called.name AND coalesce(n.nspname = called.schema, n.nspname = ANY (current_schemas(true)))
    UNION ALL
    SELECT o.oprname::text, p.provolatile = 'v', p.prokind::text, p.proretset, n.nspname = 'pg_catalog'
    FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE o.oprname = ANY ($3::text[])";

/// Refuses what the catalogue knows to be volatile, an aggregate, a window function or set-returning. `None` as place is a check.
///
/// # Errors
/// [`SqlError`] with the function's name; [`SqlError::Database`] where the catalogue cannot be read.
pub async fn refuse_volatile(connection: &mut PgConnection, calls: &Calls, place: Option<Place>) -> Result<(), SqlError> {
    let (schemas, names): (Vec<Option<String>>, Vec<String>) = calls.functions.iter().cloned().unzip();
    let operators: Vec<String> = calls.operators.iter().cloned().collect();
    let rows = sqlx::query(FUNCTIONS).persistent(false).bind(schemas).bind(names).bind(operators).fetch_all(connection).await?;
    for row in rows {
        let name: String = row.try_get(0)?;
        let (volatile, kind, returns_set, builtin): (bool, String, bool, bool) =
            (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
        if place.is_some() && kind == "a" {
            return Err(SqlError::Aggregate(name));
        }
        if place.is_some() && kind == "w" {
            return Err(SqlError::Window(name));
        }
        if place.is_some() && returns_set {
            return Err(SqlError::SetReturning(name));
        }
        // Whether a name of the list may stand here has been decided by the grammar's guard.
        let listed = is_at_apply(&name, 0);
        if volatile && !listed && (place.is_some() || !builtin) {
            return Err(SqlError::Volatile(name));
        }
    }
    Ok(())
}
