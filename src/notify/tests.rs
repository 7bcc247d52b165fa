//! Channels against a real HTTP server.

use super::*;
use crate::notify::facts::tests::facts;
use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use hmac::{Hmac, KeyInit as _, Mac as _};
use std::sync::{Arc, Mutex};

const KEY: &str = "a-key-that-nobody-may-see";

type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

struct Receiver {
    folder: tempfile::TempDir,
    seen: Seen,
}

/// A server that keeps what it gets and answers `answer`; its address has a path that is a secret.
async fn receiver<A: IntoResponse + Clone + Send + Sync + 'static>(answer: A, delay: Duration) -> Receiver {
    let seen = Seen::default();
    let kept = seen.clone();
    let handler = move |headers: HeaderMap, body: Bytes| async move {
        kept.lock().unwrap().push((headers, body));
        tokio::time::sleep(delay).await;
        answer
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/hooks/secret-path\n", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/hooks/secret-path", post(handler))).await });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("url"), address).unwrap();
    std::fs::write(folder.path().join("key"), format!("{KEY}\n")).unwrap();
    Receiver { folder, seen }
}

impl Receiver {
    fn webhook(&self) -> ChannelConfig {
        let kind = ChannelKind::Webhook { url_file: self.folder.path().join("url"), key_file: self.folder.path().join("key") };
        ChannelConfig { name: "hook".into(), kind }
    }

    fn slack(&self) -> ChannelConfig {
        ChannelConfig { name: "team".into(), kind: ChannelKind::Slack { url_file: self.folder.path().join("url") } }
    }
}

async fn tell(channel: &ChannelConfig) -> Result<(), NotifyError> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    deliver(&http_client().unwrap(), channel, &facts(), Timestamp::from_second(1_800_000_000).unwrap()).await
}

#[tokio::test]
async fn a_webhook_is_signed_over_timestamp_and_body() {
    let receiver = receiver(StatusCode::NO_CONTENT, Duration::ZERO).await;
    tell(&receiver.webhook()).await.unwrap();
    let (headers, body) = receiver.seen.lock().unwrap().remove(0);
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();

    assert_eq!(header("x-backfill-timestamp"), "1800000000");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(KEY.as_bytes()).unwrap();
    mac.update(format!("1800000000.{}", std::str::from_utf8(&body).unwrap()).as_bytes());
    let signature = header("x-backfill-signature");
    mac.verify_slice(&hex::decode(signature.strip_prefix("v1=").unwrap()).unwrap()).unwrap();

    assert_eq!(header("x-backfill-event"), "ApprovalNeeded");
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(header("x-backfill-delivery"), body["delivery"]);
    assert_eq!(body["rowsChanged"], 117_578);
}

#[tokio::test]
async fn slack_gets_json_with_blocks() {
    let receiver = receiver("ok", Duration::ZERO).await;
    tell(&receiver.slack()).await.unwrap();
    let (headers, body) = receiver.seen.lock().unwrap().remove(0);
    assert_eq!(headers["content-type"], "application/json");
    assert!(serde_json::from_slice::<serde_json::Value>(&body).unwrap()["blocks"].is_array());
}

#[tokio::test]
async fn another_answer_than_success_is_an_error_and_a_redirect_is_not_followed() {
    let broken = receiver(StatusCode::INTERNAL_SERVER_ERROR, Duration::ZERO).await;
    assert_eq!(tell(&broken.webhook()).await, Err(NotifyError::Refused(500)));
    let moved = receiver((StatusCode::TEMPORARY_REDIRECT, [("location", "/hooks/secret-path")]), Duration::ZERO).await;
    assert_eq!(tell(&moved.webhook()).await, Err(NotifyError::Redirected(307)));
    assert_eq!(moved.seen.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_slow_channel_is_given_10_seconds() {
    let receiver = receiver(StatusCode::OK, Duration::from_mins(1)).await;
    let begun = std::time::Instant::now();
    assert_eq!(tell(&receiver.webhook()).await, Err(NotifyError::TimedOut));
    assert!(begun.elapsed() < TIMEOUT + Duration::from_secs(2));
}

#[tokio::test]
async fn no_error_and_no_debug_text_shows_an_address_or_a_key() {
    let receiver = receiver(StatusCode::FORBIDDEN, Duration::ZERO).await;
    let mut texts = vec![format!("{:?}", receiver.webhook())];
    texts.push(tell(&receiver.webhook()).await.unwrap_err().to_string());
    std::fs::write(receiver.folder.path().join("url"), "http://127.0.0.1:1/hooks/secret-path").unwrap();
    let unreachable = tell(&receiver.webhook()).await.unwrap_err();
    assert_eq!(unreachable, NotifyError::Unreachable);
    texts.push(format!("{unreachable} {unreachable:?}"));
    std::fs::write(receiver.folder.path().join("url"), "secret-path without scheme").unwrap();
    texts.push(format!("{:?}", tell(&receiver.webhook()).await.unwrap_err()));
    for text in texts {
        assert!(!text.contains("secret-path") && !text.contains(KEY) && !text.contains("127.0.0.1"), "{text}");
    }
}

#[tokio::test]
async fn a_missing_or_empty_file_is_named() {
    let receiver = receiver(StatusCode::OK, Duration::ZERO).await;
    std::fs::write(receiver.folder.path().join("key"), "\n").unwrap();
    assert_eq!(tell(&receiver.webhook()).await.unwrap_err().reason(), "SecretEmpty");
    std::fs::remove_file(receiver.folder.path().join("url")).unwrap();
    let error = tell(&receiver.webhook()).await.unwrap_err();
    assert_eq!(error.reason(), "SecretUnreadable");
    assert!(error.to_string().ends_with("url: entity not found"), "{error}");
}

#[test]
fn an_unknown_channel_says_which_there_are() {
    let channels = [ChannelConfig { name: "team".into(), kind: ChannelKind::Slack { url_file: "u".into() } }];
    assert_eq!(channel(&channels, "tema").unwrap_err().to_string(), "there is no channel tema; the operator has team");
    assert_eq!(channel(&[], "team").unwrap_err().to_string(), "there is no channel team; the operator has none");
}
