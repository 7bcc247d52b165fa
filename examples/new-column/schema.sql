CREATE TABLE accounts (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL,
    is_business boolean,
    plan        text CHECK (plan IN ('free', 'team', 'enterprise'))
);

-- Businesses, others and unknown ones; some have chosen a plan already.
INSERT INTO accounts (name, is_business, plan)
SELECT CASE WHEN n % 10 = 0 THEN 'Çağrı & Söhne "' || n || '"' ELSE 'Account ' || n END,
       CASE n % 3 WHEN 0 THEN true WHEN 1 THEN false END,
       CASE WHEN n % 25 = 0 THEN 'enterprise' WHEN n % 26 = 0 THEN 'free' END
FROM generate_series(1, 400) n;
