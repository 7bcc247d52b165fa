"""The source row itself is written, audit entry and all in one UPDATE: the cheapest shape."""

from .shape import ENTRY, JSON_SCHEMA, METADATA, METADATA_FROM, VALID, Shape

SHAPE = Shape(
    name="own-row",
    tables="""
        CREATE TABLE generations (id bigint PRIMARY KEY, title text NOT NULL, metadata jsonb, prompt text, model jsonb,
            created_at timestamptz NOT NULL DEFAULT '2020-01-01', updated_at timestamptz NOT NULL DEFAULT '2020-01-01');
        CREATE SEQUENCE later_generations START 1000000000;
    """,
    fill=[f"INSERT INTO generations (id, title, metadata) SELECT n, 'Generation ' || n, {METADATA} FROM {METADATA_FROM}"],
    names=["generations"],
    spec={
        "source": {"table": "generations", "key": ["id"], "where": "s.metadata ? 'llm_response'"},
        "validate": [
            {"name": "llm-response", "value": "s.metadata -> 'llm_response'", "schema": {"inline": JSON_SCHEMA}, "maxInvalidPercent": 5}
        ],
        "writes": [
            {
                "onlyIf": "s.prompt IS NULL",
                "set": {
                    "prompt": "s.metadata #>> '{llm_response,prompt}'",
                    "model": "jsonb_build_object('model', s.metadata #> '{llm_response,model}')",
                    "updated_at": "now()",
                },
            }
        ],
        "audit": {"column": "metadata", "path": ["import_audit"]},
    },
    update=f"""
        UPDATE generations s SET prompt = s.metadata #>> '{{llm_response,prompt}}',
            model = jsonb_build_object('model', s.metadata #> '{{llm_response,model}}'), updated_at = now(),
            metadata = jsonb_set(s.metadata, '{{import_audit}}', {ENTRY})
        WHERE s.prompt IS NULL AND {VALID} AND {{where}}
    """,
    back="""
        UPDATE generations SET prompt = NULL, model = NULL, updated_at = '2020-01-01', metadata = metadata - 'import_audit'
        WHERE metadata ? 'import_audit'
    """,
    planned="""
        SELECT s.id, s.metadata -> 'llm_response', s.prompt, s.model,
            s.metadata #>> '{llm_response,prompt}', jsonb_build_object('model', s.metadata #> '{llm_response,model}')
        FROM generations s
    """,
    page="SELECT id, id AS target, metadata -> 'llm_response' AS response FROM generations WHERE id > %s ORDER BY id LIMIT 1000",
    row=[
        f"""UPDATE generations SET prompt = %(prompt)s, model = jsonb_build_object('model', %(model)s::text), updated_at = now(),
               metadata = jsonb_set(metadata, '{{import_audit}}', {ENTRY}) WHERE id = %(id)s AND prompt IS NULL"""
    ],
    state=[
        (
            "generations",
            "t.id, t.title, t.metadata #- '{import_audit,at}', t.prompt, t.model, t.created_at, t.updated_at > '2020-01-01'",
        )
    ],
    application=[
        """\\set id random(1, :rows)
UPDATE generations SET title = 'Renamed ' || :id WHERE id = :id;
""",
        """INSERT INTO generations (id, title, metadata) VALUES (nextval('later_generations'), 'later', '{"draft": true}');
""",
    ],
)
