//! A spec that cannot work stops, says what to change, and goes on when it is changed.

use crate::manifest::small;
use crate::run::Run;
use crate::scene::Scene;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Waits until the run stops for a reason, in words that name what is wrong.
async fn stops(run: &Run<'_>, reason: &str, words: &[&str]) {
    let message = run.stalls(reason).await;
    for word in words {
        assert!(message.contains(word), "the message should say {word:?}: {message}");
    }
    let status = run.status().await;
    assert!(!status.mutation_started, "{status:?}");
}

fn source(fields: &Value) -> Value {
    json!({"spec": {"backfill": {"sql": {"source": fields}}}})
}

#[tokio::test]
async fn a_wrong_password_stalls_the_run_until_the_secret_is_right() {
    let scene = Scene::new("password", 200).await;
    let right = scene.kubectl(&["get", "secret", "scenarios-db", "--output", "jsonpath={.data.password}"]);
    let set = |password: &str| scene.apply_patch("secret", "scenarios-db", &json!({"data": {"password": password}}));
    set(&STANDARD.encode("not-the-password"));
    let run = Run::apply(&scene, &small("wrong-password"));
    stops(&run, "AuthenticationFailed", &["the server refused the login", "password in the Secret"]).await;
    set(&right);
    run.asks().await;
}

#[tokio::test]
async fn a_missing_secret_stalls_the_run_until_it_is_there() {
    let scene = Scene::new("secret", 200).await;
    let mut manifest = small("missing-secret");
    manifest["spec"]["database"]["secretRef"]["name"] = json!("scenarios-db-late");
    let run = Run::apply(&scene, &manifest);
    stops(&run, "StepCannotStart", &["secret \"scenarios-db-late\" not found"]).await;
    let mut secret: Value = serde_json::from_str(&scene.kubectl(&["get", "secret", "scenarios-db", "--output", "json"])).expect("JSON");
    secret["metadata"] = json!({"name": "scenarios-db-late"});
    scene.apply(&secret);
    run.asks().await;
}

#[tokio::test]
async fn a_table_that_is_not_there_stalls_the_run_until_the_spec_names_another() {
    let scene = Scene::new("table", 200).await;
    let mut manifest = small("missing-table");
    manifest["spec"]["backfill"]["sql"]["source"]["table"] = json!("scenarioz");
    let run = Run::apply(&scene, &manifest);
    stops(&run, "TableMissing", &["backfill.sql.source.table", "there is no table \"scenarioz\""]).await;
    run.patch(&source(&json!({"table": "scenarios"})));
    run.asks().await;
}

#[tokio::test]
async fn a_key_that_does_not_name_one_row_stalls_the_run_until_it_does() {
    let scene = Scene::new("key", 200).await;
    let mut manifest = small("key-not-unique");
    let sql = &mut manifest["spec"]["backfill"]["sql"];
    sql["source"] = json!({"table": "scenario_generations", "key": ["scenario_id"]});
    sql["writes"] = json!([{"set": {"metadata": "jsonb_build_object('was', s.metadata)"}}]);
    let run = Run::apply(&scene, &manifest);
    stops(&run, "KeyNotUnique", &["(scenario_id) does not name a row of scenario_generations"]).await;
    run.patch(&source(&json!({"key": ["id"]})));
    run.asks().await;
}

#[tokio::test]
async fn sql_that_is_wrong_or_more_than_an_expression_stalls_the_run_until_it_is_one() {
    let scene = Scene::new("sql", 200).await;
    let mut manifest = small("bad-sql");
    let filter = |text: &str| source(&json!({"where": text}));
    manifest["spec"]["backfill"]["sql"]["source"]["where"] = json!("s.accepted_prompt IS NUL");
    let run = Run::apply(&scene, &manifest);
    stops(&run, "ExpressionRefused", &["backfill.sql.source.where"]).await;
    run.patch(&filter("true; DROP TABLE scenario_generations"));
    run.until("the second statement is named", |status| status.message.contains("statement").then_some(())).await;
    stops(&run, "ExpressionRefused", &["backfill.sql.source.where"]).await;
    run.patch(&filter("s.accepted_promt IS NULL"));
    stops(&run, "ExpressionInvalid", &["backfill.sql.source.where", "accepted_promt"]).await;
    run.patch(&filter("s.accepted_prompt IS NULL"));
    run.asks().await;
    assert_eq!(scene.database.count("SELECT count(*) FROM scenario_generations"), 200, "nothing of it was run");
}

#[tokio::test]
async fn a_missing_claim_stalls_the_run_until_it_is_there() {
    let scene = Scene::new("claim", 200).await;
    let mut manifest = small("missing-claim");
    manifest["spec"]["backup"]["destination"]["persistentVolumeClaim"]["claimName"] = json!("backups-late");
    let run = Run::apply(&scene, &manifest);
    stops(&run, "StepCannotStart", &["persistentvolumeclaim \"backups-late\" not found"]).await;
    let mut claim: Value = serde_json::from_str(&scene.kubectl(&["get", "pvc", "backups", "--output", "json"])).expect("JSON");
    claim["metadata"] = json!({"name": "backups-late"});
    scene.apply(&claim);
    run.asks().await;
}
