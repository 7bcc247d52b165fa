CREATE TABLE users (
    id         uuid PRIMARY KEY,
    email      text,
    email_hash bytea
);
CREATE INDEX ON users (email_hash);

-- Addresses in different cases and with blanks, in any script; NULL, empty, blank; some hashes are there, some are wrong.
INSERT INTO users
SELECT md5(n::text)::uuid,
       CASE WHEN n % 19 = 0 THEN NULL WHEN n % 23 = 0 THEN '' WHEN n % 29 = 0 THEN '  '
            WHEN n % 3 = 0 THEN ' Ünal.' || n || '@Example.ORG' ELSE '用户' || n || '@example.org ' END,
       CASE WHEN n % 31 = 0 THEN '\x00'::bytea END
FROM generate_series(1, 400) n;
UPDATE users SET email_hash = sha256(convert_to(lower(btrim(email)), 'UTF8')) WHERE email LIKE '%7@%';
