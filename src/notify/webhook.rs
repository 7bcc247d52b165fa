//! A signed POST of JSON.
//!
//! The receiver computes HMAC-SHA256 with the shared key over `X-Backfill-Timestamp`, a dot and the body as it came, and
//! compares it with `X-Backfill-Signature` (`v1=` and hex). A timestamp more than five minutes old is a replay. The same
//! `X-Backfill-Delivery` twice is one message: delivery is at least once.

use super::{Facts, NotifyError, read_address, read_secret};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;
use sha2::Sha256;
use std::path::Path;

pub(super) async fn request(
    http: &reqwest::Client,
    url_file: &Path,
    key_file: &Path,
    facts: &Facts,
    now: Timestamp,
) -> Result<reqwest::RequestBuilder, NotifyError> {
    let url = read_address(url_file).await?;
    let key = read_secret(key_file).await?;
    let body = serde_json::to_string(facts).map_err(|_| NotifyError::Malformed("the facts are not JSON"))?;
    let timestamp = now.as_second().to_string();
    let signature = sign(key.expose_secret().as_bytes(), &timestamp, &body)?;
    Ok(http
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header("X-Backfill-Event", facts.event.as_str())
        .header("X-Backfill-Delivery", &facts.delivery)
        .header("X-Backfill-Timestamp", timestamp)
        .header("X-Backfill-Signature", format!("v1={signature}"))
        .body(body))
}

fn sign(key: &[u8], timestamp: &str, body: &str) -> Result<String, NotifyError> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(|_| NotifyError::Malformed("the key cannot sign"))?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    Ok(hex::encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::sign;

    /// Computed by OpenSSL: `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key`.
    #[test]
    fn a_signature_is_what_other_tools_compute() {
        assert_eq!(sign(b"key", "1700000000", "{\"a\":1}").unwrap(), "a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03");
    }
}
