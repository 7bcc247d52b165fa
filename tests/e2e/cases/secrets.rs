//! Twenty secrets are planted where runs come by; none may be seen where people and programs look.

use crate::channel::{self, SLACK_PATH, WEBHOOK_KEY, WEBHOOK_PATH};
use crate::conclusion;
use crate::lab::{SERVER, lab};
use crate::manifest::example;
use crate::operator;
use crate::prediction::WINNERS;
use crate::processes::Lookout;
use crate::run::Run;
use crate::scene::Scene;
use backfill_operator::api::Phase;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Values in rows that a scanner knows, put together here so that no scanner of sources takes them for real ones.
const IN_ROWS: [(&str, &str, &str); 10] = [
    ("aws key", "AKIA", "QY5PLM2VTRC6ZXWN"),
    ("github token", "ghp_", "c4n4ryAbCdEfGhIjKlMnOpQrStUvWxYz012345"),
    ("gitlab token", "glpat-", "c4n4ry-zYxWvUtSrQpOnMl"),
    ("slack token", "xoxb-", "701234567890-c4n4rySlackToken"),
    ("stripe key", "sk_live_", "c4n4ry51HaBcDeFgHiJkLm"),
    ("google key", "AIza", "SyC4n4ryAbCdEfGhIjKlMnOpQrStUvWxYz012"),
    ("connection string", "postgres://app:", "c4n4ry-row-password@db.example.org/prod"),
    ("web token", "eyJhbGciOiJIUzI1NiJ9.", "eyJzdWIiOiJjNG40cnkifQ.c4n4rySignature0123456789"),
    ("private key", "-----BEGIN PRIVATE KEY-----\n", "MIIc4n4ryPrivateKeyBody0123456789abcdef\n-----END PRIVATE KEY-----"),
    ("password", "password=", "c4n4ry-hunter2-in-a-prompt"),
];

#[tokio::test]
async fn none_of_twenty_planted_secrets_is_seen_in_any_status_log_event_message_metric_argument_or_environment() {
    let scene = Scene::new("canary", 2000).await;
    let planted = plant(&scene);
    // Enough that whoever looks fifty times a second cannot but see the programs that read it.
    scene.database.sql("CREATE TABLE filler AS SELECT n, md5(n::text) || md5((n + 1)::text) || md5((n + 2)::text) AS v FROM generate_series(1, 400000) n; ALTER TABLE filler OWNER TO scenarios");
    assert_eq!(planted.len(), 20, "{:?}", planted.iter().map(|p| &p.0).collect::<Vec<_>>());
    let lookout = Lookout::begin(planted.clone());

    let mut manifest = example();
    manifest["spec"]["backfill"]["sql"]["samples"] = json!({"count": 10});
    manifest["spec"]["preflight"]["environment"]
        .as_array_mut()
        .expect("checks")
        .push(json!({"name": "DATABASE_URL", "matches": "database"}));
    manifest["spec"]["notifications"] = json!([
        {"channel": "team-db", "events": ["ApprovalNeeded", "Applied", "Failed", "RolledBack", "Stalled", "Succeeded"]},
        {"channel": "audit", "events": ["ApprovalNeeded", "Applied", "Failed", "RolledBack", "Stalled", "Succeeded"]},
    ]);
    misconfigured(&scene, &manifest).await;
    rolled_back(&scene, &manifest).await;
    succeeded(&scene, &manifest).await;

    let seen = lookout.end();
    if lab().cluster.provider == "native" {
        for program in ["backfill-operator", "pg_dump", "pg_restore"] {
            assert!(seen.programs.contains(program), "the lookout saw {program} at work: {:?}", seen.programs);
        }
        // The application is given two of them by its own Deployment.
        let own = scene.kubectl(&["get", "pods", "--selector", "app=scenarios-app", "--output", "jsonpath={.items[*].metadata.uid}"]);
        let (given, found): (Vec<_>, Vec<_>) = seen.findings.iter().partition(|(pod, ..)| own.contains(pod.as_str()));
        assert!(given.len() >= 2, "the lookout sees what is there: {given:?}");
        assert!(found.is_empty(), "seen in /proc of pods: {found:?}");
    }
    for (place, text) in everything(&scene) {
        assert!(!text.is_empty(), "there is something to look at in {place}");
        for (name, secret) in &planted {
            if let Some(at) = text.find(secret.as_str()).or_else(|| text.find(&STANDARD.encode(secret))) {
                let around: String = text[..at].chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect();
                panic!("the {name} is in {place}, after: …{around}");
            }
        }
    }
}

/// A Secret that cannot be read as a connection stalls the run, and a variable that is set otherwise fails it.
async fn misconfigured(scene: &Scene, manifest: &Value) {
    let right = scene.kubectl(&["get", "secret", "scenarios-db-ro", "--output", "jsonpath={.data.uri}"]);
    let uri = String::from_utf8(STANDARD.decode(&right).expect("base64")).expect("text");
    let set = |uri: &str| scene.apply_patch("secret", "scenarios-db-ro", &json!({"stringData": {"uri": uri}}));
    set(&uri.replace(":5432/", ":port/"));
    let mut manifest = manifest.clone();
    manifest["metadata"]["name"] = json!("misconfigured");
    let checks = manifest["spec"]["preflight"]["environment"].as_array_mut().expect("checks");
    checks.push(json!({"name": "API_TOKEN", "value": "a guess"}));
    let run = Run::apply(scene, &manifest);
    run.until("the run stalls", |status| status.message.contains("Secret").then_some(())).await;
    set(&uri);
    let status = run.reaches(Phase::Failed).await;
    assert!(status.message.contains("API_TOKEN"), "{}", status.message);
}

/// The database refuses a row, and its complaint quotes it.
async fn rolled_back(scene: &Scene, manifest: &Value) {
    let mut manifest = manifest.clone();
    manifest["metadata"]["name"] = json!("rolled-back");
    // Before the plan: a table that is altered after it voids the approval. What a constraint refuses is seen at the first write.
    let constraint = "ALTER TABLE scenarios ADD CONSTRAINT no_sign_in CHECK (accepted_prompt NOT LIKE '%to sign in%') NOT VALID";
    scene.database.sql(constraint);
    let run = Run::apply(scene, &manifest);
    run.asks().await;
    let plan = run.status().await.plan.expect("a plan");
    assert!(plan.sensitive > 0 && plan.invalid_sample.len() >= 2, "{} sensitive, {:?}", plan.sensitive, plan.invalid_sample);
    run.approved_by(&lab().maria).await;
    let shown = format!("{:?}", plan.sample);
    assert!(shown.contains("[redacted: aws-key] to sign in."), "rows with secrets are in the sample: {shown}");
    let status = run.reaches(Phase::RolledBack).await;
    assert!(status.message.contains("no_sign_in"), "the constraint is named: {}", status.message);
    conclusion::lets_go_and_reports(&run).await;
    scene.database.sql("ALTER TABLE scenarios DROP CONSTRAINT no_sign_in");
}

async fn succeeded(scene: &Scene, manifest: &Value) {
    let run = Run::apply(scene, manifest);
    run.succeeds().await;
    conclusion::lets_go_and_reports(&run).await;
    let told = || channel::messages(&scene.namespace).iter().any(|message| message.body.contains("Succeeded"));
    crate::wait::until("people are told", std::time::Duration::from_mins(1), async || if told() { Ok(()) } else { Err("nothing".into()) })
        .await;
}

/// Name and text of each secret, after it was put in its place.
fn plant(scene: &Scene) -> Vec<(String, String)> {
    let secret = |namespace: &str, name: &str, key: &str| {
        let path = format!("jsonpath={{.data.{key}}}");
        let data = lab().cluster.kubectl(&["--namespace", namespace, "get", "secret", name, "--output", &path], "");
        String::from_utf8(STANDARD.decode(data).expect("base64")).expect("text")
    };
    let reader = secret(SERVER, "postgres", "reader");
    let uri = format!("postgresql://scenarios_ro:{reader}@postgres.{SERVER}.svc:5432/{}", scene.database.name);
    let mut planted = vec![
        ("superuser's password".to_owned(), secret(SERVER, "postgres", "password")),
        ("owner's password".to_owned(), secret(SERVER, "postgres", "owner")),
        ("reader's password".to_owned(), reader),
        ("reader's URI".to_owned(), uri.clone()),
        ("unused key of the database's Secret".to_owned(), "canary-beside-the-password-7731".to_owned()),
        ("token of the application".to_owned(), "canary-api-token-2f9e".to_owned()),
        ("password in the application's URI".to_owned(), "canary-app-password-88ab".to_owned()),
        ("address of Slack".to_owned(), SLACK_PATH.to_owned()),
        ("address of the webhook".to_owned(), WEBHOOK_PATH.to_owned()),
        ("key of the webhook".to_owned(), WEBHOOK_KEY.to_owned()),
    ];
    // The reader's Secret is a URI and nothing else.
    scene.kubectl(&["delete", "secret", "scenarios-db-ro"]);
    scene.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "scenarios-db-ro"}, "stringData": {"uri": uri}}));
    scene.apply_patch("secret", "scenarios-db", &json!({"stringData": {"note": planted[4].1}}));
    let url = format!("postgresql://app:{}@postgres.{SERVER}.svc/{}", planted[6].1, scene.database.name);
    let own = json!({"token": planted[5].1, "url": url});
    scene.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app"}, "stringData": own}));
    let variable = |name: &str, key: &str| json!({"name": name, "valueFrom": {"secretKeyRef": {"name": "app", "key": key}}});
    let container = json!({"name": "app", "env": [variable("API_TOKEN", "token"), variable("DATABASE_URL", "url")]});
    let patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
    scene.kubectl(&["patch", "deployment", "scenarios-app", "--patch", &patch.to_string()]);
    scene.kubectl(&["rollout", "status", "deployment/scenarios-app", "--timeout=120s"]);
    for (n, (name, begin, end)) in IN_ROWS.iter().enumerate() {
        // The rest of it, which nobody could guess, is what must not be seen.
        planted.push(((*name).to_owned(), end.lines().next().expect("a line").to_owned()));
        let prompt = format!("Use {begin}{end} to sign in.").replace('\'', "''");
        let row = format!("(SELECT id FROM winner ORDER BY id OFFSET {n} LIMIT 1)");
        scene.database.sql(&format!(
            "{WINNERS} UPDATE scenario_generations SET metadata = jsonb_set(metadata, '{{llm_response,prompt}}', to_jsonb('{prompt}'::text)) WHERE id = {row}"
        ));
        if n < 2 {
            // And as a value that the schema refuses, of a row that comes early.
            scene.database.sql(&format!(
                "UPDATE scenario_generations SET metadata = jsonb_set(metadata, '{{llm_response,skills}}', to_jsonb('{prompt}'::text))
                 WHERE id = (SELECT id FROM scenario_generations WHERE metadata #> '{{llm_response,skills}}' IS NOT NULL ORDER BY id LIMIT 1 OFFSET {n})"
            ));
        }
    }
    planted
}

/// All that people and programs can look at, with its name.
fn everything(scene: &Scene) -> Vec<(String, String)> {
    let cluster = &lab().cluster;
    let mut all = Vec::new();
    for kind in ["backfillruns", "events.events.k8s.io", "configmaps", "pods", "jobs", "serviceaccounts", "rolebindings", "deployments"] {
        all.push((kind.to_owned(), scene.kubectl(&["get", kind, "--output", "yaml"])));
    }
    for kind in ["configmaps", "pods", "deployments", "events.events.k8s.io"] {
        all.push((
            format!("{kind} of the operator"),
            cluster.kubectl(&["--namespace", operator::NAMESPACE, "get", kind, "--output", "yaml"], ""),
        ));
    }
    for pod in scene.kubectl(&["get", "pods", "--selector", "batch.kubernetes.io/job-name", "--output", "name"]).lines() {
        all.push((format!("the log of {pod}"), format!("{pod}\n{}", scene.kubectl(&["logs", pod, "--all-containers", "--tail=-1"]))));
    }
    all.push(("the operator's log".to_owned(), operator::log()));
    all.push(("the metrics".to_owned(), operator::metrics()));
    let messages = channel::messages(&scene.namespace);
    all.extend(messages.iter().map(|message| ("a message".to_owned(), format!("{:?} {}", message.headers, message.body))));
    all
}
