CREATE TABLE customers (
    id     bigint PRIMARY KEY,
    name   text NOT NULL,
    region text
);
CREATE TABLE orders (
    id          bigint PRIMARY KEY,
    customer_id bigint,                 -- no foreign key yet: some customers are gone
    region      text,
    updated_at  timestamptz NOT NULL DEFAULT '2026-01-01'
);

INSERT INTO customers
SELECT n, 'Customer ' || n, CASE WHEN n % 9 = 0 THEN NULL WHEN n % 4 = 0 THEN 'Île-de-France' ELSE 'region-' || n % 5 END
FROM generate_series(1, 80) n;

-- Orders of customers, of nobody (NULL), of customers that are gone (81 to 90), and some that have a region.
INSERT INTO orders (id, customer_id, region)
SELECT n, CASE WHEN n % 17 = 0 THEN NULL ELSE 1 + n % 90 END, CASE WHEN n % 13 = 0 THEN 'by hand' END
FROM generate_series(1, 400) n;
