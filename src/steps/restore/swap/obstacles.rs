//! What stands in the way of a restore beside the old database; preflight asks, and so does the restore itself.

use sqlx::postgres::PgConnection;

/// Each line is an obstacle, with what to do about it. Asked in the database itself, as the role that restores.
const OBSTACLES: &str = "
WITH me AS (SELECT oid, rolname, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user),
     db AS (SELECT oid, datname, datdba FROM pg_database WHERE datname = current_database()),
     settings AS (SELECT s.setrole, split_part(c, '=', 1) AS name FROM db JOIN pg_db_role_setting s ON s.setdatabase = db.oid, unnest(s.setconfig) AS c)
SELECT format('the role may not make databases: ALTER ROLE %I CREATEDB;', rolname) FROM me WHERE NOT (rolcreatedb OR rolsuper)
UNION ALL
SELECT format('the role may not rename the database: GRANT %I TO %I;', pg_get_userbyid(datdba), current_user) FROM db WHERE NOT pg_has_role(datdba, 'MEMBER')
UNION ALL
SELECT format('the role may not connect to the database postgres: GRANT CONNECT ON DATABASE postgres TO %I;', current_user)
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
SELECT DISTINCT format('the role cannot make what belongs to %I: GRANT %I TO %I;', o.name, o.name, current_user) FROM (
    SELECT pg_get_userbyid(c.relowner) AS name, c.relowner AS owner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
    UNION SELECT pg_get_userbyid(p.proowner), p.proowner FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
      WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
    UNION SELECT pg_get_userbyid(l.lomowner), l.lomowner FROM pg_largeobject_metadata l) AS o
  WHERE NOT pg_has_role(o.owner, 'MEMBER')
UNION ALL
SELECT DISTINCT format('settings of the role %I in this database can only be made anew by a superuser, or a role with CREATEROLE', pg_get_userbyid(setrole))
  FROM settings, me WHERE setrole <> 0 AND setrole <> me.oid AND NOT (rolsuper OR rolcreaterole)
UNION ALL
SELECT DISTINCT format('the setting %s of this database can only be made anew by a superuser', s.name)
  FROM settings s JOIN pg_settings g ON g.name = s.name CROSS JOIN me WHERE g.context IN ('superuser', 'superuser-backend') AND NOT rolsuper
ORDER BY 1";

/// The obstacles; none where a restore beside the database is possible.
///
/// # Errors
/// Those of the driver.
pub async fn obstacles(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(OBSTACLES).fetch_all(connection).await
}
