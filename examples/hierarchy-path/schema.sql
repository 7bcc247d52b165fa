CREATE TABLE categories (
    id        bigint PRIMARY KEY,
    parent_id bigint,                   -- no foreign key: some parents are gone
    slug      text NOT NULL,
    path      text,
    depth     int
);

-- A tree of ten roots; a circle (401, 402, 403) with a child; a node whose parent is gone, with a child.
INSERT INTO categories (id, parent_id, slug)
SELECT n, CASE WHEN n > 10 THEN n / 3 END, CASE WHEN n % 8 = 0 THEN 'größe-' ELSE 'c' END || n FROM generate_series(1, 400) n;
INSERT INTO categories (id, parent_id, slug) VALUES
    (401, 403, 'round'), (402, 401, 'and'), (403, 402, 'round'), (404, 402, 'child'), (405, 9999, 'lost'), (406, 405, 'with');
-- Moved once: its path is from before.
UPDATE categories SET path = '/old/place', depth = 7 WHERE id = 100;
