CREATE TABLE events (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind       text NOT NULL,
    payload    jsonb,
    created_at timestamptz NOT NULL,
    size       int GENERATED ALWAYS AS (length(payload::text)) STORED
);
CREATE TABLE events_archive (
    id          bigint PRIMARY KEY,
    kind        text NOT NULL,
    payload     jsonb,
    created_at  timestamptz NOT NULL,
    archived_at timestamptz NOT NULL
);

-- Old and new events, one exactly at the cutoff, one at the beginning of time; payloads of every kind.
INSERT INTO events (kind, payload, created_at)
SELECT 'kind-' || n % 4, CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN 'null'::jsonb ELSE jsonb_build_object('naïve', n, 'list', '[1, null]'::jsonb) END,
       CASE n WHEN 1 THEN '-infinity'::timestamptz WHEN 2 THEN timestamptz '2026-01-01' ELSE timestamptz '2025-12-01' + n * interval '3 hours' END
FROM generate_series(1, 400) n;
-- One was copied before, but not deleted.
INSERT INTO events_archive SELECT id, kind, payload, created_at, '2026-01-02' FROM events WHERE id = 7;
