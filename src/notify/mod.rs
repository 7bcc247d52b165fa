//! Channels, and what they are told: a file a channel.
//!
//! Called by the notifier, which is a loop of its own, so that a slow channel never holds up a run. Knows `api`,
//! `config`, and the estimates of `lifecycle`. [`outbox`] and [`facts`] are pure; [`deliver`] does the one outside call. No error, log line or `Debug` text
//! in here holds an address or a key: the address of an incoming webhook is itself the secret.

pub mod asked;
pub mod facts;
pub mod outbox;
mod slack;
mod webhook;

pub use asked::{AskedFacts, RowFacts};
pub use facts::Facts;

use crate::config::{ChannelConfig, ChannelKind};
use jiff::Timestamp;
use secrecy::SecretString;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// A channel that takes longer than this has failed.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// Why a message did not arrive. Texts go into the status: they name files and status codes, never an address or a key.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NotifyError {
    /// The operator has no channel of this name.
    #[error("there is no channel {name}; the operator has {known}")]
    UnknownChannel {
        /// The name that the run gives.
        name: String,
        /// The names that there are.
        known: String,
    },
    /// A file of the channel is not there or not readable.
    #[error("cannot read {path}: {problem}")]
    SecretUnreadable {
        /// Which file.
        path: String,
        /// Why.
        problem: String,
    },
    /// A file of the channel is empty.
    #[error("{path} is empty")]
    SecretEmpty {
        /// Which file.
        path: String,
    },
    /// The file does not hold an http or https address.
    #[error("{path} does not hold an http:// or https:// address")]
    AddressInvalid {
        /// Which file.
        path: String,
    },
    /// No answer in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// No connection, or it broke.
    #[error("the address cannot be reached")]
    Unreachable,
    /// Redirects are not followed: a signed message goes only where it was meant to go.
    #[error("the address answers with a redirect ({0}), which is not followed: write the final address into the Secret")]
    Redirected(u16),
    /// Another answer than success.
    #[error("the address answers {0}")]
    Refused(u16),
    /// The client or the message could not be made.
    #[error("the message cannot be written: {0}")]
    Malformed(&'static str),
}

impl NotifyError {
    /// The variant's name: reason of events, label of metrics.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownChannel { .. } => "UnknownChannel",
            Self::SecretUnreadable { .. } => "SecretUnreadable",
            Self::SecretEmpty { .. } => "SecretEmpty",
            Self::AddressInvalid { .. } => "AddressInvalid",
            Self::TimedOut => "TimedOut",
            Self::Unreachable => "Unreachable",
            Self::Redirected(_) => "Redirected",
            Self::Refused(_) => "Refused",
            Self::Malformed(_) => "Malformed",
        }
    }
}

/// The client for all channels: no redirects, [`TIMEOUT`] for everything.
///
/// # Errors
/// [`NotifyError::Malformed`] where TLS cannot be set up.
pub fn http_client() -> Result<reqwest::Client, NotifyError> {
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .connect_timeout(TIMEOUT / 2)
        .user_agent(concat!("backfill-operator/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|_| NotifyError::Malformed("no HTTP client"))
}

/// The channel of this name.
///
/// # Errors
/// [`NotifyError::UnknownChannel`], which says which there are.
pub fn channel<'a>(channels: &'a [ChannelConfig], name: &str) -> Result<&'a ChannelConfig, NotifyError> {
    channels.iter().find(|c| c.name == name).ok_or_else(|| {
        let names: Vec<&str> = channels.iter().map(|c| c.name.as_str()).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        NotifyError::UnknownChannel { name: name.into(), known }
    })
}

/// Tells a channel, once, within [`TIMEOUT`].
///
/// # Errors
/// [`NotifyError`] where the channel did not say that it has taken the message.
pub async fn deliver(http: &reqwest::Client, channel: &ChannelConfig, facts: &Facts, now: Timestamp) -> Result<(), NotifyError> {
    let work = async {
        let request = match &channel.kind {
            ChannelKind::Slack { url_file } => slack::request(http, url_file, facts).await?,
            ChannelKind::Webhook { url_file, key_file } => webhook::request(http, url_file, key_file, facts, now).await?,
        };
        // The error of the client names the address: only its kind is kept.
        let answer =
            request.send().await.map_err(|error| if error.is_timeout() { NotifyError::TimedOut } else { NotifyError::Unreachable })?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            status if status.is_redirection() => Err(NotifyError::Redirected(status.as_u16())),
            status => Err(NotifyError::Refused(status.as_u16())),
        }
    };
    tokio::time::timeout(TIMEOUT, work).await.unwrap_or(Err(NotifyError::TimedOut))
}

/// Reads an address. `SecretString` keeps it out of `Debug` texts.
async fn read_address(path: &Path) -> Result<reqwest::Url, NotifyError> {
    use secrecy::ExposeSecret as _;
    let text = read_secret(path).await?;
    let url = reqwest::Url::parse(text.expose_secret()).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| NotifyError::AddressInvalid { path: path.display().to_string() })
}

/// Reads a secret; a line end that an editor or `echo` left behind is not part of it.
async fn read_secret(path: &Path) -> Result<SecretString, NotifyError> {
    let shown = || path.display().to_string();
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| NotifyError::SecretUnreadable { path: shown(), problem: error.kind().to_string() })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(NotifyError::SecretEmpty { path: shown() }),
        secret => Ok(SecretString::from(secret)),
    }
}

#[cfg(test)]
mod tests;
