//! What a table is, beside its rows: what its approver relied on, and what the first write finds.
//!
//! Columns, constraints (those of other tables that refer to it, too), unique indexes, triggers with what their functions do,
//! rules and row security. Not its statistics, its other indexes, its rights and its storage: they change no row.

use super::model::{AuditTarget, Model};
use crate::api::status::DefinitionStatus;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};
use std::collections::BTreeMap;

/// Stands for the definition of a table that is not there.
const ABSENT: &str = "absent";

/// One text of all that counts, in an order that does not depend on object identifiers. `$1`: the table's name, quoted.
const DEFINITION: &str = "
    WITH t AS (SELECT c.oid, c.relrowsecurity, c.relforcerowsecurity FROM pg_class c WHERE c.oid = to_regclass($1)),
    parts (part) AS (
        SELECT format('column %s %s %s %s %s %s %s', a.attnum, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod), a.attnotnull,
                      a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid)) || ' ' || coalesce(a.attcollation::regcollation::text, '')
        FROM t JOIN pg_attribute a ON a.attrelid = t.oid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped
        UNION ALL
        SELECT format('constraint %s %s %s', quote_ident(c.conname), c.conrelid::regclass, pg_get_constraintdef(c.oid))
        FROM t JOIN pg_constraint c ON t.oid IN (c.conrelid, c.confrelid)
        UNION ALL
        SELECT format('unique %s', pg_get_indexdef(i.indexrelid)) FROM t JOIN pg_index i ON i.indrelid = t.oid AND i.indisunique
        UNION ALL
        SELECT format('trigger %s %s %s', t2.tgenabled, pg_get_triggerdef(t2.oid), encode(sha256(convert_to(p.prosrc, 'UTF8')), 'hex'))
        FROM t JOIN pg_trigger t2 ON t2.tgrelid = t.oid AND NOT t2.tgisinternal JOIN pg_proc p ON p.oid = t2.tgfoid
        UNION ALL
        SELECT format('rule %s %s', r.ev_enabled, pg_get_ruledef(r.oid)) FROM t JOIN pg_rewrite r ON r.ev_class = t.oid
        UNION ALL
        SELECT format('policy %s %s %s %s %s %s', quote_ident(p.polname), p.polpermissive, p.polcmd,
                      ARRAY(SELECT coalesce(r.rolname, 'public') FROM unnest(p.polroles) u LEFT JOIN pg_roles r ON r.oid = u ORDER BY 1),
                      pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))
        FROM t JOIN pg_policy p ON p.polrelid = t.oid
        UNION ALL
        SELECT format('row security %s %s', t.relrowsecurity, t.relforcerowsecurity) FROM t)
    SELECT string_agg(part, E'\\n' ORDER BY part COLLATE \"C\") FROM parts";

/// The definitions of the tables that a run writes, each once, in the order of their names.
///
/// # Errors
/// The database's.
pub async fn definitions(connection: &mut PgConnection, model: &Model) -> Result<Vec<DefinitionStatus>, sqlx::Error> {
    let source = matches!(model.audit, Some(AuditTarget::Column { .. })).then_some(&model.source.table);
    let tables = model.writes.iter().map(|write| &write.table).chain(source);
    let names: BTreeMap<String, String> = tables.map(|table| (table.quoted(), table.display())).collect();
    let mut found = Vec::new();
    for (name, table) in names {
        let sha256 = fingerprint(connection, &name).await?;
        found.push(DefinitionStatus { name, table, sha256 });
    }
    Ok(found)
}

/// Tables whose definitions are not these any more, by their names for people.
///
/// # Errors
/// The database's.
pub async fn changed(connection: &mut PgConnection, planned: &[DefinitionStatus]) -> Result<Vec<String>, sqlx::Error> {
    let mut changed = Vec::new();
    for DefinitionStatus { name, table, sha256 } in planned {
        if fingerprint(connection, name).await? != *sha256 {
            changed.push(table.clone());
        }
    }
    Ok(changed)
}

/// SHA-256 of a table's definition. Names in it are qualified by what is on the search path: so that it is the same for
/// every role, nothing is on it.
pub(in crate::engine) async fn fingerprint(connection: &mut PgConnection, name: &str) -> Result<String, sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN READ ONLY").await?;
    sqlx::query("SET LOCAL search_path TO pg_catalog, pg_temp").persistent(false).execute(&mut *transaction).await?;
    let text: Option<String> = sqlx::query_scalar(DEFINITION).persistent(false).bind(name).fetch_one(&mut *transaction).await?;
    transaction.rollback().await?;
    Ok(text.map_or_else(|| ABSENT.into(), |text| hex::encode(Sha256::digest(text))))
}
