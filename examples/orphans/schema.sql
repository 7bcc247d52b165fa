CREATE SCHEMA app;
CREATE TABLE posts (
    id    bigint PRIMARY KEY,
    title text NOT NULL
);
CREATE TABLE comments (
    id      bigint PRIMARY KEY,
    post_id bigint,
    body    text
);

-- Comments on posts, on posts that are gone (every seventh), and on nothing; two bodies are NULL or empty.
INSERT INTO posts SELECT n, 'Post ' || n FROM generate_series(1, 100) n WHERE n % 7 <> 0;
INSERT INTO comments
SELECT n, CASE WHEN n % 20 = 0 THEN NULL ELSE n % 105 END, CASE n % 30 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'commentaire «' || n || '»' END
FROM generate_series(1, 400) n;
