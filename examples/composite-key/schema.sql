CREATE TABLE readings (
    tenant     text,
    day        date,
    sensor     int,
    fahrenheit numeric,
    PRIMARY KEY (tenant, day, sensor)
);
CREATE TABLE measurements (
    tenant  text,
    day     date,
    sensor  int,
    celsius numeric(6, 2),
    PRIMARY KEY (tenant, day, sensor)
) PARTITION BY RANGE (day);
CREATE TABLE measurements_2025 PARTITION OF measurements FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE measurements_2026 PARTITION OF measurements FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE measurements_rest PARTITION OF measurements DEFAULT;

-- Tenants with every kind of name; readings without a value; days in three partitions.
INSERT INTO readings
SELECT tenant, date '2025-12-20' + n % 20 - CASE WHEN n % 50 = 0 THEN 400 ELSE 0 END, n,
       CASE WHEN n % 11 = 0 THEN NULL ELSE n * 0.37 END
FROM unnest(ARRAY['acme', 'Müller/Süd', 'a,b', '']) tenant, generate_series(1, 100) n;

-- Some readings have no measurement, some measurements no reading, and some are converted already.
INSERT INTO measurements
SELECT tenant, day, sensor, CASE WHEN sensor % 7 = 0 THEN round((fahrenheit - 32) * 5 / 9, 2) END
FROM readings WHERE sensor % 9 <> 0;
INSERT INTO measurements SELECT 'acme', date '2026-06-01', n FROM generate_series(1, 20) n;
