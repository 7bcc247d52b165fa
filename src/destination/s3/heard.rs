//! What a store says of how it encrypts a file. `object_store` does not hand it on: it is a header of the answer to HEAD.

use super::failure::is_word;
use futures::future::BoxFuture;
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService, ReqwestConnector};
use std::sync::{Arc, Mutex, PoisonError};

const ENCRYPTION: &str = "x-amz-server-side-encryption";

/// What the last answer to HEAD said.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard(Arc<Mutex<Option<String>>>);

impl Heard {
    /// The encryption that the last answer named.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn hear(&self, answer: &HttpResponse) {
        let named = answer.headers().get(ENCRYPTION).and_then(|value| value.to_str().ok());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = named.map(|named| shown(named).to_owned());
    }
}

impl HttpConnector for Heard {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Listening { client, heard: self.clone() }))
    }
}

/// What may be shown of it: a word, in which there may be a colon, as in `aws:kms`.
fn shown(named: &str) -> &str {
    if named.is_empty() || is_word(&named.replace(':', "-")) { named } else { "something else" }
}

#[derive(Debug)]
struct Listening {
    client: HttpClient,
    heard: Heard,
}

impl HttpService for Listening {
    fn call<'a, 'b>(&'a self, request: HttpRequest) -> BoxFuture<'b, Result<HttpResponse, HttpError>>
    where
        'a: 'b,
    {
        Box::pin(async move {
            let asks = request.method() == "HEAD";
            let answer = self.client.execute(request).await?;
            if asks {
                self.heard.hear(&answer);
            }
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::shown;

    #[test]
    fn only_the_name_of_a_way_to_encrypt_is_shown() {
        for (named, is) in [("AES256", "AES256"), ("aws:kms", "aws:kms"), ("", ""), ("key AKIA s3cret", "something else")] {
            assert_eq!(shown(named), is);
        }
        assert_eq!(shown(&"a".repeat(65)), "something else");
    }
}
