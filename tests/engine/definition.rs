//! Another definition of a written table than the approver's is noticed before the first write; what changes no row is none.

use crate::harness::{Bench, Direct, SPEC, TABLES, credentials, rows};
use crate::server::Server;
use backfill_operator::engine::apply::{ApplyError, Ending};
use backfill_operator::engine::connector::Connector as _;
use backfill_operator::engine::definition::{changed, definitions};

const TRIGGER: &str = "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.title := upper(NEW.title); RETURN NEW; END'";

#[tokio::test]
async fn every_change_of_a_written_table_that_may_change_a_row_is_told_and_nothing_else_is() {
    let setup =
        format!("{TABLES}; {TRIGGER}; CREATE TABLE others (id bigint PRIMARY KEY, scenario_id bigint); CREATE ROLE definition_test");
    let bench = Bench::new(&setup, SPEC).await;
    let mut connection = bench.connect().await;
    let model = bench.model().await.unwrap();
    let planned = definitions(&mut connection, &model).await.unwrap();
    let tables: Vec<&str> = planned.iter().map(|definition| definition.table.as_str()).collect();
    assert_eq!(tables, ["scenario_generations", "scenarios"], "the target, and the source, which gets the audit entry");

    // Each with what takes it back.
    let told = [
        ("ADD COLUMN extra text", "DROP COLUMN extra"),
        ("ALTER COLUMN title TYPE varchar(80)", "ALTER COLUMN title TYPE text"),
        ("ALTER COLUMN title SET NOT NULL", "ALTER COLUMN title DROP NOT NULL"),
        ("ALTER COLUMN title SET DEFAULT 'x'", "ALTER COLUMN title DROP DEFAULT"),
        ("ADD CONSTRAINT short CHECK (length(title) < 80)", "DROP CONSTRAINT short"),
        ("ENABLE ROW LEVEL SECURITY", "DISABLE ROW LEVEL SECURITY"),
        ("RENAME COLUMN title TO heading", "RENAME COLUMN heading TO title"),
    ];
    let mut cases: Vec<(String, String)> =
        told.iter().map(|(there, back)| (format!("ALTER TABLE scenarios {there}"), format!("ALTER TABLE scenarios {back}"))).collect();
    for (there, back) in [
        ("CREATE UNIQUE INDEX once ON scenarios (title)", "DROP INDEX once"),
        ("CREATE TRIGGER loud BEFORE UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION shout()", "DROP TRIGGER loud ON scenarios"),
        ("CREATE RULE aside AS ON UPDATE TO scenarios DO INSTEAD NOTHING", "DROP RULE aside ON scenarios"),
        ("CREATE POLICY own ON scenarios USING (id > 5)", "DROP POLICY own ON scenarios"),
        (
            "ALTER TABLE others ADD CONSTRAINT ours FOREIGN KEY (scenario_id) REFERENCES scenarios ON DELETE CASCADE",
            "ALTER TABLE others DROP CONSTRAINT ours",
        ),
        ("ALTER TABLE scenarios RENAME TO elsewhere", "ALTER TABLE elsewhere RENAME TO scenarios"),
    ] {
        cases.push((there.into(), back.into()));
    }
    for (there, back) in cases {
        bench.sql(&there).await;
        let found = changed(&mut connection, &planned).await.unwrap();
        assert!(found.contains(&"scenarios".to_owned()), "{there}: {found:?}");
        bench.sql(&back).await;
        let found = changed(&mut connection, &planned).await.unwrap();
        assert_eq!(found, Vec::<String>::new(), "{back}");
    }
    // What a trigger does is part of it, however it is called.
    bench.sql("CREATE TRIGGER loud BEFORE UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION shout()").await;
    let with = definitions(&mut connection, &model).await.unwrap();
    bench.sql(&TRIGGER.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION").replace("upper", "lower")).await;
    assert_eq!(changed(&mut connection, &with).await.unwrap(), ["scenarios"]);
    bench.sql("ALTER TABLE scenarios DISABLE TRIGGER loud").await;
    let disabled = definitions(&mut connection, &model).await.unwrap();
    assert_ne!(with, disabled);

    bench
        .sql(
            "CREATE INDEX plain ON scenarios (title); COMMENT ON TABLE scenarios IS 'ours'; GRANT SELECT ON scenarios TO definition_test;
             ALTER TABLE scenarios SET (fillfactor = 90), ALTER COLUMN title SET STATISTICS 500; INSERT INTO scenarios (id) VALUES (1); ANALYZE scenarios",
        )
        .await;
    assert_eq!(changed(&mut connection, &disabled).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_definition_is_the_same_for_every_role_and_search_path() {
    let bench = Bench::new(
        &format!(
            "{TABLES}; CREATE DOMAIN mood AS text; ALTER TABLE scenarios ADD COLUMN mood mood DEFAULT 'good', ADD CHECK (mood <> 'bad')"
        ),
        SPEC,
    )
    .await;
    let role = Server::fresh_name("reader");
    bench.sql(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; ALTER ROLE {role} SET search_path = 'elsewhere'")).await;
    let planned = definitions(&mut bench.connect().await, &bench.model().await.unwrap()).await.unwrap();
    let mut reader = Direct(credentials(Server::shared(), &bench.credentials.database, &role)).connect().await.unwrap();
    assert_eq!(changed(&mut reader, &planned).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_table_that_was_changed_after_the_plan_gets_no_row_until_it_is_planned_again() {
    let bench = Bench::new(&format!("{TABLES}; {}; {TRIGGER}", rows(60)), SPEC).await;
    let mut plan = bench.plan().await;
    plan.definitions = definitions(&mut bench.connect().await, &bench.model().await.unwrap()).await.unwrap();
    bench.claim().await;
    bench.sql("CREATE TRIGGER loud BEFORE UPDATE ON scenarios FOR EACH ROW EXECUTE FUNCTION shout()").await;
    let before = bench.exact_hash().await;
    let refused = bench.apply(&plan).await.unwrap_err();
    let ApplyError::SchemaChanged { tables } = &refused else { panic!("{refused}") };
    assert_eq!(tables, &["scenarios"]);
    assert_eq!(bench.exact_hash().await, before, "no row is written");

    // A column that went is told as that, and not as a name that nobody knows.
    bench.sql("DROP TRIGGER loud ON scenarios; ALTER TABLE scenarios DROP COLUMN accepted_prompt_metadata").await;
    let refused = bench.apply(&plan).await.unwrap_err();
    assert!(matches!(refused, ApplyError::SchemaChanged { .. }), "{refused}");
    assert!(refused.to_string().contains("since the plan the definition of scenarios has changed"), "{refused}");

    bench.sql("ALTER TABLE scenarios ADD COLUMN accepted_prompt_metadata jsonb").await;
    let mut again = bench.plan().await;
    again.definitions = definitions(&mut bench.connect().await, &bench.model().await.unwrap()).await.unwrap();
    assert_eq!(bench.apply(&again).await.unwrap(), Ending::Done);
}

#[tokio::test]
async fn once_rows_are_written_a_change_of_the_table_does_not_stop_the_run_half_way() {
    let bench = Bench::scenario(200).await;
    let mut plan = bench.plan().await;
    plan.definitions = definitions(&mut bench.connect().await, &bench.model().await.unwrap()).await.unwrap();
    bench.claim().await;
    let stop = bench.stop.clone();
    assert_eq!(bench.apply_with(&plan, move |_, _| stop.cancel()).await.unwrap(), Ending::Stopped);
    assert!(bench.result().await.written > 0);
    bench.sql("ALTER TABLE scenarios ADD COLUMN extra text").await;
    let bench = Bench { stop: tokio_util::sync::CancellationToken::new(), ..bench };
    assert_eq!(bench.apply(&plan).await.unwrap(), Ending::Done);
    assert_eq!(bench.result().await.written, plan.will_write);
}
