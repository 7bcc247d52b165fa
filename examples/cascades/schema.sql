CREATE TABLE customers (
    id         int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       text NOT NULL,
    closed_at  date
);
CREATE TABLE addresses (                -- go with their customer
    id          bigint PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers ON DELETE CASCADE,
    street      text
);
CREATE TABLE address_checks (           -- go with their address
    address_id  bigint REFERENCES addresses ON DELETE CASCADE,
    nr          int,
    result      text,
    PRIMARY KEY (address_id, nr)
);
CREATE TABLE invoices (                 -- stay, and belong to nobody
    id          bigint PRIMARY KEY,
    customer_id int REFERENCES customers ON DELETE SET NULL,
    total       numeric(10, 2)
);
CREATE TABLE shipments (                -- stay, to an address that is not known any more
    id          bigint PRIMARY KEY,
    address_id  bigint REFERENCES addresses ON DELETE SET NULL
);
CREATE TABLE tickets (                  -- stay, and belong to customer 1, which stands for all who are gone
    id          bigint PRIMARY KEY,
    customer_id int NOT NULL DEFAULT 1 REFERENCES customers ON DELETE SET DEFAULT,
    subject     text
);

INSERT INTO customers (name, closed_at)
SELECT 'Customer ' || n, CASE WHEN n % 3 = 0 THEN date '2019-06-01' WHEN n % 3 = 2 THEN date '2026-01-01' END FROM generate_series(1, 120) n;
INSERT INTO addresses SELECT n, 1 + n % 120, 'Straße ' || n FROM generate_series(1, 200) n;
INSERT INTO address_checks SELECT a, n, CASE WHEN n = 2 THEN 'fine' END FROM generate_series(1, 200) a, generate_series(1, a % 3) n;
INSERT INTO invoices SELECT n, CASE WHEN n % 11 > 0 THEN 1 + n % 120 END, n * 1.5 FROM generate_series(1, 200) n;
INSERT INTO shipments SELECT n, CASE WHEN n % 4 > 0 THEN 1 + n % 200 END FROM generate_series(1, 300) n;
INSERT INTO tickets SELECT n, 1 + n % 120, 'Ticket ' || n FROM generate_series(1, 150) n;
