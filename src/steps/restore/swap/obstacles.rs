//! What stands in the way of a restore beside the old database; preflight asks, and so does the restore itself.

use crate::api::quantity;
use crate::postgres::system_identifier;
use crate::protocol::Cnpg;
use crate::steps::StepContext;
use crate::steps::session::Session;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

/// Whether the role can do what the role `o.owner` can, and make what belongs to it, and the statement that allows it. To be a
/// member is not enough: since 16 a membership says itself what it allows, and before that the member may be one that inherits
/// nothing.
const RIGHT: &str = "
    SELECT CASE WHEN current_setting('server_version_num')::int >= 160000 THEN pg_has_role(o.owner, 'USAGE') AND pg_has_role(o.owner, 'SET')
                ELSE pg_has_role(o.owner, 'USAGE') END,
           CASE WHEN current_setting('server_version_num')::int >= 160000
                THEN format('GRANT %I TO %I WITH INHERIT TRUE, SET TRUE;', pg_get_userbyid(o.owner), current_user)
                WHEN pg_has_role(o.owner, 'MEMBER') THEN format('ALTER ROLE %I INHERIT;', current_user)
                ELSE format('GRANT %I TO %I;', pg_get_userbyid(o.owner), current_user) END";

/// `@RIGHT@` is [`RIGHT`]. Each line is an obstacle, with what to do about it. Asked in the database itself, as the role that restores.
const OBSTACLES: &str = "
WITH me AS (SELECT oid, rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user),
     db AS (SELECT oid, datname, datdba FROM pg_database WHERE datname = current_database()),
     settings AS (SELECT s.setrole, split_part(c, '=', 1) AS name FROM db JOIN pg_db_role_setting s ON s.setdatabase = db.oid, unnest(s.setconfig) AS c)
SELECT format('the role may not make databases (ALTER ROLE %I CREATEDB;)', rolname) FROM me WHERE NOT (rolcreatedb OR rolsuper)
UNION ALL
SELECT format('the role may not rename the database (%s)', statement) FROM (SELECT datdba AS owner FROM db) AS o, LATERAL (@RIGHT@) AS r (has, statement) WHERE NOT has
UNION ALL
SELECT format('the role may not connect to the database postgres (GRANT CONNECT ON DATABASE postgres TO %I;)', current_user)
  WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = 'postgres' AND has_database_privilege(oid, 'CONNECT'))
UNION ALL
SELECT format('the logical replication slot %s belongs to this database and would stay with the old one: drop it first', slot_name)
  FROM pg_replication_slots WHERE database = current_database()
UNION ALL
SELECT format('the subscription %I belongs to this database: drop it first', subname) FROM pg_subscription JOIN db ON subdbid = db.oid
UNION ALL
SELECT format('the prepared transaction %s is open: end it first', gid) FROM pg_prepared_xacts WHERE database = current_database()
UNION ALL
SELECT format('the extension %I can only be made by a superuser', e.extname) FROM pg_extension e, me
  WHERE NOT rolsuper AND e.extname <> 'plpgsql'
    AND NOT EXISTS (SELECT FROM pg_available_extension_versions v WHERE v.name = e.extname AND v.version = e.extversion AND (v.trusted OR NOT v.superuser))
UNION ALL
SELECT format('the event trigger %I can only be made by a superuser', evtname) FROM pg_event_trigger t, me WHERE NOT rolsuper
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT format('the publication %I of all tables can only be made by a superuser', pubname) FROM pg_publication, me WHERE puballtables AND NOT rolsuper
UNION ALL
SELECT DISTINCT format('the role cannot make what belongs to %I (%s)', o.name, r.statement) FROM (
    SELECT pg_get_userbyid(c.relowner) AS name, c.relowner AS owner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    UNION SELECT pg_get_userbyid(p.proowner), p.proowner FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    UNION SELECT pg_get_userbyid(l.lomowner), l.lomowner FROM pg_largeobject_metadata l) AS o, LATERAL (@RIGHT@) AS r (has, statement)
  WHERE NOT r.has
UNION ALL
SELECT DISTINCT format('settings of the role %I in this database can only be made anew by a superuser, or a role with CREATEROLE', pg_get_userbyid(setrole))
  FROM settings, me WHERE setrole <> 0 AND setrole <> me.oid AND NOT (rolsuper OR rolcreaterole)
UNION ALL
SELECT DISTINCT format('the setting %s of this database can only be made anew by a superuser', s.name)
  FROM settings s JOIN pg_settings g ON g.name = s.name CROSS JOIN me WHERE g.context IN ('superuser', 'superuser-backend') AND NOT rolsuper
ORDER BY 1";

/// What a second database takes, where it would lie, and what the role can see of the rest.
const ROOM: &str = "
    SELECT pg_database_size(d.oid)::int8 AS needed, t.spcname::text AS tablespace, d.dattablespace = (SELECT dattablespace FROM pg_database WHERE datname = 'template0') AS common,
      (SELECT coalesce(sum(pg_database_size(o.oid)), 0)::int8 FROM pg_database o WHERE has_database_privilege(o.oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'USAGE')) AS used
    FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace WHERE d.datname = current_database()";

/// What is found about a restore beside the database.
#[derive(Debug, Default)]
pub struct Beside {
    /// What stands in the way; none where it is possible.
    pub obstacles: Vec<String>,
    /// What is known of the room that it takes, and what is not.
    pub room: String,
}

/// Looks, in the database itself, as the role that restores.
///
/// # Errors
/// Those of the driver.
pub async fn beside(context: &StepContext, session: &Session, connection: &mut PgConnection) -> Result<Beside, sqlx::Error> {
    let mut obstacles: Vec<String> =
        sqlx::query_scalar(AssertSqlSafe(OBSTACLES.replace("@RIGHT@", RIGHT))).persistent(false).fetch_all(&mut *connection).await?;
    let cnpg = &context.input.cnpg;
    let identifier = system_identifier(connection).await?.map(|id| id.to_string()).unwrap_or_default();
    let (database, host) = (&session.credentials.database, &session.credentials.host);
    if let Some(managed) = cnpg.manager_of(database, &identifier, host, &context.input.run.namespace) {
        obstacles.push(format!(
            "the CloudNativePG Database {}/{} manages {database} in the cluster {} by its name, and would work on whatever bears it: delete that resource first (with databaseReclaimPolicy: retain, so that the database stays)",
            managed.namespace, managed.name, managed.cluster
        ));
    }
    let room = room(connection, cnpg, &identifier, &mut obstacles).await?;
    Ok(Beside { obstacles, room })
}

/// Nobody can ask a server by SQL how much of its disk is free; what a cluster declares is all that is known of it.
async fn room(connection: &mut PgConnection, cnpg: &Cnpg, identifier: &str, obstacles: &mut Vec<String>) -> Result<String, sqlx::Error> {
    let (needed, tablespace, common, used): (i64, String, bool, i64) = sqlx::query_as(ROOM).fetch_one(connection).await?;
    let second = format!("a second database takes about {} in the tablespace {tablespace}", quantity::display(needed));
    let declared = cnpg.cluster_of(identifier).filter(|_| common).and_then(|c| quantity::parse(&c.storage).map(|size| (c, size)));
    let Some((cluster, size)) = declared else {
        let unseen = if cnpg.unseen.is_empty() { String::new() } else { format!("; {}", cnpg.unseen) };
        return Ok(format!("{second}; how much is free there the server cannot be asked, so that a person has to look{unseen}"));
    };
    let numbers = format!(
        "{second}; the cluster {}/{} declares {} for each instance, and the databases that the role sees take {}",
        cluster.namespace,
        cluster.name,
        cluster.storage,
        quantity::display(used)
    );
    if used.saturating_add(needed) > size {
        obstacles.push(format!("{numbers}, so that it does not fit: enlarge spec.storage.size of the cluster"));
    }
    Ok(format!("{numbers}; what write-ahead log and others take of it is not known"))
}
