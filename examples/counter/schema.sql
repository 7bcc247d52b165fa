CREATE TABLE posts (
    id            bigint PRIMARY KEY,
    title         text NOT NULL,
    comment_count int NOT NULL DEFAULT 0
);
CREATE TABLE comments (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    post_id    bigint NOT NULL REFERENCES posts,
    body       text NOT NULL,
    deleted_at timestamptz
);
CREATE INDEX ON comments (post_id);

-- Posts without a comment, with one, with many; some comments are deleted. Nothing is counted yet.
INSERT INTO posts (id, title) SELECT n, 'Post ' || n FROM generate_series(1, 300) n;
INSERT INTO comments (post_id, body, deleted_at)
SELECT n, 'naïve comment ' || c, CASE WHEN (n + c) % 6 = 0 THEN timestamptz '2026-01-01' END
FROM generate_series(1, 300) n, generate_series(1, n % 5) c;

-- From now on the counter is kept.
CREATE FUNCTION keep_comment_count() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE posts SET comment_count = comment_count + 1 WHERE id = NEW.post_id;
    RETURN NULL;
END $$;
CREATE TRIGGER keep_comment_count AFTER INSERT ON comments FOR EACH ROW EXECUTE FUNCTION keep_comment_count();
