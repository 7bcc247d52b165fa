//! What apply writes, and what it leaves alone.

use crate::harness::{Bench, Direct, SPEC, TABLES, rows};
use crate::server::Server;
use backfill_operator::engine::apply::{ApplyError, Ending};
use backfill_operator::engine::connector::{ConnectRefused, Connector};
use backfill_operator::engine::ledger::LedgerError;
use backfill_operator::engine::plan::PlanFileError;
use sqlx::PgConnection;
use std::sync::Mutex;
use std::time::Duration;

/// The checklist's backfill as one statement, with the audit entry.
const ONE_STATEMENT: &str = "
    WITH winner AS (
        SELECT DISTINCT ON (scenario_id) * FROM scenario_generations WHERE metadata ? 'llm_response'
        ORDER BY scenario_id, updated_at DESC, id),
    written AS (
        UPDATE scenarios t SET accepted_prompt = s.metadata #>> '{llm_response,prompt}',
            accepted_prompt_metadata = jsonb_build_object('model', s.metadata #> '{llm_response,model}'), updated_at = now()
        FROM winner s WHERE t.id = s.scenario_id AND t.accepted_prompt IS NULL AND s.metadata #> '{llm_response,skills}' IS NOT NULL
        RETURNING s.id)
    UPDATE scenario_generations g SET metadata = jsonb_set(metadata, '{import_audit}',
        '{\"source\": \"backfill\", \"run\": \"staging/import\", \"planDigest\": \"sha256:approved\", \"result\": \"written\"}')
    FROM written w WHERE g.id = w.id";

#[tokio::test]
async fn what_is_applied_is_what_was_predicted_and_what_one_statement_would_write() {
    let bench = Bench::scenario(1000).await;
    let other = Bench::scenario(1000).await;
    other.sql(ONE_STATEMENT).await;
    let plan = bench.through().await;
    assert_eq!(bench.hash().await, other.hash().await);
    let result = bench.result().await;
    assert_eq!((result.written, result.drifted), (plan.will_write, 0));
    assert_eq!(bench.number("SELECT count(*) FROM scenario_generations WHERE metadata ? 'import_audit'").await, plan.will_write);
    assert_eq!(bench.number("SELECT count(*) FROM scenarios WHERE updated_at > '2026-01-02'").await, plan.will_write);
    let entry = bench.text("SELECT metadata->'import_audit' FROM scenario_generations WHERE id = 12").await.unwrap();
    for part in ["\"source\": \"backfill\"", "\"run\": \"staging/import\"", "sha256:approved", "\"at\": \"20", "written"] {
        assert!(entry.contains(part), "{entry}");
    }
}

#[tokio::test]
async fn a_second_plan_finds_nothing_to_write() {
    let bench = Bench::scenario(200).await;
    bench.through().await;
    let again = bench.plan().await;
    assert_eq!((again.will_write, again.rows_digest.as_str()), (0, empty_digest().as_str()));
    let mut own = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, v int, at timestamptz); INSERT INTO n SELECT g, g FROM generate_series(1, 50) g",
        "{source: {table: n, where: 's.v > 10'}, writes: [{set: {v: '20 + s.id % 2', at: now()}}]}",
    )
    .await;
    let plan = own.through().await;
    assert_eq!((plan.scanned, plan.matching, plan.will_write), (50, 40, 38));
    own.run.uid = own.run.uid.replace("4000", "4001");
    let again = own.plan().await;
    assert_eq!((again.already_done, again.will_write), (40, 0));
}

fn empty_digest() -> String {
    use sha2::Digest as _;
    format!("sha256:{}", hex::encode(sha2::Sha256::digest([0; 2048])))
}

#[tokio::test]
async fn drifted_rows_are_left_alone_and_listed() {
    let mut bench = Bench::scenario(400).await;
    bench.spec.drift.max_percent = 10;
    let plan = bench.plan().await;
    bench.claim().await;
    bench
        .sql(
            "UPDATE scenarios SET accepted_prompt = 'by a person' WHERE id = 1;
             UPDATE scenario_generations SET metadata = jsonb_set(metadata, '{llm_response,prompt}', '\"newer\"') WHERE id = 21;
             DELETE FROM scenario_generations WHERE id = 32;
             UPDATE scenario_generations SET metadata = metadata - 'llm_response' WHERE id = 41;
             UPDATE scenario_generations SET metadata = metadata || '{\"beside\": 1}' WHERE id = 52",
        )
        .await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let result = bench.result().await;
    assert_eq!(result.drifted_keys, ["12", "21", "32", "41"]);
    assert_eq!((result.written, result.drifted), (plan.will_write - 4, 4));
    assert_eq!(bench.text("SELECT accepted_prompt FROM scenarios WHERE id = 1").await.as_deref(), Some("by a person"));
    assert_eq!(bench.number("SELECT count(*) FROM scenarios WHERE id IN (2, 3, 4) AND accepted_prompt IS NOT NULL").await, 0);
    assert_eq!(bench.number("SELECT count(*) FROM scenario_generations WHERE id IN (12, 21, 41) AND metadata ? 'import_audit'").await, 0);
    assert_eq!(bench.text("SELECT accepted_prompt FROM scenarios WHERE id = 5").await.as_deref(), Some("Pr\u{fc}fe 5.2"));
}

#[tokio::test]
async fn drift_above_the_limit_writes_nothing_and_a_new_plan_of_the_run_can_follow() {
    let bench = Bench::scenario(100).await;
    let plan = bench.plan().await;
    bench.claim().await;
    bench.sql("UPDATE scenarios SET accepted_prompt = 'by a person' WHERE id IN (1, 2)").await;
    let before = bench.exact_hash().await;
    let error = bench.apply(&plan).await.unwrap_err();
    let ApplyError::DriftAboveLimit { drifted: 2, keys, .. } = &error else { panic!("{error}") };
    assert_eq!(keys, &["12", "21"]);
    assert_eq!(bench.exact_hash().await, before);
    let again = bench.plan().await;
    assert_eq!(again.will_write, plan.will_write - 2);
    assert_eq!(bench.apply(&again).await.unwrap(), Ending::Done);
    assert_eq!(bench.result().await.written, again.will_write);
}

#[tokio::test]
async fn another_plan_than_the_approved_one_is_not_applied() {
    let bench = Bench::scenario(50).await;
    let mut plan = bench.plan().await;
    bench.claim().await;
    let text = std::fs::read_to_string(bench.plan_file()).unwrap();
    std::fs::write(bench.plan_file(), text.replacen("\"12\"", "\"11\"", 1)).unwrap();
    let error = bench.apply(&plan).await.unwrap_err();
    assert!(matches!(error, ApplyError::File(PlanFileError::Damaged { .. })), "{error}");
    std::fs::write(bench.plan_file(), text).unwrap();
    plan.rows_digest = "sha256:other".into();
    assert!(matches!(bench.apply(&plan).await, Err(ApplyError::File(PlanFileError::Damaged { .. }))));
    assert_eq!(bench.number("SELECT count(*) FROM scenarios WHERE updated_at > '2026-01-02'").await, 0);
}

#[tokio::test]
async fn a_run_without_a_claim_applies_nothing() {
    let bench = Bench::scenario(20).await;
    let plan = bench.plan().await;
    let mut connection = bench.connect().await;
    backfill_operator::engine::ledger::ensure(&mut connection, "backfill").await.unwrap();
    assert!(matches!(bench.apply(&plan).await, Err(ApplyError::Ledger(LedgerError::RunUnknown))));
}

#[tokio::test]
async fn a_zombie_with_an_old_epoch_cannot_write() {
    let bench = Bench::scenario(300).await;
    let plan = bench.plan().await;
    bench.claim().await;
    let ledger = bench.ledger();
    let mut first = true;
    let result = bench
        .apply_with(&plan, |_, _| {
            // After its first batch another worker begins.
            if std::mem::take(&mut first) {
                std::thread::scope(|scope| {
                    scope
                        .spawn(|| {
                            let runtime = tokio::runtime::Runtime::new().unwrap();
                            runtime.block_on(async { ledger.raise_epoch(&mut bench.connect().await).await.unwrap() })
                        })
                        .join()
                        .unwrap();
                });
            }
        })
        .await;
    assert!(matches!(result, Err(ApplyError::Ledger(LedgerError::Fenced))), "{result:?}");
    assert_eq!(bench.result().await.written, 50);
    assert_eq!(bench.number("SELECT count(*) FROM scenarios WHERE updated_at > '2026-01-02'").await, 50);
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    assert_eq!(bench.result().await.written, plan.will_write);
}

#[tokio::test]
async fn a_worker_of_before_ends_neither_the_present_attempt_nor_the_way_back() {
    let mut bench = Bench::scenario(200).await;
    bench.spec.workers = 2;
    let plan = bench.plan().await;
    bench.claim().await;
    let stop = bench.stop.clone();
    assert_eq!(bench.apply_with(&plan, |_, _| stop.cancel()).await.unwrap(), Ending::Stopped);
    bench.stop = tokio_util::sync::CancellationToken::new();
    let connector = Direct(bench.credentials.clone());
    let epoch = "SELECT epoch FROM backfill.runs";
    // Its attempt is over; a later one has begun.
    let mut ledger = bench.connect().await;
    bench.ledger().begin(&mut ledger, 2).await.unwrap();
    let before = bench.number(epoch).await;
    let late = bench.work(&connector, 1, &plan, |_, _| {}).await;
    assert!(matches!(late, Err(ApplyError::Ledger(LedgerError::Fenced))), "{late:?}");
    assert_eq!(bench.number(epoch).await, before);
    // One that fails for good ends the others of its own attempt.
    bench.sql("ALTER TABLE scenarios ADD CHECK (accepted_prompt NOT LIKE '%1%') NOT VALID").await;
    let mut other = plan.clone();
    other.definitions.clear();
    let failed = bench.apply(&other).await;
    assert!(matches!(failed, Err(ApplyError::RowRefused { .. })), "{failed:?}");
    assert_eq!(bench.number(epoch).await, before + 1);
    let undone = bench.undo().await.undone;
    assert!(undone > 0, "{undone}");
    let before = bench.number(epoch).await;
    let late = bench.work(&connector, 1, &plan, |_, _| {}).await;
    assert!(matches!(late, Err(ApplyError::Ledger(LedgerError::RunEnded(_)))), "{late:?}");
    assert_eq!(bench.number(epoch).await, before);
}

/// Whoever raises an error chooses its class, and writes what they like.
#[tokio::test]
async fn what_a_function_raises_is_not_shown_whatever_its_class_is() {
    let setup = "CREATE TABLE n (id int PRIMARY KEY, mail text, v int); INSERT INTO n SELECT g, 'secret-mail-' || g FROM generate_series(1, 3) g;
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no %', NEW.mail USING ERRCODE = 'check_violation', CONSTRAINT = NEW.mail; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON n FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION refuse()";
    for max in [0, 5] {
        let mut bench = Bench::new(setup, "{source: {table: n}, writes: [{set: {v: '1'}}], batch: {size: 16}}").await;
        bench.spec.quarantine.max = max;
        let plan = bench.plan().await;
        bench.claim().await;
        match bench.apply(&plan).await {
            Ok(_) => {}
            Err(ApplyError::RowRefused { key, sqlstate, message, .. }) => {
                assert_eq!((max, key.as_str(), sqlstate.as_str()), (0, "2", "23514"));
                assert!(message.contains("raised by a function") && !message.contains("secret-mail"), "{message}");
            }
            Err(error) => panic!("{error}"),
        }
        assert_eq!(bench.number("SELECT count(*) FROM backfill.quarantined WHERE message LIKE '%secret-mail%'").await, 0);
        assert_eq!(bench.result().await.quarantined_rows.len(), usize::from(max > 0));
    }
}

#[tokio::test]
async fn a_stop_or_a_suspension_ends_after_the_batch_in_hand_and_the_rest_follows_later() {
    let mut bench = Bench::scenario(300).await;
    let plan = bench.plan().await;
    bench.claim().await;
    let stop = bench.stop.clone();
    assert_eq!(bench.apply_with(&plan, |_, _| stop.cancel()).await.unwrap(), Ending::Stopped);
    assert_eq!(bench.result().await.written, 50);
    bench.stop = tokio_util::sync::CancellationToken::new();
    let control = bench.control();
    std::fs::write(&control, "backfill.dev/batch-size=\"20\"\n").unwrap();
    let suspended = bench.apply_with(&plan, |_, _| std::fs::write(&control, "backfill.dev/suspend=\"true\"\n").unwrap()).await;
    assert_eq!(suspended.unwrap(), Ending::Suspended);
    assert_eq!(bench.result().await.written, 70);
    std::fs::write(&control, "").unwrap();
    let mut told = Vec::new();
    assert_eq!(bench.apply_with(&plan, |done, total| told.push((done, total))).await.unwrap(), Ending::Done);
    assert_eq!(told.last(), Some(&(plan.will_write, plan.will_write)));
}

#[tokio::test]
async fn composite_and_text_keys_quoted_names_nulls_and_unicode_come_through() {
    let setup = r#"
        CREATE SCHEMA "My App";
        CREATE TABLE "My App"."Booking" ("Tenant" text, "Nr" numeric(10,2), "Total" numeric(12,3), note text, payload jsonb, kind "char", stamp timestamptz(3), raw bytea, tags text[], PRIMARY KEY ("Tenant", "Nr"));
        INSERT INTO "My App"."Booking" SELECT t, n / 4.0, NULL, CASE WHEN n % 3 = 0 THEN NULL ELSE 'nöte '' "x" \ ' || n END,
            CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN 'null'::jsonb WHEN 2 THEN '{"a": null}'::jsonb ELSE '{"a": {"b": 1}}'::jsonb END
            FROM unnest(ARRAY['', 'ä"b', 'x,{}', E'line\nbreak', '日本', 'NULL']) t, generate_series(1, 20) n"#;
    let spec = r#"
source: {table: '"My App"."Booking"'}
writes:
  - set:
      '"Total"': 's."Nr" * 1.00049'
      note: "CASE WHEN s.note IS NULL THEN 'ünï\\0 ' || s.\"Tenant\" END"
      kind: "'k'"
      stamp: "timestamptz '2026-03-04 05:06:07.123456+02'"
      raw: "decode('00ff', 'hex')"
      tags: "ARRAY[s.note, NULL, 'a,\"b']"
audit: {column: payload, path: [a, "it's"]}
batch: {size: 7}
"#;
    let bench = Bench::new(setup, spec).await;
    let blocked = bench.plan_by(6).await.unwrap_err();
    assert!(blocked.to_string().contains("payload"), "JSON null is no object: {blocked}");
    bench.sql(r#"UPDATE "My App"."Booking" SET payload = '{}' WHERE payload = 'null' OR payload = '{"a": null}'"#).await;
    let before = bench.text(r#"SELECT md5(string_agg(b::text, '' ORDER BY b."Tenant", b."Nr")) FROM "My App"."Booking" b"#).await;
    bench.sql(r#"CREATE TABLE other AS SELECT * FROM "My App"."Booking"; UPDATE other s SET "Total" = s."Nr" * 1.00049, note = CASE WHEN s.note IS NULL THEN 'ünï\0 ' || s."Tenant" END, kind = 'k', stamp = '2026-03-04 05:06:07.123456+02', raw = '\x00ff', tags = ARRAY[s.note, NULL, 'a,"b']"#).await;
    bench.through().await;
    let differing = r#"SELECT count(*) FROM "My App"."Booking" a FULL JOIN other b USING ("Tenant", "Nr")
        WHERE (a."Total", a.note, a.kind, a.stamp, a.raw, a.tags) IS DISTINCT FROM (b."Total", b.note, b.kind, b.stamp, b.raw, b.tags)"#;
    assert_eq!(bench.number(differing).await, 0);
    assert_eq!(bench.number(r#"SELECT count(*) FROM "My App"."Booking" WHERE payload #>> '{a,it''s,result}' = 'written'"#).await, 120);
    assert_eq!(bench.undo().await.undone, 120);
    let after = bench.text(r#"SELECT md5(string_agg(b::text, '' ORDER BY b."Tenant", b."Nr")) FROM "My App"."Booking" b"#).await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_row_to_whose_key_a_trigger_gives_another_value_is_not_inserted_and_is_named() {
    let setup = "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (k text PRIMARY KEY, n int); INSERT INTO a SELECT n FROM generate_series(1, 20) n;
        CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.n = 13 THEN NEW.k := upper(NEW.k); END IF; RETURN NEW; END $$;
        CREATE TRIGGER meddle BEFORE INSERT ON b FOR EACH ROW EXECUTE FUNCTION meddle()";
    let spec = "{source: {table: a}, batch: {size: 20}, writes: [{table: b, action: Insert, onConflict: {key: [k], mode: Skip}, set: {k: \"'k' || s.id\", n: s.id}}]}";
    let bench = Bench::new(setup, spec).await;
    let plan = bench.plan().await;
    bench.claim().await;
    let error = bench.apply(&plan).await.unwrap_err();
    assert!(matches!(&error, ApplyError::KeyChanged { key } if key == "13"), "{error}");
    // What is there is known to undo.
    let there = bench.number("SELECT count(*) FROM b").await;
    assert_eq!((bench.result().await.written, bench.number("SELECT count(*) FROM b WHERE k = 'K13'").await), (there, 0));
    assert_eq!(bench.undo().await.undone, there);
    assert_eq!(bench.number("SELECT count(*) FROM b").await, 0);
}

#[tokio::test]
async fn what_a_trigger_changes_is_named_and_what_it_holds_back_or_a_constraint_refuses_fails_the_run() {
    let bench = Bench::scenario(20).await;
    bench
        .sql(
            "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.accepted_prompt := upper(NEW.accepted_prompt); RETURN NEW; END $$;
             CREATE TRIGGER meddle BEFORE UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION meddle()",
        )
        .await;
    let plan = bench.plan().await;
    bench.claim().await;
    assert!(plan.remarks.iter().any(|remark| remark.contains("BEFORE triggers (meddle)")), "{:?}", plan.remarks);
    bench.sql("CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$").await;
    let error = bench.apply(&plan).await.unwrap_err();
    assert!(matches!(error, ApplyError::RowHeldBack { .. }), "{error}");
    assert_eq!(bench.result().await.written, 0);
    bench.sql("DROP TRIGGER meddle ON scenarios; ALTER TABLE scenarios ADD CHECK (accepted_prompt NOT LIKE 'Pr%')").await;
    let error = bench.apply(&plan).await.unwrap_err();
    assert!(matches!(&error, ApplyError::RowRefused { sqlstate, .. } if sqlstate == "23514"), "{error}");
    assert_eq!(bench.number("SELECT count(*) FROM scenario_generations WHERE metadata ? 'import_audit'").await, 0);
    bench
        .sql(
            "ALTER TABLE scenarios DROP CONSTRAINT scenarios_accepted_prompt_check;
             CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.accepted_prompt := upper(NEW.accepted_prompt); RETURN NEW; END $$;
             CREATE TRIGGER meddle BEFORE UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION meddle()",
        )
        .await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let result = bench.result().await;
    assert_eq!((result.written, result.changed_by_triggers), (plan.will_write, vec!["scenarios.accepted_prompt".to_owned()]));
    bench.sql("DROP TRIGGER meddle ON scenarios").await;
    assert_eq!(bench.undo().await.undone, plan.will_write, "what a trigger wrote goes back, too");
}

#[tokio::test]
async fn rows_that_the_database_refuses_stand_alone_and_are_quarantined_up_to_the_limit() {
    let mut bench = Bench::new(
        "CREATE TABLE n (id int PRIMARY KEY, v int, half int CHECK (half <> 13));
         INSERT INTO n (id, v) SELECT g, g FROM generate_series(1, 40) g",
        "{source: {table: n}, writes: [{set: {half: 's.v / 2'}}], batch: {size: 16}, quarantine: {max: 1}}",
    )
    .await;
    let plan = bench.plan().await;
    bench.claim().await;
    let error = bench.apply(&plan).await.unwrap_err();
    assert!(error.to_string().contains("(23514") && error.to_string().contains("quarantine.max is 1"), "{error}");
    bench.spec.quarantine.max = 2;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let result = bench.result().await;
    assert_eq!((result.written, result.quarantined, result.drifted), (38, 2, 0));
    let keys: Vec<(&str, &str)> = result.quarantined_rows.iter().map(|row| (row.key.as_str(), row.sqlstate.as_str())).collect();
    assert_eq!(keys, [("26", "23514"), ("27", "23514")]);
    assert_eq!(bench.undo().await.undone, 38);
    assert_eq!(bench.number("SELECT count(*) FROM n WHERE half IS NOT NULL").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_together_leave_out_no_more_rows_than_one_may() {
    let setup = "CREATE TABLE n (id int PRIMARY KEY, v int, half int CHECK (half % 10 <> 0)); INSERT INTO n SELECT g, g * 2 FROM generate_series(1, 400) g";
    let mut bench =
        Bench::new(setup, "{source: {table: n}, writes: [{set: {half: 's.v / 2'}}], batch: {size: 20}, quarantine: {max: 7}}").await;
    bench.spec.workers = 2;
    let plan = bench.plan_by(20).await.unwrap();
    bench.claim().await;
    bench.attempt.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let connector = Direct(bench.credentials.clone());
    let (a, b) = tokio::join!(bench.work(&connector, 0, &plan, |_, _| {}), bench.work(&connector, 1, &plan, |_, _| {}));
    assert!(a.is_err() && b.is_err(), "{a:?} {b:?}");
    let refused = |end: &Result<Ending, ApplyError>| matches!(end, Err(ApplyError::RowRefused { max: 7, .. }));
    assert!(refused(&a) || refused(&b), "{a:?} {b:?}");
    assert!(bench.number("SELECT count(*) FROM backfill.quarantined").await <= 7);
}

/// Cuts the first connections: each breaks after some batches' time.
struct Flaky {
    inner: Direct,
    left: Mutex<u32>,
}

impl Connector for Flaky {
    async fn connect(&self) -> Result<PgConnection, ConnectRefused> {
        let mut connection = self.inner.connect().await?;
        let cut = {
            let mut left = self.left.lock().unwrap();
            *left = left.saturating_sub(1);
            *left > 0
        };
        if cut {
            let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection).await.unwrap();
            let killer = Direct(self.inner.0.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(40)).await;
                let mut other = killer.connect().await.unwrap();
                sqlx::query("SELECT pg_terminate_backend($1)").bind(pid).execute(&mut other).await.unwrap();
            });
        }
        Ok(connection)
    }
}

#[tokio::test]
async fn a_terminated_connection_is_replaced_and_every_row_is_written_once() {
    let bench = Bench::scenario(400).await;
    let undisturbed = Bench::scenario(400).await;
    undisturbed.through().await;
    let plan = bench.plan().await;
    bench.claim().await;
    let flaky = Flaky { inner: Direct(bench.credentials.clone()), left: Mutex::new(6) };
    assert_eq!(bench.apply_through(&flaky, &plan, |_, _| {}).await.unwrap(), Ending::Done);
    assert_eq!(bench.hash().await, undisturbed.hash().await);
    assert_eq!(bench.result().await.written, plan.will_write);
}

#[tokio::test]
async fn locks_of_the_application_are_waited_for_and_deadlocks_survived() {
    let bench = Bench::scenario(300).await;
    let plan = bench.plan().await;
    bench.claim().await;
    let mut application = bench.connect().await;
    sqlx::query("BEGIN").execute(&mut application).await.unwrap();
    sqlx::query("SELECT 1 FROM scenarios WHERE id = 100 FOR UPDATE").execute(&mut application).await.unwrap();
    let release = async {
        tokio::time::sleep(Duration::from_millis(6500)).await;
        sqlx::query("COMMIT").execute(&mut application).await.unwrap();
    };
    let (ending, ()) = tokio::join!(bench.apply(&plan), release);
    assert_eq!(ending.unwrap(), Ending::Done);
    assert_eq!(bench.result().await.written, plan.will_write);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_in_the_middle_loses_and_doubles_nothing() {
    let mut server = Server::start();
    let bench = Bench::on(&server, &format!("{TABLES}; {}", rows(600)), SPEC).await;
    let undisturbed = Bench::scenario(600).await;
    undisturbed.through().await;
    let plan = bench.plan().await;
    bench.claim().await;
    let mut batches = 0;
    let ending = bench
        .apply_with(&plan, |_, _| {
            batches += 1;
            if batches == 3 {
                server.restart();
            }
        })
        .await;
    assert_eq!(ending.unwrap(), Ending::Done);
    assert_eq!(bench.hash().await, undisturbed.hash().await);
    assert_eq!(bench.result().await.written, plan.will_write);
}

#[tokio::test]
async fn where_little_has_changed_the_rows_are_not_compared_beforehand_and_drift_is_still_found() {
    // A server of its own: other tests' open transactions would make every row look as if it might have changed.
    let server = Server::start();
    let drifts = async |statement: &str, percent: i32| {
        let mut bench = Bench::on(
            &server,
            "CREATE TABLE n (id int PRIMARY KEY, v int); INSERT INTO n SELECT g, g FROM generate_series(1, 200) g; ANALYZE n",
            "{source: {table: n}, writes: [{set: {v: 's.v + 1000'}}]}",
        )
        .await;
        bench.spec.drift.max_percent = percent;
        let plan = bench.plan().await;
        bench.claim().await;
        bench.sql(statement).await;
        let applied = bench.apply(&plan).await.map(|_| ());
        let compared = bench.number("SELECT drift_checked FROM backfill.runs").await;
        (applied, compared, bench.result().await.drifted, bench.number("SELECT count(*) FROM n WHERE v > 1000").await)
    };
    for (statement, left) in [("UPDATE n SET v = 7 WHERE id = 3", 199), ("DELETE FROM n WHERE id IN (4, 5)", 198)] {
        let (applied, compared, drifted, written) = drifts(statement, 1).await;
        assert!(applied.is_ok(), "{statement}: {applied:?}");
        assert_eq!((compared, drifted, written), (0, 200 - left, left), "{statement}");
    }
    // Too many rows have another version: now it matters whether they have other values.
    let (applied, compared, drifted, written) = drifts("UPDATE n SET v = v", 1).await;
    assert!(applied.is_ok(), "{applied:?}");
    assert_eq!((compared, drifted, written), (0, 0, 200));
    for statement in
        ["UPDATE n SET v = 7 WHERE id <= 5", "DELETE FROM n WHERE id <= 5", "UPDATE n SET v = v; UPDATE n SET v = 7 WHERE id <= 5"]
    {
        let (applied, compared, drifted, written) = drifts(statement, 1).await;
        assert!(matches!(&applied, Err(ApplyError::DriftAboveLimit { drifted: 5, .. })), "{statement}: {applied:?}");
        assert_eq!((compared, drifted, written), (-1, 0, 0), "{statement}: nothing is written");
    }
}
