//! Functions by name: what is evaluated at apply, what is refused and why.

/// Evaluated when the row is written, and kept out of the digest: a list of names, not the class VOLATILE.
const AT_APPLY: &[&str] = &[
    "now",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "random",
    "random_normal",
    "gen_random_uuid",
    "uuid_generate_v1",
    "uuid_generate_v4",
    "uuidv4",
    "uuidv7",
];

/// Values of the session.
const SESSION: &[&str] = &[
    "current_setting",
    "current_schema",
    "current_schemas",
    "current_database",
    "current_query",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "pg_backend_pid",
    "currval",
    "lastval",
    "version",
    "system_user",
    "show_limit",
    "txid_current_snapshot",
    "txid_current_if_assigned",
    "row_security_active",
    "has_any_column_privilege",
    "has_column_privilege",
    "has_database_privilege",
    "has_foreign_data_wrapper_privilege",
    "has_function_privilege",
    "has_language_privilege",
    "has_largeobject_privilege",
    "has_parameter_privilege",
    "has_schema_privilege",
    "has_sequence_privilege",
    "has_server_privilege",
    "has_table_privilege",
    "has_tablespace_privilege",
    "has_type_privilege",
];

/// Change something, wait, run SQL out of a string, or read files and other servers: refused everywhere.
const EFFECTS: &[&str] = &[
    "nextval",
    "setval",
    "set_config",
    "ts_stat",
    "ts_rewrite",
    "xpath_table",
    "crosstab",
    "connectby",
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "cursor_to_xmlschema",
    "table_to_xml",
    "table_to_xmlschema",
    "table_to_xml_and_xmlschema",
    "schema_to_xml",
    "schema_to_xmlschema",
    "schema_to_xml_and_xmlschema",
    "database_to_xml",
    "database_to_xmlschema",
    "database_to_xml_and_xmlschema",
    "txid_current",
    "postgres_fdw_disconnect",
    "postgres_fdw_disconnect_all",
];

const EFFECT_PREFIXES: &[&str] = &["lo_", "lowrite", "loread", "dblink", "binary_upgrade_", "crosstab"];

/// Functions whose names begin with `pg_` and that a check may call; anything else of that prefix is refused.
const HARMLESS_PG: &[&str] = &[
    "pg_typeof",
    "pg_column_size",
    "pg_size_pretty",
    "pg_size_bytes",
    "pg_input_is_valid",
    "pg_table_size",
    "pg_indexes_size",
    "pg_relation_size",
    "pg_total_relation_size",
    "pg_database_size",
    "pg_tablespace_size",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_indexdef",
    "pg_get_viewdef",
    "pg_get_userbyid",
    "pg_get_serial_sequence",
    "pg_has_role",
    "pg_is_in_recovery",
    "pg_current_wal_lsn",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_wal_lsn_diff",
    "pg_postmaster_start_time",
    "pg_conf_load_time",
    "pg_blocking_pids",
    "pg_table_is_visible",
    "pg_encoding_to_char",
    "pg_backend_pid",
    "pg_client_encoding",
    "pg_lock_status",
];

/// Of those, what an expression over one row may call.
const PURE_PG: &[&str] = &["pg_typeof", "pg_column_size", "pg_size_pretty", "pg_size_bytes", "pg_input_is_valid"];

/// Read the catalogue, so that their value changes without the row.
const READ_CATALOGUE: &[&str] = &["col_description", "obj_description", "shobj_description", "regclass", "format_type"];

/// Aggregates that everybody knows; others are found in the catalogue.
const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "array_agg",
    "string_agg",
    "json_agg",
    "jsonb_agg",
    "json_object_agg",
    "jsonb_object_agg",
    "bool_and",
    "bool_or",
    "every",
];

/// Set-returning functions that everybody knows; others are found in the catalogue.
const SETS: &[&str] = &[
    "unnest",
    "generate_series",
    "generate_subscripts",
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "json_each",
    "json_each_text",
    "jsonb_each",
    "jsonb_each_text",
    "json_object_keys",
    "jsonb_object_keys",
    "json_array_elements",
    "json_array_elements_text",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_path_query",
];

/// True for a value of the moment; `age(x)` with one argument counts from today.
pub(super) fn is_at_apply(name: &str, arguments: usize) -> bool {
    AT_APPLY.contains(&name) || (name == "age" && arguments == 1)
}

pub(super) fn is_session(name: &str) -> bool {
    SESSION.contains(&name)
}

/// True for what even a check may not call.
pub(super) fn has_effects(name: &str) -> bool {
    EFFECTS.contains(&name)
        || EFFECT_PREFIXES.iter().any(|p| name.starts_with(p))
        || (name.starts_with("pg_") && !name.starts_with("pg_stat_get_") && !HARMLESS_PG.contains(&name))
}

/// True for what an expression may not call although a check may: it reads the catalogue, statistics or files.
pub(super) fn reads_beyond_the_row(name: &str) -> bool {
    (name.starts_with("pg_") && !PURE_PG.contains(&name)) || name.starts_with("to_reg") || READ_CATALOGUE.contains(&name)
}

pub(super) fn is_aggregate(name: &str) -> bool {
    AGGREGATES.contains(&name)
}

pub(super) fn returns_set(name: &str) -> bool {
    SETS.contains(&name)
}
