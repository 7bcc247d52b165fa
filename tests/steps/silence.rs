//! A server that is gone without a word: a network that takes every packet and brings none back.

use crate::restore::ledger;
use crate::support::pod::{Pod, TABLES, spec};
use crate::support::postgres::Database;
use backfill_operator::api::status::Step;
use backfill_operator::protocol::Outcome;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// The network before the database.
struct Network {
    port: u16,
    gone: CancellationToken,
}

impl Network {
    async fn before(database: &Database) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let network = Self { port: listener.local_addr().unwrap().port(), gone: CancellationToken::new() };
        let (gone, port) = (network.gone.clone(), database.port);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let gone = gone.clone();
                tokio::spawn(async move {
                    let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) = (client.into_split(), server.into_split());
                    tokio::join!(carry(&mut from_client, &mut to_server, &gone), carry(&mut from_server, &mut to_client, &gone));
                });
            }
        });
        network
    }
}

/// Carries bytes until the network is gone; then it keeps both ends open, and carries nothing.
async fn carry(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin), gone: &CancellationToken) {
    let mut bytes = vec![0; 64 * 1024];
    loop {
        tokio::select! {
            biased;
            () = gone.cancelled() => return std::future::pending().await,
            read = from.read(&mut bytes) => match read {
                Ok(0) | Err(_) => return,
                Ok(n) => if to.write_all(&bytes[..n]).await.is_err() { return },
            },
        }
    }
}

/// The step, begun over a network that goes while the server waits for a lock that the application holds.
async fn vanishes_in(step: Step, database: &Database, pod: &mut Pod, lock: &str) {
    let network = Network::before(database).await;
    pod.secret("port", &network.port.to_string());
    let mut holder = database.as_owner().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("BEGIN; {lock}"))).execute(&mut holder).await.unwrap();
    let child = pod.spawn(step);
    let waits = format!("SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = '{}' AND wait_event_type = 'Lock'", database.name);
    let started = Instant::now();
    while database.text(&waits).await != "true" {
        assert!(started.elapsed() < Duration::from_mins(1), "the step waits for a lock");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    network.gone.cancel();
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    let end = tokio::task::block_in_place(|| pod.end(child));
    assert_eq!((end.verdict.outcome, end.verdict.reason.as_str()), (Outcome::Lost, "ConnectionLost"), "{}", end.verdict.message);
    assert!(end.verdict.message.contains("does not answer any more"), "{}", end.verdict.message);
    assert!(started.elapsed() < Duration::from_mins(5), "and it does not take for ever");
    pod.secret("port", &database.port.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_does_not_wait_for_a_server_that_is_gone_and_the_next_attempt_goes_on() {
    let database = Database::new(TABLES).await;
    let mut pod = Pod::new(&database, spec(""));
    pod.passes(&[Step::Backup, Step::Plan, Step::Claim]);
    vanishes_in(Step::Apply, &database, &mut pod, "UPDATE scenarios SET updated_at = now() WHERE id = 250").await;
    pod.input.attempt += 1;
    pod.passes(&[Step::Apply]);
    assert_eq!(database.text("SELECT count(*) FROM scenarios WHERE accepted_prompt IS NOT NULL").await, "500");
    assert_eq!(database.text("SELECT sum(written) FROM backfill.batches").await, "500");
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_a_dump_whose_program_would_wait_for_hours() {
    let database = Database::new(TABLES).await;
    ledger(&database).await;
    let mut pod = Pod::new(&database, spec(""));
    vanishes_in(Step::Backup, &database, &mut pod, "LOCK scenarios").await;
    assert_eq!(pod.run(Step::Backup).verdict.outcome, Outcome::Passed);
}
