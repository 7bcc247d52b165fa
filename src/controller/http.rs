//! The operator's own server: `/livez`, `/readyz`, `/metrics`.

use super::health::Health;
use super::metrics::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long requests in hand may take once the operator stops.
const DRAIN: Duration = Duration::from_secs(3);
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Why the server ended.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    HttpBind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// It broke.
    #[error("the server ended: {0}")]
    HttpServe(#[source] std::io::Error),
}

#[derive(Clone)]
struct Shown {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// Serves until `stop`.
///
/// # Errors
/// [`HttpError`].
pub async fn serve(address: SocketAddr, health: Arc<Health>, metrics: Arc<Metrics>, stop: CancellationToken) -> Result<(), HttpError> {
    let listener = TcpListener::bind(address).await.map_err(|source| HttpError::HttpBind { address, source })?;
    serve_on(listener, health, metrics, stop).await
}

async fn serve_on(listener: TcpListener, health: Arc<Health>, metrics: Arc<Metrics>, stop: CancellationToken) -> Result<(), HttpError> {
    let router = Router::new()
        .route("/livez", get(live))
        .route("/readyz", get(ready))
        .route("/metrics", get(show))
        .with_state(Shown { health, metrics });
    let server = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    tokio::select! {
        end = async { server.await } => end.map_err(HttpError::HttpServe),
        // A client that does not read must not hold up the end.
        () = async { stop.cancelled().await; tokio::time::sleep(DRAIN).await } => Ok(()),
    }
}

async fn live(State(shown): State<Shown>) -> Response {
    probe(shown.health.is_alive(Instant::now()), "a pass of reconcile hangs")
}

async fn ready(State(shown): State<Shown>) -> Response {
    probe(shown.health.is_ready(), "the caches are not filled yet")
}

fn probe(good: bool, problem: &'static str) -> Response {
    if good { "ok".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, problem).into_response() }
}

async fn show(State(shown): State<Shown>) -> Response {
    match shown.metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::health::STUCK_AFTER;

    async fn answer(address: SocketAddr, path: &str) -> (u16, String) {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let answer = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    #[tokio::test]
    async fn the_probes_say_what_the_health_says_and_the_server_ends_on_stop() {
        let (health, metrics, stop) = (Arc::new(Health::default()), Arc::new(Metrics::default()), CancellationToken::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve_on(listener, health.clone(), metrics, stop.clone()));

        assert_eq!(answer(address, "/livez").await.0, 200);
        assert_eq!(answer(address, "/readyz").await, (503, "the caches are not filled yet".into()));
        health.set_ready(true);
        assert_eq!(answer(address, "/readyz").await, (200, "ok".into()));
        let pass = health.begin(Instant::now().checked_sub(STUCK_AFTER).unwrap_or_else(Instant::now));
        assert_eq!(answer(address, "/livez").await, (503, "a pass of reconcile hangs".into()));
        drop(pass);
        assert_eq!(answer(address, "/livez").await.0, 200);
        assert!(answer(address, "/metrics").await.1.ends_with("# EOF\n"));

        stop.cancel();
        tokio::time::timeout(DRAIN * 2, server).await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn an_address_in_use_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap();
        let error = serve(address, Arc::default(), Arc::default(), CancellationToken::new()).await.unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")));
    }
}
