CREATE TABLE organisations (
    id   uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    slug text NOT NULL UNIQUE,
    name text NOT NULL
);
CREATE TABLE projects (
    id              bigint PRIMARY KEY,
    owner           text UNIQUE,                        -- the name of an organisation, as it was typed: one project each
    organisation_id uuid REFERENCES organisations (id), -- new
    organisation    text                                -- its name, for lists
);

-- Some organisations are there already, with a key and a name of their own.
INSERT INTO organisations
SELECT md5('by hand ' || n)::uuid, 'owner-' || n, 'Owner No. ' || n FROM generate_series(3, 300, 7) n;

-- Projects of organisations that are there, of such that are not, and of nobody (NULL, blanks).
INSERT INTO projects (id, owner)
SELECT n, CASE WHEN n % 19 = 0 THEN NULL WHEN n % 23 = 0 THEN repeat(' ', n / 23) ELSE ' Owner-' || n END
FROM generate_series(1, 300) n;
