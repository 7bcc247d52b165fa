//! The ways back that role and server allow: row by row, the dump beside the database, the dump in place.

use super::findings::Findings;
use super::{Cut, unmeasured};
use crate::api::spec::{RestoreMode, RollbackMethod, Scope};
use crate::postgres::ConnectError;
use crate::protocol::{RESTORE_IN_PLACE, RESTORE_SWAP, RESTORE_TABLES, UNDO};
use crate::steps::restore::{self, Beside};
use crate::steps::session::{Role, Session, SessionError};
use crate::steps::{StepContext, capture, run_tables};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, Row as _};

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

/// Answers the ways back, those first that lose least; none at all, or not the one that the spec wants, stalls.
pub(super) async fn check(context: &StepContext, connection: &mut PgConnection, findings: &mut Findings) -> Result<Vec<String>, Cut> {
    let spec = &context.input.spec;
    let mut ways = Vec::new();
    let mut closed: Vec<String> = Vec::new();
    // Rights on the rows and on the ledger are checks of their own.
    if spec.backfill.sql.is_some() || capture::of(context).is_some() {
        ways.push(UNDO.to_owned());
    }
    if spec.backup.existing.as_ref().is_some_and(|existing| existing.cnpg_backup.is_some()) {
        let message = "Undo only: the backup is CloudNativePG's, which the operator can neither read nor restore";
        findings.inconclusive(NAME, message);
        return Ok(ways);
    }
    let Beside { obstacles, room } = beside(context).await?;
    if obstacles.is_empty() {
        ways.push(RESTORE_SWAP.to_owned());
    } else {
        closed.push(format!("no restore beside the database: {}", obstacles.join("; ")));
    }
    let (way, in_place) = match spec.backup.scope {
        Scope::Database => (RESTORE_IN_PLACE, in_place(context, connection).await),
        Scope::Tables => (RESTORE_TABLES, into_tables(context, connection).await),
    };
    match in_place {
        Ok(None) => ways.push(way.to_owned()),
        Ok(Some(why)) => closed.push(why),
        Err(error) => return unmeasured(&error, NAME, findings).map(|()| ways),
    }
    let restores: Vec<&str> =
        [RESTORE_SWAP, RESTORE_IN_PLACE, RESTORE_TABLES].into_iter().filter(|way| ways.iter().any(|w| w == way)).collect();
    let wanted = match spec.rollback.restore {
        Some(RestoreMode::Swap) => restores.contains(&RESTORE_SWAP),
        Some(RestoreMode::InPlace) => restores.contains(&way),
        None => spec.rollback.method != RollbackMethod::Restore || !restores.is_empty(),
    };
    if !wanted || ways.is_empty() {
        findings.stalled(NAME, "NoWayBack", closed.join(". "));
    } else if restores.is_empty() {
        findings.inconclusive(NAME, format!("{} only; {}", ways.join(", "), closed.join(". ")));
    } else if closed.is_empty() {
        findings.passed(NAME, format!("{}. {RESTORE_SWAP}: {room}", ways.join(", ")));
    } else if restores.contains(&RESTORE_SWAP) {
        findings.passed(NAME, format!("{}. {RESTORE_SWAP}: {room}. {}", ways.join(", "), closed.join(". ")));
    } else {
        findings.passed(NAME, format!("{}; {}", ways.join(", "), closed.join(". ")));
    }
    Ok(ways)
}

/// What stands in the way of a restore beside the database, asked as the role that would make it.
async fn beside(context: &StepContext) -> Result<Beside, Cut> {
    let impossible = |obstacle: String| Ok(Beside { obstacles: vec![obstacle], ..Beside::default() });
    if context.input.spec.backup.scope == Scope::Tables {
        return impossible("no database can be made of the rows of some tables (backup.scope: Tables)".into());
    }
    let asked = async {
        let main = Session::of(context, Role::Main)?;
        let session = Session::of(context, Role::Restore)?.to(&main.credentials.database);
        let connection = session.connect().await?;
        Ok((session, connection))
    };
    let (session, mut connection) = match asked.await {
        Ok(asked) => asked,
        Err(SessionError::Connect(ConnectError::ServerNotReady { detail })) => return Err(Cut::Lost(detail)),
        Err(error) => return impossible(error.to_string()),
    };
    let found = restore::beside(context, &session, &mut connection).await?;
    let _ = connection.close().await;
    Ok(found)
}

/// Why the dump cannot be restored in place.
async fn in_place(context: &StepContext, connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    let row = sqlx::query(FOREIGN).bind(&context.input.spec.database.ledger_schema).fetch_one(connection).await?;
    let (foreign, role): (i64, String) = (row.try_get("foreign")?, row.try_get("role")?);
    if foreign == 0 {
        return Ok(None);
    }
    let which: Vec<String> = row.try_get("which")?;
    Ok(Some(format!(
        "a restore in place would have to drop and make what does not belong to {role} ({foreign}: {}): make it the owner, or a member of the owning roles (GRANT owner TO {role};)",
        which.join(", ")
    )))
}

/// To put rows back one must own the tables, and those that refer to them: foreign keys are taken off and put on again.
const FOREIGN_TABLES: &str = "
    WITH wanted AS (SELECT name::regclass::oid AS oid FROM unnest($1::text[]) AS name),
         family AS (SELECT oid FROM wanted UNION SELECT p.relid::oid FROM wanted, pg_partition_ancestors(wanted.oid) AS p (relid)),
         touched AS (SELECT oid FROM wanted UNION SELECT f.conrelid FROM pg_constraint f WHERE f.contype = 'f' AND f.conparentid = 0
           AND (f.confrelid IN (SELECT oid FROM family) OR f.conrelid IN (SELECT oid FROM family)))
    SELECT c.oid::regclass::text FROM touched JOIN pg_class c USING (oid) WHERE NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1";

/// Why the rows of the tables cannot be put back.
async fn into_tables(context: &StepContext, connection: &mut PgConnection) -> Result<Option<String>, sqlx::Error> {
    // A missing table is a check of its own.
    let tables = run_tables::resolve_written(connection, &context.input.spec).await?.unwrap_or_default();
    let names: Vec<&str> = tables.iter().map(|table| table.quoted.as_str()).collect();
    let foreign: Vec<String> = sqlx::query_scalar(FOREIGN_TABLES).bind(&names).fetch_all(&mut *connection).await?;
    if foreign.is_empty() {
        return Ok(None);
    }
    let role: String = sqlx::query_scalar("SELECT quote_ident(current_user)").fetch_one(connection).await?;
    Ok(Some(format!(
        "rows cannot be put back into tables whose foreign keys do not belong to {role} ({}): make it the owner, or a member of the owning roles (GRANT owner TO {role};)",
        foreign.join(", ")
    )))
}
