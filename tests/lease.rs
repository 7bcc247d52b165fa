//! The Lease on a real API server: one leads, another takes over, and who cannot renew stops first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what they expect by failing"
)]

#[path = "cluster/client.rs"]
mod client;

use backfill_operator::controller::lease::{Candidate, LEASE, LeadEnd, lead};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, DeleteParams};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Who led from when to when.
type Reign = (String, Instant, Option<Instant>);

#[derive(Clone, Default)]
struct Reigns(Arc<Mutex<Vec<Reign>>>);

impl Reigns {
    fn begin(&self, who: &str) {
        self.0.lock().unwrap().push((who.into(), Instant::now(), None));
    }

    fn end(&self, who: &str) {
        let mut reigns = self.0.lock().unwrap();
        reigns.iter_mut().rev().find(|reign| reign.0 == who).unwrap().2 = Some(Instant::now());
    }

    fn leaders(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|reign| reign.0.clone()).collect()
    }

    async fn until_count(&self, count: usize, within: Duration) {
        let begun = Instant::now();
        while self.leaders().len() < count {
            assert!(begun.elapsed() < within, "within {within:?} only {:?} led", self.leaders());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn contend(client: Client, lease: &str, who: &'static str, stop: &CancellationToken, reigns: &Reigns) -> JoinHandle<LeadEnd<()>> {
    let candidate = Candidate { namespace: "default".into(), lease: lease.into(), identity: who.into() };
    let (stop, reigns) = (stop.clone(), reigns.clone());
    tokio::spawn(async move {
        lead(client, &candidate, &stop, |token| async move {
            reigns.begin(who);
            token.cancelled().await;
            reigns.end(who);
        })
        .await
    })
}

async fn fresh(lease: &str) -> (Client, Api<Lease>) {
    let client = client::client().await;
    let leases: Api<Lease> = Api::default_namespaced(client.clone());
    let _ = leases.delete(lease, &DeleteParams::default()).await;
    (client, leases)
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_leads_and_the_other_takes_over_when_it_is_killed() {
    let (client, leases) = fresh("lease-test-killed").await;
    let (stop, reigns) = (CancellationToken::new(), Reigns::default());
    let mut contenders = vec![
        ("a", contend(client.clone(), "lease-test-killed", "a", &stop, &reigns)),
        ("b", contend(client.clone(), "lease-test-killed", "b", &stop, &reigns)),
    ];
    reigns.until_count(1, Duration::from_secs(5)).await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(reigns.leaders().len(), 1, "a renewed lease stays where it is");

    let first = reigns.leaders().remove(0);
    let killed = contenders.iter().position(|(who, _)| *who == first).unwrap();
    contenders.remove(killed).1.abort();
    reigns.until_count(2, Duration::from_secs(25)).await;
    assert_ne!(reigns.leaders()[1], first);

    stop.cancel();
    assert_eq!(contenders.remove(0).1.await.unwrap(), LeadEnd::Ended(()));
    leases.delete("lease-test-killed", &DeleteParams::default()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_stops_gives_the_lease_back_at_once() {
    let (client, leases) = fresh("lease-test-released").await;
    let (stop, others_stop, reigns) = (CancellationToken::new(), CancellationToken::new(), Reigns::default());
    let first = contend(client.clone(), "lease-test-released", "first", &stop, &reigns);
    reigns.until_count(1, Duration::from_secs(5)).await;
    let second = contend(client, "lease-test-released", "second", &others_stop, &reigns);
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    assert_eq!(first.await.unwrap(), LeadEnd::Ended(()));
    reigns.until_count(2, Duration::from_secs(7)).await;
    others_stop.cancel();
    second.await.unwrap();
    leases.delete("lease-test-released", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn who_is_stopped_before_it_leads_never_led() {
    let client = client::client().await;
    let stop = CancellationToken::new();
    stop.cancel();
    let candidate = Candidate::new("default", "lease-test-never", "pod");
    assert_eq!(lead(client, &candidate, &stop, |_| async {}).await, LeadEnd::NeverLed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_from_the_api_server_stops_before_another_begins() {
    let (client, leases) = fresh("lease-test-cut").await;
    let (cut, proxied) = client_behind_a_line_that_can_be_cut().await;
    let (stop, reigns) = (CancellationToken::new(), Reigns::default());
    let lost = contend(proxied, "lease-test-cut", "cut-off", &stop, &reigns);
    reigns.until_count(1, Duration::from_secs(5)).await;
    let other = contend(client, "lease-test-cut", "other", &stop, &reigns);
    tokio::time::sleep(Duration::from_secs(6)).await;
    cut.send(true).unwrap();
    reigns.until_count(2, LEASE + Duration::from_secs(10)).await;

    assert_eq!(lost.await.unwrap(), LeadEnd::Lost);
    let reigns_seen = reigns.0.lock().unwrap().clone();
    let (ended, begun) = (reigns_seen[0].2.expect("the first has ended"), reigns_seen[1].1);
    assert!(ended < begun, "the second began {:?} before the first had ended", ended.saturating_duration_since(begun));
    stop.cancel();
    other.await.unwrap();
    leases.delete("lease-test-cut", &DeleteParams::default()).await.unwrap();
}

/// A client whose packets stop to arrive, in both directions, once `true` is sent: not closed, just silent.
async fn client_behind_a_line_that_can_be_cut() -> (watch::Sender<bool>, Client) {
    let mut config = kube::Config::infer().await.unwrap();
    let target = format!("{}:{}", config.cluster_url.host().unwrap(), config.cluster_url.port_u16().unwrap_or(443));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    config.tls_server_name.get_or_insert_with(|| target.rsplit_once(':').unwrap().0.to_owned());
    config.cluster_url = format!("https://{}", listener.local_addr().unwrap()).parse().unwrap();
    config.default_retry = false;
    let (cut, line) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let (target, mut line) = (target.clone(), line.clone());
            tokio::spawn(async move {
                let mut near = near;
                if !*line.borrow() {
                    let mut far = TcpStream::connect(target).await.unwrap();
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                        _ = line.wait_for(|cut| *cut) => {}
                    }
                }
                std::future::pending::<()>().await;
            });
        }
    });
    (cut, Client::try_from(config).unwrap())
}
