"""The example's shape: read generations, write scenarios, leave an audit entry in the generation. One generation a
scenario, so that every valid row counts; therefore without `pick`."""

from .shape import ENTRY, JSON_SCHEMA, METADATA, METADATA_FROM, VALID, Shape

SHAPE = Shape(
    name="scenarios",
    tables="""
        CREATE TABLE scenarios (id bigint PRIMARY KEY, title text NOT NULL, accepted_prompt text, accepted_prompt_metadata jsonb,
            updated_at timestamptz NOT NULL DEFAULT '2020-01-01');
        CREATE TABLE scenario_generations (id bigint PRIMARY KEY, scenario_id bigint NOT NULL REFERENCES scenarios, metadata jsonb,
            created_at timestamptz NOT NULL DEFAULT '2020-01-01', updated_at timestamptz NOT NULL DEFAULT '2020-01-01');
        CREATE INDEX ON scenario_generations (scenario_id);
        CREATE SEQUENCE later_generations START 1000000000;
    """,
    fill=[
        "INSERT INTO scenarios (id, title) SELECT n, 'Scenario ' || n FROM generate_series(1, %(rows)s) n",
        f"INSERT INTO scenario_generations (id, scenario_id, metadata) SELECT n, n, {METADATA} FROM {METADATA_FROM}",
    ],
    names=["scenarios", "scenario_generations"],
    spec={
        "source": {"table": "scenario_generations", "key": ["id"], "where": "s.metadata ? 'llm_response'"},
        "validate": [
            {"name": "llm-response", "value": "s.metadata -> 'llm_response'", "schema": {"inline": JSON_SCHEMA}, "maxInvalidPercent": 5}
        ],
        "writes": [
            {
                "table": "scenarios",
                "match": "t.id = s.scenario_id",
                "onlyIf": "t.accepted_prompt IS NULL",
                "set": {
                    "accepted_prompt": "s.metadata #>> '{llm_response,prompt}'",
                    "accepted_prompt_metadata": "jsonb_build_object('model', s.metadata #> '{llm_response,model}')",
                    "updated_at": "now()",
                },
            }
        ],
        "audit": {"column": "metadata", "path": ["import_audit"]},
    },
    update=f"""
        WITH written AS (
            UPDATE scenarios t SET accepted_prompt = s.metadata #>> '{{llm_response,prompt}}',
                accepted_prompt_metadata = jsonb_build_object('model', s.metadata #> '{{llm_response,model}}'), updated_at = now()
            FROM scenario_generations s
            WHERE t.id = s.scenario_id AND t.accepted_prompt IS NULL AND {VALID} AND {{where}}
            RETURNING s.id)
        UPDATE scenario_generations s SET metadata = jsonb_set(s.metadata, '{{import_audit}}', {ENTRY})
        FROM written WHERE s.id = written.id AND {{where}}
    """,
    back="""
        WITH back AS (
            UPDATE scenarios t SET accepted_prompt = NULL, accepted_prompt_metadata = NULL, updated_at = '2020-01-01'
            FROM scenario_generations s WHERE t.id = s.scenario_id AND s.metadata ? 'import_audit'
            RETURNING s.id)
        UPDATE scenario_generations s SET metadata = s.metadata - 'import_audit' FROM back WHERE s.id = back.id
    """,
    planned="""
        SELECT s.id, s.metadata -> 'llm_response', t.id, t.accepted_prompt, t.accepted_prompt_metadata,
            s.metadata #>> '{llm_response,prompt}', jsonb_build_object('model', s.metadata #> '{llm_response,model}')
        FROM scenario_generations s JOIN scenarios t ON t.id = s.scenario_id
    """,
    page="""
        SELECT id, scenario_id AS target, metadata -> 'llm_response' AS response FROM scenario_generations
        WHERE id > %s ORDER BY id LIMIT 1000
    """,
    row=[
        """UPDATE scenarios SET accepted_prompt = %(prompt)s, accepted_prompt_metadata = jsonb_build_object('model', %(model)s::text),
               updated_at = now() WHERE id = %(target)s AND accepted_prompt IS NULL""",
        f"UPDATE scenario_generations SET metadata = jsonb_set(metadata, '{{import_audit}}', {ENTRY}) WHERE id = %(id)s",
    ],
    state=[
        ("scenarios", "t.id, t.title, t.accepted_prompt, t.accepted_prompt_metadata, t.updated_at > '2020-01-01'"),
        ("scenario_generations", "t.id, t.scenario_id, t.metadata #- '{import_audit,at}', t.created_at, t.updated_at"),
    ],
    application=[
        """\\set id random(1, :rows)
UPDATE scenarios SET title = 'Renamed ' || :id WHERE id = :id;
""",
        """\\set id random(1, :rows)
INSERT INTO scenario_generations (id, scenario_id, metadata) VALUES (nextval('later_generations'), :id, '{"draft": true}');
""",
    ],
)
