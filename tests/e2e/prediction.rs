//! What the examples should do to the loaded data, said in one SQL statement that knows nothing of the operator.

use crate::database::Database;

/// What will have been written, and how the tables will look.
#[derive(Debug)]
pub struct Prediction {
    /// Scenarios that get a prompt.
    pub written: i64,
    result: &'static str,
    columns: &'static str,
    scenarios: String,
    generations: String,
    audited: String,
}

/// The latest answer of each scenario that has none, if it is as the schema wants it and has a prompt.
pub const WINNERS: &str = "
    WITH latest AS (
        SELECT DISTINCT ON (scenario_id) id, scenario_id, metadata -> 'llm_response' AS answer
        FROM scenario_generations WHERE metadata ? 'llm_response' ORDER BY scenario_id, updated_at DESC, id DESC
    ), winner AS (
        SELECT l.* FROM latest l JOIN scenarios t ON t.id = l.scenario_id
        WHERE t.accepted_prompt IS NULL AND l.answer ->> 'prompt' IS NOT NULL AND jsonb_typeof(l.answer) = 'object'
          AND (SELECT bool_and((jsonb_typeof(l.answer -> list) = 'array' AND NOT jsonb_path_exists(l.answer -> list, '$[*] ? (@.type() != \"string\")')) IS TRUE)
               FROM unnest(ARRAY['capabilities', 'competencies', 'skills']) list)
    )";

/// A generation without its audit entry. (Of a scalar nothing can be taken away.)
const UNAUDITED: &str = "id, scenario_id, CASE jsonb_typeof(metadata) WHEN 'object' THEN metadata - 'import_audit' ELSE metadata END";

/// What the declared example will do.
pub fn of_example(database: &Database) -> Prediction {
    predict(database, "written", "id, accepted_prompt, accepted_prompt_metadata, accepted_generation_id", ", w.id")
}

/// What the team's script will do: it knows no column for the generation.
pub fn of_script(database: &Database) -> Prediction {
    predict(database, "imported", "id, accepted_prompt, accepted_prompt_metadata", "")
}

fn predict(database: &Database, result: &'static str, columns: &'static str, more: &str) -> Prediction {
    let after = format!(
        "SELECT md5(string_agg(ROW(t.id, coalesce(w.answer ->> 'prompt', t.accepted_prompt),
            CASE WHEN w.id IS NULL THEN t.accepted_prompt_metadata ELSE jsonb_build_object('model', w.answer -> 'model') END{more})::text, '|' ORDER BY t.id))
        FROM scenarios t LEFT JOIN winner w ON w.scenario_id = t.id"
    );
    Prediction {
        written: database.count(&format!("{WINNERS} SELECT count(*) FROM winner")),
        result,
        columns,
        scenarios: database.sql(&format!("{WINNERS} {after}")),
        generations: database.checksum(UNAUDITED, "scenario_generations"),
        audited: database.sql(&format!("{WINNERS} SELECT md5(string_agg(id::text, ' ' ORDER BY id)) FROM winner")),
    }
}

/// Generations that carry an audit entry.
pub fn audited(database: &Database) -> i64 {
    database.count("SELECT count(*) FROM scenario_generations WHERE metadata ? 'import_audit'")
}

/// After a run: exactly that was done, and each written row has its one audit entry.
pub fn holds(database: &Database, expected: &Prediction) {
    let scenarios = database.checksum(expected.columns, "scenarios");
    assert_eq!(scenarios, expected.scenarios, "the scenarios are as one statement would have left them");
    let generations = database.checksum(UNAUDITED, "scenario_generations");
    assert_eq!(generations, expected.generations, "the generations have changed in nothing but the audit entry");
    let marked = database.sql(&format!(
        "SELECT md5(string_agg(id::text, ' ' ORDER BY id)) FROM scenario_generations WHERE metadata #>> '{{import_audit,result}}' = '{}'",
        expected.result
    ));
    assert_eq!(marked, expected.audited, "the generations that were imported say so, and no others");
    assert_eq!(audited(database), expected.written, "one audit entry for each written row");
}
