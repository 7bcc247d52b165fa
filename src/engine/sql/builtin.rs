//! Whether expressions are made of parts that stay what they are: PostgreSQL's own, and those of extensions. A function of the
//! user's own may be replaced between plan and apply, and then gives another value for the same row.

use super::volatility::Calls;
use sqlx::PgConnection;
use std::collections::BTreeSet;

/// Functions (casts written as functions, `s.f` and `(s.a).f` among them) and operators of these names that are neither
/// PostgreSQL's own nor an extension's, and casts by such functions, which may happen without being written. In any schema: a
/// refusal too many costs some time only.
const OTHERS: &str = "
    WITH member AS (SELECT classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e')
    SELECT EXISTS (SELECT FROM pg_proc p WHERE p.proname = ANY ($1::text[]) AND p.pronamespace <> 'pg_catalog'::regnamespace
               AND NOT (p.provolatile = 'i' AND ('pg_proc'::regclass, p.oid) IN (SELECT classid, objid FROM member)))
        OR EXISTS (SELECT FROM pg_operator o WHERE o.oprname = ANY ($2::text[]) AND o.oprnamespace <> 'pg_catalog'::regnamespace
               AND ('pg_operator'::regclass, o.oid) NOT IN (SELECT classid, objid FROM member))
        OR EXISTS (SELECT FROM pg_cast k JOIN pg_proc p ON p.oid = k.castfunc WHERE p.pronamespace <> 'pg_catalog'::regnamespace
               AND ('pg_proc'::regclass, p.oid) NOT IN (SELECT classid, objid FROM member))";

/// True where nothing of what these expressions call is the user's own.
///
/// # Errors
/// Those of the driver.
pub async fn only_builtin<'a>(connection: &mut PgConnection, calls: impl IntoIterator<Item = &'a Calls>) -> Result<bool, sqlx::Error> {
    let mut functions: BTreeSet<&str> = BTreeSet::new();
    // CASE and match compare without naming it.
    let mut operators: BTreeSet<&str> = BTreeSet::from(["="]);
    for call in calls {
        functions.extend(call.names());
        operators.extend(call.operators());
    }
    let list = |names: BTreeSet<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let query = sqlx::query_scalar::<_, bool>(OTHERS).persistent(false).bind(list(functions)).bind(list(operators));
    Ok(!query.fetch_one(connection).await?)
}
