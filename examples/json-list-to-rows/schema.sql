CREATE TABLE documents (
    id    bigint PRIMARY KEY,
    title text NOT NULL,
    tags  jsonb
);
CREATE TABLE document_tags (
    id          bigint GENERATED ALWAYS AS IDENTITY,
    document_id bigint NOT NULL REFERENCES documents,
    nr          int NOT NULL,
    tag         text NOT NULL,
    PRIMARY KEY (document_id, nr)
);

-- Lists of none to six tags, with empty and null elements; NULL, JSON null, a text and an object instead of a list.
INSERT INTO documents
SELECT n, 'Document ' || n, CASE
    WHEN n % 41 = 0 THEN '"not a list"'::jsonb
    WHEN n % 43 = 0 THEN '{"no": "list"}'::jsonb
    WHEN n % 47 = 0 THEN 'null'::jsonb
    WHEN n % 17 = 0 THEN NULL
    ELSE (SELECT coalesce(jsonb_agg(CASE i % 4 WHEN 3 THEN NULL WHEN 2 THEN ' ' ELSE 'étiquette "' || i || '"' END), '[]'::jsonb)
          FROM generate_series(1, n % 7) i)
    END
FROM generate_series(1, 300) n;
-- Somebody has begun by hand.
INSERT INTO document_tags (document_id, nr, tag) VALUES (1, 1, 'by hand'), (8, 1, 'étiquette "1"');
