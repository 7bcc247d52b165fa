//! Each run of `examples/` that has tables beside it, taken through the engine and back.

use crate::harness::Bench;
use backfill_operator::api::crd;
use backfill_operator::api::phase::Phase;
use backfill_operator::api::spec::{Audit, BackfillRun, DriftMode, VerifyCheck};
use backfill_operator::api::status::{CheckResult, PlanStatus};
use backfill_operator::engine::apply::Ending;
use backfill_operator::engine::ledger::Claimed;
use backfill_operator::engine::verify::{against_ledger, publish, run_check};
use serde_json::Value;
use std::path::PathBuf;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples")
}

fn file(example: &str, name: &str) -> String {
    std::fs::read_to_string(folder().join(example).join(name)).unwrap()
}

/// Folders of `examples/` that hold this file.
fn with(name: &str) -> Vec<String> {
    let folders = std::fs::read_dir(folder()).unwrap().map(Result::unwrap).filter(|entry| entry.path().join(name).is_file());
    let mut names: Vec<String> = folders.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What an example must do.
struct Example {
    folder: &'static str,
    /// The same by one plain statement.
    statement: &'static str,
    /// Tables with what is compared of them: all but times, audit columns and numbers that a sequence hands out.
    compare: &'static [(&'static str, &'static str)],
    /// Source rows that are written.
    writes: i64,
}

impl Example {
    /// The example's spec on the example's tables, in batches so small that there are many.
    async fn bench(&self) -> Bench {
        let run: BackfillRun = serde_yaml_ng::from_str(&file(self.folder, "backfillrun.yaml")).unwrap();
        let spec = serde_yaml_ng::to_string(&run.spec.backfill.sql.unwrap()).unwrap();
        let mut bench = Bench::new(&file(self.folder, "schema.sql"), &spec).await;
        bench.spec.batch.size = backfill_operator::api::spec::BatchRows::Fixed(7);
        bench
    }

    async fn compared(&self, bench: &Bench) -> Vec<(&'static str, String)> {
        let mut compared = Vec::new();
        for (table, columns) in self.compare {
            compared.push((*table, rows(bench, table, columns).await));
        }
        compared
    }

    async fn exact(&self, bench: &Bench) -> Vec<String> {
        let mut exact = Vec::new();
        for (table, _) in self.compare {
            exact.push(rows(bench, table, "x.*").await);
        }
        exact
    }

    /// Plan, apply, compare, plan again, undo.
    async fn holds(&self) -> PlanStatus {
        let mut bench = self.bench().await;
        let one = self.bench().await;
        one.sql(self.statement).await;
        let before = self.exact(&bench).await;

        let plan = bench.plan_by(40).await.unwrap();
        assert_eq!(plan.will_write, self.writes, "{plan:?}");
        assert_eq!(bench.claim().await, Claimed::Ours);
        assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
        for ((table, written), (_, wanted)) in self.compared(&bench).await.iter().zip(&self.compared(&one).await) {
            assert_eq!(written, wanted, "{table} is not what one statement makes of it");
        }
        let result = bench.result().await;
        assert_eq!((result.written, result.drifted, result.quarantined), (plan.will_write, 0, 0));
        assert_eq!(result.rows_digest, plan.rows_digest);
        assert!(result.batches > 5, "{} batches", result.batches);
        for (action, planned) in targets(&plan) {
            let kept =
                format!("SELECT coalesce(sum(cardinality(hashes)), 0) FROM backfill.undo WHERE role = 'row' AND action = '{action}'");
            assert_eq!(bench.number(&kept).await, planned, "{action}");
        }
        audited(&bench, &plan, "").await;
        self.checks(&bench).await;

        let uid = std::mem::take(&mut bench.run.uid);
        bench.run.uid = uid.replace("4000", "4001");
        let again = bench.plan_by(40).await.unwrap();
        assert_eq!(again.will_write, 0, "{again:?}");
        bench.run.uid = uid;

        let undone = bench.undo().await;
        assert_eq!((undone.undone, undone.skipped), (plan.will_write, 0), "{:?}", undone.skipped_keys);
        assert!(self.exact(&bench).await == before, "undo leaves something behind");
        audited(&bench, &plan, "Undo").await;
        plan
    }

    /// The operator's own checks, and those that the example asks for.
    async fn checks(&self, bench: &Bench) {
        let run: BackfillRun = serde_yaml_ng::from_str(&file(self.folder, "backfillrun.yaml")).unwrap();
        let mut connection = bench.connect().await;
        publish(&mut connection, &bench.ledger(), &bench.model().await.unwrap(), None).await.unwrap();
        let mut checks = against_ledger(&mut connection, &bench.ledger()).await.unwrap();
        assert!(!run.spec.verify.is_empty(), "an example shows its checks");
        for VerifyCheck { name, sql, expect, .. } in run.spec.verify {
            let (sql, expect) = (sql.unwrap(), expect.unwrap());
            checks.push(run_check(&mut connection, Phase::Verifying, &name, &sql, &expect).await.unwrap());
        }
        for check in checks {
            assert_eq!(check.result, CheckResult::Passed, "{}: {}", check.name, check.message);
        }
    }
}

/// Rows of a table, sorted, as one text.
async fn rows(bench: &Bench, table: &str, columns: &str) -> String {
    let sql = format!(
        "SELECT coalesce(string_agg(row, E'\\n' ORDER BY row COLLATE \"C\"), '') FROM (SELECT ROW({columns})::text AS row FROM {table} AS x) AS r"
    );
    bench.text(&sql).await.unwrap()
}

/// Planned target rows by action.
fn targets(plan: &PlanStatus) -> [(&'static str, i64); 3] {
    let sum = |of: fn(&backfill_operator::api::status::PlannedWrites) -> i64| plan.writes.iter().map(of).sum();
    [("Update", sum(|w| w.updates)), ("Insert", sum(|w| w.inserts)), ("Delete", sum(|w| w.deletes))]
}

/// Where the example asks for it, each written row has one entry, and one more when it was put back.
async fn audited(bench: &Bench, plan: &PlanStatus, undo: &str) {
    match &bench.spec.audit {
        None => {}
        Some(Audit { column: Some(column), path, .. }) => {
            let table = &bench.spec.source.table;
            let entry = format!("SELECT count(*) FROM {table} WHERE {column} #>> '{{{},result}}' = 'written'", path.join(","));
            assert_eq!(bench.number(&entry).await, if undo.is_empty() { plan.will_write } else { 0 });
        }
        Some(audit) => {
            let table = audit.table.as_deref().unwrap();
            for (action, planned) in targets(plan) {
                let entries = format!("FROM {table} WHERE run = 'staging/import' AND action = '{undo}{action}'");
                assert_eq!(bench.number(&format!("SELECT count(*) {entries}")).await, planned, "{undo}{action}");
                assert_eq!(bench.number(&format!("SELECT count(DISTINCT (table_name, key)) {entries}")).await, planned, "{undo}{action}");
            }
        }
    }
}

#[test]
fn each_example_is_what_the_resource_takes_and_no_field_of_it_is_unknown() {
    let definition = crd::definition().unwrap();
    let schema = jsonschema::validator_for(&definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]).unwrap();
    let examples = with("backfillrun.yaml");
    assert!(examples.len() > 10, "{examples:?}");
    for example in examples {
        let text = file(&example, "backfillrun.yaml");
        let written: Value = serde_yaml_ng::from_str(&text).unwrap();
        let errors: Vec<String> = schema.iter_errors(&written).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{example}: {errors:?}");
        let run: BackfillRun = serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{example}: {error}"));
        kept(&written["spec"], &serde_json::to_value(&run).unwrap()["spec"], &format!("{example}: spec"));
    }
}

/// Everything that is written is still there after it was read.
fn kept(written: &Value, read: &Value, at: &str) {
    match (written, read) {
        (Value::Object(fields), Value::Object(_)) => {
            fields.iter().for_each(|(name, value)| kept(value, &read[name], &format!("{at}.{name}")));
        }
        (Value::Array(items), Value::Array(found)) => {
            assert_eq!(items.len(), found.len(), "{at}");
            items.iter().zip(found).enumerate().for_each(|(n, (item, found))| kept(item, found, &format!("{at}[{n}]")));
        }
        _ => assert_eq!(written, read, "{at}"),
    }
}

#[test]
fn each_example_with_tables_has_a_test_and_a_line_in_the_documentation() {
    let read = |path: &str| std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (tests, page, index) = (include_str!("examples.rs"), read("docs/examples.md"), read("examples/README.md"));
    let examples = with("schema.sql");
    assert!(examples.len() >= 10, "{examples:?}");
    for example in examples {
        assert!(tests.contains(&format!("folder: \"{example}\"")), "{example} is not tested");
        let link = format!("{example}/backfillrun.yaml)");
        assert!(page.contains(&link) && index.contains(&link), "{example} is not documented");
    }
}

#[tokio::test]
async fn a_new_column_gets_its_default_in_the_old_rows_and_set_values_stay() {
    let example = Example {
        folder: "new-column",
        statement: "UPDATE accounts SET plan = CASE WHEN is_business THEN 'team' ELSE 'free' END WHERE plan IS NULL",
        compare: &[("accounts", "x.*")],
        writes: 369,
    };
    example.holds().await;
}

#[tokio::test]
async fn a_value_comes_through_a_foreign_key_and_orphans_are_left_alone() {
    let example = Example {
        folder: "value-by-foreign-key",
        statement: "UPDATE orders o SET region = c.region, updated_at = now() FROM customers c
                    WHERE c.id = o.customer_id AND o.region IS NULL AND c.region IS NOT NULL",
        compare: &[("orders", "x.id, x.customer_id, x.region, x.updated_at > '2026-01-02'"), ("customers", "x.*")],
        writes: 282,
    };
    let plan = example.holds().await;
    assert!(plan.no_match > 0);
}

#[tokio::test]
async fn a_row_is_looked_up_or_made_and_referred_to() {
    let example = Example {
        folder: "look-up-or-create",
        statement: "INSERT INTO organisations (id, slug, name) SELECT md5('organisations/' || lower(btrim(owner)))::uuid, lower(btrim(owner)), btrim(owner)
                FROM projects WHERE btrim(owner) <> '' ON CONFLICT (slug) DO NOTHING;
            UPDATE projects p SET organisation_id = o.id, organisation = o.name FROM organisations o WHERE btrim(p.owner) <> '' AND o.slug = lower(btrim(p.owner))",
        compare: &[("organisations", "x.*"), ("projects", "x.*")],
        writes: 272,
    };
    let plan = example.holds().await;
    assert!(plan.writes[0].inserts < plan.will_write, "some are there already: {:?}", plan.writes);
}

#[tokio::test]
async fn composite_keys_find_their_rows_in_all_partitions() {
    let example = Example {
        folder: "composite-key",
        statement: "UPDATE measurements m SET celsius = round((r.fahrenheit - 32) * 5 / 9, 2) FROM readings r
                    WHERE (m.tenant, m.day, m.sensor) = (r.tenant, r.day, r.sensor) AND r.fahrenheit IS NOT NULL",
        compare: &[("measurements", "x.tableoid::regclass, x.*"), ("readings", "x.*")],
        writes: 276,
    };
    let plan = example.holds().await;
    assert!(plan.no_match > 0 && plan.already_done > 0, "{plan:?}");
}

#[tokio::test]
async fn a_counter_is_counted() {
    COUNTER.holds().await;
}

const COUNTER: Example = Example {
    folder: "counter",
    statement: "UPDATE posts p SET comment_count = (SELECT count(*) FROM comments c WHERE c.post_id = p.id AND c.deleted_at IS NULL)",
    compare: &[("posts", "x.*"), ("comments", "x.*")],
    writes: 230,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_counter_on_a_live_table_is_right_whatever_the_application_writes_meanwhile() {
    let mut bench = COUNTER.bench().await;
    assert_eq!(bench.spec.drift.mode, DriftMode::Recompute);
    bench.spec.batch.pause = "2ms".into();
    let plan = bench.plan_by(40).await.unwrap();
    bench.claim().await;
    // Between plan and apply: more comments on many posts, and none left on one.
    bench.sql("INSERT INTO comments (post_id, body) SELECT n, 'since the plan' FROM generate_series(1, 300, 2) n").await;
    bench.sql("UPDATE comments SET deleted_at = now() WHERE post_id = 12").await;
    let application = async {
        let mut connection = bench.connect().await;
        let mut comments = 0;
        while bench.number("SELECT count(*) FROM backfill.runs WHERE state = 'Applied'").await == 0 {
            for _ in 0..20 {
                comments += 1;
                let sql = "INSERT INTO comments (post_id, body) VALUES ($1, 'live')";
                sqlx::query(sql).bind(i64::from(comments * 7 % 300 + 1)).execute(&mut connection).await.unwrap();
            }
        }
        comments
    };
    let (ending, comments) = tokio::join!(bench.apply(&plan), application);
    assert_eq!(ending.unwrap(), Ending::Done);
    assert!(comments > 20, "{comments}");
    let wrong = "SELECT count(*) FROM posts p WHERE comment_count <> (SELECT count(*) FROM comments c WHERE c.post_id = p.id AND deleted_at IS NULL)";
    assert_eq!(bench.number(wrong).await, 0);
    let result = bench.result().await;
    assert!(result.written < plan.will_write, "post 12 has nothing to be written");
    let checks = against_ledger(&mut bench.connect().await, &bench.ledger()).await.unwrap();
    assert_eq!(checks[0].result, CheckResult::Passed, "{}", checks[0].message);
}

#[tokio::test]
async fn paths_of_a_hierarchy_are_written_and_circles_are_left_alone() {
    let example = Example {
        folder: "hierarchy-path",
        statement: "WITH RECURSIVE down AS (
                SELECT id, '/' || slug AS path, 1 AS depth FROM categories WHERE parent_id IS NULL
                UNION ALL SELECT c.id, down.path || '/' || c.slug, down.depth + 1 FROM down JOIN categories c ON c.parent_id = down.id)
            UPDATE categories c SET path = down.path, depth = down.depth FROM down WHERE down.id = c.id",
        compare: &[("categories", "x.*")],
        writes: 400,
    };
    let plan = example.holds().await;
    assert_eq!(plan.no_match, 6, "the circle with its child, and the two without a root");
}

#[tokio::test]
async fn the_elements_of_a_list_become_rows() {
    let plan = LIST.holds().await;
    assert!(plan.invalid > 0 && targets(&plan)[1].1 > plan.will_write, "{plan:?}");
}

const LIST: Example = Example {
    folder: "json-list-to-rows",
    statement: "INSERT INTO document_tags (document_id, nr, tag)
        SELECT d.id, e.nr, btrim(e.tag) FROM documents d,
               jsonb_array_elements_text(CASE WHEN jsonb_typeof(d.tags) = 'array' THEN d.tags ELSE '[]' END) WITH ORDINALITY AS e(tag, nr)
        WHERE btrim(e.tag) <> '' ON CONFLICT (document_id, nr) DO NOTHING",
    compare: &[("document_tags", "x.document_id, x.nr, x.tag"), ("documents", "x.*")],
    writes: 223,
};

#[tokio::test]
async fn the_approver_sees_what_is_inserted_and_what_is_deleted_and_not_too_much_of_it() {
    let bench = LIST.bench().await;
    bench.sql("INSERT INTO documents SELECT 0, 'first', jsonb_agg('tag ' || i) FROM generate_series(1, 80) i").await;
    let plan = bench.plan_by(40).await.unwrap();
    let of_first: Vec<_> = plan.sample.iter().filter(|sample| sample.key == "0").collect();
    assert_eq!(of_first.len(), 10, "of 80");
    let shown = |column: &str| {
        of_first[0].changes.iter().find(|change| change.column == column).map(|c| (c.before.clone(), c.after.clone())).unwrap()
    };
    assert_eq!(shown("tag"), (None, Some("tag 1".into())));
    assert_eq!(shown("nr"), (None, Some("1".into())));
    let plan = DUPLICATES.bench().await.plan_by(40).await.unwrap();
    let email = plan.sample[0].changes.iter().find(|change| change.column == "email").unwrap();
    assert_eq!((email.before.as_deref(), email.after.as_deref()), (Some("JÖRG1@Example.org"), None));
}

#[tokio::test]
async fn inserted_rows_that_changed_since_stay_and_the_others_of_their_source_row_go() {
    let bench = LIST.bench().await;
    let plan = bench.plan_by(40).await.unwrap();
    bench.claim().await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let own = "SELECT count(*) FROM document_tags WHERE document_id = 6";
    assert_eq!(bench.number(own).await, 3);
    // Two rows of one source row are edited, one of another is gone.
    bench.sql("UPDATE document_tags SET tag = 'edited' WHERE document_id = 6 AND nr < 5; DELETE FROM document_tags WHERE document_id = 5 AND nr = 1").await;
    let undone = bench.undo().await;
    assert_eq!((undone.undone, undone.skipped), (plan.will_write - 2, 2), "{:?}", undone.skipped_keys);
    assert_eq!(undone.skipped_keys, ["5 (row is gone)", "6 (the row)"]);
    assert_eq!(bench.number(own).await, 2);
    assert_eq!(bench.number("SELECT count(*) FROM document_tags WHERE document_id = 5").await, 0);
}

#[tokio::test]
async fn a_run_that_was_put_back_can_be_made_again_under_its_name_and_has_entries_of_its_own() {
    let mut bench = LIST.bench().await;
    for attempt in 0..2 {
        bench.run.uid = format!("00000000-0000-4000-8000-00000000000{attempt}");
        let plan = bench.plan_by(40).await.unwrap();
        assert_eq!(bench.claim().await, Claimed::Ours);
        bench.attempt.store(0, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
        let entries = format!("SELECT count(*) FROM backfill_audit WHERE run_uid = '{}' AND action = 'Insert'", bench.run.uid);
        assert_eq!(bench.number(&entries).await, targets(&plan)[1].1);
        assert_eq!(bench.undo().await.skipped, 0);
    }
}

#[tokio::test]
async fn of_several_sources_the_winner_is_written() {
    let example = Example {
        folder: "several-sources",
        statement: "WITH winner AS (
                SELECT DISTINCT ON (user_id) * FROM contact_records WHERE phone IS NOT NULL AND user_id IS NOT NULL
                ORDER BY user_id, CASE origin WHEN 'billing' THEN 1 WHEN 'crm' THEN 2 ELSE 3 END, seen_at DESC NULLS LAST, id)
            UPDATE profiles p SET phone = replace(s.phone, ' ', ''), phone_origin = s.origin FROM winner s
            WHERE s.user_id = p.user_id AND p.phone IS NULL AND s.phone ~ '^\\+?[0-9 ]{5,20}$'",
        compare: &[("profiles", "x.*"), ("contact_records", "x.id, x.user_id, x.origin, x.phone, x.seen_at")],
        writes: 102,
    };
    let plan = example.holds().await;
    assert!(plan.lost > 0 && plan.invalid > 0, "{plan:?}");
}

#[tokio::test]
async fn orders_of_duplicates_are_given_to_the_one_that_stays() {
    let example = Example {
        folder: "duplicates-repoint",
        statement: "WITH w AS (SELECT id, first_value(id) OVER (PARTITION BY lower(email) ORDER BY verified DESC, created_at, id) AS winner
                FROM customers WHERE email IS NOT NULL)
            UPDATE orders o SET customer_id = w.winner FROM w WHERE w.id = o.customer_id AND w.winner <> w.id",
        compare: &[("orders", "x.*"), ("customers", "x.*")],
        writes: 111,
    };
    let plan = example.holds().await;
    assert!(targets(&plan)[0].1 > plan.will_write, "some have several orders");
}

const DUPLICATES: Example = Example {
    folder: "duplicates-delete",
    statement: "DELETE FROM customers c USING (
            SELECT id, row_number() OVER (PARTITION BY lower(email) ORDER BY verified DESC, created_at, id) AS place FROM customers WHERE email IS NOT NULL) d
        WHERE d.id = c.id AND d.place > 1",
    compare: &[("customers", "x.*"), ("orders", "x.*")],
    writes: 150,
};

#[tokio::test]
async fn duplicates_are_deleted() {
    DUPLICATES.holds().await;
}

#[tokio::test]
async fn a_duplicate_that_something_refers_to_fails_the_plan_and_is_named() {
    let bench = DUPLICATES.bench().await;
    bench.sql("INSERT INTO orders SELECT 99999, max(id), 1 FROM customers WHERE email LIKE 'J%'").await;
    let error = bench.plan_by(40).await.unwrap_err().to_string();
    assert!(error.contains("of customers cannot be deleted: rows of orders refer to it"), "{error}");
}

#[tokio::test]
async fn old_rows_move_to_the_archive() {
    let plan = ARCHIVE.holds().await;
    let [(_, updates), (_, inserts), (_, deletes)] = targets(&plan);
    assert_eq!((updates, inserts, deletes), (0, plan.will_write - 1, plan.will_write), "one was in the archive");
    assert_eq!(plan.parameters[0].value.as_deref(), Some("2026-01-01 00:00:00+00"));
}

const ARCHIVE: Example = Example {
    folder: "archive",
    statement: "WITH old AS (DELETE FROM events WHERE created_at < '2026-01-01' RETURNING *)
        INSERT INTO events_archive SELECT id, kind, payload, created_at, now() FROM old ON CONFLICT (id) DO NOTHING",
    compare: &[("events", "x.*"), ("events_archive", "x.id, x.kind, x.payload, x.created_at")],
    writes: 246,
};

#[tokio::test]
async fn what_changed_since_the_plan_is_left_alone_by_inserts_and_deletes_too() {
    let mut bench = ARCHIVE.bench().await;
    bench.spec.drift.max_percent = 10;
    let plan = bench.plan_by(40).await.unwrap();
    bench.claim().await;
    bench
        .sql(
            "INSERT INTO events_archive SELECT id, kind, payload, created_at, now() FROM events WHERE id = 10;
             UPDATE events SET payload = '{\"edited\": true}' WHERE id = 12;
             UPDATE events SET created_at = '2026-05-01' WHERE id = 14;
             DELETE FROM events WHERE id = 16",
        )
        .await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let result = bench.result().await;
    assert_eq!(result.drifted_keys, ["10", "12", "14", "16"]);
    assert_eq!(result.written, plan.will_write - 4);
    assert_eq!(bench.number("SELECT count(*) FROM events WHERE id IN (10, 12, 14)").await, 3);
    assert_eq!(bench.number("SELECT count(*) FROM events_archive WHERE id IN (12, 14, 16)").await, 0);

    let mut bench = DUPLICATES.bench().await;
    bench.spec.drift.max_percent = 10;
    let plan = bench.plan_by(40).await.unwrap();
    bench.claim().await;
    bench.sql("INSERT INTO orders VALUES (99999, 12, 1)").await;
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    let result = bench.result().await;
    assert_eq!((result.drifted_keys, result.written), (vec!["12".to_owned()], plan.will_write - 1));
}

#[tokio::test]
async fn what_goes_with_a_deleted_row_and_what_loses_its_reference_to_it_is_captured() {
    let example = Example {
        folder: "cascades",
        statement: "DELETE FROM customers WHERE closed_at < '2020-01-01'",
        compare: &[
            ("customers", "x.*"),
            ("addresses", "x.*"),
            ("address_checks", "x.*"),
            ("invoices", "x.*"),
            ("shipments", "x.*"),
            ("tickets", "x.*"),
        ],
        writes: 40,
    };
    let plan = example.holds().await;
    let of = |table: &str| plan.writes.iter().filter(|w| w.table == table).fold((0, 0), |(u, d), w| (u + w.updates, d + w.deletes));
    assert!(
        of("invoices").0 > 50 && of("shipments").0 > 50 && of("tickets").0 > 40 && of("addresses").1 > 60 && of("address_checks").1 > 60,
        "{:?}",
        plan.writes
    );
}

#[tokio::test]
async fn orphans_are_removed_and_what_refers_to_nothing_is_none() {
    let example = Example {
        folder: "orphans",
        statement: "DELETE FROM comments c WHERE post_id IS NOT NULL AND NOT EXISTS (SELECT FROM posts p WHERE p.id = c.post_id)",
        compare: &[("comments", "x.*"), ("posts", "x.*")],
        writes: 67,
    };
    example.holds().await;
}

#[tokio::test]
async fn booleans_become_a_status_and_contradictions_are_left_to_people() {
    let example = Example {
        folder: "status-from-booleans",
        statement: "UPDATE invoices SET status = CASE WHEN cancelled THEN 'cancelled'::invoice_status WHEN paid THEN 'paid' WHEN sent THEN 'open' ELSE 'draft' END
            WHERE status IS NULL AND (paid AND cancelled) IS NOT TRUE",
        compare: &[("invoices", "x.id, x.sent, x.paid, x.cancelled, x.status")],
        writes: 388,
    };
    let plan = example.holds().await;
    assert_eq!(plan.invalid, 4);
}

#[tokio::test]
async fn a_column_is_hashed() {
    let example = Example {
        folder: "hash-of-column",
        statement: "UPDATE users SET email_hash = sha256(convert_to(lower(btrim(email)), 'UTF8')) WHERE btrim(email) <> ''",
        compare: &[("users", "x.*")],
        writes: 314,
    };
    let plan = example.holds().await;
    assert!(plan.already_done > 0);
    assert!(plan.sample.iter().all(|row| !format!("{row:?}").contains("example.")), "{:?}", plan.sample);
}

#[tokio::test]
async fn what_is_older_than_a_moment_is_chosen_by_the_moment_that_was_approved() {
    let example = Example {
        folder: "cutoff",
        statement: "UPDATE sessions SET state = 'expired', state_reason = 'not seen for 90 days', expired_at = date_trunc('day', now()) - interval '90 days'
            WHERE state = 'active' AND coalesce(seen_at, created_at) < date_trunc('day', now()) - interval '90 days'",
        compare: &[("sessions", "x.*")],
        writes: 166,
    };
    let plan = example.holds().await;
    assert_eq!(plan.parameters.len(), 2, "{:?}", plan.parameters);
}
