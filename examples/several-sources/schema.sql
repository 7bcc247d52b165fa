CREATE TABLE profiles (
    user_id      uuid PRIMARY KEY,
    phone        text,
    phone_origin text
);
CREATE TABLE contact_records (
    id      bigint PRIMARY KEY,
    user_id uuid,
    origin  text NOT NULL,
    phone   text,
    seen_at timestamptz,
    details jsonb
);

INSERT INTO profiles
SELECT md5(n::text)::uuid, CASE WHEN n % 10 = 0 THEN '+49 30 1' END FROM generate_series(1, 120) n;

-- One to four records a user; of users without a profile, and of nobody; ties, NULL times, numbers that are none.
INSERT INTO contact_records
SELECT n * 10 + r, CASE WHEN n % 31 = 0 THEN NULL ELSE md5(n::text)::uuid END,
       (ARRAY['crm', 'billing', 'import', 'crm'])[1 + (n + r) % 4],
       CASE WHEN n % 29 = 0 AND r = 1 THEN 'ask Zoë' WHEN (n + r) % 9 = 0 THEN NULL ELSE '+49 89 ' || n || ' ' || 100 + r END,
       CASE WHEN r = 3 THEN NULL ELSE timestamptz '2026-01-01' + (n % 3) * interval '1 day' END,
       CASE n % 3 WHEN 0 THEN NULL WHEN 1 THEN '{}'::jsonb ELSE '{"backfills": {"address": 1}}'::jsonb END
FROM generate_series(1, 140) n, generate_series(1, 1 + n % 4) r;
