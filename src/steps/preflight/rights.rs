//! Rights beside those on the run's own tables: the ledger's schema, and all that the dump reads.

use super::Cut;
use super::findings::Findings;
use crate::steps::StepContext;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

/// What `pg_dump` reads and the role may not, and what row security would hide from it.
const UNREADABLE: &str = "
    SELECT count(*) FILTER (WHERE NOT readable) AS unreadable, count(*) FILTER (WHERE readable AND hidden) AS hidden,
           string_agg(CASE WHEN NOT readable OR hidden THEN name END, ', ' ORDER BY name) AS names
    FROM (SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name,
                 has_schema_privilege(n.oid, 'USAGE')
                   AND CASE c.relkind WHEN 'S' THEN has_sequence_privilege(c.oid, 'SELECT') ELSE has_table_privilege(c.oid, 'SELECT') END AS readable,
                 c.relkind IN ('r', 'p') AND row_security_active(c.oid) AS hidden
          FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p', 'm', 'S') AND c.relpersistence <> 't' AND n.nspname <> $1 AND n.nspname <> 'information_schema'
            AND n.nspname !~ '^pg_'
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')) t";

const LEDGER: &str = "
    SELECT n.oid IS NULL AS missing, quote_ident(current_user) AS role, quote_ident(current_database()) AS database,
           CASE WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
                ELSE has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE') END AS allowed
    FROM (SELECT) one LEFT JOIN pg_namespace n ON n.nspname = $1";

/// Checks them on the connection of the role that writes.
pub(super) async fn check(context: &StepContext, connection: &mut PgConnection, role: &str, findings: &mut Findings) -> Result<(), Cut> {
    let schema = &context.input.spec.database.ledger_schema;
    let row = sqlx::query(LEDGER).bind(schema).fetch_one(&mut *connection).await?;
    let (missing, allowed): (bool, bool) = (row.try_get("missing")?, row.try_get("allowed")?);
    let (quoted_role, database): (String, String) = (row.try_get("role")?, row.try_get("database")?);
    if allowed {
        findings.passed("ledger", format!("the schema {schema} {}", if missing { "can be made" } else { "can be used" }));
    } else if missing {
        let grant = format!("CREATE SCHEMA {schema} AUTHORIZATION {quoted_role};");
        let message =
            format!("the role may not make the ledger's schema; run: {grant} (or GRANT CREATE ON DATABASE {database} TO {quoted_role};)");
        findings.stalled("ledger", "LedgerCreateDenied", message);
    } else {
        let message = format!("the role may not use the ledger's schema; run: GRANT USAGE, CREATE ON SCHEMA {schema} TO {quoted_role};");
        findings.stalled("ledger", "LedgerCreateDenied", message);
    }
    let row = sqlx::query(UNREADABLE).bind(schema).fetch_one(connection).await?;
    let (unreadable, hidden): (i64, i64) = (row.try_get("unreadable")?, row.try_get("hidden")?);
    let names: String = row.try_get::<Option<String>, _>("names")?.unwrap_or_default().chars().take(300).collect();
    if unreadable > 0 {
        let message = format!(
            "pg_dump must read every table, and {role} may not read {unreadable} of them ({names}); run: GRANT pg_read_all_data TO {quoted_role};"
        );
        findings.stalled("dump-rights", "PrivilegeMissing", message);
    } else if hidden > 0 {
        let message = format!(
            "row security hides rows of {names} from {role}, and pg_dump would refuse them; run: ALTER ROLE {quoted_role} BYPASSRLS;"
        );
        findings.stalled("dump-rights", "RowSecurityActive", message);
    } else {
        findings.passed("dump-rights", "the role may read all that the dump holds");
    }
    Ok(())
}
