//! Claims, and who may make the ledger.

use crate::harness::{Bench, Direct, admin, credentials};
use crate::server::Server;
use backfill_operator::engine::connector::Connector as _;
use backfill_operator::engine::ledger::{self, Claimed, Ledger, LedgerError, State};
use backfill_operator::protocol::RunIdentity;

fn other() -> RunIdentity {
    RunIdentity { namespace: "prod".into(), name: "other".into(), uid: "00000000-0000-4000-9000-000000000000".into() }
}

#[tokio::test]
async fn one_run_at_a_time_holds_the_database_whatever_its_ledger_is_called() {
    let bench = Bench::new("SELECT 1", "{source: {table: a}, writes: [{set: {a: '1'}}]}").await;
    assert_eq!(bench.claim().await, Claimed::Ours);
    assert_eq!(bench.claim().await, Claimed::Ours, "a claim of its own is no hindrance");
    let mut connection = bench.connect().await;
    for schema in ["backfill", "elsewhere"] {
        ledger::ensure(&mut connection, schema).await.unwrap();
        let held = ledger::claim(&mut connection, schema, &other(), "spec", None).await.unwrap();
        let Claimed::HeldBy(holder) = held else { panic!("{schema}") };
        assert_eq!((holder.name.as_str(), &holder.uid), ("import", &bench.run.uid));
        assert!(holder.since.is_some());
    }
    ledger::release(&mut connection, &Ledger::of("backfill", &other())).await.unwrap();
    assert!(
        matches!(ledger::claim(&mut connection, "backfill", &other(), "spec", None).await.unwrap(), Claimed::HeldBy(_)),
        "not theirs to release"
    );
    ledger::release(&mut connection, &bench.ledger()).await.unwrap();
    assert_eq!(ledger::claim(&mut connection, "elsewhere", &other(), "spec", None).await.unwrap(), Claimed::Ours);
    assert!(matches!(bench.claim().await, Claimed::HeldBy(_)));
}

#[tokio::test]
async fn a_dead_holder_is_taken_over_and_its_workers_are_fenced_off() {
    let bench = Bench::new("SELECT 1", "{source: {table: a}, writes: [{set: {a: '1'}}]}").await;
    bench.claim().await;
    let mut connection = bench.connect().await;
    let epoch = bench.ledger().begin(&mut connection, 1).await.unwrap();
    let wrong = ledger::claim(&mut connection, "backfill", &other(), "spec", Some("somebody")).await.unwrap();
    assert!(matches!(wrong, Claimed::HeldBy(_)));
    let taken = ledger::claim(&mut connection, "backfill", &other(), "spec", Some(&bench.run.uid)).await.unwrap();
    assert_eq!(taken, Claimed::Ours);
    assert!(matches!(bench.ledger().fence(&mut connection, epoch).await, Err(LedgerError::Fenced)));
}

#[tokio::test]
async fn claims_at_the_same_moment_have_one_winner() {
    let bench = Bench::new("SELECT 1", "{source: {table: a}, writes: [{set: {a: '1'}}]}").await;
    let tries = (0..8).map(|n| {
        let direct = Direct(bench.credentials.clone());
        tokio::spawn(async move {
            let run = RunIdentity { namespace: "n".into(), name: n.to_string(), uid: n.to_string() };
            let mut connection = direct.connect().await.unwrap();
            ledger::ensure(&mut connection, "backfill").await.unwrap();
            ledger::claim(&mut connection, "backfill", &run, "spec", None).await.unwrap()
        })
    });
    let mut ours = 0;
    for attempt in tries.collect::<Vec<_>>() {
        ours += i32::from(attempt.await.unwrap() == Claimed::Ours);
    }
    assert_eq!(ours, 1);
}

#[tokio::test]
async fn a_missing_right_is_told_as_the_statement_to_run() {
    let bench = Bench::new("SELECT 1", "{source: {table: a}, writes: [{set: {a: '1'}}]}").await;
    let role = Server::fresh_name("writer");
    admin(Server::shared(), &format!("CREATE ROLE {role} LOGIN")).await;
    let mut weak = Direct(credentials(Server::shared(), &bench.credentials.database, &role)).connect().await.unwrap();
    let error = ledger::ensure(&mut weak, "backfill").await.unwrap_err();
    let LedgerError::CreateDenied { statements } = &error else { panic!("{error}") };
    assert!(statements.contains(&format!("CREATE SCHEMA \"backfill\" AUTHORIZATION {role};")), "{statements}");
    bench.sql(&format!("CREATE SCHEMA backfill AUTHORIZATION {role}")).await;
    ledger::ensure(&mut weak, "backfill").await.unwrap();
    ledger::ensure(&mut weak, "backfill").await.unwrap();
}

#[tokio::test]
async fn tables_of_somebody_else_are_not_taken_for_the_ledger() {
    let bench =
        Bench::new("CREATE SCHEMA backfill; CREATE TABLE backfill.runs (id int)", "{source: {table: a}, writes: [{set: {a: '1'}}]}").await;
    let error = ledger::ensure(&mut bench.connect().await, "backfill").await.unwrap_err();
    assert!(matches!(error, LedgerError::NotALedger { .. }), "{error}");
}

#[tokio::test]
async fn a_run_that_was_applied_is_known_again_by_its_name_and_spec_and_only_while_it_stands() {
    let bench = Bench::scenario(20).await;
    let mut connection = bench.connect().await;
    let again = RunIdentity { uid: "again".into(), ..bench.run.clone() };
    let known = async |connection: &mut _, spec: &str| ledger::already_applied(connection, "backfill", &again, spec).await.unwrap();
    assert_eq!(known(&mut connection, "spec").await, None, "no ledger yet");
    let plan = bench.through().await;
    assert_eq!(known(&mut connection, "spec").await.map(|run| run.written), Some(plan.will_write));
    assert_eq!(known(&mut connection, "another spec").await, None);
    assert_eq!(ledger::already_applied(&mut connection, "backfill", &bench.run, "spec").await.unwrap(), None, "itself");
    bench.ledger().set_state(&mut connection, State::Restored).await.unwrap();
    assert_eq!(known(&mut connection, "spec").await, None);
    let role = Server::fresh_name("blind");
    admin(Server::shared(), &format!("CREATE ROLE {role} LOGIN")).await;
    let mut blind = Direct(credentials(Server::shared(), &bench.credentials.database, &role)).connect().await.unwrap();
    assert_eq!(known(&mut blind, "spec").await, None);
}
