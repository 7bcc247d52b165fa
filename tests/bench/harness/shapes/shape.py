"""The form of a shape."""

from dataclasses import dataclass, field

# What the audit entry says, but for the moment: the same text for every variant.
RUN = {"namespace": "bench", "name": "import", "uid": "6b1f0c1e-52a1-4c5e-9a54-0000000000be"}
PLAN_DIGEST = "sha256:" + "be" * 32
ENTRY = (
    '\'{"source": "backfill", "run": "%s/%s", "planDigest": "%s", "result": "written"}\'::jsonb || jsonb_build_object(\'at\', now())'
    % (RUN["namespace"], RUN["name"], PLAN_DIGEST)
)

# What makes a row valid, as JSON Schema for us and the script, as SQL for the rest. The data has no row that only one
# of the two refuses; that the states are equal proves it in each run.
JSON_SCHEMA = {
    "type": "object",
    "required": ["prompt", "skills"],
    "properties": {"prompt": {"type": "string"}, "skills": {"type": "array", "items": {"type": "string"}}},
}
# CASE for the planner: by itself it takes each jsonb_typeof for one row in 200, expects a single row, and joins row by row
# through the index. Without that the one statement needs 7 percent less CPU (200,000 rows), and it is to be the floor.
VALID = (
    "CASE WHEN s.metadata ? 'llm_response' AND jsonb_typeof(s.metadata #> '{llm_response,prompt}') = 'string'"
    " AND jsonb_typeof(s.metadata #> '{llm_response,skills}') = 'array' THEN true ELSE false END"
)

# Prose with what makes a scanner and an encoder work: umlauts, CJK, an emoji, and words such as token and key, without
# a secret. Each prompt is a window of it.
PROSE = (
    "Führe ein Gespräch über die nächste Lieferung und frage nach dem Preis, der Menge und dem Termin. "
    "The customer is in a hurry; stay polite, keep to the token budget and name the key figures first. "
    "Résumé der Lage: trois clients attendent, deux ont déjà payé, un hésite encore. 顧客は返品を希望しています。 "
    "Erkläre den Ablauf in kurzen Sätzen – ohne Fachwörter – und biete am Ende Hilfe an 🙂. "
    "If the password was forgotten, explain how it is reset; never ask for it. Ответь вежливо и кратко. "
)

# About 1.4 KB a document: the answer of the model, and what an importer left beside it. `n` is the row, %(seed)s the seed.
METADATA = f"""
    CASE WHEN n % 97 = 13 THEN jsonb_build_object('llm_response', jsonb_build_object('prompt', 'no skills ' || n, 'model', 'm'))
         WHEN n % 97 = 57 THEN jsonb_build_object('llm_response', jsonb_build_object('prompt', 'text for a list ' || n, 'skills', 'listening'))
         ELSE jsonb_build_object('llm_response', jsonb_build_object(
            'prompt', 'Szenario ' || n || ': ' || substr(p.prose, 1 + abs(hashint8(n + %(seed)s)) % 250, 200),
            'model', 'm-' || abs(hashint8(n * 3 + %(seed)s)) % 9,
            'capabilities', jsonb_build_array('dialogue', 'summary', 'c' || n % 17),
            'competencies', jsonb_build_array('patience', 'clarity'),
            'skills', jsonb_build_array('listening', 'negotiation', 's' || n % 41)))
    END || jsonb_build_object('import', jsonb_build_object('batch', n / 500, 'trace', h.text))
"""
# Evaluated once a row.
METADATA_FROM = f"""
    generate_series(1, %(rows)s) n,
    (SELECT repeat('{PROSE}', 2) AS prose OFFSET 0) p,
    LATERAL (SELECT string_agg(md5(n || '-%(seed)s-' || part), '') AS text FROM generate_series(1, 28) part) h
"""


@dataclass(frozen=True)
class Shape:
    """A backfill, and the same thing written otherwise."""

    name: str
    # Tables and indexes; run by their owner.
    tables: str
    # Rows; with %(rows)s and %(seed)s.
    fill: list
    # The tables, by name: for VACUUM.
    names: list
    # `spec.backfill.sql`.
    spec: dict
    # One statement that does all of it; with {where}, a condition on `s.id`.
    update: str
    # One statement that takes all of it back, knowing beforehand what was there: the floor of undo.
    back: str
    # SELECT of what planning must read: keys, the judged value, old and new values.
    planned: str
    # Row by row: a SELECT of a page of rows after $1, a condition in Python, statements a row with named parameters.
    page: str
    row: list
    # Table, and a row expression over `t` without what the moment sets.
    state: list
    # An application's transactions, as pgbench scripts; `:rows` is the number of rows.
    application: list = field(default_factory=list)

    def update_where(self, condition):
        """The one statement, for the source rows of the condition."""
        return self.update.replace("{where}", condition)

    def fill_with(self, rows, seed):
        """The statements that make the rows."""
        return [statement.replace("%(rows)s", str(rows)).replace("%(seed)s", str(seed)) for statement in self.fill]


def is_valid(response):
    """What the team's script checks, in Python."""
    return (
        isinstance(response, dict)
        and isinstance(response.get("prompt"), str)
        and isinstance(response.get("skills"), list)
        and all(isinstance(skill, str) for skill in response["skills"])
    )
