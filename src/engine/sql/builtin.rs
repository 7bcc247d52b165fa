//! Whether expressions are made of parts that stay what they are: PostgreSQL's own, and those of extensions. A function of the
//! user's own may be replaced between plan and apply, and then gives another value for the same row. So does a row's text that is
//! read as a date: `today` is another day by then.

use super::Expression;
use super::volatility::Calls;
use sqlx::postgres::types::Oid;
use sqlx::{AssertSqlSafe, PgConnection};
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

/// Types of these names, and those of columns, that are made of dates and times, deep inside too.
const OF_TIME: &str = "
    WITH RECURSIVE reached AS (
        SELECT t.oid FROM pg_type t WHERE t.typname = ANY ($1::text[]) OR t.oid = ANY ($2::oid[])
        UNION
        SELECT part.oid FROM reached JOIN pg_type t ON t.oid = reached.oid, LATERAL (
            SELECT t.typelem WHERE t.typelem <> 0
            UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
            UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE t.oid IN (r.rngtypid, r.rngmultitypid)
        ) AS part(oid)
    )
    SELECT EXISTS (SELECT FROM reached
                   WHERE oid IN ('date'::regtype, 'time'::regtype, 'timetz'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype))";

/// True where these expressions may read a text of the row as a date or a time: by a cast, whatever it is from, or by a function
/// of the type's name.
///
/// # Errors
/// Those of the driver.
pub async fn casts_to_time<'a>(connection: &mut PgConnection, calls: impl IntoIterator<Item = &'a Calls>) -> Result<bool, sqlx::Error> {
    let names: BTreeSet<&str> = calls.into_iter().flat_map(Calls::names).collect();
    let names: Vec<String> = names.into_iter().map(str::to_owned).collect();
    sqlx::query_scalar(OF_TIME).persistent(false).bind(names).bind(Vec::<Oid>::new()).fetch_one(connection).await
}

/// True where a value of `expression`, over the rows of `from`, becomes a date or a time, or something with one in it, only as it is
/// stored in the column. From one date or time to another there is one way.
///
/// # Errors
/// Those of the driver.
pub async fn stored_as_time(
    connection: &mut PgConnection,
    expression: &Expression,
    from: &str,
    table: &str,
    column: &str,
) -> Result<bool, sqlx::Error> {
    let sql = format!(
        "SELECT a.atttypid, pg_typeof(q.x)::oid = a.atttypid OR t.typcategory = 'D' AND b.typcategory = 'D'
         FROM pg_attribute a LEFT JOIN (SELECT {value} AS x FROM {from} LIMIT 0) AS q ON true
         JOIN pg_type t ON t.oid = a.atttypid JOIN pg_type b ON b.oid = pg_typeof(q.x)::oid
         WHERE a.attrelid = to_regclass($1) AND a.attname = $2",
        value = expression.in_parentheses()
    );
    let query = sqlx::query_as::<_, (Oid, bool)>(AssertSqlSafe(sql)).persistent(false).bind(table).bind(column);
    let (of_column, as_it_is) = query.fetch_one(&mut *connection).await?;
    if as_it_is {
        return Ok(false);
    }
    sqlx::query_scalar(OF_TIME).persistent(false).bind(Vec::<String>::new()).bind(vec![of_column]).fetch_one(connection).await
}
