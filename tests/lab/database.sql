-- One database of the lab: owned by the writing role, readable by the other.
ALTER SCHEMA public OWNER TO scenarios;
GRANT USAGE ON SCHEMA public TO scenarios_ro;
ALTER DEFAULT PRIVILEGES FOR ROLE scenarios IN SCHEMA public GRANT SELECT ON TABLES TO scenarios_ro;
SET ROLE scenarios;
\i /sql/schema.sql
\i /sql/load.sql
RESET ROLE;
ANALYZE;
