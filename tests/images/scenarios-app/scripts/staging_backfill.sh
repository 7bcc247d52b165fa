#!/bin/bash
# Fills scenarios.accepted_prompt and accepted_prompt_metadata from the last answer of the language model, and writes
# an import_audit entry into that generation's metadata.
#
#   staging_backfill.sh                           shows what would change, and changes nothing
#   staging_backfill.sh --apply --backup PATH     changes it; PATH is the dump taken before
#
# A scenario that has a prompt is left alone, so a second run changes nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
    echo "usage: staging_backfill.sh [--apply --backup PATH]" >&2
    exit 2
}

apply=false
backup=
while [ $# -gt 0 ]; do
    case $1 in
        --apply) apply=true ;;
        --backup)
            backup=${2:-}
            [ -n "$backup" ] || usage
            shift
            ;;
        *) usage ;;
    esac
    shift
done
if $apply; then
    [ -n "$backup" ] || usage
    [ -s "$backup" ] || { echo "no backup at $backup: nothing changed" >&2; exit 1; }
fi

export PGAPPNAME=staging_backfill
# shellcheck source=../connection
source ./connection
batch=2000

# The rows to change among the scenarios :first to :last.
planned="
    planned AS (
        SELECT w.id AS generation_id, t.id AS scenario_id, w.answer
        FROM (
            SELECT DISTINCT ON (g.scenario_id) g.id, g.scenario_id, g.metadata -> 'llm_response' AS answer
            FROM scenario_generations g
            WHERE g.scenario_id BETWEEN :first AND :last AND g.metadata ? 'llm_response'
            ORDER BY g.scenario_id, g.updated_at DESC, g.id DESC
        ) w
        JOIN scenarios t ON t.id = w.scenario_id
        WHERE t.accepted_prompt IS NULL
            AND jsonb_typeof(w.answer -> 'prompt') = 'string'
            AND jsonb_typeof(w.answer -> 'capabilities') = 'array'
            AND jsonb_typeof(w.answer -> 'competencies') = 'array'
            AND jsonb_typeof(w.answer -> 'skills') = 'array'
            AND NOT jsonb_path_exists(w.answer, '\$.skills[*] ? (@.type() != \"string\")')
    )"

show() {
    # The same text for the same rows: the run's plan holds its hash.
    sql --set first=0 --set last="$1" <<SQL
BEGIN READ ONLY;
WITH $planned
SELECT 'would fill accepted_prompt and accepted_prompt_metadata of ' || count(*) || ' scenarios, and write as many import_audit entries'
FROM planned;
WITH $planned
SELECT 'scenario ' || scenario_id || ' from generation ' || generation_id || ', model ' || coalesce(answer ->> 'model', 'unknown')
FROM planned ORDER BY scenario_id LIMIT 5;
COMMIT;
SQL
    echo "nothing changed: --apply --backup PATH changes it"
}

change() {
    local first total=0 count
    for ((first = 0; first <= $1; first += batch)); do
        count=$(sql --single-transaction --set first="$first" --set last="$((first + batch - 1))" <<SQL
WITH $planned,
filled AS (
    UPDATE scenarios t
    SET accepted_prompt = p.answer ->> 'prompt',
        accepted_prompt_metadata = jsonb_build_object('model', p.answer -> 'model'),
        updated_at = now()
    FROM planned p WHERE t.id = p.scenario_id AND t.accepted_prompt IS NULL
    RETURNING t.id, p.generation_id
),
audited AS (
    UPDATE scenario_generations g
    SET metadata = jsonb_set(g.metadata, '{import_audit}', jsonb_build_object('source', 'backfill', 'result', 'imported', 'at', now()))
    FROM filled f WHERE g.id = f.generation_id
    RETURNING g.id
)
SELECT count(*) FROM audited;
SQL
        )
        total=$((total + count))
        echo "scenarios up to $((first + batch - 1)): $total changed"
    done
    echo "done: $total scenarios filled, backup $backup"
}

last=$(sql --command 'SELECT coalesce(max(id), 0) FROM scenarios')
if $apply; then
    change "$last"
else
    show "$last"
fi
