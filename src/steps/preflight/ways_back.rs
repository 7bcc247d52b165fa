//! The ways back that the role allows: row by row, or the dump in place.

use super::findings::Findings;
use super::{Cut, unmeasured};
use crate::api::spec::RollbackMethod;
use crate::steps::StepContext;
use sqlx::Row as _;
use sqlx::postgres::PgConnection;

const NAME: &str = "ways-back";

/// What a restore drops and makes anew must belong to the role, and it must be able to make things where they were.
const FOREIGN: &str = "
    SELECT count(*) AS foreign, (array_agg(what ORDER BY what))[1:3] AS which, quote_ident(current_user) AS role FROM (
      SELECT 'table ' || c.oid::regclass AS what FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' AND n.nspname <> $1 AND n.nspname <> 'information_schema'
          AND n.nspname !~ '^pg_' AND NOT pg_has_role(c.relowner, 'USAGE')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
      UNION ALL
      SELECT 'function ' || p.oid::regprocedure FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
        WHERE n.nspname <> $1 AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT pg_has_role(p.proowner, 'USAGE')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
      UNION ALL
      SELECT 'type ' || t.oid::regtype FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
        WHERE t.typtype IN ('e', 'd', 'r') AND n.nspname <> $1 AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
          AND NOT pg_has_role(t.typowner, 'USAGE')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
      UNION ALL
      SELECT 'the right to create in schema ' || quote_ident(n.nspname) FROM pg_namespace n
        WHERE n.nspname <> $1 AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND NOT has_schema_privilege(n.oid, 'CREATE')
          AND EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = n.oid AND c.relkind IN ('r', 'p')
            AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
      UNION ALL
      SELECT 'event trigger ' || quote_ident(evtname) FROM pg_event_trigger t
        WHERE NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e')
      UNION ALL
      SELECT 'publication ' || quote_ident(p.pubname) FROM pg_publication p
        WHERE NOT pg_has_role(p.pubowner, 'USAGE') AND EXISTS (SELECT FROM pg_publication_rel r WHERE r.prpubid = p.oid)
      UNION ALL
      SELECT 'large object ' || l.oid FROM pg_largeobject_metadata l WHERE NOT pg_has_role(l.lomowner, 'USAGE')
    ) foreigners";

/// Answers the ways back; none at all, or not the one that the spec wants, stalls.
pub(super) async fn check(context: &StepContext, connection: &mut PgConnection, findings: &mut Findings) -> Result<Vec<String>, Cut> {
    let spec = &context.input.spec;
    // Rights on the rows and on the ledger are checks of their own.
    let mut ways = if spec.backfill.sql.is_some() { vec!["Undo".to_owned()] } else { Vec::new() };
    let row = match sqlx::query(FOREIGN).bind(&spec.database.ledger_schema).fetch_one(connection).await {
        Ok(row) => row,
        Err(error) => return unmeasured(&error, NAME, findings).map(|()| ways),
    };
    let (foreign, role): (i64, String) = (row.try_get("foreign")?, row.try_get("role")?);
    if foreign == 0 {
        ways.push("Restore".to_owned());
        findings.passed(NAME, ways.join(", "));
        return Ok(ways);
    }
    let which: Vec<String> = row.try_get("which")?;
    let why = format!(
        "a restore would have to drop and make what does not belong to {role} ({foreign}: {}): make it the owner, or a member of the owning roles (GRANT owner TO {role};)",
        which.join(", ")
    );
    let restore_wanted = spec.rollback.method == RollbackMethod::Restore;
    if restore_wanted || ways.is_empty() {
        findings.stalled(NAME, "NoWayBack", why);
    } else {
        findings.inconclusive(NAME, format!("{} only; {why}", ways.join(", ")));
    }
    Ok(ways)
}
