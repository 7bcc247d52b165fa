CREATE TYPE invoice_status AS ENUM ('draft', 'open', 'paid', 'cancelled');
CREATE TABLE invoices (
    id        bigint PRIMARY KEY,
    sent      boolean,
    paid      boolean,
    cancelled boolean,
    status    invoice_status,
    history   jsonb
);

-- Every combination of true, false and NULL; some (paid and cancelled) say two things at once; some have a status.
INSERT INTO invoices
SELECT n, CASE n % 3 WHEN 0 THEN true WHEN 1 THEN false END,
       CASE WHEN n % 100 = 0 THEN true ELSE CASE n / 3 % 3 WHEN 0 THEN true WHEN 1 THEN false END END,
       CASE WHEN n % 100 = 0 THEN true ELSE n / 3 % 3 <> 0 AND n / 9 % 3 = 0 END,
       CASE WHEN n % 50 = 1 THEN 'open'::invoice_status END,
       CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN '{}'::jsonb ELSE '{"note": "größer"}'::jsonb END
FROM generate_series(1, 400) n;
