CREATE TABLE customers (
    id         bigint PRIMARY KEY,
    email      text,
    verified   boolean NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE TABLE orders (
    id          bigint PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers,
    total       numeric(10, 2) NOT NULL
);
CREATE INDEX ON orders (customer_id);

-- One to three customers an address, in different cases, with ties in time; some have no address.
INSERT INTO customers
SELECT n * 10 + d, CASE WHEN n % 12 = 0 THEN NULL WHEN d = 2 THEN 'JÖRG' || n || '@Example.org' ELSE 'jörg' || n || '@example.org' END,
       (n + d) % 5 = 0, timestamptz '2026-01-01' + (n % 2) * d * interval '1 hour'
FROM generate_series(1, 150) n, generate_series(1, 1 + n % 3) d;

-- Orders only of those that stay: the first half has been run.
INSERT INTO orders
SELECT c.id, c.id, 9.99 FROM (SELECT DISTINCT ON (lower(email)) id FROM customers WHERE email IS NOT NULL
                              ORDER BY lower(email), verified DESC, created_at, id) c;
