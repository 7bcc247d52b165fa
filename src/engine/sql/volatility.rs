//! What only the catalogue knows about the functions that the user's SQL calls, openly or not.

use super::functions::{has_effects, is_at_apply, is_session, reads_beyond_the_row};
use super::judge::note;
use super::tree::{node, parse_one, walk};
use super::{Place, SqlError};
use sqlx::{PgConnection, Row};
use std::collections::BTreeSet;

/// A name with its schema, where one was written.
type Name = (Option<String>, String);

/// What the catalogue is asked about, by name: functions, operators, types of casts, and what may be a function without
/// looking like one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    functions: BTreeSet<Name>,
    operators: BTreeSet<String>,
    types: BTreeSet<Name>,
    /// `f` of `(s.a).f`.
    fields: BTreeSet<String>,
    /// `f` of `s.f`.
    columns: BTreeSet<String>,
}

impl Calls {
    pub(super) fn add_function(&mut self, name: Name) {
        self.functions.insert(name);
    }

    pub(super) fn add_type(&mut self, name: Name) {
        self.types.insert(name);
    }

    pub(super) fn add_field(&mut self, name: String) {
        self.fields.insert(name);
    }

    pub(super) fn add_column(&mut self, name: String) {
        self.columns.insert(name);
    }

    /// Every name that may be a function.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let called = self.functions.iter().chain(&self.types).map(|(_, name)| name);
        called.chain(&self.fields).chain(&self.columns).map(String::as_str)
    }

    pub(super) fn operators(&self) -> impl Iterator<Item = &str> {
        self.operators.iter().map(String::as_str)
    }

    pub(super) fn add_operator(&mut self, mut parts: Vec<String>) {
        if let Some(name) = parts.pop() {
            self.operators.insert(name);
        }
    }

    /// What the CHECK of a domain calls, as the server spells it.
    fn of_check(text: &str) -> Result<Self, SqlError> {
        let (_, tree) = parse_one(&format!("SELECT {text}"))?;
        let mut calls = Self::default();
        walk(&tree, &mut |value| {
            if let Some((kind, body)) = node(value) {
                note(kind, body, &mut calls);
            }
            Ok(())
        })?;
        calls
            .functions
            .iter()
            .map(|(_, name)| name)
            .find(|name| has_effects(name))
            .map_or(Ok(()), |name| Err(SqlError::SideEffect(name.clone())))?;
        Ok(calls)
    }
}

/// Which functions of that name are volatile, aggregates or return sets. Every function of the name that the call could
/// mean counts: which one it means depends on types, and a refusal too many is better than one too few.
///
/// `(s.a).f` is any function that one argument can be given to, but not an aggregate or a set where some type has a field
/// of that name; `s.f` is one over a row (PostgreSQL's own over any row are harmless aggregates and conversions).
///
/// Before 15 the catalogue calls AT TIME ZONE of a time with a zone volatile; the function is no other than in later releases,
/// where it is stable.
///
/// An aggregate is as volatile as the functions that it is made of; of itself the catalogue says nothing.
const FUNCTIONS: &str = "
    SELECT p.proname::text, p.provolatile = 'v' AND NOT (p.proname = 'timezone' AND n.nspname = 'pg_catalog') OR EXISTS (SELECT FROM pg_aggregate g JOIN pg_proc f ON f.oid IN (g.aggtransfn, g.aggfinalfn,
               g.aggcombinefn, g.aggserialfn, g.aggdeserialfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn)
               WHERE g.aggfnoid = p.oid AND f.provolatile = 'v') AS volatile, p.prokind::text AS kind, p.proretset, n.nspname = 'pg_catalog' AS builtin,
           EXISTS (SELECT FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid
                   WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e') AS of_extension, false AS field
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
         unnest($1::text[], $2::text[]) AS called(schema, name)
    WHERE p.proname = called.name AND coalesce(n.nspname = called.schema, n.nspname = ANY (current_schemas(true)))
    UNION ALL
    SELECT o.oprname::text, p.provolatile = 'v', p.prokind::text, p.proretset, n.nspname = 'pg_catalog', false, false
    FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_namespace n ON n.oid = o.oprnamespace
    WHERE o.oprname = ANY ($3::text[])
    UNION ALL
    SELECT p.proname::text, p.provolatile = 'v', CASE WHEN known THEN 'f' ELSE p.prokind::text END, p.proretset AND NOT known,
           n.nspname = 'pg_catalog', false, true
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace,
         LATERAL (SELECT EXISTS (SELECT FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
             WHERE a.attname = p.proname AND a.attnum > 0 AND c.relnamespace <> 'pg_catalog'::regnamespace)) AS field(known)
    WHERE p.proname = ANY ($4::text[]) AND n.nspname = ANY (current_schemas(true))
          AND (p.pronargs - p.pronargdefaults <= 1 AND p.pronargs >= 1 OR p.provariadic <> 0)
    UNION ALL
    SELECT p.proname::text, p.provolatile = 'v', p.prokind::text, p.proretset, false, false, true
    FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, pg_type t
    WHERE p.proname = ANY ($5::text[]) AND n.nspname = ANY (current_schemas(true)) AND n.nspname <> 'pg_catalog'
          AND (p.pronargs - p.pronargdefaults <= 1 AND p.pronargs >= 1 OR p.provariadic <> 0)
          AND t.oid = p.proargtypes[0] AND (t.typtype IN ('c', 'p') OR t.typbasetype <> 0)";

/// Of the types that are cast to, and those that the functions take: CHECKs of domains (deep inside, too), and functions of
/// the user's own casts. A cast that is implicit may happen anywhere. A function's name may be a type's: `code(1)` is a cast.
const TYPES: &str = "
    WITH RECURSIVE reached AS (
        SELECT t.oid FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace, unnest($1::text[], $2::text[]) AS called(schema, name)
        WHERE t.typname = called.name AND coalesce(n.nspname = called.schema, n.nspname = ANY (current_schemas(true)))
        UNION
        SELECT a.type FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace, unnest($1::text[], $2::text[]) AS called(schema, name),
               unnest(p.proargtypes::oid[]) AS a(type)
        WHERE p.proname = called.name AND coalesce(n.nspname = called.schema, n.nspname = ANY (current_schemas(true)))
        UNION
        SELECT part.oid FROM reached JOIN pg_type t ON t.oid = reached.oid, LATERAL (
            SELECT t.typelem WHERE t.typelem <> 0
            UNION ALL SELECT t.typbasetype WHERE t.typbasetype <> 0
            UNION ALL SELECT a.atttypid FROM pg_attribute a WHERE t.typrelid <> 0 AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
            UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE r.rngtypid = t.oid
        ) AS part(oid)
    )
    SELECT pg_get_expr(c.conbin, 0), NULL FROM pg_constraint c JOIN reached ON reached.oid = c.contypid WHERE c.contype = 'c'
    UNION
    SELECT NULL, p.proname::text FROM pg_cast k JOIN pg_proc p ON p.oid = k.castfunc
    WHERE p.provolatile = 'v' AND (k.castcontext = 'i' OR k.casttarget IN (SELECT oid FROM reached))
    UNION
    SELECT NULL, p.proname::text FROM reached JOIN pg_type t ON t.oid = reached.oid JOIN pg_proc p ON p.oid IN (t.typinput, t.typmodin)
    WHERE p.provolatile = 'v'";

/// How deep CHECKs of domains may lead to functions that take other domains.
const DEPTH: usize = 8;

/// Refuses what the catalogue knows to be volatile, an aggregate, a window function or set-returning, and what reaches such a
/// function without its name: a domain's CHECK, a cast of the user's own, `s.f` and `(s.a).f`. `None` as place is a check.
///
/// A check may call volatile functions of PostgreSQL itself (`pg_database_size` is one), but none of the user's; the query of
/// a join may have aggregates, windows and sets. What a function declares of itself is believed: one that is called STABLE
/// and calls another that is not, is not found out here, but by a role that can only SELECT.
///
/// # Errors
/// [`SqlError`] with the function's name; [`SqlError::Database`] where the catalogue cannot be read.
pub async fn refuse_volatile(connection: &mut PgConnection, calls: &Calls, place: Option<Place>) -> Result<(), SqlError> {
    judge_functions(connection, calls, place).await?;
    let mut asked = BTreeSet::new();
    let mut reached = reached_by_types(connection, calls, &mut asked).await?;
    for _ in 0..DEPTH {
        let Some(calls) = reached else { return Ok(()) };
        judge_functions(connection, &calls, Some(Place::Chooses)).await?;
        reached = reached_by_types(connection, &calls, &mut asked).await?;
    }
    match reached {
        None => Ok(()),
        Some(_) => Err(SqlError::Unsupported("a domain whose CHECK leads through that many other domains".into())),
    }
}

async fn judge_functions(connection: &mut PgConnection, calls: &Calls, place: Option<Place>) -> Result<(), SqlError> {
    let (schemas, names): (Vec<Option<String>>, Vec<String>) = calls.functions.iter().cloned().unzip();
    let list = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>();
    let rows = sqlx::query(FUNCTIONS)
        .persistent(false)
        .bind(schemas)
        .bind(names)
        .bind(list(&calls.operators))
        .bind(list(&calls.fields))
        .bind(list(&calls.columns))
        .fetch_all(connection)
        .await?;
    rows.iter().try_for_each(|row| judge_function(row, place))
}

fn judge_function(row: &sqlx::postgres::PgRow, place: Option<Place>) -> Result<(), SqlError> {
    let name: String = row.try_get(0)?;
    let (volatile, kind, returns_set): (bool, String, bool) = (row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
    let (builtin, of_extension, field): (bool, bool, bool) = (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?);
    // The grammar's guard knows a call by its look; this one does not look like a call.
    if field && builtin && (has_effects(&name) || place.is_some() && reads_beyond_the_row(&name)) {
        return Err(SqlError::SideEffect(name));
    }
    if field && builtin && place.is_some() && is_session(&name) {
        return Err(SqlError::SessionDependent(name));
    }
    let one_value = match place {
        None | Some(Place::JoinQuery) => false,
        Some(Place::Chooses | Place::Sets) => true,
    };
    if one_value && kind == "a" {
        return Err(SqlError::Aggregate(name));
    }
    if one_value && kind == "w" {
        return Err(SqlError::Window(name));
    }
    if one_value && returns_set {
        return Err(SqlError::SetReturning(name));
    }
    // Whether a name of the list may stand here has been decided by the grammar's guard. It is the name of PostgreSQL's own
    // or an extension's function: the user's random(int, int) is no value of the moment, but whatever it does.
    let listed = is_at_apply(&name, 0) && (builtin || of_extension) && !field && place != Some(Place::JoinQuery);
    if volatile && !listed && (place.is_some() || !builtin) { Err(SqlError::Volatile(name)) } else { Ok(()) }
}

/// What types lead to and was not asked about yet; nothing where all of it was.
async fn reached_by_types(connection: &mut PgConnection, calls: &Calls, asked: &mut BTreeSet<String>) -> Result<Option<Calls>, SqlError> {
    let called = calls.types.iter().chain(&calls.functions).cloned();
    let (schemas, names): (Vec<Option<String>>, Vec<String>) = called.unzip();
    let mut reached = Calls::default();
    let mut more = false;
    for row in sqlx::query(TYPES).persistent(false).bind(schemas).bind(names).fetch_all(connection).await? {
        if let Some(function) = row.try_get::<Option<String>, _>(1)? {
            return Err(SqlError::Volatile(function));
        }
        let Some(check) = row.try_get::<Option<String>, _>(0)? else { continue };
        let Calls { functions, operators, types, fields, columns } = Calls::of_check(&check)?;
        if asked.insert(check) {
            more = true;
            reached.functions.extend(functions);
            reached.operators.extend(operators);
            reached.types.extend(types);
            reached.fields.extend(fields);
            reached.columns.extend(columns);
        }
    }
    Ok(more.then_some(reached))
}
