-- The ledger as release 0.1.0 (version 1 of the tables) made it.
CREATE SCHEMA backfill;
CREATE TABLE backfill.runs (
    uid text PRIMARY KEY, namespace text NOT NULL, name text NOT NULL, spec_hash text NOT NULL,
    plan_digest text NOT NULL DEFAULT '', rows_digest text NOT NULL DEFAULT '', plan_file_sha256 text NOT NULL DEFAULT '',
    state text NOT NULL CHECK (state IN ('Claimed', 'Applying', 'Applied', 'Undoing', 'Undone', 'Restored', 'Closed')),
    epoch int8 NOT NULL DEFAULT 0, cursor int8 NOT NULL DEFAULT 0, planned int8 NOT NULL DEFAULT 0,
    written int8 NOT NULL DEFAULT 0, drifted int8 NOT NULL DEFAULT 0, batches int8 NOT NULL DEFAULT 0,
    drift_checked boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE backfill.runs IS 'backfill.dev ledger v1.';
CREATE TABLE backfill.claim (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one), run_uid text NOT NULL, namespace text NOT NULL,
    name text NOT NULL, since timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE backfill.claim IS 'backfill.dev ledger v1.';
CREATE TABLE backfill.planned (
    run_uid text NOT NULL, ordinal int8 NOT NULL, key jsonb NOT NULL, fingerprint int8 NOT NULL, PRIMARY KEY (run_uid, ordinal)
);
COMMENT ON TABLE backfill.planned IS 'backfill.dev ledger v1. fingerprint: 64 bits over key, old and new values; not readable back.';
CREATE TABLE backfill.batches (
    run_uid text NOT NULL, batch int8 NOT NULL, epoch int8 NOT NULL, first_ordinal int8 NOT NULL, last_ordinal int8 NOT NULL,
    written int8 NOT NULL, drifted int8 NOT NULL, committed_at timestamptz NOT NULL DEFAULT now(), undone_at timestamptz,
    PRIMARY KEY (run_uid, batch)
);
COMMENT ON TABLE backfill.batches IS 'backfill.dev ledger v1.';
CREATE TABLE backfill.undo (
    run_uid text NOT NULL, batch int8 NOT NULL, ordinal int8 NOT NULL, seq int4 NOT NULL, source_key jsonb NOT NULL,
    table_name text NOT NULL, key jsonb NOT NULL, before jsonb NOT NULL, after jsonb NOT NULL, compare text[] NOT NULL,
    path text[], entry text, undone_at timestamptz, result text CHECK (result IN ('Undone', 'Skipped')),
    PRIMARY KEY (run_uid, batch, ordinal, seq)
);
COMMENT ON TABLE backfill.undo IS 'backfill.dev ledger v1. before: old values by column, as text. after: hashtextextended(new::text, 0) by column. path, entry: of an audit entry.';
CREATE TABLE backfill.drifted (
    run_uid text NOT NULL, ordinal int8 NOT NULL, key jsonb NOT NULL, PRIMARY KEY (run_uid, ordinal)
);
COMMENT ON TABLE backfill.drifted IS 'backfill.dev ledger v1.';
CREATE TABLE backfill.table_sums (
    run_uid uuid NOT NULL, moment text NOT NULL CHECK (moment IN ('Backup', 'Applied', 'Restored')), table_name text NOT NULL,
    rows int8 NOT NULL, digest text NOT NULL, PRIMARY KEY (run_uid, moment, table_name)
);
COMMENT ON TABLE backfill.table_sums IS 'backfill.dev ledger v1.';
