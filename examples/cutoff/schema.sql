CREATE TABLE sessions (
    id           bigint PRIMARY KEY,
    created_at   timestamptz NOT NULL,
    seen_at      timestamptz,
    state        text NOT NULL,
    state_reason text,
    expired_at   timestamptz
);

-- Sessions of the last half year, by the days since they were seen; some never were, some ended long ago, one is exactly at the cutoff.
INSERT INTO sessions (id, created_at, seen_at, state)
SELECT n, date_trunc('day', now()) - interval '200 days',
       CASE WHEN n % 11 = 0 THEN NULL WHEN n = 1 THEN date_trunc('day', now()) - interval '90 days'
            ELSE date_trunc('day', now()) - (n % 180) * interval '1 day' + interval '1 minute' END,
       CASE WHEN n % 6 = 0 THEN 'closed — «über»' ELSE 'active' END
FROM generate_series(1, 400) n;
