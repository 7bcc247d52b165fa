-- Loads :generations generations of six tenths as many scenarios, the same ones for the same :seed on any server.
--   psql --set seed=1 --set generations=20000 --file load.sql
-- Of the generations, about: 10 % have no llm_response, 1 % no metadata (SQL null or JSON null), 3 % an answer
-- against the schema, 5 % no prompt. 8 % of the scenarios are accepted already.
-- With --set secrets=N, N prompts hold something that looks like a credential.
\set ON_ERROR_STOP on
\if :{?secrets}
\else
\set secrets 0
\endif

BEGIN;
SET LOCAL TimeZone = 'UTC';

-- A number from 0 to below `sides`, from the seed and the names of what is thrown for.
CREATE FUNCTION pg_temp.dice(seed bigint, what text, n bigint, sides int) RETURNS int
    LANGUAGE sql IMMUTABLE AS $$
    SELECT (('x' || substr(md5(seed || '/' || what || '/' || n), 1, 8))::bit(32)::bigint % sides)::int
$$;

CREATE FUNCTION pg_temp.word(seed bigint, what text, n bigint) RETURNS text
    LANGUAGE sql IMMUTABLE AS $$
    SELECT (ARRAY[
        'a calm negotiation', 'een moeilijk gesprek', 'Rückmeldung geben', 'première réunion', 'código crítico',
        '難しい会議', '处理客户投诉', '첫 번째 회의', 'خدمة العملاء', 'שיחת משוב', 'प्रतिक्रिया देना',
        '🚀 launch day', '👩‍🔬 lab safety', '👍🏽 feedback', 'e' || chr(769) || 'quipe (combining)',
        'quotes '' and "double"', 'back\slash', E'two\nlines', E'a\ttab', '100 % {braces} <angle>'
    ])[1 + pg_temp.dice(seed, what, n, 20)]
$$;

CREATE FUNCTION pg_temp.words(seed bigint, what text, n bigint) RETURNS jsonb
    LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_agg(pg_temp.word(seed, what || i, n) ORDER BY i) FROM generate_series(0, pg_temp.dice(seed, what, n, 4)) i
$$;

INSERT INTO scenarios (id, title, accepted_prompt, accepted_prompt_metadata, updated_at)
SELECT n,
       'Scenario ' || n || ': ' || pg_temp.word(:seed, 'title', n),
       CASE WHEN accepted THEN 'Accepted by hand: ' || pg_temp.word(:seed, 'accepted prompt', n) END,
       CASE WHEN accepted THEN '{"model": "by-hand"}'::jsonb
            WHEN pg_temp.dice(:seed, 'json null', n, 100) < 2 THEN 'null'::jsonb END,
       timestamptz '2025-01-01 00:00Z' + n * interval '1 minute'
FROM generate_series(1, greatest(1, :generations * 6 / 10)) n,
     LATERAL (SELECT pg_temp.dice(:seed, 'accepted', n, 100) < 8 AS accepted) a;

INSERT INTO scenario_generations (id, scenario_id, metadata, created_at, updated_at)
SELECT n,
       -- Every scenario has one, and some have several.
       CASE WHEN n <= scenarios THEN n ELSE 1 + pg_temp.dice(:seed, 'scenario', n, scenarios) END,
       CASE WHEN shape < 5 THEN NULL
            WHEN shape < 10 THEN 'null'::jsonb
            WHEN shape < 110 THEN '{"source": "manual", "tags": ["old"]}'::jsonb
            ELSE jsonb_build_object('source', 'generator', 'attempt', 1 + pg_temp.dice(:seed, 'attempt', n, 3), 'llm_response',
                CASE WHEN shape < 116 THEN answer - 'skills'
                     WHEN shape < 121 THEN answer || '{"capabilities": "a string"}'
                     WHEN shape < 126 THEN answer || '{"competencies": {"an": "object"}}'
                     WHEN shape < 131 THEN answer || '{"skills": [1, 2, 3]}'
                     WHEN shape < 135 THEN '"only a text"'::jsonb
                     WHEN shape < 138 THEN 'null'::jsonb
                     WHEN shape < 163 THEN answer - 'prompt'
                     WHEN shape < 188 THEN answer || '{"prompt": null}'
                     ELSE answer
                END)
       END,
       at, at + interval '5 seconds'
FROM generate_series(1, :generations) n,
     LATERAL (
         SELECT greatest(1, :generations * 6 / 10) AS scenarios,
                pg_temp.dice(:seed, 'shape', n, 1000) AS shape,
                timestamptz '2025-02-01 00:00Z' + n * interval '1 minute' AS at
     ) s,
     LATERAL (
         SELECT jsonb_build_object(
             'model', 'model-' || (1 + pg_temp.dice(:seed, 'model', n, 3)),
             'prompt', 'You lead ' || pg_temp.word(:seed, 'prompt', n) || ' with ' || (2 + pg_temp.dice(:seed, 'people', n, 8)) || ' people. Generation ' || n || '.'
                 -- Put together here, so that no scanner of sources takes it for a real one.
                 || CASE WHEN n <= :secrets THEN ' Use AK' || 'IA' || translate(upper(substr(md5(:seed || 'secret' || n), 1, 16)), '0189', 'WXYZ') || ' to sign in.' ELSE '' END,
             'capabilities', pg_temp.words(:seed, 'capability', n),
             'competencies', pg_temp.words(:seed, 'competency', n),
             'skills', pg_temp.words(:seed, 'skill', n)
         ) AS answer
     ) a;

SELECT setval(pg_get_serial_sequence('scenarios', 'id'), max(id)) FROM scenarios \g /dev/null
SELECT setval(pg_get_serial_sequence('scenario_generations', 'id'), max(id)) FROM scenario_generations \g /dev/null
INSERT INTO app_settings VALUES ('break_import', 'false');
COMMIT;
ANALYZE scenarios, scenario_generations;
