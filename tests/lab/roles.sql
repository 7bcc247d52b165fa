-- The roles of the lab: one that owns the tables, one that can only read. Passwords come as psql variables.
CREATE ROLE scenarios LOGIN PASSWORD :'owner_password';
CREATE ROLE scenarios_ro LOGIN PASSWORD :'reader_password';
GRANT pg_monitor TO scenarios, scenarios_ro;
